# SPDX-License-Identifier: Apache-2.0
"""Over a field that is not known, as far as its type says how long it is."""

from __future__ import annotations

import struct
from typing import Final

_FIXED: Final = {
    2: 1,  # bool
    3: 1,  # byte
    4: 8,  # double
    6: 2,
    8: 4,
    9: 8,
    10: 8,
    19: 2,
    20: 4,
    22: 4,  # ipv4
    23: 16,  # uuid
}
_BLOBS: Final = frozenset({11, 21})  # string, xml
_STRUCT: Final = 12
_LIST: Final = 15
_DEPTH: Final = 8
_LENGTH: Final = struct.Struct(">I")


class Malformed(ValueError):  # noqa: N818 - it says what the message is
    """Bytes that are no message, or values that cannot be put into one."""


def skip(data: bytes, at: int, code: int, depth: int = 0) -> int:
    """Where the value of type `code` at `at` ends. Raises Malformed."""
    end = at
    if code in _FIXED:
        end = at + _FIXED[code]
    elif code in _BLOBS:
        end = at + 4 + _length(data, at)
    elif code == _LIST and depth < _DEPTH:
        end = _skip_list(data, at, depth)
    elif code == _STRUCT and depth < _DEPTH:
        end = _skip_struct(data, at, depth)
    else:
        raise Malformed(f"a field of type {code}")
    if end > len(data):
        raise Malformed(f"a field of {end - at} bytes, and only {len(data) - at} follow")
    return end


def _length(data: bytes, at: int) -> int:
    if at + 4 > len(data):
        raise Malformed("cut short")
    return int(_LENGTH.unpack_from(data, at)[0])


def _skip_list(data: bytes, at: int, depth: int) -> int:
    count = _length(data, at + 1)
    kind, at = data[at], at + 5
    if kind in _FIXED:
        return at + count * _FIXED[kind]
    # each element takes at least a byte
    if count > len(data) - at:
        raise Malformed(f"a list of {count} elements, and only {len(data) - at} bytes follow")
    for _ in range(count):
        at = skip(data, at, kind, depth + 1)
    return at


def _skip_struct(data: bytes, at: int, depth: int) -> int:
    while True:
        if at >= len(data):
            raise Malformed("cut short")
        code, at = data[at], at + 1
        if not code:
            return at
        at = skip(data, at + 2, code, depth + 1)
