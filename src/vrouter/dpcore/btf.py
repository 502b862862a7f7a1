# SPDX-License-Identifier: Apache-2.0
"""A parser of BTF, the kernel's type information: struct layouts and enums.

Format: Documentation/bpf/btf.rst of the kernel. Only what abi.h uses is
understood; a bit field is refused.
"""

from __future__ import annotations

import ctypes
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from . import libbpf
from .errors import VrouterError
from .layout import Field, Layout

_MAGIC: Final = 0xEB9F
_INT, _PTR, _ARRAY, _STRUCT, _UNION, _ENUM = 1, 2, 3, 4, 5, 6
_FUNC_PROTO, _VAR, _DATASEC, _DECL_TAG, _ENUM64 = 13, 14, 15, 17, 19
_ALIASES: Final = frozenset({8, 9, 10, 11, 18})  # typedef volatile const restrict type_tag
_EXTRA: Final = {_INT: (4, 0), _ARRAY: (12, 0), _STRUCT: (0, 12), _UNION: (0, 12)} | {
    _ENUM: (0, 8),
    _FUNC_PROTO: (0, 8),
    _VAR: (4, 0),
    _DATASEC: (0, 12),
    _DECL_TAG: (4, 0),
    _ENUM64: (0, 12),
}
_BIG_ENDIAN: Final = frozenset({"__be16", "__be32", "__be64"})


@dataclass(frozen=True, slots=True)
class _Type:
    kind: int
    name_at: int
    vlen: int
    flag: bool
    size: int  # or the id of the type that this one refers to
    body: int


