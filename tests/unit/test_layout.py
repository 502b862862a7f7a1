# SPDX-License-Identifier: Apache-2.0
"""Structs to bytes and back."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vrouter.dpcore.errors import BadValue
from vrouter.dpcore.layout import Field, Layout

PAIR = Layout("pair", 8, {"nh": Field(0, 4, "uint"), "label": Field(4, 4, "uint")})
THING = Layout(
    "thing",
    56,
    {
        "id": Field(0, 4, "uint"),
        "ip": Field(4, 4, "be"),
        "port": Field(8, 2, "be"),
        "qos": Field(10, 2, "int"),
        "kind": Field(12, 1, "uint"),
        "mac": Field(14, 1, "bytes", 6),
        "name": Field(20, 1, "str", 4),
        "big": Field(24, 8, "be"),
        "words": Field(32, 2, "be", 2),
        "pair": Field(36, 8, "struct", 1, PAIR),
        "pairs": Field(44, 8, "struct", 1, PAIR),
    },
)
LIST = Layout("list", 20, {"count": Field(0, 4, "uint"), "m": Field(4, 8, "struct", 2, PAIR)})


def test_missing_fields_are_zero() -> None:
    assert THING.pack() == bytes(56)


def test_network_byte_order_only_where_the_type_says_so() -> None:
    raw = THING.pack(id=1, ip=0x0A000001, port=4789, big=1)
    assert raw[0:4] == (1).to_bytes(4, sys.byteorder)
    assert raw[4:8] == b"\x0a\0\0\1"
    assert raw[8:10] == b"\x12\xb5"
    assert raw[24:32] == b"\0\0\0\0\0\0\0\1"


def test_what_is_packed_comes_back() -> None:
    values = {
        "id": 7, "ip": 0xFFFFFFFF, "port": 1, "qos": -1, "kind": 255, "mac": b"\1\2\3\4\5\6",
        "name": "vh0", "big": 2**64 - 1, "words": (1, 0xABCD),
        "pair": {"nh": 1, "label": 2}, "pairs": {"nh": 3, "label": 4},
    }  # fmt: skip
    assert THING.unpack(THING.pack(**values)) == values


def test_unpack_at_an_offset_of_a_memoryview() -> None:
    raw = memoryview(b"xx" + PAIR.pack(nh=1, label=2))
    assert PAIR.unpack(raw, 2) == {"nh": 1, "label": 2}


def test_nested_structs_take_bytes_or_dicts() -> None:
    whole = LIST.pack(count=1, m=[{"nh": 1, "label": 2}])
    assert LIST.pack(count=1, m=PAIR.pack(nh=1, label=2) + bytes(8)) == whole
    assert LIST.unpack(whole)["m"] == ({"nh": 1, "label": 2}, {"nh": 0, "label": 0})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", -1), ("id", 2**32), ("id", "1"), ("id", None), ("id", 1.5), ("ip", -1),
        ("ip", 2**32), ("port", 65536), ("qos", 32768), ("kind", 256), ("mac", b"\1"),
        ("mac", "00:11:22:33:44:55"), ("name", "four"), ("name", b"b"), ("name", "a\0"),
        ("big", 2**64), ("words", (1, 2, 3)), ("words", (65536,)), ("pair", {"no": 1}),
        ("pair", b"short"), ("nothing", 1), ("pairs", {"nh": -1}),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_and_named(field: str, value: Any) -> None:
    with pytest.raises(BadValue) as caught:
        THING.pack(**{field: value})
    assert caught.value.field.startswith(("thing.", "pair."))


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**16 - 1), st.integers(-(2**15), 2**15 - 1))
def test_any_value_comes_back(ip: int, port: int, qos: int) -> None:
    got = THING.unpack(THING.pack(ip=ip, port=port, qos=qos))
    assert (got["ip"], got["port"], got["qos"]) == (ip, port, qos)
