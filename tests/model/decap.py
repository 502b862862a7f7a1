# SPDX-License-Identifier: Apache-2.0
"""Tunnels that end at this host: what the outer headers must be, and what they carry."""

import struct
from dataclasses import dataclass

from . import mss, nexthop
from .const import (
    ETH_IPV4,
    ETH_IPV6,
    EXT_FRAGMENT,
    GRE_CSUM,
    GRE_KEY,
    GRE_MPLS,
    ICMP_ERRORS,
    LABEL_ROUTER_ALERT,
    MIN_MCAST_LABEL,
    PROTO_GRE,
    PROTO_ICMP,
    PROTO_UDP,
    UDP_TUNNELS,
    UDP_VXLAN,
    VXLAN_I,
    VXLAN_ROUTER_ALERT,
    WRAP_LEN,
    Drop,
    Family,
    NhType,
    Trap,
)
from .packet import Outcome, Packet
from .state import Nexthop
from .wire import (
    ETH_LEN,
    IPV6_LEN,
    BadPacketError,
    pad_frame,
    parse_ipv4,
    parse_ipv6,
    parse_l2,
)

FRAGMENT_LEN = 8


@dataclass(frozen=True, slots=True)
class Outer:
    """An outer IP header, of either version; `first`: it holds the beginning of its payload."""

    src: bytes
    dst: bytes
    header_len: int
    proto: int
    fragment: bool
    first: bool


def demux(packet: Packet, nh: Nexthop) -> Outcome:
    """Open a tunnel packet for this host; anything else is delivered by the Receive nexthop."""
    if packet.l2.proto == ETH_IPV6:
        return _demux6(packet, nh)
    v4 = parse_ipv4(packet.l3_data)
    ip = Outer(v4.src, v4.dst, v4.header_len, v4.proto, v4.fragment, v4.offset == 0)
    return _demux(packet, nh, ip, packet.l3_data[v4.header_len : v4.total_len])


def _demux6(packet: Packet, nh: Nexthop) -> Outcome:
    """Only what stands right behind the IPv6 header, or a fragment header, is a tunnel."""
    v6 = parse_ipv6(packet.l3_data)
    area = packet.l3_data[IPV6_LEN : IPV6_LEN + v6.payload_len]
    if v6.next_header != EXT_FRAGMENT:
        ip = Outer(v6.src, v6.dst, IPV6_LEN, v6.next_header, False, True)
        return _demux(packet, nh, ip, area)
    if len(area) < FRAGMENT_LEN:
        raise BadPacketError
    first = not int.from_bytes(area[2:4], "big") & 0xFFF8
    ip = Outer(v6.src, v6.dst, IPV6_LEN + FRAGMENT_LEN, area[0], True, first)
    return _demux(packet, nh, ip, area[FRAGMENT_LEN:])


def _demux(packet: Packet, nh: Nexthop, ip: Outer, area: bytes) -> Outcome:
    if ip.proto == PROTO_GRE:
        return _gre(packet, nh, ip, area)
    if ip.proto == PROTO_UDP and ip.first:
        return _udp(packet, nh, ip, area)
    if ip.proto == PROTO_ICMP and not ip.fragment and _about_tunnel(ip, area):
        return packet.trap(Trap.ICMP_ERROR)
    return nexthop.to_host(packet, nh)


def _about_tunnel(ip: Outer, area: bytes) -> bool:
    """Whether an ICMP error quotes a packet that this host sent into a tunnel."""
    quoted = area[8:]
    if len(quoted) < 28 or area[0] not in ICMP_ERRORS or quoted[0] >> 4 != 4:
        return False
    head = (quoted[0] & 15) * 4
    later = int.from_bytes(quoted[6:8], "big") & 0x1FFF
    if head < 20 or len(quoted) < head + 8 or later or quoted[12:16] != ip.dst:
        return False
    second = int.from_bytes(quoted[head + 2 : head + 4], "big")
    if quoted[9] == PROTO_GRE:
        return second == GRE_MPLS
    return quoted[9] == PROTO_UDP and second in UDP_TUNNELS


def _gre(packet: Packet, nh: Nexthop, ip: Outer, area: bytes) -> Outcome:
    if ip.fragment:
        return packet.drop(Drop.FRAGMENTS)
    if len(area) < 4:
        raise BadPacketError
    flags, proto = struct.unpack_from("!HH", area)
    if flags & ~(GRE_CSUM | GRE_KEY) or proto != GRE_MPLS:
        packet.mirror_opened()
        return nexthop.to_host(packet, nh)
    head = 4 + 4 * flags.bit_count()
    return _mpls(packet, ip, ip.header_len + head, area[head:])


