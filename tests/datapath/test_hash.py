# SPDX-License-Identifier: Apache-2.0
"""The model's hash against vectors that a C program of its own, from Jenkins' text, printed.

That program hashes byte by byte; it was checked against the two vectors in lookup3.c itself.
"""

from __future__ import annotations

import pytest

from tests.model.ecmp import Flow
from tests.model.hash import hash_two, hashlittle, hashword
from tests.model.state import ip

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


def test_the_vectors_of_lookup3() -> None:
    text = b"Four score and seven years ago"
    assert hashlittle(text, 0) == 0x17770551
    assert hashlittle(text, 1) == 0xCD628161


UDP = {"proto": 17, "sport": (1111).to_bytes(2, "big"), "dport": (2222).to_bytes(2, "big")}
# by the fields that count, from 1 (the protocol) to 31 (all)
MASKED = [
    *(0x19147458, 0xDBB85096, 0xD41C00F2, 0x6F53369F, 0x4427863A, 0xD88DC5E9, 0x62394998),
    *(0x6E314A82, 0xB27478BC, 0xBCD04267, 0x2C94E06A, 0xEEDD964B, 0x1272D2B7, 0xD852F9F1),
    *(0x596C8A03, 0xEBB6C935, 0xE744013F, 0x75D06B8F, 0x910047D7, 0xCEFF6D86, 0x942BCA5D),
    *(0xCBB9B46B, 0x5580755F, 0xF696DFA3, 0xE4CAC43B, 0x4E7DA036, 0xCB1B48F0, 0x21CD996F),
    *(0xB258A19C, 0x9B2CEB24, 0xA7E6DFE4),
]


def test_the_key_of_a_flow() -> None:
    flow = Flow(2, src=ip("10.1.1.1"), dst=ip("10.1.10.1"), **UDP)  # type: ignore[arg-type]
    assert flow.key(11).hex() == "02110000045708ae0b0000000a0101010a010a01"
    assert hashlittle(flow.key(11), 0) == 0x38E2AC73
    six = bytes.fromhex("fd00" + "00" * 13)
    flow = Flow(10, src=six + b"\1", dst=six + b"\2", **UDP)  # type: ignore[arg-type]
    assert len(flow.key(11)) == 44
    assert hashlittle(flow.key(11), 0) == 0xF19AE8EF


@pytest.mark.parametrize("fields", range(1, 32))
def test_fields_that_do_not_count_are_zero(fields: int) -> None:
    flow = Flow(2, src=ip("10.1.1.1"), dst=ip("10.1.11.1"), **UDP)  # type: ignore[arg-type]
    assert hashlittle(flow.only(fields).key(11), 0) == MASKED[fields - 1]


def test_a_frame_is_known_by_its_ethernet_header_and_its_vrf() -> None:
    head = bytes.fromhex("02000a01011202000a01010188cc")
    assert hash_two(hashlittle(head, 0), 1) == 0x5FA33D25
