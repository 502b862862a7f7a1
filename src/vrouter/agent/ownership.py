# SPDX-License-Identifier: Apache-2.0
"""What of a vif the agent decides, and what stays as others have set it.

The plan names a vif whole; what it does not decide is taken from the vif that stands in the
table, so that a mirror, a QoS map or a flag given by `vif --set` outlives every change of the
port, and the agent.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from vrouter.agent.plan.fabric import NO_QOS
from vrouter.dpcore.names import VifFeature, VifFlag, VifType
from vrouter.dpcore.records import Vif
from vrouter.dpcore.vif_checks import DATA_PLANE

_DECIDED: Final = (
    VifFlag.XCONNECT
    | VifFlag.L3
    | VifFlag.L2
    | VifFlag.DHCP
    | VifFlag.VHOST_PHYS
    | VifFlag.UNKNOWN_UC_FLOOD
    | VifFlag.MAC_LEARN
    | VifFlag.ETREE_ROOT
    | VifFlag.IGMP
    | VifFlag.MAC_IP_LEARN
)
# trust that no interface of the desired state gives or takes
_TRUST: Final = VifFeature.BRIDGE


def keeping(planned: Vif, there: Vif) -> Vif:
    """The planned vif with what is not the agent's of the one that is there."""
    decided = _DECIDED | (VifFlag.POLICY if planned.type == VifType.HOST else VifFlag(0))
    kept = int(there.flags) & ~int(decided) & ~DATA_PLANE
    # 0 is what a vif has that nobody has given a map, before an agent takes the cross-connect off
    unset = there.qos == 0 and there.flags & VifFlag.XCONNECT
    return replace(
        planned,
        flags=VifFlag(int(planned.flags) | kept),
        features=planned.features & ~_TRUST | there.features & _TRUST,
        mirror=there.mirror,
        qos=NO_QOS if unset else there.qos,
    )