class Btf:
    """The types of one BTF blob. `layout()` and `enum()` are cached."""

    def __init__(self, blob: bytes, origin: str) -> None:
        self.origin = origin
        self._blob = blob
        self._types: list[_Type] = [_Type(0, 0, 0, False, 0, 0)]
        self._by_name: dict[tuple[str, bool], int] = {}
        self._layouts: dict[str, Layout] = {}
        self._enums: dict[str, dict[str, int]] = {}
        try:
            self._parse()
        except (struct.error, KeyError, ValueError) as error:
            raise VrouterError(f"the type information of {origin} is broken: {error}") from None

    @classmethod
    def from_object(cls, path: Path) -> Btf:
        """The types of the ELF file `path` (its section .BTF)."""
        try:
            stat = path.stat()
            key = (os.fspath(path), stat.st_mtime_ns, stat.st_size)
            if key not in _objects:
                _objects[key] = cls(elf_section(path.read_bytes(), b".BTF", path), str(path))
        except OSError as error:
            raise VrouterError(f"cannot read {path}: {error.strerror}") from None
        return _objects[key]

    @classmethod
    def from_kernel(cls, btf_id: int) -> Btf:
        """The types that were loaded with the maps whose info names `btf_id`."""
        if btf_id not in _loaded:
            _loaded[btf_id] = cls(_kernel_blob(btf_id), f"BTF {btf_id} of the kernel")
        return _loaded[btf_id]

    def layout(self, struct_name: str) -> Layout:
        """The layout of `struct struct_name`; VrouterError if there is none."""
        if struct_name not in self._layouts:
            self._layouts[struct_name] = self._layout_of(self._find(struct_name, enum=False))
        return self._layouts[struct_name]

    def layout_of(self, type_id: int) -> Layout:
        """The layout of a map's key or value type; what is no struct has one field, `value`."""
        kind, _ = self._resolve(type_id)
        if kind.kind == _STRUCT:
            return self._layout_of(self._types.index(kind))
        field = self._field(type_id, 0, f"type {type_id}")
        return Layout("value", field.total, {"value": field})

    def enum(self, name: str) -> dict[str, int]:
        """The constants of `enum name`, in order; VrouterError if there is none."""
        if name not in self._enums:
            self._enums[name] = self._enum_of(self._types[self._find(name, enum=True)])
        return self._enums[name]

    def variable(self, section: str, name: str) -> int | None:
        """The offset of a global variable in its section, None if it is not there.

        Only the types that libbpf has opened have offsets, not those of the file.
        """
        for kind in self._types:
            if kind.kind != _DATASEC or self._string(kind.name_at) != section:
                continue
            for index in range(kind.vlen):
                type_id, offset, _ = struct.unpack_from("=III", self._blob, kind.body + 12 * index)
                if self._string(self._types[type_id].name_at) == name:
                    return int(offset)
        return None

    def _find(self, name: str, *, enum: bool) -> int:
        number = self._by_name.get((name, enum))
        if number is None:
            what = "enum" if enum else "struct"
            raise VrouterError(
                f"{self.origin} has no {what} {name}: the loaded dp-core and this program "
                "are of different versions"
            )
        return number

    def _parse(self) -> None:
        magic, _, _, header, type_off, type_len, str_off, str_len = struct.unpack_from(
            "=HBBIIIII", self._blob
        )
        if magic != _MAGIC:
            raise ValueError("wrong magic number")
        self._strings = self._blob[header + str_off : header + str_off + str_len]
        at = header + type_off
        end = at + type_len
        unpack = struct.Struct("=III").unpack_from
        while at < end:
            name_at, info, size = unpack(self._blob, at)
            kind = info >> 24 & 0x1F
            vlen = info & 0xFFFF
            at += 12
            if kind in (_STRUCT, _ENUM, _ENUM64) and name_at:
                self._by_name.setdefault((self._string(name_at), kind != _STRUCT), len(self._types))
            self._types.append(_Type(kind, name_at, vlen, bool(info >> 31), size, at))
            fixed, each = _EXTRA.get(kind, (0, 0))
            at += fixed + each * vlen

    def _string(self, at: int) -> str:
        return self._strings[at : self._strings.index(b"\0", at)].decode()

    def _layout_of(self, number: int) -> Layout:
        kind = self._types[number]
        name = self._string(kind.name_at)
        fields: dict[str, Field] = {}
        for index in range(kind.vlen):
            name_at, type_id, offset = struct.unpack_from(
                "=III", self._blob, kind.body + 12 * index
            )
            member = self._string(name_at)
            bits = offset >> 24 if kind.flag else 0
            offset = offset & 0xFFFFFF if kind.flag else offset
            if bits or offset % 8:
                raise VrouterError(f"{self.origin}: {name}.{member} is a bit field")
            fields[member] = self._field(type_id, offset // 8, f"{name}.{member}")
        return Layout(name, kind.size, fields)

    def _field(self, type_id: int, offset: int, where: str) -> Field:
        kind, big_endian = self._resolve(type_id)
        if kind.kind == _ARRAY:
            element, _, count = struct.unpack_from("=III", self._blob, kind.body)
            inner = self._field(element, offset, where)
            if inner.count != 1:
                raise VrouterError(f"{self.origin}: {where} is an array of arrays")
            base, _ = self._resolve(element)
            if base.kind == _INT and inner.size == 1:
                is_char = self._string(base.name_at) == "char"
                return Field(offset, 1, "str" if is_char else "bytes", count)
            return Field(offset, inner.size, inner.kind, count, inner.layout)
        if kind.kind == _STRUCT:
            layout = self._layout_of(self._types.index(kind))
            return Field(offset, kind.size, "struct", 1, layout)
        if kind.kind == _UNION:
            return Field(offset, 1, "bytes", kind.size)
        if kind.kind in (_ENUM, _ENUM64):
            return Field(offset, kind.size, "int" if kind.flag else "uint")
        if kind.kind != _INT:
            raise VrouterError(f"{self.origin}: {where} is of a kind that cannot be read")
        (encoding,) = struct.unpack_from("=I", self._blob, kind.body)
        if big_endian:
            return Field(offset, kind.size, "be")
        return Field(offset, kind.size, "int" if encoding >> 24 & 1 else "uint")

    def _resolve(self, type_id: int) -> tuple[_Type, bool]:
        """The type behind typedefs and qualifiers, and whether one said __be."""
        big_endian = False
        kind = self._types[type_id]
        while kind.kind in _ALIASES:
            big_endian = big_endian or self._string(kind.name_at) in _BIG_ENDIAN
            kind = self._types[kind.size]
        return kind, big_endian

    def _enum_of(self, kind: _Type) -> dict[str, int]:
        values: dict[str, int] = {}
        for index in range(kind.vlen):
            if kind.kind == _ENUM:
                code = "=Ii" if kind.flag else "=II"
                name_at, value = struct.unpack_from(code, self._blob, kind.body + 8 * index)
            else:
                name_at, low, high = struct.unpack_from("=III", self._blob, kind.body + 12 * index)
                value = high << 32 | low
                if kind.flag and high >> 31:
                    value -= 1 << 64
            values[self._string(name_at)] = value
        return values


_objects: dict[tuple[str, int, int], Btf] = {}
_loaded: dict[int, Btf] = {}


def elf_section(elf: bytes, name: bytes, path: Path) -> bytes:
    """The content of an ELF64 file's section."""
    try:
        if elf[:5] != b"\x7fELF\x02":
            raise ValueError("not a 64-bit ELF file")
        (table,) = struct.unpack_from("=Q", elf, 0x28)
        entry, count, names = struct.unpack_from("=HHH", elf, 0x3A)
        sections = [struct.unpack_from("=IIQQQQ", elf, table + entry * i) for i in range(count)]
        base = sections[names][4]
        for name_at, _, _, _, offset, size in sections:
            at = base + name_at
            if elf[at : elf.index(b"\0", at)] == name:
                return elf[offset : offset + size]
    except (struct.error, IndexError, ValueError) as error:
        raise VrouterError(f"cannot read {path}: {error}: build it again with `make bpf`") from None
    raise VrouterError(f"{path} has no section {name.decode()}: compile it with -g")


def _kernel_blob(btf_id: int) -> bytes:
    fd = libbpf.check(libbpf.lib().bpf_btf_get_fd_by_id(btf_id), f"cannot open BTF {btf_id}")
    try:
        info = libbpf.BtfInfo()
        libbpf.object_info(fd, info)
        buffer = ctypes.create_string_buffer(info.btf_size)
        info = libbpf.BtfInfo(btf=ctypes.addressof(buffer), btf_size=len(buffer))
        libbpf.object_info(fd, info)
        return buffer.raw
    finally:
        os.close(fd)
