# SPDX-License-Identifier: Apache-2.0
"""Who is in a network: interfaces of this host, endpoints on others, prefixes behind them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

from vrouter.agent.desired.canonical import mac_bytes
from vrouter.agent.desired.records import Endpoint, Host, Interface, Network, StaticRoute
from vrouter.agent.desired.state import DISCARD
from vrouter.agent.facts import Device, alone, parse
from vrouter.agent.plan.entries import Entries, PlannedMac, PlannedRoute
from vrouter.agent.plan.fabric import NO_QOS, encap
from vrouter.agent.plan.hosts import choose, tunnel
from vrouter.agent.plan.networks import vrf_of
from vrouter.agent.plan.numbers import (
    LABEL,
    NEXTHOP,
    NH_DISCARD,
    ROUTER_MAC,
    VIF,
    Numbers,
)
from vrouter.dpcore.names import Family, NhFlag, NhType, RouteFlag, VifFeature, VifFlag, VifType
from vrouter.dpcore.records import Nexthop, Source, Vif


def plan_interface(
    interface: Interface, network: Network, device: Device, numbers: Numbers
) -> Entries:
    """A live port: its vif, who may speak on it, how it is reached. device: the parent's, of a
    sub-interface."""
    entries = Entries()
    key = f"interface/{interface.name}"
    vrf = vrf_of(numbers, network.name)
    idx = numbers.mine(VIF, key)
    routed = numbers.mine(NEXTHOP, f"{key}/l3")
    bridged = numbers.mine(NEXTHOP, f"{key}/l2")
    groups = numbers.mine(NEXTHOP, f"{key}/multicast")
    parent = numbers.of(VIF, f"interface/{interface.parent}") if interface.parent else None
    entries.vif[idx] = _vif(interface, network, device, idx, vrf, routed, parent)
    entries.sources[idx] = _sources(interface)
    mac = mac_bytes(interface.mac)
    for nexthop in (
        encap(routed, idx, mac, ROUTER_MAC, vrf=vrf),
        Nexthop(id=bridged, type=NhType.ENCAP, family=Family.BRIDGE, vrf=vrf, oif=idx),
        encap(groups, idx, mac, ROUTER_MAC, vrf=vrf, flags=NhFlag.VALID | NhFlag.MULTICAST),
    ):
        entries.put_nexthop(nexthop)
    entries.mpls[numbers.label(LABEL, f"{key}/l3", interface.label)] = routed
    entries.mpls[numbers.label(LABEL, f"{key}/l2", interface.l2_label)] = bridged
    _reach(entries, interface, network, vrf, (routed, None), (bridged, None))
    return entries


def _vif(
    interface: Interface,
    network: Network,
    device: Device,
    idx: int,
    vrf: int,
    routed: int,
    parent: int | None,
) -> Vif:
    addresses = [parse(one) for one in interface.addresses]
    gateways = [parse(one.gateway) for one in network.subnets if one.gateway]
    return Vif(
        idx=idx,
        name=f"{device.name}.{interface.vlan}" if parent is not None else device.name,
        type=VifType.VIRTUAL if parent is None else VifType.VIRTUAL_VLAN,
        ifindex=device.ifindex,
        os_ifindex=device.ifindex,
        vrf=vrf,
        mac=ROUTER_MAC,
        nh_id=routed,
        ip=next((one for one in addresses if isinstance(one, IPv4Address)), None),
        ip6=next((one for one in addresses if isinstance(one, IPv6Address)), None),
        gateway=next((one for one in gateways if isinstance(one, IPv4Address)), None),
        gateway6=next((one for one in gateways if isinstance(one, IPv6Address)), None),
        parent=parent,
        vlan=interface.vlan if parent is not None else None,
        ovlan=interface.vlan if parent is not None else None,
        peer=device.peer_elsewhere and parent is None,
        flags=_flags(interface, network),
        features=_features(interface),
        qos=NO_QOS,
    )


def _flags(interface: Interface, network: Network) -> VifFlag:
    flags = VifFlag.DHCP | VifFlag.ETREE_ROOT
    flags |= VifFlag.L3 if network.forwarding == "l3" else VifFlag.L2
    if network.forwarding == "l2l3":
        flags |= VifFlag.L3
    if network.unknown_unicast_flood:
        flags |= VifFlag.UNKNOWN_UC_FLOOD
    if network.mac_learning:
        flags |= VifFlag.MAC_LEARN
    if network.igmp:
        flags |= VifFlag.IGMP
    if interface.allowed_address_pairs:
        # which of them it uses, and with which MAC, it tells by ARP and neighbour discovery
        flags |= VifFlag.MAC_IP_LEARN
    return flags


def _features(interface: Interface) -> VifFeature:
    features = VifFeature(0)
    if interface.dhcp_server:
        features |= VifFeature.DHCP_SERVER
    if interface.router:
        features |= VifFeature.ROUTER
    return features


def _sources(interface: Interface) -> frozenset[Source]:
    """Who may speak: the port's MAC with its addresses, and the allowed pairs; each MAC alone
    besides."""
    own = mac_bytes(interface.mac)
    found = {Source(mac=own)}
    found |= {Source(mac=own, prefix=alone(one)) for one in interface.addresses}
    for pair in interface.allowed_address_pairs:
        mac = mac_bytes(pair.mac) if pair.mac else own
        found |= {Source(mac=mac), Source(mac=mac, prefix=ip_network(pair.prefix))}
    return frozenset(found)


def plan_endpoint(endpoint: Endpoint, network: Network, host: Host, numbers: Numbers) -> Entries:
    """An interface on another host; nothing as long as no encapsulation can reach it."""
    entries = Entries()
    vrf = vrf_of(numbers, network.name)
    routed = choose(host, network, endpoint.label)
    bridged = choose(host, network, endpoint.l2_label)
    _reach(
        entries,
        endpoint,
        network,
        vrf,
        _way(numbers, host, routed, routed=True),
        _way(numbers, host, bridged, routed=False),
    )
    return entries


def _way(
    numbers: Numbers, host: Host, chosen: tuple[str, int] | None, *, routed: bool
) -> tuple[int, int | None] | None:
    if chosen is None:
        return None
    encapsulation, label = chosen
    kind = "l3-vxlan" if routed and encapsulation == "vxlan" else encapsulation
    return tunnel(numbers, host.name, kind), label


def _reach(
    entries: Entries,
    station: Interface | Endpoint,
    network: Network,
    vrf: int,
    routed: tuple[int, int | None] | None,
    bridged: tuple[int, int | None] | None,
) -> None:
    stitch = None
    if network.forwarding != "l3" and bridged is not None:
        stitch = mac_bytes(station.mac)
        entries.bridge[vrf, stitch] = PlannedMac(bridged[0], bridged[1])
    if network.forwarding == "l2" and stitch is not None:
        # bridged only: the route is there to answer ARP and ND, not to route by
        routed = routed or (NH_DISCARD, None)
    if routed is None:
        return
    nexthop, label = routed
    flags = RouteFlag.ARP_PROXY
    if label is not None:
        flags |= RouteFlag.LABEL_VALID
    for address in station.addresses:
        entries.route[vrf, alone(address)] = PlannedRoute(nexthop, label, flags, stitch)


def plan_route(
    route: StaticRoute,
    network: Network,
    owner: Interface | Endpoint | None,
    host: Host | None,
    numbers: Numbers,
) -> Entries:
    """A prefix behind an address, on another host, or nowhere. owner: whose the address is."""
    entries = Entries()
    vrf = vrf_of(numbers, network.name)
    way: tuple[int, int | None] | None = None
    if route.next_hop == DISCARD:
        way = NH_DISCARD, None
    elif isinstance(owner, Interface):
        way = numbers.of(NEXTHOP, f"interface/{owner.name}/l3"), None
    elif host is not None:
        label = owner.label if isinstance(owner, Endpoint) else route.label
        way = _way(numbers, host, choose(host, network, label), routed=True)
    if way is None:
        return entries
    flags = RouteFlag(0)
    if way[1] is not None:
        flags |= RouteFlag.LABEL_VALID
    prefix = ip_network(route.prefix)
    entries.route[vrf, prefix] = PlannedRoute(way[0], way[1], flags)
    return entries
