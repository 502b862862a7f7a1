# SPDX-License-Identifier: Apache-2.0
"""Replication of broadcast, unknown unicast and multicast, by where the packet came from."""

from dataclasses import dataclass, field
from itertools import product

from . import fit, nexthop, tunnel
from .const import Drop, Family, NhFlag, NhType, Trap
from .packet import Outcome, Packet
from .state import Member, Nexthop
from .wire import BadPacketError

ENCAP, FABRIC = NhFlag.COMPOSITE_ENCAP, NhFlag.COMPOSITE_FABRIC
EVPN, TOR = NhFlag.COMPOSITE_EVPN, NhFlag.COMPOSITE_TOR
REMOTE = (EVPN, FABRIC, TOR)
KINDS = (ENCAP, *REMOTE)
LEAVES = (ENCAP, EVPN)
"""What a member of a top composite may be that is no composite."""
COUNTERS = {
    ENCAP: "encap_composites",
    FABRIC: "fabric_composites",
    EVPN: "evpn_composites",
    TOR: "evpn_composites",
}
TUNNEL_ORDER = (NhFlag.TUNNEL_VXLAN, NhFlag.TUNNEL_UDP_MPLS, NhFlag.TUNNEL_GRE)


@dataclass(frozen=True)
class _Leaf:
    """A member that can be served: as a member of which kind, and its label."""

    kind: NhFlag
    nh: Nexthop
    label: int | None


@dataclass
class _Tree:
    """The leaves below a top composite, and which kinds of composites it has."""

    leaves: list[_Leaf] = field(default_factory=list)
    kinds: set[NhFlag] = field(default_factory=set)


def replicate(packet: Packet, nh: Nexthop) -> Outcome:
    """Copy to the local vifs first, then to the tunnels; the original is dropped.

    Nothing goes back to where it came from. A member that cannot be used costs one counted
    drop, the others go on. A composite of one kind that is named directly is taken as the only
    child of a top one. A routed packet goes by a composite of family INET only.
    """
    if not _kinds(nh) and not nh.has(NhFlag.MULTICAST):
        return packet.drop(Drop.INVALID_NH)
    if packet.l3 and nh.family == Family.BRIDGE:
        return packet.drop(Drop.INVALID_NH)
    packet.count_vrf("l2_mcast_composites")
    source = _source(packet, nh)
    if source is Drop.INVALID_MCAST_SOURCE:
        return packet.drop(Drop.INVALID_MCAST_SOURCE)
    served = _served(packet, source)
    tree = _tree(packet, nh, served)
    for kind in KINDS:
        if kind in tree.kinds & served:
            packet.count_vrf(COUNTERS[kind])
    _copy(packet, tree, served)
    return packet.drop(Drop.CLONED_ORIGINAL)


def _kinds(nh: Nexthop) -> list[NhFlag]:
    return [kind for kind in KINDS if nh.type == NhType.COMPOSITE and nh.has(kind)]


def _children(packet: Packet, nh: Nexthop) -> list[tuple[list[NhFlag], bool, list[Member]]]:
    """Groups of members in their order: of which kinds, of a composite of its own, and which."""
    if _kinds(nh):
        return [(_kinds(nh), True, list(nh.members))]
    groups: list[tuple[list[NhFlag], bool, list[Member]]] = []
    for member in nh.members:
        child = packet.state.valid_nexthop(member.nh)
        if child is not None and _kinds(child):
            groups.append((_kinds(child), True, list(child.members)))
        else:
            groups.append((list(LEAVES), False, [member]))
    return groups


def _source(packet: Packet, nh: Nexthop) -> NhFlag | Drop | None:
    """In which tree the sender is: None for what came by no tunnel.

    The first member tunnel that leads back to it tells. A sender in no tree counts as one of
    the fabric's, but is refused by a composite that validates.
    """
    if packet.outer_src is None:
        return None
    for kinds, _, members in _children(packet, nh):
        remote = [kind for kind in kinds if kind in REMOTE]
        for member in members if remote else []:
            there = packet.state.valid_nexthop(member.nh)
            if there is None or there.type != NhType.TUNNEL or tunnel.kind_of(there) is None:
                continue
            if there.dip == packet.outer_src:
                return remote[0]
    return Drop.INVALID_MCAST_SOURCE if nh.has(NhFlag.VALIDATE_MCAST_SRC) else FABRIC


