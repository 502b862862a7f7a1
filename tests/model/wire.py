# SPDX-License-Identifier: Apache-2.0
"""Headers on the wire: reading and building, with struct only."""

import struct
from dataclasses import dataclass

from .const import (
    ETH_IPV4,
    ETH_IPV6,
    ETH_VLAN,
    EXT_AUTH,
    EXT_DEST_OPTIONS,
    EXT_HOP_BY_HOP,
    EXT_ROUTING,
    EXT_WALKED,
    ICMP6_NA,
    MAX_TAGS,
    PROTO_ICMPV6,
    PROTO_TCP,
    PROTO_UDP,
    TTL,
)

EXTENSIONS = (EXT_HOP_BY_HOP, EXT_ROUTING, EXT_DEST_OPTIONS, EXT_AUTH)
ETH_LEN = 14
TAG_LEN = 4
ARP_LEN = 28
AGENT_HDR = struct.Struct("!HHHIIIIIB3x")


class BadPacketError(Exception):
    """A header is truncated or contradicts itself."""


def ether(dst: bytes, src: bytes, proto: int) -> bytes:
    """An Ethernet header."""
    return dst + src + struct.pack("!H", proto)


@dataclass(frozen=True, slots=True)
class L2:
    """An Ethernet header and at most one VLAN tag behind it."""

    dst: bytes
    src: bytes
    proto: int
    tagged: bool
    length: int

    @property
    def multicast(self) -> bool:
        """Whether the destination is a group (broadcast included)."""
        return bool(self.dst[0] & 1)


def parse_l2(frame: bytes) -> L2:
    """Read the L2 header; BadPacketError when it, or its VLAN tag, is cut short."""
    if len(frame) < ETH_LEN:
        raise BadPacketError
    proto = int.from_bytes(frame[12:14], "big")
    if proto not in ETH_VLAN:
        return L2(frame[:6], frame[6:12], proto, False, ETH_LEN)
    if len(frame) < ETH_LEN + TAG_LEN:
        raise BadPacketError
    inner = int.from_bytes(frame[16:18], "big")
    return L2(frame[:6], frame[6:12], inner, True, ETH_LEN + TAG_LEN)


def is_tagged(frame: bytes) -> bool:
    """Whether the frame has a VLAN tag."""
    return int.from_bytes(frame[12:14], "big") in ETH_VLAN


def strip_tags(frame: bytes) -> bytes:
    """The frame without any VLAN tag; BadPacketError when one is cut short, or of too many."""
    for _ in range(MAX_TAGS):
        if not parse_l2(frame).tagged:
            return frame
        frame = frame[:12] + frame[16:]
    if parse_l2(frame).tagged:
        raise BadPacketError
    return frame


def pad_frame(frame: bytes) -> bytes:
    """A frame taken out of another: padded, so that an IP header would fit behind Ethernet."""
    proto = int.from_bytes(frame[12:14], "big")
    least = 40 if proto == ETH_IPV6 else 24 if proto in ETH_VLAN else 20
    return frame.ljust(ETH_LEN + least, b"\0")


@dataclass(frozen=True, slots=True)
class IPv4:
    """What the rules need of an IPv4 header."""

    header_len: int
    total_len: int
    ident: int
    more_fragments: bool
    offset: int
    dont_fragment: bool
    ttl: int
    proto: int
    src: bytes
    dst: bytes

    @property
    def fragment(self) -> bool:
        """Whether it is a part of a datagram."""
        return self.more_fragments or self.offset > 0


def parse_ipv4(data: bytes) -> IPv4:
    """Read an IPv4 header; BadPacketError unless its lengths fit. The checksum is not looked at."""
    if len(data) < 20 or data[0] >> 4 != 4:
        raise BadPacketError
    header_len = (data[0] & 15) * 4
    total_len, ident, frag = struct.unpack_from("!HHH", data, 2)
    if header_len < 20 or not header_len <= total_len <= len(data):
        raise BadPacketError
    return IPv4(
        header_len,
        total_len,
        ident,
        bool(frag & 0x2000),
        frag & 0x1FFF,
        bool(frag & 0x4000),
        data[8],
        data[9],
        data[12:16],
        data[16:20],
    )


