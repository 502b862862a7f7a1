# SPDX-License-Identifier: Apache-2.0
"""What needs CAP_NET_ADMIN: run by oslo.privsep's helper, as nova-compute is not root."""

from __future__ import annotations

from oslo_privsep import capabilities, priv_context

from vrouter.host import ports
from vrouter.host.netlink import Netlink

context = priv_context.PrivContext(
    "vrouter",
    cfg_section="vif_plug_vrouter_privileged",
    pypath=f"{__name__}.context",
    capabilities=[capabilities.CAP_NET_ADMIN],
)


@context.entrypoint
def make_tap(name: str, mtu: int) -> None:
    """Make a persistent tap, up, unless it is there. Raises DeviceError."""
    with Netlink() as links:
        there = links.get(name) is not None
    if not there:
        ports.make_tap(name, mtu=mtu)


@context.entrypoint
def delete(name: str) -> None:
    """Delete a netdevice, if it is there. Raises DeviceError."""
    ports.delete(name)
