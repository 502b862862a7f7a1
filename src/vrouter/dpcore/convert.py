# SPDX-License-Identifier: Apache-2.0
"""From one layout of a struct to another: fields by name, arrays by index, columns of bytes.

Thousands of packed values are converted at once: byte k of a field is a column
of all of them, copied by one slice. A field that only the new layout has keeps
what the template says; one that only the old one has is left out. A field may
grow, and may shrink as long as no value is lost.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from .errors import Refused
from .layout import Field, Layout

_LITTLE: Final = sys.byteorder == "little"
# what a sign bit becomes in the bytes above it
_SIGN: Final = bytes(0xFF if byte & 0x80 else 0 for byte in range(256))
_PLAIN: Final = bytes(256)


@dataclass(frozen=True, slots=True)
class _Column:
    """What happens to one byte of each value. source, target: its places, -1: none (it is
    filled, or must be lost for nothing); sign: the source byte whose sign fills it."""

    source: int
    target: int
    sign: int
    field: str


class Converter:
    """Turns packed values of layout `old` into values of layout `new`.

    template: a value of `new` (default: zeros); `without`: fields that are not
    taken over. `dropped`: names of the fields that the new layout does not have.
    Raises Refused (naming `table`) for a field that changed its kind.
    """

    def __init__(
        self,
        table: str,
        old: Layout,
        new: Layout,
        *,
        template: bytes | None = None,
        without: Collection[str] = (),
    ) -> None:
        self.table = table
        self.old_size, self.new_size = old.size, new.size
        self._template = template or bytes(new.size)
        self.dropped = tuple(_dropped(old, new, ""))
        self._columns = list(_columns(table, old, new, 0, 0, "", without))

    def convert(self, values: bytes, count: int) -> bytes:
        """`count` packed values in the new layout. Refused if one of them would lose something."""
        size, width = self.old_size, self.new_size
        out = bytearray(self._template * count)
        for column in self._columns:
            if column.source < 0:
                out[column.target :: width] = values[column.sign :: size].translate(_SIGN)
                continue
            taken = values[column.source : count * size : size]
            if column.target >= 0:
                out[column.target :: width] = taken
            elif taken != self._filling(values, column, count):
                raise Refused(
                    f"table {self.table}: field {column.field} holds a value that does not fit "
                    "the dp-core to be loaded: nothing was changed"
                )
        return bytes(out)

    def _filling(self, values: bytes, column: _Column, count: int) -> bytes:
        """What a byte that is left out must be, for nothing to be lost."""
        if column.sign < 0:
            return bytes(count)
        return values[column.sign : count * self.old_size : self.old_size].translate(_SIGN)


def _dropped(old: Layout, new: Layout, prefix: str) -> Iterator[str]:
    for name, field in old.fields.items():
        if name not in new.fields:
            yield prefix + name
        elif field.layout is not None and new.fields[name].layout is not None:
            yield from _dropped(field.layout, new.fields[name].layout, f"{prefix}{name}.")  # type: ignore[arg-type]


def words(old: Layout, new: Layout) -> list[tuple[int, int]]:
    """(offset in old, offset in new) of every 8-byte counter that both have."""
    found = []
    for name, before in old.fields.items():
        after = new.fields.get(name)
        if after is None:
            continue
        if (before.size, before.kind) != (8, "uint") or (after.size, after.kind) != (8, "uint"):
            raise Refused(f"{old.name}.{name} is no counter of 8 bytes: unload the vRouter first")
        steps = range(0, 8 * min(before.count, after.count), 8)
        found += [(before.offset + at, after.offset + at) for at in steps]
    return found


def _columns(
    table: str, old: Layout, new: Layout, at: int, to: int, prefix: str, without: Collection[str]
) -> Iterator[_Column]:
    for name, before in old.fields.items():
        after = new.fields.get(name)
        if after is None or name in without or name.startswith("reserved"):
            continue
        label = f"{prefix}{name}"
        if before.kind != after.kind or (before.layout is None) != (after.layout is None):
            raise Refused(
                f"table {table}: field {label} is of another kind in the dp-core to be loaded: "
                "it cannot be carried over, run `vrouter unload` first"
            )
        for number in range(max(before.count, after.count)):
            source = at + before.offset + number * before.size
            target = to + after.offset + number * after.size
            if number >= after.count:
                yield from _lost(source, before.size, label)
            elif number >= before.count:
                continue
            elif before.layout is not None and after.layout is not None:
                inner = (before.layout, after.layout, source, target, f"{label}.")
                yield from _columns(table, *inner, without=())
            else:
                yield from _number(before, after, source, target, label)


def _lost(source: int, size: int, label: str) -> Iterator[_Column]:
    for byte in range(size):
        yield _Column(source + byte, -1, -1, label)


def _number(before: Field, after: Field, source: int, target: int, label: str) -> Iterator[_Column]:
    """The bytes of one number, from its lowest to its highest."""
    little = _LITTLE and before.kind != "be"
    common = min(before.size, after.size)
    signed = before.kind == "int"

    def place(start: int, size: int, byte: int) -> int:
        return start + (byte if little else size - 1 - byte)

    for byte in range(common):
        yield _Column(place(source, before.size, byte), place(target, after.size, byte), -1, label)
    top = place(source, before.size, common - 1)
    for byte in range(common, before.size):
        yield _Column(place(source, before.size, byte), -1, top if signed else -1, label)
    for byte in range(common, after.size) if signed else ():
        yield _Column(-1, place(target, after.size, byte), top, label)
