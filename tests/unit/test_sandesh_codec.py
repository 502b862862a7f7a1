# SPDX-License-Identifier: Apache-2.0
"""Messages and frames of the control protocol."""

from __future__ import annotations

import random
import re
import struct
from fnmatch import fnmatch
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit import sandesh_by_hand as by_hand

from vrouter.sandesh import frames
from vrouter.sandesh.codec import Malformed, Template, decode, encode
from vrouter.sandesh.schema import INTEGERS, SIZES, Field, Schema, schemas

NAMES = sorted(schemas())


def _integers(kind: str) -> st.SearchStrategy[int]:
    letter = INTEGERS[kind][1]
    bits = 8 * SIZES[letter]
    if letter.isupper():
        return st.integers(0, (1 << bits) - 1)
    return st.integers(-(1 << bits - 1), (1 << bits - 1) - 1)


def _values_of(field: Field) -> st.SearchStrategy[Any]:
    if field.type == "string":
        return st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
    if field.element == "byte":
        return st.binary(max_size=80)
    if field.element is not None:
        return st.lists(_integers(field.element), max_size=20).map(tuple)
    return _integers(field.type)


def _messages(schema: Schema) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={one.name: _values_of(one) for one in schema.fields})


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_round_trip(name: str, data: st.DataObject) -> None:
    schema = schemas()[name]
    values = data.draw(_messages(schema))
    (first, second) = decode(encode(name, values) * 2)
    assert first == second
    assert first.name == name
    assert first.fields == {**schema.defaults, **values}
    assert encode(name, first.fields) == encode(name, values)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_template_packs_as_all_are_packed(name: str, data: st.DataObject) -> None:
    schema = schemas()[name]
    values = {**schema.defaults, **data.draw(_messages(schema))}
    free = [one.name for one in schema.fields if data.draw(st.booleans())]
    template = Template(name, [*values.values()], free)
    for one in schema.fields:
        if one.name in free and one.type not in ("string", "list"):
            bits = 8 * SIZES[INTEGERS[one.type][1]]
            # of either sign, as `encode` takes them
            values[one.name] = data.draw(st.integers(-(1 << bits - 1), (1 << bits) - 1))
    row = [values[one] for one in free]
    packed = template.pack(
        tuple(encoded(schema, one, value) for one, value in zip(free, row, strict=True))
    )
    assert packed == encode(name, values)


def encoded(schema: Schema, name: str, value: Any) -> Any:
    """Lists and strings as bytes, as a template takes them."""
    (field,) = [one for one in schema.fields if one.name == name]
    if field.type == "string":
        return value.encode()
    if field.type == "list" and field.element != "byte":
        letter = INTEGERS[field.element or ""][1]
        return struct.pack(f">{len(value)}{letter}", *value)
    return value


def test_a_template_takes_integers_of_either_sign() -> None:
    blank = [*schemas()["vr_route_req"].defaults.values()]
    template = Template("vr_route_req", blank, ["rtr_label_flags", "rtr_nh_id"])
    assert template.pack((0xFFFF, 7)) == template.pack((-1, 7))
    with pytest.raises(Malformed, match="rtr_nh_id cannot be"):
        template.pack((1, 1 << 32))
    with pytest.raises(Malformed, match="order of vr_route_req"):
        Template("vr_route_req", blank, ["rtr_nh_id", "rtr_label_flags"])


@pytest.mark.parametrize("name", NAMES)
def test_golden(name: str) -> None:
    golden = bytes.fromhex((by_hand.GOLDEN / f"{name}.hex").read_text())
    values = by_hand.sample(name)
    assert encode(name, values) == golden
    (message,) = decode(golden)
    for field, value in values.items():
        found = getattr(message, field)
        assert (list(found) if isinstance(found, bytes | tuple) else found) == value, field


@settings(max_examples=200, deadline=None)
@given(name=st.sampled_from(NAMES), data=st.data())
def test_the_second_encoder_agrees(name: str, data: st.DataObject) -> None:
    values = data.draw(_messages(schemas()[name]))
    assert encode(name, values) == by_hand.message(name, values)


def test_the_example_of_the_description() -> None:
    wanted = "0000000b76725f726573706f6e7365 08 0001 00000004 08 0002 00000000 00"
    made = encode("vr_response", {"h_op": 4, "resp_code": 0})
    assert made.hex() == wanted.replace(" ", "")
    assert len(made) == 30


def test_fields_in_any_order_missing_and_unknown_ones() -> None:
    name = b"vr_mpls_req"
    head = struct.pack(">I", len(name)) + name
    unknown = [
        bytes.fromhex("02 0064 01"),
        bytes.fromhex("04 0065 0000000000000000"),
        bytes.fromhex("0b 0066 00000003 616263"),
        bytes.fromhex("0f 0067 08 00000002 0000000100000002"),
        bytes.fromhex("0f 0068 0b 00000002 00000001 61 00000000"),
        bytes.fromhex("0c 0069 08 0001 00000001 00"),
        bytes.fromhex("17 006a" + "00" * 16),
    ]
    fields = struct.pack(">Bhi", 8, 4, 7) + b"".join(unknown) + struct.pack(">Bhi", 8, 2, 99)
    (message,) = decode(head + fields + b"\0" + bytes(3))
    assert message.fields == {"mr_nhid": 7, "mr_label": 99}
    assert (message.h_op, message.mr_marker) == (0, 0)
    with pytest.raises(AttributeError):
        message.nothing  # noqa: B018


