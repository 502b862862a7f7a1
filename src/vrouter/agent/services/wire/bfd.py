# SPDX-License-Identifier: Apache-2.0
"""BFD control packets (RFC 5880, section 4.1), without authentication."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from .malformed import Malformed

PORT = 3784
ADMIN_DOWN, DOWN, INIT, UP = range(4)
NONE, EXPIRED, ECHO_FAILED, NEIGHBOUR_DOWN = range(4)
POLL = 0x20
FINAL = 0x10
_AUTH = 0x04
_MULTIPOINT = 0x01
_HEAD = struct.Struct("!BBBBIIIII")


@dataclass(frozen=True, slots=True)
class Control:
    """Times in microseconds. flags: POLL, FINAL and the others as they stand."""

    state: int
    diag: int
    flags: int
    multiplier: int
    mine: int
    yours: int
    min_tx: int
    min_rx: int
    min_echo: int = 0


def read(data: bytes) -> Control:
    """The checks of RFC 5880, section 6.8.6, that need no session. Raises Malformed: `short bfd`,
    `bfd version`, `bfd multiplier`, `bfd multipoint`, `bfd discriminator`, `bfd authentication`."""
    if len(data) < _HEAD.size or not _HEAD.size <= data[3] <= len(data):
        raise Malformed("short bfd")
    first, second, multiplier, _, mine, yours, min_tx, min_rx, echo = _HEAD.unpack_from(data)
    state = second >> 6
    if first >> 5 != 1:
        raise Malformed("bfd version")
    if not multiplier:
        raise Malformed("bfd multiplier")
    if second & _MULTIPOINT:
        raise Malformed("bfd multipoint")
    if not mine or (not yours and state not in (DOWN, ADMIN_DOWN)):
        raise Malformed("bfd discriminator")
    if second & _AUTH:
        raise Malformed("bfd authentication")
    return Control(
        state, first & 0x1F, second & 0x3F, multiplier, mine, yours, min_tx, min_rx, echo
    )


def build(one: Control) -> bytes:
    """The 24 bytes of a control packet."""
    return _HEAD.pack(
        1 << 5 | one.diag,
        one.state << 6 | one.flags,
        one.multiplier,
        _HEAD.size,
        one.mine,
        one.yours,
        one.min_tx,
        one.min_rx,
        one.min_echo,
    )
