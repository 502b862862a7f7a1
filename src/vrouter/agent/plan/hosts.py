# SPDX-License-Identifier: Apache-2.0
"""Remote hosts: the tunnel nexthops to each."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from vrouter.agent.desired.canonical import mac_bytes
from vrouter.agent.desired.records import Encapsulation, Host, Network
from vrouter.agent.facts import Facts, parse
from vrouter.agent.plan.entries import Entries
from vrouter.agent.plan.fabric import IPV4_TYPE, IPV6_TYPE
from vrouter.agent.plan.numbers import NEXTHOP, NIC, Numbers
from vrouter.dpcore.names import Family, NhFlag, NhType
from vrouter.dpcore.records import Nexthop

_FLAGS: Final[dict[str, NhFlag]] = {
    "vxlan": NhFlag.TUNNEL_VXLAN,
    "mplsoudp": NhFlag.TUNNEL_UDP_MPLS,
    "mplsogre": NhFlag.TUNNEL_GRE,
}
_NOBODY: Final = bytes(6)


def tunnel(numbers: Numbers, host: str, encapsulation: str) -> int:
    """Id of the tunnel nexthop to `host`; encapsulation "l3-vxlan": VXLAN between routers."""
    return numbers.of(NEXTHOP, f"host/{host}/{encapsulation}")


def plan_host(facts: Facts, host: Host, numbers: Numbers) -> Entries:
    """A nexthop for each encapsulation; without Valid as long as the way is not resolved."""
    entries = Entries()
    for encapsulation in host.encapsulations:
        entries.put_nexthop(_tunnel(facts, host, encapsulation, numbers))
        if encapsulation == "vxlan":
            entries.put_nexthop(_l3_vxlan(facts, host, numbers))
    return entries


def _tunnel(facts: Facts, host: Host, encapsulation: str, numbers: Numbers) -> Nexthop:
    address = parse(host.address)
    fabric = facts.fabric
    source = None if fabric is None else fabric.source(address.version)
    mac = None if fabric is None else fabric.mac_of(address)
    own = _NOBODY if fabric is None else fabric.vhost.mac
    flags = _FLAGS[encapsulation]
    if source is not None and mac is not None:
        flags |= NhFlag.VALID
    return Nexthop(
        id=numbers.mine(NEXTHOP, f"host/{host.name}/{encapsulation}"),
        type=NhType.TUNNEL,
        family=Family.INET6 if address.version == 6 else Family.INET,
        flags=flags,
        oif=NIC if fabric is not None else None,
        sip=source,
        dip=address,
        rewrite=(mac or _NOBODY) + own + (IPV6_TYPE if address.version == 6 else IPV4_TYPE),
    )


def _l3_vxlan(facts: Facts, host: Host, numbers: Numbers) -> Nexthop:
    plain = _tunnel(facts, host, "vxlan", numbers)
    router = router_mac(facts, host)
    flags = plain.flags | NhFlag.L3_VXLAN
    if router is None:
        flags &= ~NhFlag.VALID
    return replace(
        plain,
        id=numbers.mine(NEXTHOP, f"host/{host.name}/l3-vxlan"),
        flags=flags,
        rw_dst_mac=router,
    )


def router_mac(facts: Facts, host: Host) -> bytes | None:
    """The MAC that `host` takes routed frames by: as told, else as resolved on the link."""
    if host.mac:
        return mac_bytes(host.mac)
    address = parse(host.address)
    fabric = facts.fabric
    if fabric is None or fabric.next_hop(address) != address:
        return None
    return fabric.neighbours.get(address)


def choose(host: Host, network: Network, label: int) -> tuple[Encapsulation, int] | None:
    """The first encapsulation that can be used, and the label or VNI; None if there is none.

    label: what the host gave for MPLS, 0 none.
    """
    for encapsulation in host.encapsulations:
        if encapsulation == "vxlan":
            if network.vni:
                return encapsulation, network.vni
        elif label:
            return encapsulation, label
    return None
