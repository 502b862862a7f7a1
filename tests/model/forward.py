# SPDX-License-Identifier: Apache-2.0
"""A packet's way in: what each type of vif does with what it receives."""

from . import arp, l2, l3, mirror, nexthop
from .const import (
    ETH_ARP,
    ETH_IPV4,
    PROTO_GRE,
    PROTO_UDP,
    UDP_TUNNELS,
    Drop,
    NhType,
    Trap,
    VifFlag,
    VifType,
)
from .packet import Outcome, Packet
from .state import State, Vif
from .wire import AGENT_HDR, ETH_LEN, BadPacketError, pad_frame, parse_ipv4, parse_l2

TRAP_HEAD = ETH_LEN + AGENT_HDR.size


def forward(state: State, vif_idx: int, frame: bytes) -> Outcome:
    """What dp-core does with a frame that the netdevice of a vif receives.

    A number without a vif stands for a netdevice that no vif names: its packets are
    dropped as INVALID_IF, with no vif to count them on.
    """
    vif = state.vifs.get(vif_idx)
    if vif is None:
        packet = Packet(state, Vif(vif_idx, VifType.VIRTUAL, bytes(6)), frame, 0)
        outcome = packet.drop(Drop.INVALID_IF)
        del outcome.counters["vif_drop", vif_idx, int(Drop.INVALID_IF)]
        return outcome
    packet = Packet(state, vif, frame, vif.vrf)
    packet.counters["rx_packets", vif.idx] = 1
    packet.counters["rx_bytes", vif.idx] = len(frame)
    try:
        if not _will_be_opened(packet):
            packet.mirror_received()
        outcome = _receive(packet)
    except BadPacketError:
        outcome = packet.drop(Drop.INVALID_PACKET)
    while packet.deferred:
        mirror.send(packet, packet.deferred.pop(0))
    return outcome


def _will_be_opened(packet: Packet) -> bool:
    """Whether the fabric's vif mirrors what is inside, once it is out of its tunnel."""
    if packet.vif.type != VifType.PHYSICAL:
        return False
    try:
        head, ip = packet.l2, parse_ipv4(packet.l3_data)
    except BadPacketError:
        return False
    if head.tagged or head.proto != ETH_IPV4 or ip.fragment:
        return False
    found = packet.state.lookup(packet.vrf, ip.dst)
    nh = packet.state.valid_nexthop(found.nh) if found is not None else None
    if nh is None or nh.type != NhType.RECEIVE or head.multicast:
        return False
    udp = packet.l3_data[ip.header_len :]
    port = int.from_bytes(udp[2:4], "big")
    return ip.proto == PROTO_GRE or (
        ip.proto == PROTO_UDP and len(udp) >= 8 and port in UDP_TUNNELS
    )


def _receive(packet: Packet) -> Outcome:
    if len(packet.frame) < ETH_LEN:
        raise BadPacketError
    kind = packet.vif.type
    if kind == VifType.HOST:
        return _from_host(packet)
    if kind == VifType.PHYSICAL:
        return _from_fabric(packet)
    if kind == VifType.VIRTUAL:
        return l2.bridge_input(packet)
    if kind == VifType.AGENT:
        return _from_agent(packet)
    return packet.drop(Drop.INTERFACE_RX_DISCARD)


def _from_host(packet: Packet) -> Outcome:
    """Cross-connected: all goes out as it is. Else ARP by its table, IPv4 unicast is routed."""
    if packet.vif.has(VifFlag.XCONNECT):
        return packet.xconnect()
    head = packet.l2
    if head.tagged:
        return packet.xconnect()
    if head.proto == ETH_ARP:
        return arp.from_host(packet)
    if head.proto == ETH_IPV4 and not head.multicast:
        return l3.route(packet)
    return packet.xconnect()


def _from_fabric(packet: Packet) -> Outcome:
    """Never a blind pipe: tunnels end here even while cross-connected."""
    head = packet.l2
    if head.tagged:
        return packet.xconnect()
    if head.proto == ETH_ARP:
        return arp.from_underlay(packet)
    if head.proto != ETH_IPV4 or head.multicast:
        return packet.xconnect()
    if not packet.vif.has(VifFlag.XCONNECT):
        return l3.route(packet)
    ip = parse_ipv4(packet.l3_data)
    found = packet.state.lookup(packet.vrf, ip.dst)
    nh = packet.state.valid_nexthop(found.nh) if found is not None else None
    if nh is None or nh.type != NhType.RECEIVE:
        return packet.xconnect()
    packet.l3 = True
    packet.lookups = 1
    return nexthop.apply(packet, nh.id)


def _from_agent(packet: Packet) -> Outcome:
    """SWITCH: send as it is. ROUTE: take it as received on a VM's vif, or on pkt0."""
    frame = packet.frame
    if frame[12:14] != ETH_IPV4.to_bytes(2, "big") or len(frame) < TRAP_HEAD + ETH_LEN:
        raise BadPacketError
    vif_idx, vrf, command, *_ = AGENT_HDR.unpack_from(frame, ETH_LEN)
    packet.frame = pad_frame(frame[TRAP_HEAD:])
    parse_l2(packet.frame)
    target = packet.state.vifs.get(vif_idx)
    if command == Trap.SWITCH:
        return packet.send(target, packet.frame)
    if command != Trap.ROUTE:
        raise BadPacketError
    packet.vrf = vrf
    if target is not None and target.type == VifType.VIRTUAL:
        packet.vif = target
    return l2.bridge_input(packet)
