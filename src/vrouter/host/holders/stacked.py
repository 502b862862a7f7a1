# SPDX-License-Identifier: Apache-2.0
"""Devices that stand on the NIC, or that the NIC is a port of."""

from __future__ import annotations

from vrouter.host.holders.finding import Finding
from vrouter.host.netlink import Link, Netlink


def find(links: Netlink, nic: Link) -> list[Finding]:
    """VLANs, macvlans, tunnels on the NIC (their packets would go to vhost0); bridge or bond."""
    names = {one.ifindex: one.name for one in links.links()}
    found = []
    if nic.master:
        master = names.get(nic.master, str(nic.master))
        found.append(
            Finding(
                "device", f"{nic.name} is a port of {master}", f"take {nic.name} out of it", True
            )
        )
    for one in links.links():
        on_nic = one.peer == nic.ifindex and not one.peer_elsewhere
        if on_nic and not (one.kind == "veth" and nic.peer == one.ifindex):
            found.append(
                Finding(
                    "device",
                    f"{one.name} ({one.kind or 'device'}) stands on {nic.name} and would get "
                    "no packets",
                    "delete it and make it anew on vhost0",
                    True,
                )
            )
    return found
