# SPDX-License-Identifier: Apache-2.0
"""Neighbour discovery (RFC 4861): solicitations, advertisements, and their options."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network

from . import ipv6, names
from .malformed import Malformed

ROUTER_SOLICIT = 133
ROUTER_ADVERT = 134
SOLICIT = 135
ADVERT = 136
ROUTER = 0x80
SOLICITED = 0x40
OVERRIDE = 0x20
_SOURCE_LL = 1
_TARGET_LL = 2
_PREFIX = 3
_MTU = 5
_RDNSS = 25
_DNSSL = 31


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A solicitation or advertisement. flags: of an advertisement. mac: of its link-layer
    address option (source's in a solicitation, target's in an advertisement)."""

    target: IPv6Address
    flags: int
    mac: bytes | None


def _options(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        size = data[1] * 8 if len(data) > 1 else 0
        if not size or size > len(data):
            raise Malformed("nd option")
        yield data[0], data[2:size]
        data = data[size:]


def _link_layer(data: bytes, wanted: int) -> bytes | None:
    found = None
    for kind, value in _options(data):
        if kind == wanted and found is None:
            found = value[:6]
            if len(value) != 6 or value[0] & 1:
                raise Malformed("nd link-layer address")
    return found


def _check(packet: ipv6.IPv6, code: int) -> None:
    if packet.hops != 255:
        raise Malformed("nd hop limit")
    if code:
        raise Malformed("nd code")
    if packet.fragment:
        raise Malformed("nd fragment")


def read_solicit(packet: ipv6.IPv6, code: int, body: bytes) -> Neighbour:
    """body: after the checksum. The checks are of RFC 4861, section 7.1.1. Raises Malformed:
    `nd hop limit`, `nd code`, `nd fragment`, `short nd`, `nd target`, `nd option`,
    `nd link-layer address`, `nd unspecified source`."""
    _check(packet, code)
    if len(body) < 20:
        raise Malformed("short nd")
    target = IPv6Address(body[4:20])
    if not ipv6.is_unicast(target):
        raise Malformed("nd target")
    mac = _link_layer(body[20:], _SOURCE_LL)
    if packet.source == ipv6.ANY and (mac or packet.target != ipv6.solicited_node(target)):
        raise Malformed("nd unspecified source")
    return Neighbour(target, 0, mac)


def read_advert(packet: ipv6.IPv6, code: int, body: bytes) -> Neighbour:
    """As read_solicit; RFC 4861, section 7.1.2. Raises Malformed: also `nd solicited`."""
    _check(packet, code)
    if len(body) < 20:
        raise Malformed("short nd")
    target = IPv6Address(body[4:20])
    if not ipv6.is_unicast(target) or not ipv6.is_unicast(packet.source):
        raise Malformed("nd target")
    if packet.target.is_multicast and body[0] & SOLICITED:
        raise Malformed("nd solicited")
    return Neighbour(target, body[0], _link_layer(body[20:], _TARGET_LL))


def read_router_solicit(packet: ipv6.IPv6, code: int, body: bytes) -> bytes | None:
    """The source's MAC, if it is told. RFC 4861, section 6.1.1."""
    _check(packet, code)
    if len(body) < 4:
        raise Malformed("short nd")
    mac = _link_layer(body[4:], _SOURCE_LL)
    if packet.source == ipv6.ANY and mac:
        raise Malformed("nd unspecified source")
    return mac


def solicit(target: IPv6Address, mac: bytes) -> bytes:
    """The body of a solicitation."""
    return bytes(4) + target.packed + bytes((_SOURCE_LL, 1)) + mac


def advert(target: IPv6Address, mac: bytes, flags: int) -> bytes:
    """The body of an advertisement."""
    return bytes((flags, 0, 0, 0)) + target.packed + bytes((_TARGET_LL, 1)) + mac


@dataclass(frozen=True, slots=True)
class Prefix:
    """RFC 4861, section 4.6.2. Lifetimes in seconds."""

    prefix: IPv6Network
    on_link: bool
    autonomous: bool
    valid: int
    preferred: int


@dataclass(frozen=True, slots=True)
class RouterAdvert:
    """hops: 0 unspecified. lifetime: as a default router, seconds. mtu: 0 none.
    servers, domains: RFC 8106, with their lifetime."""

    mac: bytes
    managed: bool
    other: bool
    lifetime: int
    hops: int = 64
    mtu: int = 0
    prefixes: Sequence[Prefix] = ()
    servers: Sequence[IPv6Address] = ()
    domains: Sequence[str] = ()
    told_lifetime: int = 0


def router_advert(one: RouterAdvert) -> bytes:
    """The body of a router advertisement."""
    flags = (0x80 if one.managed else 0) | (0x40 if one.other else 0)
    data = struct.pack("!BBHII", one.hops, flags, one.lifetime, 0, 0)
    data += bytes((_SOURCE_LL, 1)) + one.mac
    if one.mtu:
        data += struct.pack("!BBHI", _MTU, 1, 0, one.mtu)
    for each in one.prefixes:
        data += _prefix(each)
    if one.servers:
        data += struct.pack("!BBHI", _RDNSS, 1 + 2 * len(one.servers), 0, one.told_lifetime)
        data += b"".join(server.packed for server in one.servers)
    listed = b"".join(names.encode(domain) for domain in one.domains)
    if listed:
        words = (len(listed) + 7) // 8
        data += struct.pack("!BBHI", _DNSSL, 1 + words, 0, one.told_lifetime)
        data += listed.ljust(words * 8, b"\0")
    return data


def _prefix(one: Prefix) -> bytes:
    flags = (0x80 if one.on_link else 0) | (0x40 if one.autonomous else 0)
    return (
        struct.pack(
            "!BBBBIII", _PREFIX, 4, one.prefix.prefixlen, flags, one.valid, one.preferred, 0
        )
        + one.prefix.network_address.packed
    )
