# SPDX-License-Identifier: Apache-2.0
"""Pack and unpack the structs of bpf/abi.h, as described by the object's BTF."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from .errors import BadValue

Buffer = bytes | bytearray | memoryview

_CODES: Final = {1: "B", 2: "H", 4: "I", 8: "Q"}
_SWAP64: Final = (
    (lambda value: int.from_bytes(value.to_bytes(8, "little"), "big"))
    if sys.byteorder == "little"
    else (lambda value: value)
)
_TO_BE: Final[dict[int, Callable[[int], int]]] = {2: socket.htons, 4: socket.htonl, 8: _SWAP64}


@dataclass(frozen=True, slots=True)
class Field:
    """One member of a struct.

    kind: "uint" | "int" | "be" (unsigned, network byte order in memory) |
    "bytes" | "str" (char array, NUL padded) | "struct".
    size is that of one element, count the number of elements (1: no array;
    for "bytes" and "str" the length).
    """

    offset: int
    size: int
    kind: str
    count: int = 1
    layout: Layout | None = None

    @property
    def total(self) -> int:
        """Bytes that the field takes."""
        return self.size * self.count


def _decode_str(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace")


class Layout:
    """The layout of one struct: `fields` by name, `size` in bytes.

    Python's view of a value: int (host order, whatever the order in memory),
    bytes for arrays of __u8, str for char arrays, dict for a nested struct,
    tuple for arrays of the others.
    """

    def __init__(self, name: str, size: int, fields: dict[str, Field]) -> None:
        self.name = name
        self.size = size
        self.fields = fields
        self._names: list[str] = list(fields)
        self._index = {field: number for number, field in enumerate(self._names)}
        self._struct = struct.Struct(self._format())
        self._zero: list[Any] = [self._zero_of(field) for field in fields.values()]
        self._decode: list[tuple[int, Callable[[Any], Any]]] = []
        for number, field in enumerate(fields.values()):
            decoder = _decoder(field)
            if decoder is not None:
                self._decode.append((number, decoder))

    def __repr__(self) -> str:
        return f"Layout({self.name!r}, {self.size})"

    @property
    def shape(self) -> tuple[object, ...]:
        """Equal for two layouts that lay out the same fields in the same way."""
        rows = [
            (name, one.offset, one.size, one.kind, one.count, one.layout and one.layout.shape)
            for name, one in self.fields.items()
        ]
        return (self.size, *rows)

    def _format(self) -> str:
        parts = ["="]
        at = 0
        for field in self.fields.values():
            if field.offset > at:
                parts.append(f"{field.offset - at}x")
            parts.append(_code(field))
            at = field.offset + field.total
        if self.size > at:
            parts.append(f"{self.size - at}x")
        return "".join(parts)

    @staticmethod
    def _zero_of(field: Field) -> Any:
        return bytes(field.total) if _code(field).endswith("s") else 0

    def pack(self, **values: Any) -> bytes:
        """The struct as bytes. Fields that are not given are zero.

        Raises BadValue for an unknown field or a value that does not fit.
        """
        row = self._zero.copy()
        for name, value in values.items():
            number = self._index.get(name)
            if number is None:
                raise BadValue(f"{self.name}.{name}", value, "there is no such field")
            row[number] = self._encode(name, self.fields[name], value)
        try:
            return self._struct.pack(*row)
        except struct.error:
            self._complain(row)
            raise

    def unpack(self, buf: Buffer, offset: int = 0) -> dict[str, Any]:
        """All fields of the struct that starts at `offset` of `buf`, by name."""
        row = list(self._struct.unpack_from(buf, offset))
        for number, decoder in self._decode:
            row[number] = decoder(row[number])
        return dict(zip(self._names, row, strict=True))

    def _encode(self, name: str, field: Field, value: Any) -> Any:
        if field.kind in ("uint", "int") and field.count == 1:
            return value
        where = f"{self.name}.{name}"
        try:
            return _encoder(where, field, value)
        except (struct.error, OverflowError, TypeError, ValueError, AttributeError) as error:
            raise BadValue(where, value, str(error)) from None

    def _complain(self, row: list[Any]) -> None:
        for (name, field), value in zip(self.fields.items(), row, strict=True):
            try:
                struct.pack("=" + _code(field), value)
            except struct.error:
                why = f"not an integer of {field.size * 8} bits"
                raise BadValue(f"{self.name}.{name}", value, why) from None


def _code(field: Field) -> str:
    if field.count == 1 and field.kind in ("uint", "int", "be"):
        code = _CODES[field.size]
        return code.lower() if field.kind == "int" else code
    return f"{field.total}s"


def _encoder(where: str, field: Field, value: Any) -> Any:
    if field.kind == "be" and field.count == 1:
        return _TO_BE[field.size](value)
    if field.kind == "str":
        raw = value.encode()
        if len(raw) >= field.count:
            raise BadValue(where, value, f"longer than {field.count - 1} bytes")
        if b"\0" in raw:
            raise BadValue(where, value, "has a NUL byte in it")
        return raw
    if isinstance(value, bytes | bytearray | memoryview):
        if len(value) != field.total:
            raise BadValue(where, bytes(value), f"must be {field.total} bytes long")
        return bytes(value)
    if field.kind == "struct":
        rows = [value] if field.count == 1 else list(value)
        if len(rows) > field.count or field.layout is None:
            raise BadValue(where, value, f"more than {field.count} elements")
        return b"".join(_one_struct(where, field.layout, row) for row in rows)
    if field.kind == "bytes":
        raise BadValue(where, value, "must be bytes")
    code = _CODES[field.size] if field.kind != "int" else _CODES[field.size].lower()
    order = ">" if field.kind == "be" else "="
    if len(value) > field.count:
        raise BadValue(where, value, f"more than {field.count} elements")
    return struct.pack(f"{order}{len(value)}{code}", *value)


def _one_struct(where: str, layout: Layout, value: Any) -> bytes:
    if isinstance(value, Mapping):
        return layout.pack(**value)
    if isinstance(value, bytes | bytearray | memoryview) and len(value) == layout.size:
        return bytes(value)
    raise BadValue(where, value, f"must be a dict or {layout.size} bytes")


def _decoder(field: Field) -> Callable[[Any], Any] | None:
    if field.kind == "str":
        return _decode_str
    if field.kind == "struct" and field.layout is not None:
        layout = field.layout
        if field.count == 1:
            return layout.unpack
        return lambda raw: tuple(layout.unpack(raw, at) for at in range(0, len(raw), layout.size))
    if field.count == 1:
        return _TO_BE[field.size] if field.kind == "be" else None
    if field.kind == "bytes":
        return None
    code = _CODES[field.size] if field.kind != "int" else _CODES[field.size].lower()
    packed = struct.Struct(f"{'>' if field.kind == 'be' else '='}{field.count}{code}")
    return packed.unpack
