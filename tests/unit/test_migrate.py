# SPDX-License-Identifier: Apache-2.0
"""Values in another layout; counters that are moved while somebody counts."""

from __future__ import annotations

import os
import struct
import threading

import pytest

from vrouter.dpcore import libbpf, settle
from vrouter.dpcore.convert import Converter, words
from vrouter.dpcore.errors import Refused
from vrouter.dpcore.layout import Field, Layout
from vrouter.dpcore.maps import ArrayMap, PercpuArrayMap, from_fd


def layout(size: int, **fields: Field) -> Layout:
    return Layout("s", size, fields)


OLD = layout(
    16,
    a=Field(0, 2, "uint"),
    b=Field(2, 2, "int"),
    ip=Field(4, 4, "be"),
    c=Field(8, 1, "uint", 4),
    gone=Field(12, 4, "uint"),
)
NEW = layout(
    32,
    fresh=Field(0, 4, "uint"),
    c=Field(4, 1, "uint", 6),
    ip=Field(12, 4, "be"),
    b=Field(16, 4, "int"),
    a=Field(20, 8, "uint"),
)


def old(a: int, b: int, ip: int, c: tuple[int, ...], gone: int = 0) -> bytes:
    return struct.pack("=Hh", a, b) + struct.pack("!I", ip) + bytes(c) + struct.pack("=I", gone)


def test_fields_go_by_name_and_grow() -> None:
    values = old(1, -2, 0x0A000001, (1, 2, 3, 4), 99) + old(65535, 7, 5, (0, 0, 0, 9))
    template = NEW.pack(fresh=300)
    converter = Converter("t", OLD, NEW, template=template)
    assert converter.dropped == ("gone",)
    out = converter.convert(values, 2)
    first, second = NEW.unpack(out), NEW.unpack(out, 32)
    assert (first["fresh"], first["a"], first["b"], first["ip"]) == (300, 1, -2, 0x0A000001)
    assert tuple(first["c"]) == (1, 2, 3, 4, 0, 0)
    assert (second["a"], second["b"], tuple(second["c"])) == (65535, 7, (0, 0, 0, 9, 0, 0))


def test_and_shrink_when_nothing_is_lost() -> None:
    there, back = Converter("t", OLD, NEW), Converter("t", NEW, OLD)
    values = old(65535, -32768, 0xFFFFFFFF, (255, 2, 3, 4)) + old(0, 32767, 1, (0, 0, 0, 0))
    assert back.convert(there.convert(values, 2), 2) == values
    assert there.convert(values, 2)[:4] == bytes(4)


@pytest.mark.parametrize(
    "value",
    [{"a": 65536}, {"a": 1 << 40}, {"b": 32768}, {"b": -32769}, {"c": (0, 0, 0, 0, 1, 0)}],
)
def test_a_value_that_does_not_fit_is_refused(value: dict[str, object]) -> None:
    field = next(iter(value))
    raw = bytearray(NEW.pack(**{k: v for k, v in value.items() if k != "c"}))
    if isinstance(array := value.get("c"), tuple):
        raw[4:10] = bytes(array)
    with pytest.raises(Refused, match=f"table t: field {field} holds"):
        Converter("t", NEW, OLD).convert(NEW.pack() + bytes(raw), 2)


def test_structs_in_arrays() -> None:
    one = layout(4, x=Field(0, 4, "uint"))
    two = layout(8, y=Field(0, 4, "uint"), x=Field(4, 4, "uint"))
    before = layout(12, n=Field(0, 4, "uint"), m=Field(4, 4, "struct", 2, one))
    after = layout(24, m=Field(0, 8, "struct", 3, two))
    out = Converter("t", before, after).convert(struct.pack("=3I", 1, 2, 3), 1)
    assert struct.unpack("=6I", out) == (0, 2, 0, 3, 0, 0)
    assert Converter("t", after, before).dropped == ("m.y",)


def test_another_kind_is_refused() -> None:
    other = layout(4, a=Field(0, 4, "be"))
    with pytest.raises(Refused, match="field a is of another kind"):
        Converter("t", OLD, other)
    with pytest.raises(Refused, match="no counter of 8 bytes"):
        words(OLD, OLD)


def make(kind: int, value: int, entries: int, name: str) -> ArrayMap | PercpuArrayMap:
    fd = libbpf.check(libbpf.lib().bpf_map_create(kind, b"t", 4, value, entries, None), name)
    found = from_fd(fd, name)
    assert isinstance(found, ArrayMap | PercpuArrayMap)
    return found


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@needs_root
def test_counters_of_every_cpu_are_moved() -> None:
    before = make(libbpf.MAP_PERCPU_ARRAY, 16, 8, "old")
    after = make(libbpf.MAP_PERCPU_ARRAY, 24, 5, "new")
    assert isinstance(before, PercpuArrayMap) and isinstance(after, PercpuArrayMap)
    cpus = libbpf.possible_cpus()
    for table, key, row in ((before, 3, (5, 7)), (before, 6, (1, 1)), (after, 3, (9, 100, 1000))):
        value = b"".join(
            struct.pack(f"={len(row)}Q", *(n + cpu for n in row)) for cpu in range(cpus)
        )
        table._update(key.to_bytes(4, "little"), value)
    affinity = os.sched_getaffinity(0)
    assert settle.move(before, after, [(0, 16), (8, 0)]) == 1
    assert os.sched_getaffinity(0) == affinity
    for cpu, value in enumerate(after.get(3)):
        want = (9 + cpu + 7 + cpu, 100 + cpu, 1000 + cpu + 5 + cpu)
        assert struct.unpack("=3Q", value) == want
    assert not any(map(any, before.get(3)))
    assert settle.move(before, after, [(0, 16), (8, 0)]) == 0  # again: nothing is left


@needs_root
def test_no_count_is_lost_while_somebody_counts() -> None:
    """Two movers at once, as after a kill: each count arrives once."""
    before = make(libbpf.MAP_ARRAY, 8, 300, "old")
    after = make(libbpf.MAP_ARRAY, 8, 300, "new")
    assert isinstance(before, ArrayMap) and isinstance(after, ArrayMap)
    before.set_many((key, (key + 1).to_bytes(8, "little")) for key in range(300))
    movers = [
        threading.Thread(target=settle.move, args=(before, after, [(0, 0)])) for _ in range(3)
    ]
    for mover in movers:
        mover.start()
    for mover in movers:
        mover.join()
    assert [int.from_bytes(value, "little") for _, value in after.items()] == list(range(1, 301))
    assert not any(any(value) for _, value in before.items())
