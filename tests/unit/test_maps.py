# SPDX-License-Identifier: Apache-2.0
"""Maps of the kernel through Python."""

from __future__ import annotations

import ctypes
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vrouter.dpcore import libbpf, maps
from vrouter.dpcore.errors import BadValue, NoSuchEntry, Refused, TableFull, VrouterError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes BPF maps")


class _Options(ctypes.Structure):
    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("ids", ctypes.c_uint32 * 5),
        ("map_flags", ctypes.c_uint32),
        ("map_extra", ctypes.c_uint64),
        ("rest", ctypes.c_uint32 * 2),
    )


@contextmanager
def made(kind: int, key: int, value: int, entries: int, flags: int = 0) -> Iterator[maps.BpfMap]:
    options = _Options(sz=ctypes.sizeof(_Options), map_flags=flags)
    create = libbpf.lib().bpf_map_create
    fd = create(kind, b"vr_test", key, value, entries, ctypes.byref(options))
    with maps.from_fd(libbpf.check(fd, "cannot make the map"), "table") as one:
        yield one


@contextmanager
def array(value: int, entries: int, flags: int = 0) -> Iterator[maps.ArrayMap]:
    with made(libbpf.MAP_ARRAY, 4, value, entries, flags) as one:
        assert isinstance(one, maps.ArrayMap)
        yield one


@contextmanager
def hash_map(entries: int, flags: int = 0) -> Iterator[maps.HashMap]:
    with made(libbpf.MAP_HASH, 4, 4, entries, flags) as one:
        assert isinstance(one, maps.HashMap)
        yield one


@contextmanager
def lpm(entries: int) -> Iterator[maps.LpmMap]:
    with made(libbpf.MAP_LPM_TRIE, 8, 4, entries, libbpf.F_NO_PREALLOC) as one:
        assert isinstance(one, maps.LpmMap)
        yield one


def word(value: int) -> bytes:
    return struct.pack("=I", value)


def prefix(length: int, address: int) -> bytes:
    return struct.pack("=I", length) + struct.pack(">I", address)


# ---- arrays -------------------------------------------------------------------------------


def test_array_get_set_items() -> None:
    with array(12, 5000) as one:
        one.set(0, b"a" * 12)
        one.set(4999, b"z" * 12)
        assert one.get(4999) == b"z" * 12
        rows = dict(one.items())
        assert len(rows) == 5000
        assert (rows[0], rows[1], rows[4999]) == (b"a" * 12, bytes(12), b"z" * 12)


@pytest.mark.parametrize(("start", "count"), [(0, 1), (0, 10), (3, 4), (9, 1), (0, 0), (10, 0)])
def test_array_range(start: int, count: int) -> None:
    with array(4, 10) as one:
        for index in range(10):
            one.set(index, word(index))
        assert one.get_range(start, count) == [word(i) for i in range(start, start + count)]


@pytest.mark.parametrize(("start", "count"), [(-1, 2), (9, 2), (11, 0), (0, -1)])
def test_array_range_outside(start: int, count: int) -> None:
    with array(4, 10) as one, pytest.raises(NoSuchEntry):
        one.get_range(start, count)


def test_array_refuses_what_does_not_fit() -> None:
    with array(8, 4) as one:
        for index in (-1, 4, 2**32):
            with pytest.raises(NoSuchEntry):
                one.get(index)
            with pytest.raises(BadValue):
                one.set(index, bytes(8))
        with pytest.raises(BadValue):
            one.set(0, bytes(7))


def test_array_set_many() -> None:
    with array(4, 10000) as one:
        assert one.set_many((i, word(i)) for i in range(10000)) == 10000
        assert one.get(9999) == word(9999)


def test_mapped_array_is_the_map() -> None:
    with array(12, 100, libbpf.F_MMAPABLE) as one:
        assert one.stride == 16
        view = one.mmap()
        assert len(view) == 1600
        view[16:28] = b"x" * 12
        assert one.get(1) == b"x" * 12
        one.set(2, b"y" * 12)
        assert bytes(view[32:44]) == b"y" * 12
        view.release()


def test_an_array_that_cannot_be_mapped_says_so() -> None:
    with array(8, 4) as one, pytest.raises(VrouterError, match="table cannot be mapped"):
        one.mmap()


def test_percpu_array() -> None:
    with made(libbpf.MAP_PERCPU_ARRAY, 4, 12, 10) as one:
        assert isinstance(one, maps.PercpuArrayMap)
        cpus = libbpf.possible_cpus()
        assert one.get(3) == [bytes(12)] * cpus
        raw = ctypes.create_string_buffer(b"\1" * 16 * cpus)
        one._update(ctypes.byref(ctypes.c_uint32(3)), raw)
        assert one.get(3) == [b"\1" * 12] * cpus
        assert dict(one.items())[3] == [b"\1" * 12] * cpus
        one.set_zero(3)
        assert one.get(3) == [bytes(12)] * cpus
        with pytest.raises(NoSuchEntry):
            one.get(10)


# ---- hashes -------------------------------------------------------------------------------


