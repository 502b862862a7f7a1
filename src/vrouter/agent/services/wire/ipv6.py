# SPDX-License-Identifier: Apache-2.0
"""IPv6 and its extension headers (RFC 8200)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv6Address

from .malformed import Malformed

UDP = 17
ICMP = 58
HOP_BY_HOP = 0
FRAGMENT = 44
NO_NEXT = 59
# next header ICMPv6, then hop-by-hop with router alert 0 (MLD) and padding (RFC 2711)
ROUTER_ALERT = b"\x3a\x00\x05\x02\x00\x00\x01\x00"
ANY = IPv6Address("::")
ALL_NODES = IPv6Address("ff02::1")
_HEAD = struct.Struct("!IHBB16s16s")
_ALERT = b"\x05\x02"
_EXTENSIONS = (HOP_BY_HOP, 43, 60, 135, 139, 140)
# as many as dp-core walks over
_MOST = 6


@dataclass(frozen=True, slots=True)
class IPv6:
    """proto, payload: of what follows the extension headers.

    offset: of a fragment, in units of 8 bytes. more: fragments follow. alert: a hop-by-hop
    option says that routers are to look at it (RFC 2711).
    """

    source: IPv6Address
    target: IPv6Address
    proto: int
    hops: int
    offset: int
    more: bool
    atomic: bool
    payload: bytes
    alert: bool = False

    @property
    def fragment(self) -> bool:
        """Whether it has a fragment header, be it the only fragment."""
        return self.more or self.offset > 0 or self.atomic


def read(data: bytes, *, whole: bool = True) -> IPv6:
    """whole: refuse what is cut short. Raises Malformed: `short ip`, `ip version`, `ip length`,
    `ip extensions`."""
    if len(data) < 40:
        raise Malformed("short ip")
    first, length, proto, hops, source, target = _HEAD.unpack_from(data)
    if first >> 28 != 6:
        raise Malformed("ip version")
    if whole and 40 + length > len(data):
        raise Malformed("ip length")
    rest = data[40 : 40 + length]
    offset, more, atomic, alert, seen = 0, False, False, False, 0
    while proto in _EXTENSIONS or proto == FRAGMENT:
        seen += 1
        size = 8 if proto == FRAGMENT else (rest[1] + 1) * 8 if len(rest) > 1 else 8
        if seen > _MOST or len(rest) < size:
            raise Malformed("ip extensions")
        if proto == FRAGMENT:
            word = int.from_bytes(rest[2:4], "big")
            offset, more, atomic = word >> 3, bool(word & 1), True
        if proto == HOP_BY_HOP:
            alert = _has_alert(rest[2:size])
        proto, rest = rest[0], rest[size:]
        if offset:
            break
    ends = IPv6Address(source), IPv6Address(target)
    return IPv6(*ends, proto, hops, offset, more, atomic, rest, alert)


def _has_alert(options: bytes) -> bool:
    at = 0
    while at < len(options):
        if options[at : at + 2] == _ALERT:
            return True
        # one byte of padding has no length (RFC 8200, section 4.2)
        at += 1 if not options[at] else 2 + int.from_bytes(options[at + 1 : at + 2])
    return False


def build(
    source: IPv6Address,
    target: IPv6Address,
    proto: int,
    payload: bytes,
    *,
    hops: int = 64,
    extension: bytes = b"",
) -> bytes:
    """proto: of what follows the fixed header (0 with a hop-by-hop `extension`)."""
    return (
        _HEAD.pack(
            6 << 28,
            len(extension) + len(payload),
            proto,
            hops,
            source.packed,
            target.packed,
        )
        + extension
        + payload
    )


def link_local(mac: bytes) -> IPv6Address:
    """The link-local address that is made of a MAC (RFC 4291, appendix A)."""
    return eui64(b"\xfe\x80" + bytes(6), mac)


def eui64(prefix: bytes, mac: bytes) -> IPv6Address:
    """The address in a /64 (its first 8 bytes) that is made of a MAC."""
    return IPv6Address(prefix[:8] + bytes((mac[0] ^ 2,)) + mac[1:3] + b"\xff\xfe" + mac[3:6])


def solicited_node(address: IPv6Address) -> IPv6Address:
    """The group of whoever has the address (RFC 4291, section 2.7.1)."""
    return IPv6Address(bytes.fromhex("ff0200000000000000000001ff") + address.packed[13:])


def is_unicast(address: IPv6Address) -> bool:
    """Whether one host can have it."""
    return not (address.is_multicast or address.is_unspecified or address.is_loopback)