def test_integers_of_either_sign_are_taken() -> None:
    (message,) = decode(encode("vr_interface_req", {"vifr_vlan_id": 0xFFFF, "vifr_ip": -1}))
    assert (message.vifr_vlan_id, message.vifr_ip) == (-1, 0xFFFFFFFF)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("vr_nothing", {}),
        ("vr_mpls_req", {"mr_nothing": 1}),
        ("vr_mpls_req", {"mr_rid": 1 << 16}),
        ("vr_mpls_req", {"mr_label": "12"}),
        ("vr_mpls_req", {"mr_label": 1.5}),
        ("vr_interface_req", {"vifr_name": 7}),
        ("vr_interface_req", {"vifr_mac": [256 * 256]}),
        ("vr_interface_req", {"vifr_mac": 5}),
        ("vr_nexthop_req", {"nhr_nh_list": [1 << 40]}),
    ],
)
def test_what_cannot_be_encoded(name: str, values: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        encode(name, values)


def test_every_cut_is_malformed() -> None:
    whole = encode("vr_nexthop_req", by_hand.sample("vr_nexthop_req"))
    assert len(list(decode(whole))) == 1
    for length in range(5, len(whole)):
        with pytest.raises(Malformed):
            list(decode(whole[:length]))


@pytest.mark.parametrize(
    "text",
    [
        "0000000b 76725f6d706c735f726571 06 0002 0001 00",  # i16 for an i32
        "0000000b 76725f6d706c735f726571 7f 0064 00",  # unknown field of an unknown type
        "0000000b 76725f6d706c735f726571 0f 0064 0b ffffffff 00",  # four thousand million strings
        "0000000b 76725f6d706c735f726571 0f 0064 0a ffffffff 00",
        "0000000b 76725f6d706c735f726571 0b 0064 ffffffff 00",
        "0000000e 76725f6e657874686f705f726571 0f 0011 08 00000001 00000001 00",  # i32 for bytes
        "0000000e 76725f6e657874686f705f726571 0f 0011 03 ffffffff 00",
        "ffffffff 76725f6d706c735f726571 00",
        "00000000 01",
        "0000000b 76725f6d706c735f726571 00 010203",
        "0000000b 76725f6d706c735f726571 0c 0064" + "0c0001" * 20 + "00" * 21,  # too deep
    ],
)
def test_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        list(decode(bytes.fromhex(text)))


def test_random_bytes_never_raise_anything_else() -> None:
    r = random.Random(7)
    whole = [bytearray(encode(name, by_hand.sample(name))) for name in NAMES]
    for _ in range(5000):
        data = bytearray(r.choice(whole))
        for _ in range(r.randrange(1, 4)):
            data[r.randrange(len(data))] = r.choice((0, 255, r.randrange(256)))
        try:
            list(decode(bytes(data)))
        except Malformed:
            continue


def test_frames() -> None:
    payload = encode("vr_mpls_req", {"h_op": 1, "mr_label": 17})
    made = frames.request(5, payload)
    assert made == by_hand.frame(payload, 5)
    assert frames.length_of(made[:16]) == len(made)
    parsed = frames.parse_request(made + bytes(4))
    assert (parsed.sequence, parsed.payload, parsed.version) == (5, payload, 0)
    first = frames.answers(parsed, [b"abc", b"defg"])
    cut = frames.length_of(first)
    one, two = frames.parse_answer(first[:cut]), frames.parse_answer(first[cut:])
    assert (one.payload, one.flags, two.payload, two.flags) == (b"abc", 2, b"defg", 0)
    # an answer's attribute does not count its own header
    assert struct.unpack_from("=H", first, 20) == (3,)


@pytest.mark.parametrize(
    ("at", "code", "value"),
    [(16, "B", 2), (20, "H", 3), (20, "H", 0xFFFF), (22, "H", 2)],
)
def test_frames_with_wrong_headers(at: int, code: str, value: int) -> None:
    made = bytearray(frames.request(5, b"abcd"))
    struct.pack_into("=" + code, made, at, value)
    with pytest.raises(Malformed):
        frames.parse_request(bytes(made))


@pytest.mark.parametrize("length", [0, 15, 23, frames.MAX_FRAME + 1, 0xFFFFFFFF])
def test_frames_of_a_wrong_length(length: int) -> None:
    with pytest.raises(Malformed):
        frames.length_of(struct.pack("=IHHII", length, 0x20, 1, 1, 0))


def test_every_message_and_field_is_documented() -> None:
    page = by_hand.TABLE.parents[3] / "docs/reference/compatibility.md"
    _, _, text = page.read_text().partition("\n## Messages\n")
    parts = dict(part.split("\n", 1) for part in text.partition("\n## ")[0].split("\n### ")[1:])
    assert set(parts) == set(NAMES)
    for name, part in parts.items():
        words = re.findall(r"`(\w+\*?)`", part)
        fields = {field.name for field in schemas()[name].fields}
        missing = [one for one in fields if not any(fnmatch(one, word) for word in words)]
        assert not missing, (name, missing)
        known = re.compile(r"(?:h|vifr|nhr|rtr|mr|vxlanr|mirr|vrf|var|vsr|vds|vdl|qmr|fmr|vo)_\w+$")
        assert {word for word in words if known.match(word)} <= fields, name
