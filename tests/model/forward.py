# SPDX-License-Identifier: Apache-2.0
"""A packet's way in: what each type of vif does with what it receives."""

from . import arp, l2, l3, mirror, nd, nexthop, virtual
from .const import (
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
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
from .wire import (
    AGENT_HDR,
    ETH_LEN,
    IPV6_LEN,
    BadPacketError,
    is_link_local,
    pad_frame,
    parse_ipv4,
    parse_ipv6,
    parse_l2,
)

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
    received = frame
    vif, frame = virtual.part(state, vif, frame)
    packet = Packet(state, vif, frame, vif.vrf)
    if frame is not received:
        packet.priority = received[14] >> 5
    if vif.idx != vif_idx:
        _mirror_whole(packet, state.vifs[vif_idx], received)
    packet.counters["rx_packets", vif.idx] = 1
    packet.counters["rx_bytes", vif.idx] = len(frame)
    try:
        packet.mirror_later = _will_be_opened(packet)
        if not packet.mirror_later:
            packet.mirror_received()
        outcome = _receive(packet)
    except BadPacketError:
        outcome = packet.drop(Drop.INVALID_PACKET)
    while packet.deferred:
        mirror.send(packet, packet.deferred.pop(0))
    return outcome


def _mirror_whole(packet: Packet, parent: Vif, frame: bytes) -> None:
    """What a part of a vif receives was received by that vif, with its tag."""
    whole = Packet(packet.state, parent, frame, parent.vrf, counters=packet.counters)
    whole.mirror_received()
    packet.deferred += whole.deferred


def _will_be_opened(packet: Packet) -> bool:
    """Whether the fabric's vif mirrors what is inside, once it is out of its tunnel."""
    if packet.vif.type != VifType.PHYSICAL:
        return False
    try:
        head = packet.l2
        if head.tagged or head.multicast or head.proto not in (ETH_IPV4, ETH_IPV6):
            return False
        proto, dst, l4 = _outer4(packet) if head.proto == ETH_IPV4 else _outer6(packet)
    except BadPacketError:
        return False
    found = packet.state.lookup(packet.vrf, dst)
    nh = packet.state.valid_nexthop(found.nh) if found is not None else None
    if nh is None or nh.type != NhType.RECEIVE:
        return False
    port = int.from_bytes(l4[2:4], "big")
    return proto == PROTO_GRE or (proto == PROTO_UDP and len(l4) >= 8 and port in UDP_TUNNELS)


def _outer4(packet: Packet) -> tuple[int, bytes, bytes]:
    """Protocol, destination and L4 of what may be a tunnel's packet."""
    ip = parse_ipv4(packet.l3_data)
    if ip.fragment:
        raise BadPacketError
    return ip.proto, ip.dst, packet.l3_data[ip.header_len :]


def _outer6(packet: Packet) -> tuple[int, bytes, bytes]:
    ip = parse_ipv6(packet.l3_data)
    if not packet.state.has_inet6(packet.vrf) or _stays_on_link(ip.dst):
        raise BadPacketError
    return ip.next_header, ip.dst, packet.l3_data[IPV6_LEN:]


def _receive(packet: Packet) -> Outcome:
    if len(packet.frame) < ETH_LEN:
        raise BadPacketError
    kind = packet.vif.type
    if packet.vif.is_host:
        return _from_host(packet)
    if kind == VifType.PHYSICAL:
        return _from_fabric(packet)
    if packet.vif.is_vm:
        return virtual.receive(packet)
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
    if head.proto == ETH_IPV6 and packet.state.has_inet6(packet.vrf):
        return _underlay6(packet)
    return packet.xconnect()


def _underlay6(packet: Packet) -> Outcome:
    """IPv6 of the host or the fabric, not cross-connected, where there are IPv6 routes.

    What no route names, and what never leaves the link, goes between the wire and the host.
    """
    try:
        message = nd.parse(packet)
    except nd.BadNdError:
        return packet.drop(Drop.INVALID_ARP)
    if message is not None:
        handle = nd.from_host if packet.vif.is_host else nd.from_underlay
        return handle(packet, message)
    ip = parse_ipv6(packet.l3_data)
    if packet.l2.multicast or _stays_on_link(ip.dst):
        return packet.xconnect()
    return l3.route_or(packet, packet.xconnect)


def _stays_on_link(address: bytes) -> bool:
    return address[0] == 0xFF or is_link_local(address)


def _from_fabric(packet: Packet) -> Outcome:
    """Never a blind pipe: tunnels end here even while cross-connected."""
    head = packet.l2
    if head.tagged:
        return packet.xconnect()
    if head.proto == ETH_ARP:
        return arp.from_underlay(packet)
    joined = packet.vif.has(VifFlag.XCONNECT)
    if head.proto == ETH_IPV6:
        if not packet.state.has_inet6(packet.vrf):
            return packet.xconnect()
        if not joined:
            return _underlay6(packet)
        dst = parse_ipv6(packet.l3_data).dst
        if head.multicast or _stays_on_link(dst):
            return packet.xconnect()
        return _own_tunnels(packet, dst)
    if head.proto != ETH_IPV4 or head.multicast:
        return packet.xconnect()
    if not joined:
        return l3.route(packet)
    return _own_tunnels(packet, parse_ipv4(packet.l3_data).dst)


def _own_tunnels(packet: Packet, dst: bytes) -> Outcome:
    """Cross-connected, but for what is for this host."""
    found = packet.state.lookup(packet.vrf, dst)
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
    vif_idx, vrf, command, param, param1, *_ = AGENT_HDR.unpack_from(frame, ETH_LEN)
    packet.frame = pad_frame(frame[TRAP_HEAD:])
    parse_l2(packet.frame)
    target = packet.state.vifs.get(vif_idx)
    if command == Trap.SWITCH:
        return packet.send(target, packet.frame)
    if command != Trap.ROUTE:
        raise BadPacketError
    packet.vrf = vrf
    if target is not None and target.is_vm:
        packet.vif = target
    packet.diag = (param, param1) == (1, 1)
    return l2.bridge_input(packet)
