# SPDX-License-Identifier: Apache-2.0
"""The Internet checksum (RFC 1071) and the pseudo headers of UDP and ICMPv6."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address


def checksum(data: bytes) -> int:
    """The checksum of `data`, 0 to 65535; 0 over data that holds its own right checksum."""
    if len(data) & 1:
        data += b"\0"
    # 2^16 = 1 modulo 65535, so the sum of the words is the whole number modulo 65535
    number = int.from_bytes(data, "big")
    rest = number % 0xFFFF
    if not rest and number:
        rest = 0xFFFF
    return rest ^ 0xFFFF


def pseudo(
    source: IPv4Address | IPv6Address, target: IPv4Address | IPv6Address, proto: int, length: int
) -> bytes:
    """The pseudo header of RFC 768 (IPv4) or RFC 8200, section 8.1 (IPv6)."""
    if source.version == 4:
        return source.packed + target.packed + struct.pack("!BBH", 0, proto, length)
    return source.packed + target.packed + struct.pack("!II", length, proto)
