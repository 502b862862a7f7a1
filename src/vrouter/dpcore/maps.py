# SPDX-License-Identifier: Apache-2.0
"""BPF maps of the kernel as Python objects, bytes in and bytes out.

Every failure of the kernel becomes a VrouterError that names the table; a
full table becomes TableFull.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import sys
from collections.abc import Iterable, Iterator
from ctypes import byref, c_uint32
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from . import libbpf
from .errors import BadValue, NoSuchEntry, Refused, TableFull, VrouterError, from_errno

_BATCH: Final = 4096
_FULL: Final = frozenset({errno.E2BIG, errno.ENOSPC, errno.ENOMEM})


class BpfMap:
    """An open map. Closed by close(), by `with`, or when it is collected."""

    TYPES: ClassVar[frozenset[int]] = frozenset()

    def __init__(self, fd: int, name: str) -> None:
        self.fd = fd
        self.name = name
        info = libbpf.MapInfo()
        libbpf.object_info(fd, info)
        self.type: int = info.type
        self.id: int = info.id
        self.key_size: int = info.key_size
        self.value_size: int = info.value_size
        self.max_entries: int = info.max_entries
        self.flags: int = info.map_flags
        self.btf_id: int = info.btf_id
        self.key_type: int = info.btf_key_type_id
        self.value_type: int = info.btf_value_type_id
        self._lib: Any = libbpf.lib()
        # ctypes releases the GIL: nothing here may be shared between calls
        self._value_type = ctypes.c_char * self._value_room()

    def _value_room(self) -> int:
        return self.value_size

    def close(self) -> None:
        """Closes the file descriptor; the pin keeps the map alive."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "fd", -1) >= 0:
            self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.max_entries})"

    def _lookup(self, key: Any) -> bytes | None:
        value = self._value_type()
        result = self._lib.bpf_map_lookup_elem(self.fd, key, value)
        if result == 0:
            return bytes(value)
        if result == -errno.ENOENT:
            return None
        raise self._error(-result, "cannot read")

    def _update(self, key: Any, value: Any, flags: int = 0) -> None:
        result = self._lib.bpf_map_update_elem(self.fd, key, value, flags)
        if result:
            raise self._error(-result, "cannot write")

    def _error(self, number: int, doing: str) -> VrouterError:
        if number in _FULL:
            return TableFull(
                self.name,
                self.max_entries,
                "delete entries, or make it larger with `vrouter load --size`",
            )
        return from_errno(number, f"{doing} table {self.name}")

    def batches(self) -> Iterator[tuple[int, bytes, bytes]]:
        """(count, keys, values) of all elements, some thousands at a time, packed."""
        for count, keys, values in self._batches():
            yield count, keys[: count * self.key_size], values[: count * self.value_size]

    def write_batch(self, count: int, keys: bytes, values: bytes) -> None:
        """Adds or replaces `count` packed elements; TableFull, VrouterError."""
        done = c_uint32(count)
        result = self._lib.bpf_map_update_batch(self.fd, keys, values, byref(done), None)
        if result:
            raise self._error(-result, f"cannot write (after {done.value} entries)")

    def _batches(self) -> Iterator[tuple[int, bytes, bytes]]:
        """(count, keys, values) of all elements, some thousands at a time."""
        # Hash maps hand out a u32 as the cursor, the others a key.
        cursor = ctypes.create_string_buffer(max(self.key_size, 4))
        start: Any = None
        room = min(_BATCH, self.max_entries)
        while True:
            keys = ctypes.create_string_buffer(self.key_size * room)
            values = ctypes.create_string_buffer(len(self._value_type()) * room)
            count = c_uint32(room)
            result = self._lib.bpf_map_lookup_batch(
                self.fd, start, cursor, keys, values, byref(count), None
            )
            if result == -errno.ENOSPC:
                # a bucket of the hash holds more elements than there is room for
                room *= 2
                continue
            if result not in (0, -errno.ENOENT):
                raise self._error(-result, "cannot read")
            if count.value:
                yield count.value, keys.raw, values.raw
            if result or not count.value:
                return
            start = cursor


