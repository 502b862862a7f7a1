# SPDX-License-Identifier: Apache-2.0
"""Frames that are no requests, or hardly."""

from __future__ import annotations

import os
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.unit import sandesh_by_hand as by_hand

ROOT = Path(__file__).parents[2]
NAMES = sorted(by_hand.fields_of())
_HEAD = 24
_TYPES = (2, 3, 4, 6, 8, 9, 10, 11, 12, 13, 14, 15, 19, 20, 21, 22, 23, 24, 99, 255)


def seed(*, soak: bool = False) -> int:
    """$VR_SEED, or one that changes with what is tested; the long run takes a new one."""
    if given := os.environ.get("VR_SEED"):
        return int(given)
    if soak:
        return random.SystemRandom().getrandbits(32)
    sources = [*(ROOT / "src/vrouter/sandesh").rglob("*.py"), *ROOT.glob("tests/**/*sandesh*.py")]
    return zlib.crc32(b"".join(one.read_bytes() for one in sorted(sources)))


def _request(r: random.Random) -> bytes:
    """A message with random values of the right types, small numbers mostly."""
    name = r.choice(NAMES)
    values: dict[str, object] = {}
    for _, kind, element, field in by_hand.fields_of()[name]:
        if r.random() < 0.3:
            continue
        if kind == "string":
            values[field] = r.choice(("", "lo", "pkt1", "tap1", "x" * r.randrange(40)))
        elif element is not None:
            count = r.choice((0, 1, 3, 4, 6, 14, 16, 64, 300))
            values[field] = [_number(r) for _ in range(count)]
        else:
            values[field] = r.randrange(6) if kind == "sandesh_op" else _number(r)
    return by_hand.message(name, values)


def _number(r: random.Random) -> int:
    return r.choice((0, 0, 1, 2, 7, 10, r.randrange(256), -1, 1 << 31, r.getrandbits(64)))


# ---- what is malformed, whatever else it is -------------------------------------------------


def _cut(r: random.Random, message: bytes) -> bytes:
    """The end is missing."""
    return message[: r.randrange(5, len(message))]


def _huge_count(r: random.Random, message: bytes) -> bytes:
    """A list, or a string, of more elements than there are bytes."""
    count = struct.pack(">I", r.choice((0xFFFFFFFF, 0x7FFFFFFF, 1 << 24, 1 << 20)))
    field = struct.pack(">BhB", 15, 999, r.choice((3, 8, 10, 11))) + count
    return message[:-1] + r.choice((field, struct.pack(">Bh", 11, 999) + count)) + b"\0"


def _wrong_type(r: random.Random, message: bytes) -> bytes:
    """A known field, as it cannot be."""
    at = 4 + struct.unpack_from(">I", message)[0]
    return (
        message[:at]
        + bytes([r.choice([one for one in _TYPES if one not in (8, 11, 15)])])
        + (message[at + 1 : at + 3] + bytes(r.randrange(1, 40)) + b"\xff" * 3)
    )


def _wrong_name(r: random.Random, message: bytes) -> bytes:
    length = r.choice((0, 1, 11, 200, 0xFFFFFFFF, 0x80000000))
    return struct.pack(">I", length) + r.randbytes(11) + b"\x08\0\1\0\0\0\0\0"


def _garbage_behind(r: random.Random, message: bytes) -> bytes:
    return message + bytes(r.randrange(4)) + r.randbytes(r.randrange(1, 64)) + b"\xff"


_SPOILERS: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    _cut,
    _huge_count,
    _wrong_type,
    _wrong_name,
    _garbage_behind,
)


def malformed(r: random.Random) -> bytes:
    """A frame whose headers are right and whose messages are not: to be refused as a whole."""
    spoiled = r.choice(_SPOILERS)(r, _request(r))
    before = b"".join(_valid_label(r) for _ in range(r.randrange(3)))
    return by_hand.frame(before + spoiled, r.getrandbits(32))


def _valid_label(r: random.Random) -> bytes:
    """What would be done if it stood alone."""
    values = {"h_op": 0, "mr_label": r.randrange(16, 2048), "mr_nhid": 0}
    return by_hand.message("vr_mpls_req", values)


# ---- anything -------------------------------------------------------------------------------


def anything(r: random.Random) -> tuple[bytes, bool]:
    """Bytes, and whether they make whole frames, so that the connection goes on."""
    choice = r.randrange(6)
    if choice == 0:
        return r.randbytes(r.randrange(1, 200)), False
    if choice == 1:
        frame = by_hand.frame(_request(r), 1)
        return frame[: r.randrange(1, len(frame))], False
    if choice == 2:  # a length that cannot be, or that never comes
        length = r.choice((0, 1, 15, 23, 1 << 18, (1 << 18) + 1, 0xFFFFFFFF))
        return struct.pack("=I", length) + r.randbytes(20), False
    whole = bytearray(by_hand.frame(_request(r), 1))
    for _ in range(r.choice((0, 0, 1, 3))):
        whole[r.randrange(4, len(whole))] = r.choice((0, 1, 0xFF, r.randrange(256)))
    return bytes(whole), True


def frames(r: random.Random, count: int) -> Iterator[tuple[bytes, bool]]:
    """So many of `anything`."""
    for _ in range(count):
        yield anything(r)
