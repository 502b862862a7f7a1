# SPDX-License-Identifier: Apache-2.0
"""What becomes of a packet that is too long for its tunnel."""

import struct

from . import icmp
from .const import ETH_IPV4, ETH_IPV6, EXT_FRAGMENT, Drop, Trap
from .packet import Outcome, Packet
from .state import Vif
from .wire import ETH_LEN, BadPacketError, checksum, parse_inner, parse_ipv4, parse_ipv6


def must_not_cut(packet: Packet) -> bool:
    """IPv4 with DF, and all IPv6; of what is a valid packet."""
    proto = packet.l2.proto
    try:
        if proto == ETH_IPV4:
            return parse_ipv4(packet.l3_data).dont_fragment
        if proto == ETH_IPV6:
            return bool(parse_ipv6(packet.l3_data))
    except BadPacketError:
        pass
    return False


def too_long(vif: Vif, frame: bytes) -> bool:
    """Whether the vif's netdevice would not take it."""
    return len(frame) - ETH_LEN > vif.mtu


def send(packet: Packet, vif: Vif, frame: bytes, *, twice: bool = False) -> Outcome:
    """Send the packet, in its outer headers, which may be too long. twice: it was put into a UDP
    tunnel before, as IP; the kernel cuts no such packet."""
    if not too_long(vif, frame):
        return packet.send(vif, frame)
    if must_not_cut(packet):
        return _tell(packet, vif, frame)
    return _cut(packet, vif, frame, twice)


def _cut(packet: Packet, vif: Vif, frame: bytes, twice: bool) -> Outcome:
    """Send the outer packet in fragments, which needs the exception pair."""
    if not packet.state.exception:
        return packet.drop(Drop.NO_EXCEPTION)
    if twice:
        packet.count_drop(Drop.PUSH)
        return packet.drop(Drop.CLONED_ORIGINAL)
    ident = parse_inner(packet.l2.proto, packet.l3_data).ident
    for piece in fragments(frame, vif.mtu, ident):
        packet.send_copy(vif, piece)
    return packet.drop(Drop.CLONED_ORIGINAL)


def fragments(frame: bytes, mtu: int, ident: int) -> list[bytes]:
    """A frame with an IP packet in it, in fragments (RFC 791, RFC 8200): as few as can be, of
    about the same length."""
    six = frame[12:14] == ETH_IPV6.to_bytes(2, "big")
    ip, data = (frame[14:54], frame[54:]) if six else (frame[14:34], frame[34:])
    room = (mtu - (48 if six else 20)) // 8 * 8
    pieces = -(-len(data) // room)
    size = -(-len(data) // pieces) + 7 & ~7
    made = []
    for at in range(0, len(data), size):
        piece, more = data[at : at + size], at + size < len(data)
        if six:
            extension = struct.pack("!BBHI", ip[6], 0, at | more, ident)
            head = ip[:4] + struct.pack("!HB", 8 + len(piece), EXT_FRAGMENT) + ip[7:] + extension
        else:
            length = struct.pack("!HHH", 20 + len(piece), ident, at >> 3 | more << 13)
            head = ip[:2] + length + ip[8:10] + bytes(2) + ip[12:]
            head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
        made.append(frame[:14] + head + piece)
    return made


def send_copy(packet: Packet, vif: Vif, frame: bytes) -> None:
    """The same of a copy for one of many: nobody is told."""
    if not too_long(vif, frame):
        packet.send_copy(vif, frame)
    elif must_not_cut(packet):
        packet.count_drop(Drop.MCAST_DF_BIT)
    else:
        packet.count_drop(Drop.TOO_BIG)


def _tell(packet: Packet, vif: Vif, frame: bytes) -> Outcome:
    """The MTU that the sender is told is the device's without all that the tunnel puts before
    the packet."""
    mtu = max(1, vif.mtu - (len(frame) - ETH_LEN - len(packet.l3_data)))
    trap = packet.state.icmp_trap
    packet.encapped = False
    if packet.l2.tagged or packet.mirrored or not (trap or icmp.answers(packet)):
        return packet.drop(Drop.TOO_BIG)
    if trap:
        return packet.trap(Trap.HANDLE_DF, mtu)
    if packet.state.exception:
        icmp.too_big(packet, mtu)
    else:
        packet.count_drop(Drop.NO_EXCEPTION)
    return packet.drop(Drop.FRAG_NEEDED)
