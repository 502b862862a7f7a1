# SPDX-License-Identifier: Apache-2.0
"""The numbers that plans use: fixed ones as upstream has them, others by their keys."""

from __future__ import annotations

from typing import Final

from vrouter.agent.desired.ids import Ids
from vrouter.agent.desired.state import State

ROUTER_MAC: Final = bytes.fromhex("00005e000100")
BROADCAST: Final = bytes([0xFF] * 6)
FABRIC_VRF: Final = 0
# vifs
NIC, VHOST, PKT0 = 0, 1, 2
FIRST_VIF, END_VIF = 3, 4350
# nexthops: 0 is dp-core's own Discard, 2 upstream's RPF discard, empty
NH_DISCARD, NH_L2_RECEIVE, NH_NIC, NH_VHOST, NH_AGENT, NH_RESOLVE = 1, 3, 4, 5, 6, 7
FIRST_NEXTHOP: Final = 16
# labels: dp-core takes higher ones of composites for the fabric's multicast tree
FIRST_FLOOD_LABEL, END_FLOOD_LABEL = 16, 1024
VIF, NEXTHOP, VRF, LABEL, FLOOD_LABEL = "vif", "nexthop", "VRF", "label", "flood label"


def spaces(ids: Ids, *, vrfs: int, nexthops: int, labels: int) -> None:
    """Tell `ids` which numbers there are, by the sizes of dp-core's tables."""
    ids.space(VIF, FIRST_VIF, END_VIF)
    ids.space(NEXTHOP, FIRST_NEXTHOP, nexthops)
    ids.space(VRF, 1, vrfs)
    ids.space(LABEL, END_FLOOD_LABEL, labels)
    ids.space(FLOOD_LABEL, FIRST_FLOOD_LABEL, min(END_FLOOD_LABEL, labels))


class Numbers:
    """Gives the numbers of one unit of the plan, and remembers which those were."""

    def __init__(self, ids: Ids, state: State) -> None:
        self._ids = ids
        self._state = state
        self.used: set[tuple[str, str]] = set()

    def mine(self, space: str, key: str) -> int:
        """The number of something that this unit makes. Raises Refused if none is left."""
        self.used.add((space, key))
        return self._ids.give(space, key)

    def label(self, space: str, key: str, asked: int) -> int:
        """`asked` if it is not 0, else a label that nobody asked for."""
        if asked:
            return asked
        self.used.add((space, key))
        return self._ids.give(
            space, key, lambda number: self._state.owner("label", number) is not None
        )

    def of(self, space: str, key: str) -> int:
        """The number of something that another unit makes, which may yet have to."""
        return self._ids.give(space, key)
