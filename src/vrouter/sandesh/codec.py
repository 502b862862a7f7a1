# SPDX-License-Identifier: Apache-2.0
"""Messages as bytes, and back, as their table says (schema.py).

A message is u32 length and name, then fields: u8 type, i16 id, value; a zero byte ends it. All
big endian. Every field is written, in the order of the IDL. Integers are taken as signed or
unsigned ones of their width and given back as the IDL says; lists of bytes are `bytes`, other
lists tuples of integers, strings `str` (what is no UTF-8 in them is kept as surrogates).

A message of which every field is there, in order, is packed and unpacked by one struct: its
layout, which depends on nothing but the lengths of its lists and strings.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final

from .schema import INTEGERS, LIST, SIZES, STOP, STRING, Field, Schema, schemas
from .skip import Malformed, skip

__all__ = ["Malformed", "Message", "Template", "decode", "encode"]

_LENGTH: Final = struct.Struct(">I")
_HEAD: Final = struct.Struct(">Bh")
_LIST: Final = struct.Struct(">BI")
_NAME_MAX: Final = 64
_LAYOUTS_MAX: Final = 16


class Message:
    """A message; fields that were not in it have the value 0, "" or an empty list.

    `message.rtr_nh_id` is a field's value, `fields` holds those that were there. The classes of
    the messages are made from their table.
    """

    name = ""

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Message:
        """The message with these fields."""
        made = cls.__new__(cls)
        made.__dict__ = fields
        return made

    @property
    def fields(self) -> Mapping[str, Any]:
        """The fields that were there."""
        return self.__dict__

    def __getattr__(self, field: str) -> Any:
        raise AttributeError(f"{self.name} has no field {field}")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{one}={value!r}' for one, value in self.fields.items())})"


class _Layout:
    """Packs and unpacks a message whose lists and strings have these lengths.

    The values of struct are a constant and a value for each field in turn, and a last constant.
    """

    def __init__(self, schema: Schema, lengths: Sequence[int]) -> None:
        name = schema.name.encode()
        codes: list[str] = []
        constants = [_LENGTH.pack(len(name)) + name]
        left = iter(lengths)
        for number, field in enumerate(schema.fields):
            head = _HEAD.pack(field.code, field.id)
            if field.code == STRING:
                length = next(left)
                head, code = head + _LENGTH.pack(length), f"{length}s"
            elif field.code == LIST:
                length = next(left)
                kind, letter = INTEGERS[field.element or ""]
                head, code = head + _LIST.pack(kind, length), f"{length * SIZES[letter]}s"
            else:
                code = INTEGERS[field.type][1]
            if number:
                constants.append(head)
            else:  # the first constant is that of the message's name too
                constants[0] += head
            codes.append(code)
        constants.append(b"\0")
        self.struct = _joined(constants, codes)
        self.codes = tuple(codes)
        self.size = self.struct.size
        self.constants = tuple(constants)
        self.blank = _blank(constants)


def _joined(constants: Sequence[bytes], codes: Sequence[str]) -> struct.Struct:
    """Of a constant and a value in turn, and a last constant."""
    pairs = zip(constants, (*codes, ""), strict=True)
    return struct.Struct(">" + "".join(f"{len(constant)}s{code}" for constant, code in pairs))


def _blank(constants: Sequence[bytes]) -> list[Any]:
    """What such a struct packs, with a place for each value: [1::2]."""
    return list(chain.from_iterable((one, 0) for one in constants))[:-1]


class Template:
    """Packs messages that have all but a few values in common: much faster than `encode`.

    values: of all fields in the order of the IDL. free: those that differ, in that order; lists
    and strings among them are given as bytes, as many as they have in `values`.
    """

    def __init__(self, name: str, values: Sequence[Any], free: Sequence[str]) -> None:
        codec = self._codec = _CODECS[name]
        self._places = [codec.names.index(one) for one in free]
        if self._places != sorted(self._places):
            raise Malformed(f"{', '.join(free)}: not in the order of {name}")
        raw = list(values)
        layout = codec.flatten(raw)
        self._raw = codec.wrapped(raw)
        constants = [b""]
        codes = []
        for number, code in enumerate(layout.codes):
            constants[-1] += layout.constants[number]
            if number in self._places:
                codes.append(code)
                constants.append(b"")
            else:
                constants[-1] += struct.pack(">" + code, self._raw[number])
        constants[-1] += layout.constants[-1]
        self._pack = _joined(constants, codes).pack
        self._items = _blank(constants)

    def pack(self, values: Sequence[Any]) -> bytes:
        """The message with these values of the free fields. Raises Malformed."""
        items = self._items.copy()
        items[1::2] = values
        try:
            return self._pack(*items)
        except struct.error:
            whole = self._raw.copy()
            for place, value in zip(self._places, values, strict=True):
                whole[place] = value
            whole = self._codec.wrapped(whole)
            items[1::2] = [whole[place] for place in self._places]
            return self._pack(*items)


class _Codec:
    """What is worked out once for a schema."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.kind: type[Message] = type(
            schema.name, (Message,), {"name": schema.name, **schema.defaults}
        )
        self.names = tuple(field.name for field in schema.fields)
        self.known = frozenset(self.names)
        self.variable = [
            (number, field)
            for number, field in enumerate(schema.fields)
            if field.code in (STRING, LIST)
        ]
        self.layouts: dict[tuple[int, ...], _Layout] = {}
        self.last: _Layout | None = None
        # lists of bytes are values as they are
        self.cooked = [one for one in self.variable if one[1].element != "byte"]

    def layout(self, lengths: tuple[int, ...]) -> _Layout:
        found = self.layouts.get(lengths)
        if found is None:
            if len(self.layouts) >= _LAYOUTS_MAX:
                self.layouts.clear()
            found = self.layouts[lengths] = _Layout(self.schema, lengths)
        return found

    # ---- to bytes -------------------------------------------------------------------

    def flatten(self, values: list[Any]) -> _Layout:
        """Turns lists and strings among the values of all fields into bytes; their layout."""
        lengths = []
        for number, field in self.variable:
            values[number], length = _packed(field, values[number])
            lengths.append(length)
        return self.layout(tuple(lengths))

    def pack(self, values: list[Any]) -> bytes:
        """The message of these values, one for each field."""
        layout = self.flatten(values)
        items = layout.blank.copy()
        items[1::2] = values
        try:
            return layout.struct.pack(*items)
        except struct.error:
            items[1::2] = self.wrapped(values)
            return layout.struct.pack(*items)

    def wrapped(self, values: list[Any]) -> list[Any]:
        """The values of all fields, integers as struct takes them. Raises Malformed."""
        fields = zip(self.schema.fields, values, strict=True)
        return [
            value if field.code in (STRING, LIST) else _wrap(field, INTEGERS[field.type][1], value)
            for field, value in fields
        ]

    # ---- from bytes -----------------------------------------------------------------

    def unpack(self, data: bytes, start: int, at: int) -> tuple[Message, int]:
        """The message at `start`, whose fields begin at `at`; and where it ends."""
        layout = self.last
        if layout is not None and start + layout.size <= len(data):
            items = layout.struct.unpack_from(data, start)
            if items[0::2] == layout.constants:
                return self._message(items[1::2]), start + layout.size
        return self._read(data, at)

    def _message(self, values: tuple[Any, ...]) -> Message:
        fields = dict(zip(self.names, values, strict=True))
        for number, field in self.cooked:
            fields[field.name] = _unpacked(field, values[number])
        return self.kind.of(fields)

    def _read(self, data: bytes, at: int) -> tuple[Message, int]:
        """Whatever fields there are, in any order."""
        found: dict[str, Any] = {}
        lengths: list[int] = []
        while True:
            if at >= len(data):
                raise Malformed(f"{self.schema.name}: cut short")
            if data[at] == STOP:
                break
            code, number = _take(_HEAD, data, at, self.schema.name)
            at += _HEAD.size
            field = self.schema.by_id.get(number)
            if field is None:
                at = skip(data, at, code)
                continue
            if code != field.code:
                raise Malformed(f"{self.schema.name}.{field.name}: type {code}, not {field.code}")
            raw, at = _value(data, at, field)
            if field.code in (STRING, LIST):
                lengths.append(_count(field, raw))
                raw = raw if field.element == "byte" else _unpacked(field, raw)
            found[field.name] = raw
        if tuple(found) == self.names and len(lengths) == len(self.variable):
            self.last = self.layout(tuple(lengths))
        return self.kind.of(found), at + 1


