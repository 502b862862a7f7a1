# SPDX-License-Identifier: Apache-2.0
"""A network on this host: its VRF, its gateways, its flood tree, its way in from the fabric."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network

from vrouter.agent.desired.records import Host, Membership, Network
from vrouter.agent.facts import Facts, alone
from vrouter.agent.plan.entries import Entries, PlannedMac, PlannedRoute
from vrouter.agent.plan.hosts import choose, tunnel
from vrouter.agent.plan.numbers import (
    BROADCAST,
    FLOOD_LABEL,
    NEXTHOP,
    NH_AGENT,
    NH_DISCARD,
    NH_L2_RECEIVE,
    ROUTER_MAC,
    VRF,
    Numbers,
)
from vrouter.agent.services.facts import owned
from vrouter.dpcore.names import Family, NhFlag, NhType, RouteFlag
from vrouter.dpcore.records import IPAddress, Member, Nexthop, member

# no route of the desired state leads there: groups are handled without being named
_GROUPS = (IPv4Network("224.0.0.0/4"), IPv6Network("ff00::/8"))


MOST_GROUPS = 64  # of a network; each is three entries of tables that are everybody's


def vrf_of(numbers: Numbers, network: str) -> int:
    """The VRF of a network."""
    return numbers.of(VRF, f"network/{network}")


def bridged_nexthop(numbers: Numbers, interface: str) -> int:
    """Id of the nexthop that bridges to a port of this host."""
    return numbers.of(NEXTHOP, f"interface/{interface}/l2")


def group_nexthop(numbers: Numbers, interface: str) -> int:
    """Id of the nexthop by which a port of this host gets what is for many: a frame as it is, a
    routed packet with the MAC of its group."""
    return numbers.of(NEXTHOP, f"interface/{interface}/multicast")


def plan_network(
    facts: Facts, network: Network, numbers: Numbers, others: Iterable[IPAddress] = ()
) -> Entries:
    """What a network has even before anybody is in it. others: addresses whose routes another
    unit plans."""
    entries = Entries()
    vrf = numbers.mine(VRF, f"network/{network.name}")
    _way_in(entries, network, vrf, numbers)
    macs = [ROUTER_MAC]
    if network.vni and facts.fabric is not None:
        macs.append(facts.fabric.vhost.mac)  # we are an L3 VXLAN peer by it
    for mac in macs:
        entries.bridge[vrf, mac] = PlannedMac(NH_L2_RECEIVE)
    for subnet in network.subnets:
        if network.forwarding == "l3":
            # an address that nobody has is ours to answer for, too: nothing is bridged
            prefix = alone(subnet.prefix)
            entries.route[vrf, prefix] = PlannedRoute(NH_DISCARD, flags=RouteFlag.ARP_PROXY)
    for address in owned(network, ROUTER_MAC) - frozenset(others):
        prefix = ip_network(address)
        entries.route[vrf, prefix] = PlannedRoute(NH_AGENT, flags=RouteFlag.ARP_PROXY)
    return entries


def _way_in(entries: Entries, network: Network, vrf: int, numbers: Numbers) -> None:
    """What a VNI or a flood label that arrives from the fabric leads to."""
    flags = NhFlag.VALID
    if network.unknown_unicast_flood:
        flags |= NhFlag.UNKNOWN_UC_FLOOD
    if network.mac_learning:
        flags |= NhFlag.MAC_LEARN
    translate = entries.put_nexthop(
        Nexthop(
            id=numbers.mine(NEXTHOP, f"network/{network.name}/translate"),
            type=NhType.VRF_TRANSLATE,
            family=Family.BRIDGE,
            vrf=vrf,
            flags=flags,
        )
    )
    if network.vni:
        entries.vxlan[network.vni] = translate
    label = numbers.label(FLOOD_LABEL, f"network/{network.name}", network.flood_label)
    entries.mpls[label] = numbers.of(NEXTHOP, f"network/{network.name}/flood")


def plan_tree(
    network: Network,
    ports: Iterable[str],
    members: Iterable[tuple[Membership, Host]],
    numbers: Numbers,
) -> Entries:
    """The flood tree, and where multicast goes that is routed: to the ports here, since tunnels
    of the flood tree carry frames. ports: names of the live interfaces here; members: who else
    takes part."""
    entries = Entries()
    vrf = vrf_of(numbers, network.name)
    here = tuple(member(group_nexthop(numbers, name)) for name in sorted(ports))
    there = []
    for membership, host in sorted(members, key=lambda pair: pair[0].name):
        chosen = choose(host, network, membership.flood_label)
        if chosen is not None:
            encapsulation, label = chosen
            there.append(Member(nh=tunnel(numbers, host.name, encapsulation), label=label))
    local = _composite(
        entries, network, vrf, "local", NhFlag.COMPOSITE_ENCAP, here, numbers, Family.INET
    )
    remote = _composite(
        entries, network, vrf, "remote", NhFlag.COMPOSITE_EVPN, tuple(there), numbers
    )
    top = (Member(nh=local), Member(nh=remote))
    flood = _composite(entries, network, vrf, "flood", NhFlag.MULTICAST, top, numbers)
    entries.bridge[vrf, BROADCAST] = PlannedMac(flood)
    for prefix in _GROUPS:
        entries.route[vrf, prefix] = PlannedRoute(local)
    return entries


def plan_groups(
    network: Network,
    wanted: Mapping[bytes, list[str]],
    slots: Mapping[bytes, int],
    numbers: Numbers,
) -> Entries:
    """Groups that somebody here has joined: what VMs send to one goes to its members and to the
    other hosts. wanted: names of live interfaces by the group's MAC. slots: which of the
    network's MOST_GROUPS pairs of composites a MAC has; what has none goes to all."""
    entries = Entries()
    vrf = vrf_of(numbers, network.name)
    remote = Member(nh=numbers.of(NEXTHOP, f"network/{network.name}/remote"))
    for mac, slot in slots.items():
        here = tuple(member(bridged_nexthop(numbers, name)) for name in sorted(wanted[mac]))
        what = f"group/{slot}"
        kind = NhFlag.COMPOSITE_ENCAP
        local = _composite(entries, network, vrf, f"{what}/local", kind, here, numbers)
        top = (Member(nh=local), remote)
        flood = _composite(entries, network, vrf, what, NhFlag.MULTICAST, top, numbers)
        entries.bridge[vrf, mac] = PlannedMac(flood)
    return entries


def _composite(
    entries: Entries,
    network: Network,
    vrf: int,
    what: str,
    flag: NhFlag,
    members: tuple[Member, ...],
    numbers: Numbers,
    family: Family = Family.BRIDGE,
) -> int:
    return entries.put_nexthop(
        Nexthop(
            id=numbers.mine(NEXTHOP, f"network/{network.name}/{what}"),
            type=NhType.COMPOSITE,
            family=family,
            flags=NhFlag.VALID | flag,
            vrf=vrf,
            members=members,
        )
    )
