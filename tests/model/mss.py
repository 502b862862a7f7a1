# SPDX-License-Identifier: Apache-2.0
"""The maximum segment size that SYNs ask for, kept to what the fabric takes."""

import struct

from .const import ETH_IPV4, ETH_IPV6, PROTO_TCP
from .packet import Packet
from .state import Vif

ALLOWANCE_L3, ALLOWANCE_L2 = 40, 62  # of the system we follow
TCP_LEN = 20
LEAST = 64
SYN = 2


def from_vm(packet: Packet, overhead: int, vif: Vif) -> None:
    """A SYN of a guest that goes into a tunnel of so many bytes before the packet."""
    if packet.state.mss_from_vm and packet.vif.is_vm:
        _clamp(packet, overhead, vif.mtu)


def to_vm(packet: Packet, overhead: int) -> None:
    """A SYN that came out of a tunnel."""
    if packet.state.mss_to_vm:
        _clamp(packet, overhead, packet.vif.mtu)


def _clamp(packet: Packet, overhead: int, mtu: int) -> None:
    data = packet.l3_data
    at = _tcp(packet.l2.proto, data)
    if at is None or len(data) < at + 14 or not data[at + 13] & SYN:
        return
    ip_len = 40 if packet.l2.proto == ETH_IPV6 else 20
    allowance = ALLOWANCE_L3 if packet.l3 else ALLOWANCE_L2
    most = mtu - max(overhead, allowance) - ip_len - TCP_LEN
    if most < LEAST:
        return
    option = _mss(data[at : at + (data[at + 12] >> 4) * 4])
    if option is None or int.from_bytes(data[at + option : at + option + 2], "big") <= most:
        return
    head = packet.frame[: packet.l2.length]
    packet.frame = head + data[:at] + _with_mss(data[at:], option, most)


def _tcp(proto: int, data: bytes) -> int | None:
    """Offset of the TCP header, not behind extension headers, nor in a later fragment."""
    if proto == ETH_IPV4 and len(data) >= 20 and data[0] >> 4 == 4 and data[0] & 15 >= 5:
        first = not int.from_bytes(data[6:8], "big") & 0x1FFF
        return (data[0] & 15) * 4 if data[9] == PROTO_TCP and first else None
    if proto == ETH_IPV6 and len(data) >= 40 and data[0] >> 4 == 6:
        return 40 if data[6] == PROTO_TCP else None
    return None


def _mss(header: bytes) -> int | None:
    """Offset of the MSS in a TCP header."""
    at = TCP_LEN
    while at + 4 <= len(header):
        kind, length = header[at], header[at + 1]
        if kind == 2 and length == 4:
            return at + 2
        if kind == 0 or (kind != 1 and length < 2):
            return None
        at += 1 if kind == 1 else length
    return None


def _with_mss(tcp: bytes, at: int, value: int) -> bytes:
    """The segment with another MSS at that offset, its checksum as wrong as it was (RFC 1624)."""
    changed = tcp[:at] + struct.pack("!H", value) + tcp[at + 2 :]
    total = ~int.from_bytes(tcp[16:18], "big") & 0xFFFF
    start = at & ~1
    for old, new in zip(
        _words(tcp[start : start + 4]), _words(changed[start : start + 4]), strict=True
    ):
        total += (~old & 0xFFFF) + new
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return changed[:16] + struct.pack("!H", ~total & 0xFFFF) + changed[18:]


def _words(data: bytes) -> tuple[int, ...]:
    data += bytes(len(data) % 2)
    return struct.unpack(f"!{len(data) // 2}H", data)