def _served(packet: Packet, source: NhFlag | Drop | None) -> set[NhFlag]:
    """The kinds whose members get a copy.

    From a VM, the host or the agent: all. From a host that has copied to all others itself
    (EVPN): neither EVPN nor Fabric. Along the fabric's tree: not EVPN. From a TOR: all. ARP of
    another host's gateway reaches no VM. EVPN and TOR carry frames, no L3 packets.
    """
    served = set(KINDS)
    if source == EVPN:
        served -= {EVPN, FABRIC}
    elif source == FABRIC:
        served -= {EVPN}
    if packet.l3:
        served -= {EVPN, TOR}
    if packet.not_to_vms:
        served -= {ENCAP}
    return served


def _tree(packet: Packet, nh: Nexthop, served: set[NhFlag]) -> _Tree:
    tree = _Tree()
    for kinds, composite, members in _children(packet, nh):
        if composite:
            tree.kinds.update(kinds)
            if not set(kinds) & served:
                continue
        for member in members:
            _add(packet, tree, kinds, member)
    return tree


def _add(packet: Packet, tree: _Tree, kinds: list[NhFlag], member: Member) -> None:
    leaf = packet.state.valid_nexthop(member.nh)
    kind = _kind_of_leaf(leaf, kinds) if leaf is not None else None
    if leaf is None or kind is None:
        packet.count_drop(Drop.INVALID_NH)
        return
    tree.kinds.add(kind)
    tree.leaves.append(_Leaf(kind, leaf, member.label))


def _kind_of_leaf(leaf: Nexthop, kinds: list[NhFlag]) -> NhFlag | None:
    """Encap composites have Encap nexthops, the others tunnels, the fabric's tree MPLS ones."""
    if leaf.type == NhType.ENCAP:
        return ENCAP if ENCAP in kinds else None
    kind = tunnel.kind_of(leaf) if leaf.type == NhType.TUNNEL else None
    remote = [one for one in kinds if one in REMOTE]
    if kind is None or not remote:
        return None
    return None if kind == NhFlag.TUNNEL_VXLAN and FABRIC in kinds else remote[0]


def _copy(packet: Packet, tree: _Tree, served: set[NhFlag]) -> None:
    leaves = [leaf for leaf in tree.leaves if leaf.kind in served]
    for leaf in leaves:
        if leaf.kind == ENCAP and leaf.nh.oif != packet.vif.idx:
            _copy_local(packet, leaf.nh)
    _mirror(packet, leaves)
    vni = packet.label
    remote = [leaf for leaf in leaves if leaf.kind != ENCAP and not _back(packet, leaf)]
    for wrapped, over_ipv6, kind in product((False, True), (False, True), TUNNEL_ORDER):
        for leaf in remote:
            ipv6 = leaf.nh.family == Family.INET6
            if tunnel.kind_of(leaf.nh) != kind or ipv6 != over_ipv6:
                continue
            if (leaf.kind == FABRIC and not packet.l3) == wrapped:
                _copy_remote(packet, leaf, vni if wrapped else None, wrapped)


def _mirror(packet: Packet, leaves: list[_Leaf]) -> None:
    """What goes into tunnels is mirrored once, by the vif of the last one of them."""
    wanting = [leaf for leaf in leaves if leaf.kind != ENCAP and not _back(packet, leaf)]
    vif = packet.vif_of(wanting[-1].nh.oif) if wanting else None
    if vif is not None:
        packet.mirror_sent(vif, packet.frame)


def _back(packet: Packet, leaf: _Leaf) -> bool:
    """In the fabric's tree, and among TORs, the sender gets nothing back."""
    return leaf.kind in (FABRIC, TOR) and leaf.nh.dip == packet.outer_src


def _copy_local(packet: Packet, leaf: Nexthop) -> None:
    """A local vif gets a frame as it is, whatever the family of its nexthop, and an L3 packet
    behind the Ethernet header that an INET nexthop gives it; the agent, either as a trap."""
    if packet.l3:
        try:
            packet.frame = nexthop.rewritten(packet, leaf)
        except BadPacketError:
            packet.count_drop(Drop.INVALID_PACKET)
            return
    vif = packet.vif_of(leaf.oif)
    if vif is not None:
        packet.count_vrf("encaps" if packet.l3 else "l2_encaps")
    if packet.state.is_agent(leaf):
        packet.trap_copy(Trap.NEXTHOP)
    else:
        packet.send_copy(vif, packet.frame)


def _copy_remote(packet: Packet, leaf: _Leaf, vni: int | None, wrapped: bool) -> None:
    packet.label = leaf.label
    built = tunnel.tunnel(packet, leaf.nh, vni=vni, wrapped=wrapped)
    if isinstance(built, Drop):
        packet.count_drop(built)
    else:
        was, packet.encapped = packet.encapped, True
        fit.send_copy(packet, *built)
        packet.encapped = was
