# SPDX-License-Identifier: Apache-2.0
"""IPv4 (RFC 791)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from .checksum import checksum
from .malformed import Malformed

ICMP = 1
IGMP = 2
UDP = 17
ROUTER_ALERT = b"\x94\x04\x00\x00"
BROADCAST = IPv4Address("255.255.255.255")
ANY = IPv4Address("0.0.0.0")
_HEAD = struct.Struct("!BBHHHBBH4s4s")
_MORE = 0x2000
_OFFSET = 0x1FFF
_DF = 0x4000


@dataclass(frozen=True, slots=True)
class IPv4:
    """header: all of it, options too. payload: what the total length says and the frame has.

    offset: of a fragment, in units of 8 bytes. more: fragments follow.
    """

    source: IPv4Address
    target: IPv4Address
    proto: int
    ttl: int
    offset: int
    more: bool
    header: bytes
    payload: bytes

    @property
    def fragment(self) -> bool:
        """Whether it is a part of a packet."""
        return self.more or self.offset > 0


def read(data: bytes, *, whole: bool = True) -> IPv4:
    """whole: refuse what is cut short. Raises Malformed: `short ip`, `ip version`, `ip header`,
    `ip length`, `ip checksum`."""
    if len(data) < 20:
        raise Malformed("short ip")
    first, _, total, _, frag, ttl, proto, _, source, target = _HEAD.unpack_from(data)
    length = (first & 15) * 4
    if first >> 4 != 4:
        raise Malformed("ip version")
    if length < 20 or length > len(data):
        raise Malformed("ip header")
    if total < length or (whole and total > len(data)):
        raise Malformed("ip length")
    if checksum(data[:length]):
        raise Malformed("ip checksum")
    return IPv4(
        IPv4Address(source),
        IPv4Address(target),
        proto,
        ttl,
        frag & _OFFSET,
        bool(frag & _MORE),
        data[:length],
        data[length:total],
    )


def build(
    source: IPv4Address,
    target: IPv4Address,
    proto: int,
    payload: bytes,
    *,
    ttl: int = 64,
    tos: int = 0,
    options: bytes = b"",
) -> bytes:
    """A packet that may not be fragmented (so its identification may be 0: RFC 6864)."""
    words = 5 + len(options) // 4
    total = words * 4 + len(payload)
    head = _HEAD.pack(0x40 | words, tos, total, 0, _DF, ttl, proto, 0, source.packed, target.packed)
    head += options
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + payload


def is_unicast(address: IPv4Address) -> bool:
    """Whether one host can have it (not 0/8, 127/8, multicast, 240/4 or broadcast)."""
    first = address.packed[0]
    return first not in (0, 127) and first < 224
