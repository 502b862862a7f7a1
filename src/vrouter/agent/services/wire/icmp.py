# SPDX-License-Identifier: Apache-2.0
"""ICMP (RFC 792) and ICMPv6 (RFC 4443): a head of four bytes, and a body."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address

from .checksum import checksum, pseudo
from .malformed import Malformed

PROTO6 = 58
ECHO_REPLY = 0
UNREACHABLE = 3
ECHO = 8
TIME_EXCEEDED = 11
FRAGMENTATION_NEEDED = 4  # code of UNREACHABLE
PORT_UNREACHABLE = 3  # code of UNREACHABLE
# queries and their answers, which are no errors (RFC 1122, section 3.2.2)
QUERIES = frozenset((0, 8, 9, 10, 13, 14, 15, 16, 17, 18, 42, 43))

UNREACHABLE6 = 1
PORT_UNREACHABLE6 = 4  # code of UNREACHABLE6
TOO_BIG6 = 2
TIME_EXCEEDED6 = 3
ECHO6 = 128
ECHO_REPLY6 = 129
REDIRECT6 = 137


@dataclass(frozen=True, slots=True)
class Icmp:
    """body: what follows the checksum."""

    kind: int
    code: int
    body: bytes


def read(data: bytes) -> Icmp:
    """Of IPv4. Raises Malformed: `short icmp`, `icmp checksum`."""
    if len(data) < 8:
        raise Malformed("short icmp")
    if checksum(data):
        raise Malformed("icmp checksum")
    return Icmp(data[0], data[1], data[4:])


def read6(data: bytes, source: IPv6Address, target: IPv6Address) -> Icmp:
    """Of IPv6. Raises Malformed: `short icmp`, `icmp checksum`."""
    if len(data) < 4:
        raise Malformed("short icmp")
    if checksum(pseudo(source, target, PROTO6, len(data)) + data):
        raise Malformed("icmp checksum")
    return Icmp(data[0], data[1], data[4:])


def build(kind: int, code: int, body: bytes) -> bytes:
    """A message of IPv4."""
    data = bytes((kind, code, 0, 0)) + body
    return data[:2] + checksum(data).to_bytes(2, "big") + body


def build6(kind: int, code: int, body: bytes, source: IPv6Address, target: IPv6Address) -> bytes:
    """A message of IPv6."""
    data = bytes((kind, code, 0, 0)) + body
    total = checksum(pseudo(source, target, PROTO6, len(data)) + data)
    return data[:2] + total.to_bytes(2, "big") + body