def checksum(data: bytes) -> int:
    """The Internet checksum of a header whose checksum field is zero."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def decrement_ttl(data: bytes) -> bytes:
    """An IPv4 packet with TTL one less and the checksum adjusted (RFC 1624), not recomputed."""
    old_word = (data[8] << 8) | data[9]
    new_word = old_word - 0x100
    total = (~int.from_bytes(data[10:12], "big") & 0xFFFF) + (~old_word & 0xFFFF) + new_word
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return data[:8] + struct.pack("!HH", new_word, ~total & 0xFFFF) + data[12:]


@dataclass(frozen=True, slots=True)
class IPv6:
    """What the rules need of an IPv6 header."""

    payload_len: int
    next_header: int
    hop_limit: int
    src: bytes
    dst: bytes


IPV6_LEN = 40


def parse_ipv6(data: bytes) -> IPv6:
    """Read an IPv6 header; BadPacketError unless it, and the payload it promises, are there."""
    if len(data) < IPV6_LEN or data[0] >> 4 != 6:
        raise BadPacketError
    payload_len, next_header, hop_limit = struct.unpack_from("!HBB", data, 4)
    if IPV6_LEN + payload_len > len(data):
        raise BadPacketError
    return IPv6(payload_len, next_header, hop_limit, data[8:24], data[24:40])


def decrement_hop_limit(data: bytes) -> bytes:
    """An IPv6 packet with the hop limit one less."""
    return data[:7] + bytes((data[7] - 1,)) + data[8:]


def upper_layer(frame: bytes, at: int, proto: int) -> tuple[int, int] | None:
    """Protocol and offset of what stands behind the extension headers from offset `at` on.

    At most EXT_WALKED are walked over, and no fragment header; None if one is cut short or there
    are more.
    """
    for _ in range(EXT_WALKED):
        if proto not in EXTENSIONS:
            break
        if len(frame) < at + 2:
            return None
        following, length = frame[at], frame[at + 1]
        at += (length + 2) * 4 if proto == EXT_AUTH else (length + 1) * 8
        proto = following
    if proto in EXTENSIONS or at > 0xFFFF:
        return None
    return proto, at


def is_link_local(address: bytes) -> bool:
    """Whether it lies in fe80::/10."""
    return address[0] == 0xFE and address[1] & 0xC0 == 0x80


def outer_ipv6(
    proto: int, flow: int, src: bytes, dst: bytes, payload: bytes, tos: int = 0
) -> bytes:
    """An outer IPv6 packet: a traffic class, a flow label, hop limit 64."""
    first = 6 << 28 | tos << 20 | flow
    return struct.pack("!IHBB", first, len(payload), proto, TTL) + src + dst + payload


def advertisement(frame: bytes, target: bytes, mac: bytes, router: bool) -> bytes:
    """The untagged solicitation turned into the answer "the target is at mac"."""
    asked = parse_ipv6(frame[ETH_LEN:])
    flags = 0x60000000 | (0x80000000 if router else 0)
    message = struct.pack("!BBHI", ICMP6_NA, 0, 0, flags) + target + b"\x02\x01" + mac
    pseudo = target + asked.src + struct.pack("!II", len(message), PROTO_ICMPV6)
    message = message[:2] + struct.pack("!H", checksum(pseudo + message)) + message[4:]
    head = struct.pack("!IHBB", 6 << 28, len(message), PROTO_ICMPV6, 255) + target + asked.src
    return ether(frame[6:12], mac, ETH_IPV6) + head + message


def outer_ipv4(
    proto: int, ident: int, src: bytes, dst: bytes, payload: bytes, tos: int = 0
) -> bytes:
    """An outer IPv4 packet: DF clear, TTL 64."""
    head = (
        struct.pack("!BBHHHBBH", 0x45, tos, 20 + len(payload), ident, 0, TTL, proto, 0) + src + dst
    )
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def udp(sport: int, dport: int, payload: bytes) -> bytes:
    """A UDP datagram without checksum."""
    return struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload


def mpls(label: int, ttl: int, exp: int = 0) -> bytes:
    """A label stack entry that is the last one."""
    return struct.pack("!I", (label & 0xFFFFF) << 12 | exp << 9 | 0x100 | ttl)


@dataclass(frozen=True, slots=True)
class Arp:
    """An ARP packet for IPv4 over Ethernet."""

    op: int
    sha: bytes
    spa: bytes
    tpa: bytes

    @property
    def gratuitous(self) -> bool:
        """Whether the sender asks for itself or has no address yet."""
        return self.spa in (bytes(4), self.tpa)


def parse_arp(data: bytes) -> Arp:
    """Read an ARP packet; BadPacketError unless it is a request or reply for IPv4 over Ethernet."""
    if len(data) < ARP_LEN or data[:6] != b"\x00\x01\x08\x00\x06\x04":
        raise BadPacketError
    op = int.from_bytes(data[6:8], "big")
    if op not in (1, 2):
        raise BadPacketError
    return Arp(op, data[8:14], data[14:18], data[24:28])


def arp_answer(frame: bytes, mac: bytes) -> bytes:
    """The untagged request turned into the answer "the target is at mac"; trailer kept.

    It goes to the hardware address that the request names as the sender's (RFC 826).
    """
    l2, arp = parse_l2(frame), parse_arp(frame[ETH_LEN:])
    head = ether(arp.sha, mac, l2.proto) + b"\x00\x01\x08\x00\x06\x04\x00\x02"
    return head + mac + arp.tpa + arp.sha + arp.spa + frame[ETH_LEN + ARP_LEN :]


@dataclass(frozen=True, slots=True)
class Inner:
    """What an outer header takes from the packet that it carries."""

    ident: int
    ttl: int
    tos: int
    hash_words: tuple[int, int, int, int] | None
    """Source, destination, ports, protocol << 16; None when it is not a valid IP packet."""


NO_INNER = Inner(0, 0, 0, None)


def _word(data: bytes) -> int:
    return int.from_bytes(data[:4], "little")


def _fold(address: bytes) -> int:
    return _word(address) ^ _word(address[4:]) ^ _word(address[8:]) ^ _word(address[12:])


def parse_inner(proto: int, data: bytes) -> Inner:
    """Read an inner packet of that EtherType; never fails."""
    if proto == ETH_IPV4:
        try:
            v4 = parse_ipv4(data)
        except BadPacketError:
            return NO_INNER
        ports = b"" if v4.fragment else data[v4.header_len : v4.header_len + 4]
        words = _word(v4.src), _word(v4.dst), _ports(v4.proto, ports), v4.proto << 16
        return Inner(v4.ident, v4.ttl, data[1], words)
    if proto == ETH_IPV6 and len(data) >= 40 and data[0] >> 4 == 6:
        words = _fold(data[8:24]), _fold(data[24:40]), _ports(data[6], data[40:44]), data[6] << 16
        return Inner(0, data[7], (data[0] << 4 | data[1] >> 4) & 0xFF, words)
    return NO_INNER


def _ports(proto: int, data: bytes) -> int:
    return _word(data) if proto in (PROTO_TCP, PROTO_UDP) and len(data) == 4 else 0
