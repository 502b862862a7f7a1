# SPDX-License-Identifier: Apache-2.0
"""ICMP and ICMPv6 errors to a guest of this host about a packet of its own."""

import struct

from .const import (
    ETH_IPV4,
    ETH_IPV6,
    EXT_FRAGMENT,
    PROTO_ICMP,
    PROTO_ICMPV6,
    TTL,
    Drop,
    Trap,
)
from .packet import Outcome, Packet
from .wire import ETH_LEN, IPV6_LEN, checksum, ether, parse_ipv4, parse_ipv6, upper_layer

QUOTED4 = 576 - 20 - 8  # RFC 1812, 4.3.2.3
QUOTED6 = 1280 - 40 - 8  # RFC 4443, 2.4 (c)
ERRORS4 = (3, 4, 5, 11, 12)
REDIRECT6 = 137
DUMMY = bytes((192, 0, 0, 8))  # RFC 7600: the source of whom has no IPv4 address
TIME_EXCEEDED4, TIME_EXCEEDED6 = 11, 3
FRAG_NEEDED4, TOO_BIG6 = (3, 4), (2, 0)
Kind = tuple[int, int]
"""Type and code."""


def answers(packet: Packet) -> bool:
    """Whether dp-core itself tells the sender: a guest, which it can answer on its own vif."""
    mine = packet.vif.is_vm and not packet.tunnelled and not packet.mirrored
    return mine and not packet.state.icmp_trap


def time_exceeded(packet: Packet) -> Outcome:
    """TTL or hop limit ended here."""
    if not answers(packet):
        return packet.trap(Trap.ZERO_TTL)
    if packet.l2.tagged:
        head = packet.l2
        proto = head.proto.to_bytes(2, "big")
        packet.frame = packet.frame[:12] + proto + packet.l3_data
    if not packet.state.exception:
        packet.count_drop(Drop.NO_EXCEPTION)
        return packet.drop(Drop.TTL_EXCEEDED)
    _error(packet, (TIME_EXCEEDED4, 0), (TIME_EXCEEDED6, 0), 0)
    return packet.drop(Drop.TTL_EXCEEDED)


def too_big(packet: Packet, mtu: int) -> None:
    """Tell the sender of the (untagged) packet how long it may be (RFC 1191, RFC 4443)."""
    _error(packet, FRAG_NEEDED4, TOO_BIG6, mtu)


def _error(packet: Packet, kind4: Kind, kind6: Kind, word: int) -> None:
    """Send the error, if there may be one about the packet."""
    if packet.l2.proto == ETH_IPV4:
        answer = _error4(packet, kind4, word)
    else:
        answer = _error6(packet, kind6, word)
    if answer is not None:
        packet.send_copy(packet.vif, answer)


def _error4(packet: Packet, kind: Kind, word: int) -> bytes | None:
    data = packet.l3_data
    ip = parse_ipv4(data)
    if ip.offset or ip.src[0] in (0, 127) or ip.src[0] >= 224 or ip.dst[0] >= 224:
        return None
    # what stands behind the packet in its frame is looked at too
    if ip.proto == PROTO_ICMP and (data[ip.header_len : ip.header_len + 1] or b"\3")[0] in ERRORS4:
        return None
    message = _message(kind, word, data[: min(ip.total_len, QUOTED4)], b"")
    source = packet.vif.gateway if any(packet.vif.gateway) else DUMMY
    length = 20 + len(message)
    head = struct.pack("!BBHHHBBH", 0x45, 0xC0, length, 0, 0x4000, TTL, PROTO_ICMP, 0)
    head += source + ip.src
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return _ether(packet, ETH_IPV4) + head + message


def _error6(packet: Packet, kind: Kind, word: int) -> bytes | None:
    data = packet.l3_data
    ip = parse_ipv6(data)
    if not any(ip.src) or 0xFF in (ip.src[0], ip.dst[0]):
        return None
    if _is_error6(packet, ip.next_header):
        return None
    quoted = data[: min(IPV6_LEN + ip.payload_len, QUOTED6)]
    source = packet.vif.gateway6 if any(packet.vif.gateway6) else _link_local(packet.vif.mac)
    pseudo = source + ip.src + struct.pack("!II", 8 + len(quoted), PROTO_ICMPV6)
    message = _message(kind, word, quoted, pseudo)
    head = struct.pack("!IHBB", 6 << 28, len(message), PROTO_ICMPV6, TTL) + source + ip.src
    return _ether(packet, ETH_IPV6) + head + message


def _is_error6(packet: Packet, first: int) -> bool:
    """Whether it is an ICMPv6 error or a redirect, or may be one whose type is cut off."""
    found = upper_layer(packet.frame, ETH_LEN + IPV6_LEN, first)
    if found is None or found[0] in (EXT_FRAGMENT,) or found[0] != PROTO_ICMPV6:
        return False
    kind = packet.frame[found[1] : found[1] + 1]
    return not kind or kind[0] < 128 or kind[0] == REDIRECT6


def _message(kind: Kind, word: int, quoted: bytes, pseudo: bytes) -> bytes:
    message = struct.pack("!BBHI", *kind, 0, word) + quoted
    padded = pseudo + message + bytes(len(message) % 2)
    return message[:2] + struct.pack("!H", checksum(padded)) + message[4:]


def _ether(packet: Packet, proto: int) -> bytes:
    return ether(packet.frame[6:12], packet.vif.mac, proto)


def _link_local(mac: bytes) -> bytes:
    """The link-local address of a MAC (RFC 4291, appendix A)."""
    interface = bytes((mac[0] ^ 2,)) + mac[1:3] + b"\xff\xfe" + mac[3:]
    return b"\xfe\x80" + bytes(6) + interface
