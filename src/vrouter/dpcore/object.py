# SPDX-License-Identifier: Apache-2.0
"""The compiled object of dp-core, opened by libbpf."""

from __future__ import annotations

import ctypes
import hashlib
import os
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from . import libbpf
from .btf import Btf, elf_section
from .errors import Refused, VrouterError, from_errno

OBJECT: Final = Path(__file__).with_name("vrouter.bpf.o")
CONFIG: Final = "config"
_CONFIG_SECTION: Final = ".data.config"
_PRIVATE: Final = (".rodata", ".data", ".bss", ".kconfig")
_KINDS: Final = {
    libbpf.MAP_HASH: "hash",
    libbpf.MAP_ARRAY: "array",
    libbpf.MAP_PROG_ARRAY: "prog_array",
    libbpf.MAP_PERCPU_ARRAY: "percpu_array",
    libbpf.MAP_LPM_TRIE: "lpm_trie",
    libbpf.MAP_RINGBUF: "ringbuf",
}


@dataclass(frozen=True, slots=True)
class MapShape:
    """What the object says of a map; max_entries as compiled."""

    name: str
    kind: str
    key_size: int
    value_size: int
    max_entries: int


class ObjectMap:
    """A map of the object that is to be pinned; `name` is that of its pin."""

    def __init__(self, handle: int, name: str) -> None:
        self._handle = handle
        self._lib: Any = libbpf.lib()
        self.name = name
        self.type: int = self._lib.bpf_map__type(handle)

    @property
    def fd(self) -> int:
        """The file descriptor of the loaded map; it belongs to the object."""
        return int(self._lib.bpf_map__fd(self._handle))

    @property
    def shape(self) -> MapShape:
        """Its type and sizes."""
        lib, handle = self._lib, self._handle
        return MapShape(
            self.name,
            _KINDS.get(self.type, "other"),
            lib.bpf_map__key_size(handle),
            lib.bpf_map__value_size(handle),
            lib.bpf_map__max_entries(handle),
        )

    @property
    def type_ids(self) -> tuple[int, int]:
        """The BTF ids of its key and its value; 0: none."""
        lib, handle = self._lib, self._handle
        return lib.bpf_map__btf_key_type_id(handle), lib.bpf_map__btf_value_type_id(handle)

    def set_entries(self, entries: int) -> None:
        """How many entries the map shall have; before load()."""
        result = self._lib.bpf_map__set_max_entries(self._handle, entries)
        libbpf.check(result, f"cannot give table {self.name} {entries} entries")

    def reuse(self, fd: int) -> None:
        """Use a map that exists; before load()."""
        result = self._lib.bpf_map__reuse_fd(self._handle, fd)
        libbpf.check(result, f"cannot use the loaded table {self.name}")

    def initial(self) -> ctypes.Array[ctypes.c_char]:
        """The memory that the map will start with (data sections only)."""
        size = ctypes.c_size_t()
        address = self._lib.bpf_map__initial_value(self._handle, ctypes.byref(size))
        if not address:
            raise VrouterError(f"section {self.name} of the object has no initial value")
        return (ctypes.c_char * size.value).from_address(address)


class BpfObject:
    """An opened object; a context manager that frees it. What is pinned stays."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lib: Any = libbpf.lib()
        with libbpf.capture() as log:
            self._handle = self._lib.bpf_object__open_file(os.fsencode(path), None)
        if not self._handle:
            text = "\n".join(log)
            why = libbpf.last_line(log) or os.strerror(ctypes.get_errno())
            raise VrouterError(f"cannot open dp-core {path}: {why}", log=text)
        self.maps: dict[str, ObjectMap] = {}
        self._rodata: ObjectMap | None = None
        self._types: Btf | None = None
        for handle in self._each(self._lib.bpf_object__next_map):
            self._add_map(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lib.bpf_object__close(self._handle)

    def _each(self, following: Any) -> Iterator[int]:
        handle = following(self._handle, None)
        while handle:
            yield handle
            handle = following(self._handle, handle)

    def _add_map(self, handle: int) -> None:
        name = self._lib.bpf_map__name(handle).decode()
        if name == _CONFIG_SECTION:
            self.maps[CONFIG] = ObjectMap(handle, CONFIG)
        elif name.endswith(".rodata"):
            self._rodata = ObjectMap(handle, name)
        elif not name.endswith(_PRIVATE):
            # constants and code belong together, so those sections are not shared by pins
            self.maps[name] = ObjectMap(handle, name)

    def abi_version(self) -> int:
        """VR_ABI_VERSION of the object, as its configuration starts with."""
        config = self.maps.get(CONFIG)
        if config is None:
            raise Refused(f"{self.path} is not a dp-core: it has no section {_CONFIG_SECTION}")
        layout = Btf.from_object(self.path).layout("vr_config")
        return int(layout.unpack(bytes(config.initial()))["abi_version"])

    @property
    def types(self) -> Btf:
        """Its types as libbpf opened them: with the offsets of variables, which the file lacks."""
        if self._types is None:
            size = ctypes.c_uint32()
            btf = self._lib.bpf_object__btf(self._handle)
            raw = self._lib.btf__raw_data(btf, ctypes.byref(size))
            self._types = Btf(ctypes.string_at(raw, size.value), str(self.path))
        return self._types

    def set_constant(self, name: str, value: int) -> None:
        """Sets a u32 of .rodata; before load()."""
        offset = self.types.variable(".rodata", name)
        if self._rodata is None or offset is None:
            raise Refused(f"{self.path} is not a dp-core: it has no constant {name}")
        struct.pack_into("=I", self._rodata.initial(), offset, value)

    def load(self) -> None:
        """Makes the maps and loads the programs. Errors carry the verifier's log."""
        with libbpf.capture() as log:
            result = self._lib.bpf_object__load(self._handle)
        if result:
            doing = f"the kernel does not take dp-core {self.path.name}"
            raise from_errno(-result, doing, hint=libbpf.last_line(log), log="\n".join(log))

    def program(self, name: str) -> int:
        """The file descriptor of a loaded program; it belongs to the object."""
        for handle in self._each(self._lib.bpf_object__next_program):
            if self._lib.bpf_program__name(handle) == name.encode():
                return int(self._lib.bpf_program__fd(handle))
        raise Refused(f"{self.path} is not a dp-core: it has no program {name}")


def find(path: Path | None) -> Path:
    """`path`, or the object that is part of this package. Refused if it is missing."""
    found = path or OBJECT
    if not found.is_file():
        remedy = "run `make bpf`" if path is None else "check the path"
        raise Refused(f"there is no dp-core object {found}: {remedy}")
    return found


def known_abi() -> int | None:
    """VR_ABI_VERSION of this package's object, with which its configuration starts; None if
    it is not built."""
    try:
        raw = elf_section(OBJECT.read_bytes(), _CONFIG_SECTION.encode(), OBJECT)
    except FileNotFoundError:
        return None
    return int.from_bytes(raw[:4], sys.byteorder)


def digest(path: Path) -> str:
    """SHA-256 of the file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def map_shapes(path: Path | None = None) -> list[MapShape]:
    """The maps of an object, as compiled."""
    with BpfObject(find(path)) as opened:
        return [one.shape for one in opened.maps.values()]
