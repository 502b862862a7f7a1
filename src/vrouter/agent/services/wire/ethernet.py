# SPDX-License-Identifier: Apache-2.0
"""Ethernet II with up to two VLAN tags (IEEE 802.1Q)."""

from __future__ import annotations

from dataclasses import dataclass

from .malformed import Malformed

ARP = 0x0806
IPV4 = 0x0800
IPV6 = 0x86DD
_TAGS = (0x8100, 0x88A8)

BROADCAST = b"\xff" * 6
ZERO = bytes(6)


@dataclass(frozen=True, slots=True)
class Ethernet:
    """tags: the VLAN tags as they stand (4 bytes each), to be put on an answer likewise."""

    target: bytes
    source: bytes
    kind: int
    payload: bytes
    tags: bytes = b""


def read(frame: bytes) -> Ethernet:
    """Raises Malformed: `short frame`, `vlan tags`, `source mac` (a group's, or zero)."""
    if len(frame) < 14:
        raise Malformed("short frame")
    at = 12
    kind = int.from_bytes(frame[12:14], "big")
    while kind in _TAGS:
        at += 4
        if at > 20:
            raise Malformed("vlan tags")
        if len(frame) < at + 2:
            raise Malformed("short frame")
        kind = int.from_bytes(frame[at : at + 2], "big")
    source = frame[6:12]
    if source[0] & 1 or source == ZERO:
        raise Malformed("source mac")
    return Ethernet(frame[:6], source, kind, frame[at + 2 :], frame[12:at])


def build(target: bytes, source: bytes, kind: int, payload: bytes, tags: bytes = b"") -> bytes:
    """A frame, padded to the 60 bytes that Ethernet wants at least."""
    frame = target + source + tags + kind.to_bytes(2, "big") + payload
    return frame.ljust(60, b"\0")


def group4(address: bytes) -> bytes:
    """The MAC of an IPv4 multicast group (RFC 1112, section 6.4)."""
    return b"\x01\x00\x5e" + bytes((address[1] & 0x7F,)) + address[2:4]


def group6(address: bytes) -> bytes:
    """The MAC of an IPv6 multicast group (RFC 2464, section 7)."""
    return b"\x33\x33" + address[12:]


def text(mac: bytes) -> str:
    """02:00:0a:01:01:01"""
    return mac.hex(":")


def parse(text: str) -> bytes:
    """The 6 bytes of "02:00:0a:01:01:01". Raises ValueError."""
    mac = bytes.fromhex(text.replace(":", ""))
    if len(mac) != 6:
        raise ValueError(f"{text!r} is no MAC: six bytes, as 02:00:0a:01:01:01")
    return mac