def _codecs() -> dict[str, _Codec]:
    return {name: _Codec(schema) for name, schema in schemas().items()}


_CODECS: Final = _codecs()


def encode(name: str, values: Mapping[str, Any]) -> bytes:
    """A message with these fields; the others are written as 0 or empty.

    Raises Malformed for a name or field that does not exist, or a value that does not fit.
    """
    codec = _CODECS.get(name)
    if codec is None:
        raise Malformed(f"there is no message {name!r}")
    if not codec.known.issuperset(values):
        raise Malformed(f"{name} has no field {min(set(values) - codec.known)!r}")
    return codec.pack([*{**codec.schema.defaults, **values}.values()])


def decode(data: bytes) -> Iterator[Message]:
    """All messages in `data`, which may end in padding of zeros.

    Raises Malformed: an unknown message, a field of another type, lengths beyond the end.
    """
    at = 0
    while len(data) - at >= _LENGTH.size:
        (length,) = _LENGTH.unpack_from(data, at)
        if not length and not any(data[at:]):
            return
        body = at + _LENGTH.size + length
        if not 0 < length <= _NAME_MAX or body > len(data):
            raise Malformed(f"a name of {length} bytes")
        name = data[at + _LENGTH.size : body].decode("ascii", "replace")
        codec = _CODECS.get(name)
        if codec is None:
            raise Malformed(f"there is no message {name!r}")
        message, at = codec.unpack(data, at, body)
        yield message
    if any(data[at:]):
        raise Malformed(f"{len(data) - at} bytes too many")


