# SPDX-License-Identifier: Apache-2.0
"""DHCPv6 messages (RFC 8415)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address

from . import names
from .malformed import Malformed

CLIENT_PORT = 546
SERVER_PORT = 547
SOLICIT, ADVERTISE, REQUEST, CONFIRM, RENEW, REBIND, REPLY, RELEASE, DECLINE = range(1, 10)
INFORMATION = 11
RELAY_FORWARD = 12

CLIENT_ID, SERVER_ID, IA_NA, IA_TA, IA_ADDRESS, ASKED, PREFERENCE = 1, 2, 3, 4, 5, 6, 7
STATUS, RAPID_COMMIT, DNS, DOMAINS, IA_PD, SNTP, REFRESH, NTP = 13, 14, 23, 24, 25, 31, 32, 56
SUCCESS, NO_ADDRESSES, NO_BINDING, NOT_ON_LINK, USE_MULTICAST, NO_PREFIX = 0, 2, 3, 4, 5, 6
# RFC 8415, section 11.1: 128 bytes after the type
_MOST_DUID = 130

Option = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Message:
    """options: in the order in which they stand."""

    kind: int
    xid: bytes
    options: tuple[Option, ...]

    def one(self, code: int) -> bytes | None:
        """The first option of a code."""
        return next((value for found, value in self.options if found == code), None)

    def every(self, code: int) -> list[bytes]:
        """All options of a code."""
        return [value for found, value in self.options if found == code]


@dataclass(frozen=True, slots=True)
class Association:
    """An IA_NA: its id, and the addresses in it."""

    iaid: bytes
    addresses: tuple[IPv6Address, ...]


def options(data: bytes) -> tuple[Option, ...]:
    """Raises Malformed: `dhcp option cut short`."""
    found = []
    while data:
        if len(data) < 4:
            raise Malformed("dhcp option cut short")
        code, size = struct.unpack_from("!HH", data)
        if len(data) < 4 + size:
            raise Malformed("dhcp option cut short")
        found.append((code, data[4 : 4 + size]))
        data = data[4 + size :]
    return tuple(found)


def read(data: bytes) -> Message:
    """Raises Malformed: `short dhcp`, `dhcp option cut short`, `dhcp duid`."""
    if len(data) < 4:
        raise Malformed("short dhcp")
    message = Message(data[0], data[1:4], options(data[4:]))
    for code in (CLIENT_ID, SERVER_ID):
        duids = message.every(code)
        if len(duids) > 1 or (duids and not 3 <= len(duids[0]) <= _MOST_DUID):
            raise Malformed("dhcp duid")
    return message


def association(value: bytes) -> Association:
    """Of the value of an IA_NA. Raises Malformed: `dhcp option cut short`."""
    if len(value) < 12:
        raise Malformed("dhcp option cut short")
    addresses = []
    for code, inner in options(value[12:]):
        if code == IA_ADDRESS:
            if len(inner) < 24:
                raise Malformed("dhcp option cut short")
            options(inner[24:])
            addresses.append(IPv6Address(inner[:16]))
    return Association(value[:4], tuple(addresses))


def asked(message: Message) -> frozenset[int]:
    """The codes of the option request option. Raises Malformed: `dhcp option cut short`."""
    value = message.one(ASKED) or b""
    if len(value) % 2:
        raise Malformed("dhcp option cut short")
    return frozenset(struct.unpack(f"!{len(value) // 2}H", value))


def build(message: Message) -> bytes:
    """A message."""
    return bytes((message.kind,)) + message.xid + b"".join(option(*one) for one in message.options)


def option(code: int, value: bytes) -> bytes:
    """An option."""
    return struct.pack("!HH", code, len(value)) + value


def status(code: int, text: str) -> Option:
    """A status code option."""
    return STATUS, struct.pack("!H", code) + text.encode()


def ia_na(iaid: bytes, lifetime: int, inner: Sequence[Option]) -> Option:
    """An IA_NA: T1 half, T2 four fifths of the preferred lifetime (RFC 8415, section 21.4)."""
    head = iaid + struct.pack("!II", lifetime // 2, lifetime * 4 // 5)
    return IA_NA, head + b"".join(option(*one) for one in inner)


def ia_address(address: IPv6Address, preferred: int, valid: int) -> Option:
    """An address inside an IA; lifetimes in seconds."""
    return IA_ADDRESS, address.packed + struct.pack("!II", preferred, valid)


def duid_ll(mac: bytes) -> bytes:
    """A DUID made of a link-layer address (RFC 8415, section 11.4)."""
    return struct.pack("!HH", 3, 1) + mac


def addresses(many: Sequence[IPv6Address]) -> bytes:
    """The value of options 23 and 31."""
    return b"".join(one.packed for one in many)


def ntp(many: Sequence[IPv6Address]) -> bytes:
    """The value of option 56: a server address suboption for each (RFC 5908)."""
    return b"".join(option(1, one.packed) for one in many)


def domains(many: Sequence[str]) -> bytes:
    """The value of option 24."""
    return b"".join(names.encode(one) for one in many)
