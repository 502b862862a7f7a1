# SPDX-License-Identifier: Apache-2.0
"""IGMP (RFC 1112, RFC 2236, RFC 3376) and MLD (RFC 2710, RFC 3810), all versions.

What hosts report is brought to one form: records of RFC 3376, section 4.2.12, whose types MLDv2
shares. A report of an old version is `TO_EX {}`, a leave `TO_IN {}` (RFC 3376, section 7.3.2).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from .checksum import checksum
from .malformed import Malformed

Address = IPv4Address | IPv6Address

QUERY, V1_REPORT, V2_REPORT, LEAVE, V3_REPORT = 0x11, 0x12, 0x16, 0x17, 0x22
MLD_QUERY, MLD_REPORT, MLD_DONE, MLD2_REPORT = 130, 131, 132, 143
IS_IN, IS_EX, TO_IN, TO_EX, ALLOW, BLOCK = range(1, 7)


@dataclass(frozen=True, slots=True)
class Record:
    """version: of IGMP or MLD that it was reported by."""

    kind: int
    group: Address
    sources: tuple[Address, ...]
    version: int


def _records(data: bytes, count: int, size: int) -> tuple[Record, ...]:
    """The group records of a version 3 (addresses of 4 bytes) or MLDv2 (16 bytes) report."""
    one = IPv4Address if size == 4 else IPv6Address
    found = []
    for _ in range(count):
        if len(data) < 4 + size:
            raise Malformed("membership record cut short")
        kind, extra, sources = struct.unpack_from("!BBH", data)
        length = 4 + size + sources * size + extra * 4
        if len(data) < length:
            raise Malformed("membership record cut short")
        if not IS_IN <= kind <= BLOCK:
            raise Malformed("membership record kind")
        at = 4 + size
        listed = tuple(one(data[at + i * size :][:size]) for i in range(sources))
        found.append(Record(kind, one(data[4:at]), listed, 3 if size == 4 else 2))
        data = data[length:]
    return tuple(found)


def _multicast(records: tuple[Record, ...]) -> tuple[Record, ...]:
    if not all(one.group.is_multicast for one in records):
        raise Malformed("membership group")
    return records


def read(data: bytes) -> tuple[Record, ...] | None:
    """The records of a report or leave; None for a query. Raises Malformed: `short igmp`,
    `igmp checksum`, `igmp kind`, `membership group`, `membership record ...`."""
    if len(data) < 8:
        raise Malformed("short igmp")
    if checksum(data):
        raise Malformed("igmp checksum")
    group = IPv4Address(data[4:8])
    match data[0]:
        case 0x11:
            return None
        case 0x12:
            return _multicast((Record(TO_EX, group, (), 1),))
        case 0x16:
            return _multicast((Record(TO_EX, group, (), 2),))
        case 0x17:
            return _multicast((Record(TO_IN, group, (), 2),))
        case 0x22:
            return _multicast(_records(data[8:], int.from_bytes(data[6:8], "big"), 4))
    raise Malformed("igmp kind")


def read_mld(kind: int, body: bytes) -> tuple[Record, ...] | None:
    """body: after the checksum, which has been checked. As `read`."""
    if kind == MLD2_REPORT:
        if len(body) < 4:
            raise Malformed("short mld")
        return _multicast(_records(body[4:], int.from_bytes(body[2:4], "big"), 16))
    if len(body) < 20:
        raise Malformed("short mld")
    if kind == MLD_QUERY:
        return None
    group = IPv6Address(body[4:20])
    return _multicast((Record(TO_IN if kind == MLD_DONE else TO_EX, group, (), 1),))


def code(value: int) -> int:
    """A number as RFC 3376 codes it in 8 bits (section 4.1.1), not above what it says."""
    if value < 128:
        return value
    exponent = 0
    while value >> (exponent + 3) > 0x1F:
        exponent += 1
    return 0x80 | min(exponent, 7) << 4 | (value >> (exponent + 3)) & 0x0F


def query(group: IPv4Address | None, response: int, robustness: int, interval: int) -> bytes:
    """A version 3 query. response: tenths of a second; interval: seconds. group: None general."""
    data = struct.pack(
        "!BBH4sBBH",
        QUERY,
        code(response),
        0,
        group.packed if group else bytes(4),
        robustness,
        code(interval),
        0,
    )
    return data[:2] + checksum(data).to_bytes(2, "big") + data[4:]


def mld_query(group: IPv6Address | None, response: int, robustness: int, interval: int) -> bytes:
    """The body of an MLDv2 query. response: milliseconds, up to 32,767 (no exponent needed)."""
    return struct.pack(
        "!HH16sBBH",
        min(response, 32_767),
        0,
        group.packed if group else bytes(16),
        robustness,
        code(interval),
        0,
    )
