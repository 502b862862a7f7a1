# SPDX-License-Identifier: Apache-2.0
"""UDP (RFC 768)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from .checksum import checksum, pseudo
from .malformed import Malformed

PROTO = 17
_HEAD = struct.Struct("!HHHH")


@dataclass(frozen=True, slots=True)
class Udp:
    """Ports, and what follows the header."""

    sport: int
    dport: int
    payload: bytes


def ports(data: bytes) -> tuple[int, int]:
    """Source and destination port; (0, 0) when there are none."""
    return (0, 0) if len(data) < 4 else (data[0] << 8 | data[1], data[2] << 8 | data[3])


def read(data: bytes, source: IPv4Address | IPv6Address, target: IPv4Address | IPv6Address) -> Udp:
    """Raises Malformed: `short udp`, `udp length`, `udp checksum` (0 is none in IPv4 only)."""
    if len(data) < 8:
        raise Malformed("short udp")
    sport, dport, length, given = _HEAD.unpack_from(data)
    if length < 8 or length > len(data):
        raise Malformed("udp length")
    if given:
        if checksum(pseudo(source, target, PROTO, length) + data[:length]):
            raise Malformed("udp checksum")
    elif source.version == 6:
        raise Malformed("udp checksum")
    return Udp(sport, dport, data[8:length])


def build(
    source: IPv4Address | IPv6Address,
    target: IPv4Address | IPv6Address,
    sport: int,
    dport: int,
    payload: bytes,
) -> bytes:
    """Header with its checksum, and payload."""
    length = 8 + len(payload)
    data = _HEAD.pack(sport, dport, length, 0) + payload
    total = checksum(pseudo(source, target, PROTO, length) + data) or 0xFFFF
    return data[:6] + total.to_bytes(2, "big") + data[8:]
