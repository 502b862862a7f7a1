# SPDX-License-Identifier: Apache-2.0
"""ARP for IPv4 over Ethernet (RFC 826)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from . import ethernet
from .malformed import Malformed

REQUEST = 1
REPLY = 2
_HEAD = struct.Struct("!HHBBH6s4s6s4s")


@dataclass(frozen=True, slots=True)
class Arp:
    """RFC 826's fields: sha, spa of the sender, tha, tpa of the target."""

    op: int
    sha: bytes
    spa: IPv4Address
    tha: bytes
    tpa: IPv4Address


def read(payload: bytes) -> Arp:
    """Raises Malformed: `short arp`, `arp kind`, `arp operation`, `arp sender`."""
    if len(payload) < _HEAD.size:
        raise Malformed("short arp")
    hardware, proto, hlen, plen, op, sha, spa, tha, tpa = _HEAD.unpack_from(payload)
    if (hardware, proto, hlen, plen) != (1, ethernet.IPV4, 6, 4):
        raise Malformed("arp kind")
    if op not in (REQUEST, REPLY):
        raise Malformed("arp operation")
    if sha[0] & 1 or sha == ethernet.ZERO or spa[0] >= 224 or spa[0] == 127:
        raise Malformed("arp sender")
    return Arp(op, sha, IPv4Address(spa), tha, IPv4Address(tpa))


def build(arp: Arp) -> bytes:
    """The 28 bytes after the Ethernet header."""
    return _HEAD.pack(
        1, ethernet.IPV4, 6, 4, arp.op, arp.sha, arp.spa.packed, arp.tha, arp.tpa.packed
    )
