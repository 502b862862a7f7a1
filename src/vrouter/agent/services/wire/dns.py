# SPDX-License-Identifier: Apache-2.0
"""What the DNS service reads of a query (RFC 1035, section 4; RFC 6891).

dnslib writes the answers. It is not given what a VM sent: it takes names and labels that are
too long, and pointers to pointers.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from .malformed import Malformed

_OPT = 41
_MOST_NAME = 255
# more records than this no query has (OPT, TSIG, SIG(0))
_MOST_RECORDS = 16


@dataclass(frozen=True, slots=True)
class Edns:
    """size: what the asker can take. version, flags (DO in 0x8000): as sent."""

    size: int
    version: int
    flags: int


@dataclass(frozen=True, slots=True)
class Query:
    """labels: of the name, in the case in which they came. question: its bytes."""

    labels: tuple[bytes, ...]
    kind: int
    klass: int
    question: bytes
    edns: Edns | None


def _name(data: bytes, at: int) -> tuple[tuple[bytes, ...], int]:
    """The labels of a name that has no pointer, and where it ends."""
    labels = []
    start = at
    while True:
        if at >= len(data):
            raise Malformed("dns name")
        size = data[at]
        at += 1
        if not size:
            break
        if size > 63 or at + size > len(data) or at + size - start > _MOST_NAME - 1:
            raise Malformed("dns name")
        labels.append(data[at : at + size])
        at += size
    return tuple(labels), at


def _past_name(data: bytes, at: int) -> int:
    while at < len(data):
        if data[at] >= 0xC0:
            return at + 2
        if data[at] > 63:
            raise Malformed("dns name")
        if not data[at]:
            return at + 1
        at += 1 + data[at]
    raise Malformed("dns name")


def _edns(data: bytes, at: int, records: int) -> Edns | None:
    found: Edns | None = None
    if records > _MOST_RECORDS:
        raise Malformed("dns records")
    for _ in range(records):
        name, at = at, _past_name(data, at)
        if at + 10 > len(data):
            raise Malformed("dns records")
        kind, klass, ttl, size = struct.unpack_from("!HHIH", data, at)
        at += 10 + size
        if at > len(data):
            raise Malformed("dns records")
        if kind == _OPT:
            if found is not None or data[name]:
                raise Malformed("dns edns")
            found = Edns(max(klass, 512), ttl >> 16 & 0xFF, ttl & 0xFFFF)
    return found


def read(data: bytes) -> Query:
    """data: a message with one question (12 bytes at least). Raises Malformed: `dns name`,
    `dns question`, `dns records`, `dns edns`."""
    questions, answers, authority, additional = struct.unpack_from("!HHHH", data, 4)
    if questions != 1:
        raise Malformed("dns question")
    labels, at = _name(data, 12)
    if at + 4 > len(data):
        raise Malformed("dns question")
    kind, klass = struct.unpack_from("!HH", data, at)
    records = answers + authority + additional
    return Query(labels, kind, klass, data[12 : at + 4], _edns(data, at + 4, records))


def question_of(data: bytes) -> bytes:
    """The bytes of the first question of an answer; b"" when it has none."""
    try:
        _, at = _name(data, 12)
    except Malformed:
        return b""
    return data[12 : at + 4]
