# SPDX-License-Identifier: Apache-2.0
"""Values as the protocol has them: addresses read as numbers of this machine's byte order,
lists of bytes for MACs, and -1 or an ending of ones where there is none."""

from __future__ import annotations

import struct
import sys
from ipaddress import IPv4Address, IPv6Address

from .errors import invalid

MAC = 6
NONE16 = 0xFFFF


def ip_of(number: int) -> IPv4Address | None:
    """The address of a u32 that is its network-order bytes read in host order; 0: none."""
    return IPv4Address(struct.pack("=I", number)) if number else None


def ip_number(address: IPv4Address | None) -> int:
    """The reverse of `ip_of`."""
    return int.from_bytes(address.packed, sys.byteorder) if address else 0


def ip6_of(upper: int, lower: int) -> IPv6Address | None:
    """The address of two u64, each 8 network-order bytes read in host order; 0 and 0: none."""
    return IPv6Address(struct.pack("=QQ", upper, lower)) if upper or lower else None


def ip6_numbers(address: IPv6Address | None) -> tuple[int, int]:
    """The reverse of `ip6_of`."""
    packed = address.packed if address else bytes(16)
    return int.from_bytes(packed[:8], sys.byteorder), int.from_bytes(packed[8:], sys.byteorder)


def port_of(number: int) -> int:
    """The port of an i16 that is its network-order bytes read in host order."""
    return int.from_bytes((number & NONE16).to_bytes(2, sys.byteorder), "big")


port_number = port_of  # the same exchange of bytes


def mac_of(raw: bytes, field: str) -> bytes:
    """A MAC of exactly 6 bytes."""
    if len(raw) != MAC:
        raise invalid(f"{field} has {len(raw)} bytes: a MAC has {MAC}")
    return raw


def optional(value: int, none: int = NONE16) -> int | None:
    """`value`, or None if it is negative or `none`."""
    return None if value < 0 or value == none else value
