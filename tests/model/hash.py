# SPDX-License-Identifier: Apache-2.0
"""Jenkins' lookup3: his public-domain `hashword` and `hashlittle`."""

from collections.abc import Sequence

_MASK = 0xFFFFFFFF


def _rot(x: int, k: int) -> int:
    return ((x << k) | (x >> (32 - k))) & _MASK


def hashword(words: Sequence[int], initval: int) -> int:
    """Hash 32-bit words with a 32-bit seed; the result has 32 bits."""
    a = b = c = (0xDEADBEEF + (len(words) << 2) + initval) & _MASK
    rest = list(words)
    while len(rest) > 3:
        a, b, c = (a + rest[0]) & _MASK, (b + rest[1]) & _MASK, (c + rest[2]) & _MASK
        for shift in ((4, 6, 8), (16, 19, 4)):
            a = ((a - c) & _MASK) ^ _rot(c, shift[0])
            c = (c + b) & _MASK
            b = ((b - a) & _MASK) ^ _rot(a, shift[1])
            a = (a + c) & _MASK
            c = ((c - b) & _MASK) ^ _rot(b, shift[2])
            b = (b + a) & _MASK
        rest = rest[3:]
    if not rest:
        return c
    rest += [0] * (3 - len(rest))
    a, b, c = (a + rest[0]) & _MASK, (b + rest[1]) & _MASK, (c + rest[2]) & _MASK
    return _final(a, b, c)


def hashlittle(data: bytes, initval: int) -> int:
    """Hash bytes with a 32-bit seed; the result has 32 bits. Nothing hashes to itself."""
    words = [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4)]
    # hashword() adds the length of its words: here the last one may be a part of one
    return hashword(words, (initval + len(data) - 4 * len(words)) & _MASK)


def _final(a: int, b: int, c: int) -> int:
    c = ((c ^ b) - _rot(b, 14)) & _MASK
    a = ((a ^ c) - _rot(c, 11)) & _MASK
    b = ((b ^ a) - _rot(a, 25)) & _MASK
    c = ((c ^ b) - _rot(b, 16)) & _MASK
    a = ((a ^ c) - _rot(c, 4)) & _MASK
    b = ((b ^ a) - _rot(a, 14)) & _MASK
    return ((c ^ b) - _rot(b, 24)) & _MASK


def hash_two(a: int, b: int) -> int:
    """Upstream's hash of two words: only lookup3's last step."""
    return _final((0xDEADBEEF + a) & _MASK, (0xDEADBEEF + b) & _MASK, 0)