def _take(what: struct.Struct, data: bytes, at: int, where: str) -> tuple[Any, ...]:
    if at + what.size > len(data):
        raise Malformed(f"{where}: cut short")
    return what.unpack_from(data, at)


def _value(data: bytes, at: int, field: Field) -> tuple[Any, int]:
    """The value at `at`, lists and strings as bytes, and where it ends."""
    if field.code == STRING:
        (length,) = _take(_LENGTH, data, at, field.name)
        at += _LENGTH.size
    elif field.code == LIST:
        kind, count = _take(_LIST, data, at, field.name)
        wanted, letter = INTEGERS[field.element or ""]
        if kind != wanted:
            raise Malformed(f"{field.name}: elements of type {kind}, not {wanted}")
        length, at = count * SIZES[letter], at + _LIST.size
    else:
        letter = INTEGERS[field.type][1]
        (number,) = _take(_ONE[letter], data, at, field.name)
        return number, at + SIZES[letter]
    if at + length > len(data):
        raise Malformed(f"{field.name}: {length} bytes, and only {len(data) - at} follow")
    return data[at : at + length], at + length


_ONE: Final = {letter: struct.Struct(">" + letter) for letter in SIZES}


def _count(field: Field, raw: bytes) -> int:
    if field.code == STRING:
        return len(raw)
    return len(raw) // SIZES[INTEGERS[field.element or ""][1]]


def _unpacked(field: Field, raw: bytes) -> Any:
    """A string, or the elements of a list, from their bytes."""
    if field.code == STRING:
        return raw.decode("utf-8", "surrogateescape")
    letter = INTEGERS[field.element or ""][1]
    return struct.unpack(f">{len(raw) // SIZES[letter]}{letter}", raw)


def _packed(field: Field, value: Any) -> tuple[bytes, int]:
    """The bytes of a list or string, and how many elements it has."""
    if isinstance(value, bytes) and (field.code == STRING or field.element == "byte"):
        return value, len(value)
    try:
        if field.code == STRING:
            raw = value.encode("utf-8", "surrogateescape")
            return raw, len(raw)
        letter = INTEGERS[field.element or ""][1]
        items = [_wrap(field, letter, one) for one in value]
        return struct.pack(f">{len(items)}{letter}", *items), len(items)
    except (AttributeError, TypeError, UnicodeError):
        raise Malformed(f"{field.name} cannot be {value!r}") from None


def _wrap(field: Field, letter: str, value: Any) -> int:
    """`value` as an integer that struct takes for `letter`."""
    bits = 8 * SIZES[letter]
    if not isinstance(value, int) or not -(1 << bits - 1) <= value < 1 << bits:
        raise Malformed(f"{field.name} cannot be {value!r}: not an integer of {bits} bits")
    if letter.isupper():
        return value % (1 << bits)
    return (value + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)