class ArrayMap(BpfMap):
    """An array of `max_entries` values; index 0 to max_entries-1."""

    TYPES = frozenset({libbpf.MAP_ARRAY})

    def __init__(self, fd: int, name: str) -> None:
        super().__init__(fd, name)
        self._mapping: mmap.mmap | None = None

    def close(self) -> None:
        """Closes the map; a memoryview of mmap() stays usable until it is released."""
        self._mapping = None
        super().close()

    @property
    def stride(self) -> int:
        """Bytes from one value to the next in memory."""
        return self.value_size + 7 & ~7

    def get(self, index: int) -> bytes:
        """The value at `index`; NoSuchEntry if that is outside of the array."""
        value = self._lookup(byref(c_uint32(index))) if 0 <= index < self.max_entries else None
        if value is None:
            raise NoSuchEntry(f"table {self.name} has no entry {index}: it has {self.max_entries}")
        return value

    def set(self, index: int, value: bytes) -> None:
        """Writes the value at `index`; a reader may see half of one above 8 bytes."""
        if not 0 <= index < self.max_entries:
            raise BadValue(f"{self.name} index", index, f"the table has {self.max_entries} entries")
        _check_size(self, "value", value, self.value_size)
        self._update(byref(c_uint32(index)), value)

    def items(self) -> Iterator[tuple[int, bytes]]:
        """All (index, value), read some thousands at a time."""
        size = self.value_size
        index = 0
        for count, _, values in self._batches():
            for number in range(count):
                yield index, values[number * size : (number + 1) * size]
                index += 1

    def get_range(self, start: int, count: int) -> list[bytes]:
        """The values of `start` to `start + count - 1`, in one system call."""
        if not 0 <= start <= start + count <= self.max_entries:
            last = start + count - 1
            raise NoSuchEntry(f"table {self.name} has no entries {start} to {last}")
        if count == 0:
            return []
        cursor = c_uint32(start - 1)
        keys = ctypes.create_string_buffer(4 * count)
        values = ctypes.create_string_buffer(self.value_size * count)
        done = c_uint32(count)
        result = self._lib.bpf_map_lookup_batch(
            self.fd, byref(cursor) if start else None, byref(c_uint32()), keys, values,
            byref(done), None,
        )  # fmt: skip
        if result not in (0, -errno.ENOENT) or done.value != count:
            raise self._error(-result, "cannot read")
        size = self.value_size
        raw = values.raw
        return [raw[at : at + size] for at in range(0, size * count, size)]

    def set_many(self, items: Iterable[tuple[int, bytes]]) -> int:
        """Writes many values, some thousands per system call; returns how many."""
        packed = ((index.to_bytes(4, sys.byteorder), value) for index, value in items)
        return _update_batch(self, packed, 0)

    def mapping(self) -> mmap.mmap:
        """The array's memory (only of a map made with BPF_F_MMAPABLE)."""
        if self._mapping is None:
            if not self.flags & libbpf.F_MMAPABLE:
                raise VrouterError(f"table {self.name} cannot be mapped into memory")
            length = self.stride * self.max_entries
            length = -(-length // mmap.PAGESIZE) * mmap.PAGESIZE
            try:
                self._mapping = mmap.mmap(self.fd, length)
            except OSError as error:
                raise from_errno(error.errno or 0, f"cannot map table {self.name}") from None
        return self._mapping

    def mmap(self) -> memoryview:
        """The array's memory as writable bytes; value i starts at i * stride."""
        return memoryview(self.mapping())[: self.stride * self.max_entries]


class PercpuArrayMap(BpfMap):
    """An array with one value per possible CPU and index."""

    TYPES = frozenset({libbpf.MAP_PERCPU_ARRAY})

    def _value_room(self) -> int:
        self.cpus = libbpf.possible_cpus()
        self._stride = self.value_size + 7 & ~7
        return self._stride * self.cpus

    def get(self, index: int) -> list[bytes]:
        """The values at `index`, one per possible CPU."""
        raw = self._lookup(byref(c_uint32(index))) if 0 <= index < self.max_entries else None
        if raw is None:
            raise NoSuchEntry(f"table {self.name} has no entry {index}: it has {self.max_entries}")
        return self._split(raw, 0)

    def set_zero(self, index: int) -> None:
        """Sets the value of every CPU at `index` to zero."""
        if not 0 <= index < self.max_entries:
            raise BadValue(f"{self.name} index", index, f"the table has {self.max_entries} entries")
        self._update(byref(c_uint32(index)), self._value_type())

    def items(self) -> Iterator[tuple[int, list[bytes]]]:
        """All (index, values per CPU)."""
        index = 0
        for count, _, values in self._batches():
            for number in range(count):
                yield index, self._split(values, number * self._stride * self.cpus)
                index += 1

    def _split(self, raw: bytes, at: int) -> list[bytes]:
        size = self.value_size
        starts = range(at, at + self._stride * self.cpus, self._stride)
        return [raw[start : start + size] for start in starts]


class HashMap(BpfMap):
    """A hash table; keys and values as bytes."""

    TYPES = frozenset({libbpf.MAP_HASH})

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`, None if there is none."""
        _check_size(self, "key", key, self.key_size)
        return self._lookup(key)

    def set(
        self, key: bytes, value: bytes, *, create_only: bool = False, exist_only: bool = False
    ) -> None:
        """Adds or replaces; Refused by `create_only` if there, by `exist_only` if not.

        Raises TableFull, BadValue (wrong length), NoSuchEntry (exist_only).
        """
        _check_size(self, "key", key, self.key_size)
        _check_size(self, "value", value, self.value_size)
        flags = libbpf.NOEXIST if create_only else libbpf.EXIST if exist_only else libbpf.ANY
        self._update(key, value, flags)

    def delete(self, key: bytes) -> bool:
        """Removes `key`; False if it was not there."""
        _check_size(self, "key", key, self.key_size)
        result = self._lib.bpf_map_delete_elem(self.fd, key)
        if result not in (0, -errno.ENOENT):
            raise self._error(-result, "cannot delete from")
        return bool(result == 0)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All (key, value), in no order; what changes meanwhile may be missed."""
        key_size, size = self.key_size, self.value_size
        for count, keys, values in self._batches():
            for number in range(count):
                yield (
                    keys[number * key_size : (number + 1) * key_size],
                    values[number * size : (number + 1) * size],
                )

    def set_many(self, items: Iterable[tuple[bytes, bytes]]) -> int:
        """Adds or replaces many, some thousands per system call; returns how many.

        On TableFull the first ones are in the table, the others are not.
        """
        return _update_batch(self, items, 0)

    def delete_many(self, keys: Iterable[bytes]) -> int:
        """Removes many keys; one that is missing is skipped. Returns how many there were."""
        deleted = 0
        source = iter(keys)
        while chunk := list(islice(source, _BATCH)):
            for key in chunk:
                _check_size(self, "key", key, self.key_size)
            while chunk:
                count = c_uint32(len(chunk))
                result = self._lib.bpf_map_delete_batch(
                    self.fd, b"".join(chunk), byref(count), None
                )
                if result not in (0, -errno.ENOENT):
                    raise self._error(-result, "cannot delete from")
                deleted += count.value
                # the batch stops at the first key that is not there
                chunk = chunk[count.value + 1 :] if result else []
        return deleted

    def _error(self, number: int, doing: str) -> VrouterError:
        if number == errno.EEXIST:
            return Refused(f"{doing} table {self.name}: the key exists", errno=number)
        if number == errno.ENOENT:
            return NoSuchEntry(f"{doing} table {self.name}: no such key", errno=number)
        return super()._error(number, doing)


class LpmMap(HashMap):
    """A longest-prefix-match trie: the key starts with a u32 prefix length (host order).

    get() is a longest-prefix look-up: for the entry of exactly that prefix,
    compare what the value says of its length.
    """

    TYPES = frozenset({libbpf.MAP_LPM_TRIE})

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All (key, value), each key once.

        The kernel starts over when the key that it stopped at was deleted
        meanwhile; what was given already is then left out.
        """
        key_size, size = self.key_size, self.value_size
        before: list[bytes] = []
        seen: set[bytes] | None = None
        for count, keys, values in self._batches():
            if seen is None and before and keys[:key_size] == before[0][:key_size]:
                seen = {
                    part[at : at + key_size]
                    for part in before
                    for at in range(0, len(part), key_size)
                }
            before.append(keys[: count * key_size])
            for number in range(count):
                key = keys[number * key_size : (number + 1) * key_size]
                if seen is not None:
                    if key in seen:
                        continue
                    seen.add(key)
                yield key, values[number * size : (number + 1) * size]


class RingbufMap(BpfMap):
    """A ring buffer; read it with vrouter.dpcore.ringbuf."""

    TYPES = frozenset({libbpf.MAP_RINGBUF})


class ProgArrayMap(BpfMap):
    """Programs to tail-call; values are file descriptors when written, ids when read."""

    TYPES = frozenset({libbpf.MAP_PROG_ARRAY})

    def get_id(self, index: int) -> int | None:
        """The id of the program at `index`, None if there is none."""
        value = self._lookup(byref(c_uint32(index)))
        return None if value is None else int.from_bytes(value, sys.byteorder)

    def set_program(self, index: int, prog_fd: int) -> None:
        """Puts the program at `index`: one atomic exchange for all CPUs."""
        self._update(byref(c_uint32(index)), byref(c_uint32(prog_fd)))

    def clear_program(self, index: int) -> None:
        """Takes the program at `index` out; fine if there is none."""
        result = self._lib.bpf_map_delete_elem(self.fd, byref(c_uint32(index)))
        if result not in (0, -errno.ENOENT):
            raise self._error(-result, "cannot delete from")


_CLASSES: Final[tuple[type[BpfMap], ...]] = (
    ArrayMap, PercpuArrayMap, HashMap, LpmMap, RingbufMap, ProgArrayMap,
)  # fmt: skip


def open_map(pin: Path) -> BpfMap:
    """Opens the map pinned at `pin`; its class follows from its type.

    Raises NoSuchEntry if nothing is pinned there.
    """
    try:
        fd = libbpf.obj_get(pin)
    except FileNotFoundError:
        raise NoSuchEntry(
            f"table {pin.name} is not there ({pin}): unload and load the vRouter again"
        ) from None
    return from_fd(fd, pin.name)


def from_fd(fd: int, name: str) -> BpfMap:
    """A map object that owns `fd`."""
    found = BpfMap(fd, name)
    for kind in _CLASSES:
        if found.type in kind.TYPES:
            found.fd = -1
            return kind(fd, name)
    return found


def _check_size(table: BpfMap, what: str, value: bytes, size: int) -> None:
    if len(value) != size:
        raise BadValue(f"{table.name} {what}", value, f"must be {size} bytes long")


def _update_batch(table: BpfMap, items: Iterable[tuple[bytes, bytes]], flags: int) -> int:
    done = 0
    source = iter(items)
    while chunk := list(islice(source, _BATCH)):
        keys = b"".join([key for key, _ in chunk])
        values = b"".join([value for _, value in chunk])
        _check_size(table, "keys", keys, table.key_size * len(chunk))
        _check_size(table, "values", values, table.value_size * len(chunk))
        count = c_uint32(len(chunk))
        result = table._lib.bpf_map_update_batch(table.fd, keys, values, byref(count), None)
        if result:
            raise table._error(-result, f"cannot write (after {done + count.value} entries)")
        done += count.value
    return done
