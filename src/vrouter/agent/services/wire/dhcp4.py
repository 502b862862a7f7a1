# SPDX-License-Identifier: Apache-2.0
"""DHCPv4 messages (RFC 2131, RFC 2132): fixed part and options."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from .malformed import Malformed

SERVER_PORT = 67
CLIENT_PORT = 68
DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = range(1, 9)

SUBNET_MASK, ROUTER, DNS, HOST_NAME, DOMAIN, MTU, NTP = 1, 3, 6, 12, 15, 26, 42
REQUESTED, LEASE_TIME, OVERLOAD, KIND, SERVER_ID, ASKED = 50, 51, 52, 53, 54, 55
MESSAGE, MOST, T1, T2, CLIENT_ID, RELAY, ROUTES = 56, 57, 58, 59, 61, 82, 121
BROADCAST_FLAG = 0x8000

_HEAD = struct.Struct("!BBBBIHH4s4s4s4s16s64s128s4s")
_COOKIE = bytes((99, 130, 83, 99))
_END = 255
# BOOTP's least (RFC 951): some clients refuse less
_LEAST = 300


@dataclass(frozen=True, slots=True)
class Message:
    """A message. options: by code; parts of a long one are joined (RFC 3396)."""

    op: int
    xid: int
    flags: int
    ciaddr: IPv4Address
    yiaddr: IPv4Address
    giaddr: IPv4Address
    chaddr: bytes
    secs: int = 0
    options: dict[int, bytes] = field(default_factory=dict)

    @property
    def kind(self) -> int:
        """DISCOVER ...; 0 for BOOTP without a message type."""
        value = self.options.get(KIND, b"")
        return value[0] if len(value) == 1 else 0

    def address(self, code: int) -> IPv4Address | None:
        """An option that is one address. Raises Malformed: `dhcp option length`."""
        value = self.options.get(code)
        if value is None:
            return None
        if len(value) != 4:
            raise Malformed("dhcp option length")
        return IPv4Address(value)


def _parts(area: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(area):
        code = area[at]
        if code == _END:
            return
        at += 1
        if not code:
            continue
        if at >= len(area) or at + 1 + area[at] > len(area):
            raise Malformed("dhcp option cut short")
        yield code, area[at + 1 : at + 1 + area[at]]
        at += 1 + area[at]


def _options(area: bytes, sname: bytes, file: bytes) -> dict[int, bytes]:
    """All options, those of an overloaded `file` and `sname` after the rest (RFC 3396, 5)."""
    options: dict[int, bytearray] = {}
    for code, value in _parts(area):
        options.setdefault(code, bytearray()).extend(value)
    overload = bytes(options.get(OVERLOAD, b""))
    if overload and overload not in (b"\1", b"\2", b"\3"):
        raise Malformed("dhcp overload")
    uses = overload[0] if overload else 0
    for more in (file if uses & 1 else b"", sname if uses & 2 else b""):
        for code, value in _parts(more):
            options.setdefault(code, bytearray()).extend(value)
    return {code: bytes(value) for code, value in options.items()}


def read(data: bytes) -> Message:
    """Raises Malformed: `short dhcp`, `dhcp hardware`, `dhcp cookie`, `dhcp option cut short`,
    `dhcp overload`."""
    if len(data) < _HEAD.size:
        raise Malformed("short dhcp")
    head = _HEAD.unpack_from(data)
    op, htype, hlen, _, xid, secs, flags, ciaddr, yiaddr, _, giaddr, chaddr, sname, file, magic = (
        head
    )
    if (htype, hlen) != (1, 6):
        raise Malformed("dhcp hardware")
    if magic != _COOKIE:
        raise Malformed("dhcp cookie")
    return Message(
        op,
        xid,
        flags,
        IPv4Address(ciaddr),
        IPv4Address(yiaddr),
        IPv4Address(giaddr),
        chaddr[:6],
        secs,
        _options(data[_HEAD.size :], sname, file),
    )


def build(message: Message, room: int) -> bytes:
    """A message of at most `room` bytes: options in their order, those left out that do not fit."""
    data = _HEAD.pack(
        message.op,
        1,
        6,
        0,
        message.xid,
        message.secs,
        message.flags,
        message.ciaddr.packed,
        message.yiaddr.packed,
        bytes(4),
        message.giaddr.packed,
        message.chaddr.ljust(16, b"\0"),
        b"",
        b"",
        _COOKIE,
    )
    for code, value in message.options.items():
        coded = option(code, value)
        if len(data) + len(coded) < room:
            data += coded
    return (data + bytes((_END,))).ljust(_LEAST, b"\0")


def option(code: int, value: bytes) -> bytes:
    """An option, in parts of 255 bytes when it is longer (RFC 3396)."""
    parts = [value[at : at + 255] for at in range(0, len(value), 255)] or [b""]
    return b"".join(bytes((code, len(part))) + part for part in parts)


def routes(pairs: Iterable[tuple[IPv4Network, IPv4Address]]) -> bytes:
    """Option 121 (RFC 3442): only the significant bytes of each prefix."""
    return b"".join(
        bytes((prefix.prefixlen,))
        + prefix.network_address.packed[: (prefix.prefixlen + 7) // 8]
        + hop.packed
        for prefix, hop in pairs
    )
