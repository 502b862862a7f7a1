# SPDX-License-Identifier: Apache-2.0
"""What each type of nexthop does with a packet."""

from . import arp, composite, decap, ecmp, fit, l2, l3, learn, nd, qos, services, tunnel
from .const import (
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    ICMP6_NA,
    Drop,
    Family,
    NhFlag,
    NhType,
    Trap,
    VifType,
)
from .packet import Outcome, Packet
from .state import Nexthop
from .wire import BadPacketError, ether, parse_arp


def apply(packet: Packet, nh_id: int) -> Outcome:
    """Apply a nexthop: INVALID_NH when it is missing, not Valid, or of no known type."""
    nh = packet.state.valid_nexthop(nh_id)
    if nh is None:
        return packet.drop(Drop.INVALID_NH)
    if nh.type == NhType.DISCARD:
        packet.count_vrf("discards")
        return packet.drop(Drop.DISCARD)
    if nh.type == NhType.RECEIVE:
        return _receive(packet, nh)
    if nh.type == NhType.L2_RECEIVE:
        return _l2_receive(packet)
    if nh.type == NhType.RESOLVE:
        return _resolve(packet, nh)
    if nh.type == NhType.VRF_TRANSLATE:
        return _translate(packet, nh)
    if nh.type == NhType.COMPOSITE:
        return ecmp.pick(packet, nh) if ecmp.is_ecmp(nh) else composite.replicate(packet, nh)
    if nh.type == NhType.ENCAP:
        return _encap(packet, nh)
    if nh.type == NhType.TUNNEL:
        return _udp(packet, nh) if nh.has(NhFlag.TUNNEL_UDP) else _tunnel(packet, nh)
    return packet.drop(Drop.INVALID_NH)


def _tunnel(packet: Packet, nh: Nexthop) -> Outcome:
    built = tunnel.tunnel(packet, nh, clamp=True)
    if isinstance(built, Drop):
        return packet.drop(built)
    packet.mirror_sent(built[0], packet.frame)
    twice = packet.encapped_ip
    packet.encapped = True
    return fit.send(packet, *built, twice=twice)


def _udp(packet: Packet, nh: Nexthop) -> Outcome:
    """The packet, or the frame behind a mirror's metadata, in plain UDP; routed anew as a packet
    of this host. The Ethernet header comes with the route."""
    frame = ether(bytes(6), bytes(6), tunnel.ether_type(nh)) + tunnel.plain_udp(packet, nh)
    packet.count_vrf("udp_tunnels")
    packet.encapped_ip = not packet.l2.tagged and packet.l2.proto in (ETH_IPV4, ETH_IPV6)
    packet.frame, packet.vrf, packet.encapped = frame, nh.vrf, True
    packet.outer_src, packet.label, packet.label_nh = None, None, None
    packet.uuc_flood = packet.not_to_vms = packet.diag = False
    return l3.route(packet)


def _encap(packet: Packet, nh: Nexthop) -> Outcome:
    """L2 family, or no rewrite of at least 14 bytes: as it is. Else the MACs are replaced.

    The agent gets the frame as it was, as a trap. A nexthop for multicast gives a packet for
    an IP group the MAC of that group (RFC 1112, RFC 2464).
    """
    vif = packet.vif_of(nh.oif)
    if vif is None:
        return packet.drop(Drop.INVALID_IF)
    if packet.diag:
        packet.count_vrf("diags")
        return packet.trap(Trap.DIAG, vif.idx)
    packet.count_vrf("l2_encaps" if nh.family == Family.BRIDGE else "encaps")
    if packet.state.is_agent(nh):
        return packet.trap(*services.agent_reason(packet))
    own = packet.vif.type == VifType.HOST and packet.lookups == 1 and nh.oif == packet.vif.xconnect
    if nh.family != Family.BRIDGE and not own:
        packet.frame = rewritten(packet, nh)
    qos.mark(packet)
    return packet.send(vif, packet.frame)


def rewritten(packet: Packet, nh: Nexthop) -> bytes:
    """The frame with the MACs that an L3 nexthop gives it; BadPacketError if it has no group."""
    if len(nh.rewrite) < 14:
        return packet.frame
    macs = nh.rewrite[:12]
    if nh.has(NhFlag.MULTICAST) and packet.l2.proto == ETH_IPV6:
        group = packet.l3_data[24:40]
        if len(group) < 16:
            raise BadPacketError
        if group[0] == 0xFF:
            macs = b"\x33\x33" + group[12:] + macs[6:]
    if nh.has(NhFlag.MULTICAST) and packet.l2.proto == ETH_IPV4:
        group = packet.l3_data[16:20]
        if len(group) < 4:
            raise BadPacketError
        if group[0] >> 4 == 0xE:
            macs = b"\x01\x00\x5e" + bytes([group[1] & 0x7F]) + group[2:] + macs[6:]
    return macs + packet.frame[12:]


def _receive(packet: Packet, nh: Nexthop) -> Outcome:
    """What the underlay brings may be a tunnel's; all else goes to the host."""
    packet.count_vrf("receives")
    if packet.from_fabric and not packet.tunnelled and packet.l3:
        return decap.demux(packet, nh)
    return to_host(packet, nh)


def to_host(packet: Packet, nh: Nexthop) -> Outcome:
    """Deliver to the vif of a Receive nexthop."""
    return packet.send(packet.vif_of(nh.oif), packet.frame)


def _l2_receive(packet: Packet) -> Outcome:
    """The MAC is the router's: IP is routed, ARP replies and advertisements are the agent's."""
    packet.count_vrf("l2_receives")
    if packet.l3:
        return packet.drop(Drop.INVALID_PROTOCOL)
    if packet.l2.proto == ETH_ARP:
        try:
            reply = parse_arp(packet.l3_data).op == 2
        except BadPacketError:
            return packet.drop(Drop.INVALID_ARP)
        return packet.trap(Trap.ARP) if reply else packet.drop(Drop.INVALID_PROTOCOL)
    if packet.l2.proto == ETH_IPV6 and _is_advertisement(packet):
        return packet.trap(Trap.L3_PROTOCOLS)
    if packet.l2.proto not in (ETH_IPV4, ETH_IPV6):
        return packet.drop(Drop.INVALID_PROTOCOL)
    return l3.route(packet)


def _is_advertisement(packet: Packet) -> bool:
    try:
        message = nd.parse(packet)
    except nd.BadNdError:
        return False
    return message is not None and message.type == ICMP6_NA


def _resolve(packet: Packet, nh: Nexthop) -> Outcome:
    """The agent is asked; meanwhile the host's stack, or the wire, gets the packet."""
    packet.count_vrf("resolves")
    if packet.vif.type in (VifType.HOST, VifType.PHYSICAL) and not packet.tunnelled:
        packet.xconnect_copy()
    return packet.trap(Trap.RESOLVE, nh.id)


def _translate(packet: Packet, nh: Nexthop) -> Outcome:
    """Look up again in the nexthop's VRF, by MAC or by address as its family says."""
    packet.count_vrf("vrf_translates")
    packet.vrf = nh.vrf
    packet.uuc_flood = nh.has(NhFlag.UNKNOWN_UC_FLOOD)
    if nh.family != Family.BRIDGE:
        return l3.route(packet)
    if nh.has(NhFlag.MAC_LEARN):
        learn.mac(packet)
    if packet.l2.proto == ETH_ARP and packet.tunnelled and not packet.l3:
        return arp.from_tunnel(packet)
    if packet.l2.proto == ETH_IPV6 and packet.tunnelled and not packet.l3:
        return nd.from_tunnel(packet)
    return l2.bridge(packet)
