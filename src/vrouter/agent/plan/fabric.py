# SPDX-License-Identifier: Apache-2.0
"""The host's own vifs, nexthops and routes: what an agent sets up before any network.

VRF 0 follows the kernel's routing table, since the host's own packets pass through it: what
is this host's goes up, what is on the link is resolved, what a gateway has goes to it.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Final

from vrouter.agent.facts import Device, Fabric, Facts, alone
from vrouter.agent.plan.entries import Entries, PlannedMac, PlannedRoute
from vrouter.agent.plan.numbers import (
    FABRIC_VRF,
    NEXTHOP,
    NH_AGENT,
    NH_DISCARD,
    NH_L2_RECEIVE,
    NH_NIC,
    NH_RESOLVE,
    NH_VHOST,
    NIC,
    PKT0,
    ROUTER_MAC,
    VHOST,
    Numbers,
)
from vrouter.dpcore.names import VRF_NONE, Family, NhFlag, NhType, VifFlag, VifType
from vrouter.dpcore.records import IPAddress, IPNetwork, Nexthop, Vif

IPV4_TYPE, IPV6_TYPE = b"\x08\x00", b"\x86\xdd"
ARP_TYPE: Final = 0x0806
NO_QOS: Final = -1
_DEFAULT: Final[IPNetwork] = IPv4Network("0.0.0.0/0")


def plan_fabric(facts: Facts, numbers: Numbers, *, over_ipv6: bool) -> Entries:
    """vif0/0 to 2, nexthops 1 to 7 and VRF 0. over_ipv6: a remote host has an IPv6 address."""
    entries = Entries()
    fabric = facts.fabric
    if fabric is None:
        return entries
    _vifs(entries, fabric)
    _nexthops(entries)
    if facts.pkt0 is not None:
        _agent(entries, facts.pkt0)
    for device in (fabric.nic, fabric.vhost):
        entries.bridge[FABRIC_VRF, device.mac] = PlannedMac(NH_L2_RECEIVE)
    _routes(entries, fabric, numbers)
    source = fabric.source(6) if over_ipv6 else None
    if source is not None:
        # from here on dp-core looks into the fabric's IPv6
        entries.route[FABRIC_VRF, alone(source)] = PlannedRoute(NH_VHOST)
    return entries


def _vifs(entries: Entries, fabric: Fabric) -> None:
    nic, vhost = fabric.nic, fabric.vhost
    entries.vif[NIC] = Vif(
        idx=NIC,
        name=nic.name,
        type=VifType.PHYSICAL,
        ifindex=nic.ifindex,
        os_ifindex=nic.ifindex,
        mac=nic.mac,
        nh_id=NH_NIC,
        flags=VifFlag.L3 | VifFlag.L2 | VifFlag.VHOST_PHYS | VifFlag.ETREE_ROOT,
        xconnect=VHOST,
        qos=NO_QOS,
    )
    address = fabric.source(4)
    entries.vif[VHOST] = Vif(
        idx=VHOST,
        name=vhost.name,
        type=VifType.HOST,
        ifindex=fabric.inner,
        os_ifindex=vhost.ifindex,
        mac=vhost.mac,
        nh_id=NH_VHOST,
        flags=VifFlag.POLICY | VifFlag.L3 | VifFlag.DHCP | VifFlag.ETREE_ROOT,
        ip=address if isinstance(address, IPv4Address) else None,
        xconnect=NIC,
        qos=NO_QOS,
    )


def _nexthops(entries: Entries) -> None:
    for nexthop in (
        Nexthop(id=NH_DISCARD, type=NhType.DISCARD),
        Nexthop(id=NH_L2_RECEIVE, type=NhType.L2_RECEIVE, family=Family.BRIDGE),
        Nexthop(id=NH_NIC, type=NhType.ENCAP, family=Family.BRIDGE, oif=NIC),
        Nexthop(id=NH_VHOST, type=NhType.RECEIVE, oif=VHOST),
        Nexthop(id=NH_RESOLVE, type=NhType.RESOLVE),
    ):
        entries.put_nexthop(nexthop)


def _agent(entries: Entries, pkt0: Device) -> None:
    entries.vif[PKT0] = Vif(
        idx=PKT0,
        name=pkt0.name,
        type=VifType.AGENT,
        ifindex=pkt0.ifindex,
        os_ifindex=pkt0.ifindex,
        mac=ROUTER_MAC,
        vrf=VRF_NONE,
        flags=VifFlag.L3 | VifFlag.ETREE_ROOT,
        qos=NO_QOS,
    )
    entries.put_nexthop(encap(NH_AGENT, PKT0, ROUTER_MAC, ROUTER_MAC))


def encap(
    id: int, oif: int, to: bytes, by: bytes, *, vrf: int = 0, flags: NhFlag = NhFlag.VALID
) -> Nexthop:
    """A routed packet leaves by vif `oif` with these MACs."""
    return Nexthop(
        id=id,
        type=NhType.ENCAP,
        vrf=vrf,
        oif=oif,
        flags=flags,
        encap_family=ARP_TYPE,
        rewrite=to + by + IPV4_TYPE,
    )


def _routes(entries: Entries, fabric: Fabric, numbers: Numbers) -> None:
    # the host's IPv6 stays joined with the NIC unless tunnels run over it
    hops: dict[IPAddress, int] = {
        hop: _neighbour(entries, fabric, hop, numbers)
        for hop in sorted(one for one in fabric.neighbours if isinstance(one, IPv4Address))
    }
    routes = {route.prefix: route for route in fabric.routes if route.prefix.version == 4}
    wanted: dict[IPNetwork, int] = {_DEFAULT: NH_RESOLVE}
    for prefix, route in routes.items():
        if not route.by_vhost:
            wanted[prefix] = NH_VHOST  # ours to deliver: containers, other NICs
        elif route.gateway is None:
            wanted[prefix] = NH_RESOLVE
        else:
            wanted[prefix] = hops.get(route.gateway, NH_RESOLVE)
    for hop, nexthop in hops.items():
        if fabric.next_hop(hop) == hop:
            wanted[alone(hop)] = nexthop
    for address in fabric.local | fabric.broadcasts:
        if address.version == 4:
            wanted[alone(address)] = NH_VHOST
    for where, nexthop in wanted.items():
        entries.route[FABRIC_VRF, where] = PlannedRoute(nexthop)


def _neighbour(entries: Entries, fabric: Fabric, hop: IPAddress, numbers: Numbers) -> int:
    nexthop = numbers.mine(NEXTHOP, f"neighbour/{hop}")
    return entries.put_nexthop(encap(nexthop, NIC, fabric.neighbours[hop], fabric.vhost.mac))