def test_hash_get_set_delete() -> None:
    with hash_map(10) as one:
        assert one.get(word(1)) is None
        one.set(word(1), word(2))
        one.set(word(1), word(3), exist_only=True)
        assert one.get(word(1)) == word(3)
        assert one.delete(word(1))
        assert not one.delete(word(1))


def test_hash_create_only_and_exist_only() -> None:
    with hash_map(10) as one:
        one.set(word(1), word(1), create_only=True)
        with pytest.raises(Refused, match="key exists"):
            one.set(word(1), word(2), create_only=True)
        with pytest.raises(NoSuchEntry):
            one.set(word(2), word(2), exist_only=True)


@pytest.mark.parametrize("flags", [0, libbpf.F_NO_PREALLOC])
def test_a_full_hash_is_said_to_be_full(flags: int) -> None:
    with hash_map(100, flags) as one:

        def fill() -> None:
            for number in range(1000):
                one.set(word(number), word(0))

        with pytest.raises(TableFull) as caught:
            fill()
        assert (caught.value.table, caught.value.size) == ("table", 100)
        with pytest.raises(TableFull):
            one.set_many((word(number), word(0)) for number in range(1000))


@pytest.mark.parametrize("count", [0, 1, 4095, 4096, 4097, 20000])
def test_hash_batches_are_complete(count: int) -> None:
    with hash_map(20000) as one:
        wanted = {word(number): word(~number & 0xFFFFFFFF) for number in range(count)}
        assert one.set_many(wanted.items()) == count
        rows = list(one.items())
        assert len(rows) == count
        assert dict(rows) == wanted


def test_a_small_hash_with_crowded_buckets_is_read_whole() -> None:
    # a bucket with more elements than fit into a batch must not end the reading
    with hash_map(3) as one:
        for number in range(3):
            one.set(word(number), word(number))
        assert len(dict(one.items())) == 3


def test_delete_many_skips_what_is_not_there() -> None:
    with hash_map(10000) as one:
        one.set_many((word(number), word(0)) for number in range(0, 10000, 2))
        assert one.delete_many(word(number) for number in range(10000)) == 5000
        assert list(one.items()) == []


@pytest.mark.parametrize("key", [b"", b"123", b"12345"])
def test_a_key_of_wrong_length_is_refused(key: bytes) -> None:
    with hash_map(10) as one:
        for call in (one.get, one.delete, lambda k: one.set(k, word(0))):
            with pytest.raises(BadValue):
                call(key)


# ---- longest prefix match -----------------------------------------------------------------


def test_lpm_looks_up_the_longest() -> None:
    with lpm(100) as one:
        one.set(prefix(0, 0), word(0))
        one.set(prefix(8, 0x0A000000), word(8))
        one.set(prefix(24, 0x0A000100), word(24))
        assert one.get(prefix(32, 0x0A000105)) == word(24)
        assert one.get(prefix(32, 0x0A000205)) == word(8)
        assert one.get(prefix(32, 0x0B000000)) == word(0)
        assert one.delete(prefix(8, 0x0A000000))
        assert one.get(prefix(32, 0x0A000205)) == word(0)


@pytest.mark.parametrize("count", [0, 1, 4096, 10000])
def test_lpm_items_are_complete(count: int) -> None:
    with lpm(20000) as one:
        wanted = {prefix(24, number << 8): word(number) for number in range(count)}
        one.set_many(wanted.items())
        rows = list(one.items())
        assert len(rows) == count
        assert dict(rows) == wanted


def test_lpm_items_give_no_key_twice_when_the_cursor_is_deleted() -> None:
    with lpm(20000) as one:
        one.set_many((prefix(24, number << 8), word(number)) for number in range(10000))
        seen: list[bytes] = []
        for key, _ in one.items():
            seen.append(key)
            if len(seen) == 1:
                # the batch of 4096 is read already; take its last key away
                one.delete_many(prefix(24, number << 8) for number in range(3000, 6000))
        assert len(seen) == len(set(seen))
        kept = {prefix(24, number << 8) for number in (*range(3000), *range(6000, 10000))}
        assert kept <= set(seen)


def test_lpm_full() -> None:
    with lpm(4) as one, pytest.raises(TableFull):
        one.set_many((prefix(32, number), word(0)) for number in range(10))


# ---- all ----------------------------------------------------------------------------------


def test_a_pin_that_is_not_there() -> None:
    with pytest.raises(NoSuchEntry, match="no_such_map"):
        maps.open_map(Path("/run/vrouter/bpf/no_such_map"))


def test_a_closed_map_is_an_error_not_a_crash() -> None:
    with hash_map(4) as one:
        pass
    with pytest.raises(VrouterError):
        one.get(word(1))


def test_threads_do_not_mix_up_values() -> None:
    with array(64, 64) as one:
        for index in range(64):
            one.set(index, bytes([index]) * 64)
        wrong: list[int] = []

        def read(index: int) -> None:
            for _ in range(2000):
                if one.get(index) != bytes([index]) * 64:
                    wrong.append(index)

        threads = [threading.Thread(target=read, args=(index,)) for index in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
