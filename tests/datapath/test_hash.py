# SPDX-License-Identifier: Apache-2.0
"""The model's hash against vectors that a C program of its own, from Jenkins' text, printed."""

from __future__ import annotations

import pytest

from tests.model.hash import hashword

COUNTED = [
    0xDEADBEEF,
    0x72A82A9B,
    0x8B4C7979,
    0xA46158F5,
    0x66491246,
    0x629129C0,
    0xE3E36B25,
    0x3E606A2C,
]
ONES = [
    0x3D9AD123,
    0x9BC7F4E1,
    0x383E21E2,
    0xC0D244C4,
    0xA8709237,
    0x0692874B,
    0xEABEF249,
    0x1BD2EDD1,
]


@pytest.mark.parametrize("length", range(8))
def test_vectors(length: int) -> None:
    assert hashword(range(1, length + 1), 0) == COUNTED[length]
    assert hashword([0xFFFFFFFF] * length, 0x5EED1234) == ONES[length]
