# SPDX-License-Identifier: Apache-2.0
"""Structs of tables with very many entries, packed faster than by name."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from typing import Any

from .layout import Layout


def packer(layout: Layout, names: tuple[str, ...]) -> Callable[..., bytes]:
    """A faster `layout.pack` for these fields (integers, or bytes of full length) by position.

    A table of 100,000 routes is packed twice per route: what Layout.pack does by
    name, and for every field of the struct, is done once here.
    """
    order = sorted(names, key=lambda name: layout.fields[name].offset)
    if order != list(names):
        return lambda *values: layout.pack(**dict(zip(names, values, strict=True)))
    runs: list[str] = []
    at = 0
    for name in names:
        field = layout.fields[name]
        runs.append(f"{field.offset - at}x{_code(layout, name)}")
        at = field.offset + field.total
    packed = struct.Struct("=" + "".join(runs) + f"{layout.size - at}x")
    big = [layout.fields[name].kind == "be" for name in names]
    if not any(big) or sys.byteorder == "big":
        return packed.pack
    swap = [
        _swap(layout.fields[name].size) if flag else None
        for name, flag in zip(names, big, strict=True)
    ]
    return lambda *values: packed.pack(
        *[change(value) if change else value for change, value in zip(swap, values, strict=True)]
    )


def unpacker(layout: Layout, names: tuple[str, ...]) -> struct.Struct:
    """A struct whose unpack_from gives these fields (integers in host order, ascending offsets)."""
    runs: list[str] = []
    at = 0
    for name in names:
        field = layout.fields[name]
        runs.append(f"{field.offset - at}x{_code(layout, name)}")
        at = field.offset + field.total
    return struct.Struct("=" + "".join(runs))


def _code(layout: Layout, name: str) -> str:
    field = layout.fields[name]
    if field.count > 1:
        return f"{field.total}s"
    return {1: "B", 2: "H", 4: "I", 8: "Q"}[field.size]


def _swap(size: int) -> Callable[[Any], int]:
    return lambda value: int.from_bytes(value.to_bytes(size, "little"), "big")
