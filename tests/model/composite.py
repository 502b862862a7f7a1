# SPDX-License-Identifier: Apache-2.0
"""Replication of broadcast, unknown unicast and multicast frames."""

from dataclasses import dataclass, field

from . import fit, tunnel
from .const import Drop, Family, NhFlag, NhType, Trap
from .packet import Outcome, Packet
from .state import Member, Nexthop

TUNNEL_ORDER = (NhFlag.TUNNEL_VXLAN, NhFlag.TUNNEL_UDP_MPLS, NhFlag.TUNNEL_GRE)
LEAVES = {NhFlag.COMPOSITE_ENCAP: NhType.ENCAP, NhFlag.COMPOSITE_EVPN: NhType.TUNNEL}


@dataclass
class _Branches:
    """The leaves below a top composite, and which kinds of children it has."""

    encaps: list[Nexthop] = field(default_factory=list)
    tunnels: list[tuple[Nexthop, int | None]] = field(default_factory=list)
    kinds: set[NhFlag] = field(default_factory=set)


def replicate(packet: Packet, nh: Nexthop) -> Outcome:
    """Copy the frame to the local vifs first, then to the tunnels; the original is dropped.

    Nothing goes back to where it came from: not to the ingress vif, and not to any tunnel when
    it came by one (ingress replication: the sender copied to every host itself). ARP of another
    host's gateway reaches no VM. A member that cannot be used costs one counted drop, the others
    go on. An Encap or EVPN composite that is named directly is taken as the only child of a top
    one.
    """
    if packet.l3:
        return packet.drop(Drop.INVALID_NH)
    branches = _Branches()
    if not _kinds(nh) and not nh.has(NhFlag.MULTICAST):
        return packet.drop(Drop.INVALID_NH)
    packet.count_vrf("l2_mcast_composites")
    if _kinds(nh):
        _add_child(packet, branches, nh)
    else:
        for member in nh.members:
            _add_member(packet, branches, member)
    _copy(packet, branches)
    return packet.drop(Drop.CLONED_ORIGINAL)


def _kinds(nh: Nexthop) -> list[NhFlag]:
    return [kind for kind in LEAVES if nh.has(kind)]


def _served(packet: Packet) -> set[NhFlag]:
    served = set(LEAVES)
    if packet.tunnelled:
        served.discard(NhFlag.COMPOSITE_EVPN)
    if packet.not_to_vms:
        served.discard(NhFlag.COMPOSITE_ENCAP)
    return served


def _add_member(packet: Packet, branches: _Branches, member: Member) -> None:
    """A member of a top composite: a composite of one of our kinds, or a leaf of either kind."""
    child = packet.state.valid_nexthop(member.nh)
    if child is not None and child.type == NhType.COMPOSITE and _kinds(child):
        _add_child(packet, branches, child)
    else:
        _add_leaf(packet, branches, member, list(LEAVES))


def _add_child(packet: Packet, branches: _Branches, child: Nexthop) -> None:
    kinds = _kinds(child)
    branches.kinds.update(kinds)
    if not set(kinds) & _served(packet):
        return
    for member in child.members:
        _add_leaf(packet, branches, member, kinds)


def _add_leaf(packet: Packet, branches: _Branches, member: Member, kinds: list[NhFlag]) -> None:
    leaf = packet.state.valid_nexthop(member.nh)
    kind = next((k for k in kinds if leaf is not None and leaf.type == LEAVES[k]), None)
    if leaf is None or kind is None or (leaf.type == NhType.TUNNEL and not tunnel.kind_of(leaf)):
        packet.count_drop(Drop.INVALID_NH)
        return
    branches.kinds.add(kind)
    if kind == NhFlag.COMPOSITE_ENCAP:
        branches.encaps.append(leaf)
    else:
        branches.tunnels.append((leaf, member.label))


def _copy(packet: Packet, branches: _Branches) -> None:
    served = branches.kinds & _served(packet)
    if NhFlag.COMPOSITE_ENCAP in served:
        packet.count_vrf("encap_composites")
        for leaf in branches.encaps:
            if leaf.oif != packet.vif.idx:
                _copy_local(packet, leaf)
    if NhFlag.COMPOSITE_EVPN not in served:
        return
    packet.count_vrf("evpn_composites")
    for over_ipv6 in (False, True):
        for kind in TUNNEL_ORDER:
            for leaf, label in branches.tunnels:
                ipv6 = leaf.family == Family.INET6
                if tunnel.kind_of(leaf) == kind and ipv6 == over_ipv6:
                    packet.label = label
                    _copy_remote(packet, leaf)


def _copy_local(packet: Packet, leaf: Nexthop) -> None:
    """A local vif gets the frame as it is, whatever the family of its nexthop; the agent, as a
    trap."""
    vif = packet.vif_of(leaf.oif)
    if vif is not None:
        packet.count_vrf("l2_encaps")
    if packet.state.is_agent(leaf):
        packet.trap_copy(Trap.NEXTHOP)
    else:
        packet.send_copy(vif, packet.frame)


def _copy_remote(packet: Packet, leaf: Nexthop) -> None:
    built = tunnel.tunnel(packet, leaf)
    if isinstance(built, Drop):
        packet.count_drop(built)
    else:
        fit.send_copy(packet, *built)