def _udp(packet: Packet, nh: Nexthop, ip: Outer, area: bytes) -> Outcome:
    if len(area) < 8:
        raise BadPacketError
    _, port, length, _ = struct.unpack_from("!HHHH", area)
    if port not in UDP_TUNNELS:
        return nexthop.to_host(packet, nh)
    if ip.fragment:
        return packet.drop(Drop.FRAGMENTS)
    if not 8 <= length <= len(area):
        raise BadPacketError
    area = area[:length]
    if port == UDP_VXLAN:
        return _vxlan(packet, ip, ip.header_len + 8, area[8:])
    return _mpls(packet, ip, ip.header_len + 8, area[8:])


def _mpls(packet: Packet, ip: Outer, at: int, data: bytes) -> Outcome:
    if len(data) < 4:
        raise BadPacketError
    entry = int.from_bytes(data[:4], "big")
    if entry & 0xFF <= 1:
        return packet.drop(Drop.TTL_EXCEEDED)
    label = entry >> 12
    if label == LABEL_ROUTER_ALERT:
        packet.mirror_opened()
        return packet.trap(Trap.ROUTER_ALERT)
    nh_id = packet.state.mpls.get(label)
    if not entry & 0x100 or nh_id is None:
        return packet.drop(Drop.INVALID_LABEL)
    nh = packet.state.valid_nexthop(nh_id)
    if nh is None:
        return packet.drop(Drop.INVALID_NH)
    is_l2 = nh.family == Family.BRIDGE or nh.type == NhType.L2_RECEIVE
    if label >= MIN_MCAST_LABEL and nh.type == NhType.COMPOSITE and nh.family == Family.BRIDGE:
        return _wrapped(packet, ip, nh, at + 4, data[4:], packet.l3_data[at + 4 :])
    return _deliver(packet, ip, nh, at + 4, len(data) - 4, is_l2)


def _wrapped(
    packet: Packet, ip: Outer, nh: Nexthop, at: int, data: bytes, behind: bytes
) -> Outcome:
    """A frame on the multicast tree: a zero control word, the headers of a VXLAN packet (20 + 8
    + 8 bytes) of which only the VNI is looked at, the frame.

    `data` is what the outer lengths cover, `behind` what there is.
    """
    if len(behind) < WRAP_LEN or behind[:4] != bytes(4):
        raise BadPacketError
    vni = int.from_bytes(behind[WRAP_LEN - 4 : WRAP_LEN - 1], "big")
    return _deliver(packet, ip, nh, at + WRAP_LEN, len(data) - WRAP_LEN, True, vni)


def _vxlan(packet: Packet, ip: Outer, at: int, data: bytes) -> Outcome:
    if len(data) < 8:
        raise BadPacketError
    flags, vni = struct.unpack_from("!II", data)
    if not flags & VXLAN_I:
        return packet.drop(Drop.INVALID_VNID)
    if flags & VXLAN_ROUTER_ALERT:
        packet.mirror_opened()
        return packet.trap(Trap.ROUTER_ALERT)
    nh_id = packet.state.vxlan.get(vni >> 8)
    if nh_id is None:
        return packet.drop(Drop.INVALID_VNID)
    nh = packet.state.valid_nexthop(nh_id)
    if nh is None:
        return packet.drop(Drop.INVALID_NH)
    return _deliver(packet, ip, nh, at + 8, len(data) - 8, True)


def _deliver(
    packet: Packet,
    ip: Outer,
    nh: Nexthop,
    at: int,
    room: int,
    is_l2: bool,
    vni: int | None = None,
) -> Outcome:
    """Take the outer headers off (`at` bytes of the L3 packet) and go on with the nexthop.

    The headers up to here, and the first one inside, must lie inside the outer lengths, which
    leave `room`; what is inside ends where the frame does, so bytes behind them stay.
    """
    payload = packet.l3_data[at:]
    packet.outer_src = ip.src
    packet.label = vni
    packet.label_nh = nh.id
    packet.l3 = not is_l2
    packet.frame = _l2_payload(payload) if is_l2 else _l3_payload(packet, payload)
    least = ETH_LEN if is_l2 else 40 if payload[0] >> 4 == 6 else 20
    if room < least:
        raise BadPacketError
    mss.to_vm(packet, at + (ETH_LEN if is_l2 else 0))
    packet.vrf = nh.vrf
    packet.mirror_opened()
    return nexthop.apply(packet, nh.id)


def _l2_payload(payload: bytes) -> bytes:
    if len(payload) < ETH_LEN:
        raise BadPacketError
    frame = pad_frame(payload)
    parse_l2(frame)
    return frame


def _l3_payload(packet: Packet, payload: bytes) -> bytes:
    version = payload[0] >> 4 if payload else 0
    if version == 4:
        parse_ipv4(payload)
        proto = ETH_IPV4
    elif version == 6:
        parse_ipv6(payload)
        proto = ETH_IPV6
    else:
        raise BadPacketError
    return packet.frame[:12] + proto.to_bytes(2, "big") + payload
