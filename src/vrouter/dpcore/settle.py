# SPDX-License-Identifier: Apache-2.0
"""Move counters from a table that nobody counts in any more to one that dp-core counts in, or
clear those of one CPU.

A program is made for the pair of tables. For one key it takes each counter out
of the old table (and leaves zero there) and adds it to that of the new one, by
atomic instructions. So no packet is counted twice or never, dp-core may go on
counting meanwhile, and whoever is killed here leaves counters half moved, of
which the rest can be moved later.

The system calls write a value of every CPU at once, and what the others count between a read and
a write would be lost. So what is cleared of one CPU only is cleared by a program that runs there,
where it cannot come between the halves of an addition of dp-core's.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from . import libbpf
from .errors import Refused, VrouterError
from .maps import ArrayMap, BpfMap, PercpuArrayMap
from .testrun import test_run

_SCHED_CLS: Final = 3
_MARK: Final = 8  # of struct __sk_buff
_PACKET: Final = bytes(14)
_LOOPBACK: Final = 1
_CPU_SHIFT: Final = 20  # mark = cpu << 20 | key: tables of counters have fewer keys

_LOOKUP, _LOOKUP_PERCPU = 1, 195  # enum bpf_func_id


def move(old: BpfMap, new: BpfMap, words: list[tuple[int, int]]) -> int:
    """Adds the counters of `old` to those of `new`, and leaves zeros; how many keys had some.

    words: (offset in old, offset in new) of each counter of 8 bytes. Keys that
    `new` does not have are left out. Nobody may count in `old` any more.
    """
    todo = [item for item in _nonzero(old, [at for at, _ in words]) if item[0] < new.max_entries]
    if not todo or not words:
        return 0
    if max(old.max_entries, new.max_entries) > 1 << _CPU_SHIFT:
        raise VrouterError(f"table {old.name} is too large to move its counters")
    program = _load(old, new, words)
    try:
        for cpu in sorted({cpu for _, cpu in todo}):
            with _on_cpu(cpu):
                for key in [key for key, where in todo if where == cpu]:
                    test_run(program, _PACKET, _LOOPBACK, mark=cpu << _CPU_SHIFT | key)
    finally:
        os.close(program)
    return len({key for key, _ in todo})


def clear(table: PercpuArrayMap, keys: Iterable[int], cpu: int) -> None:
    """Sets the values of one CPU to zero. Refused: it is offline, or not ours to run on."""
    program = _load_clear(table)
    try:
        with _on_cpu(cpu):
            if os.sched_getaffinity(0) != {cpu}:
                raise Refused(f"cannot run on CPU {cpu}: it is offline, or not in our cpuset")
            for key in keys:
                test_run(program, _PACKET, _LOOPBACK, mark=key)
    finally:
        os.close(program)


def _nonzero(table: BpfMap, offsets: list[int]) -> Iterator[tuple[int, int]]:
    """(key, CPU) of the values with a counter that is not zero."""
    if not isinstance(table, ArrayMap | PercpuArrayMap):
        raise VrouterError(f"table {table.name} is no table of counters")
    zero = bytes(table.value_size)
    for key, found in table.items():
        for cpu, value in enumerate([found] if isinstance(found, bytes) else found):
            if value != zero and any(any(value[at : at + 8]) for at in offsets):
                yield key, cpu


@contextmanager
def _on_cpu(cpu: int) -> Iterator[None]:
    """On that CPU if this thread may run there; else its counters go to those of another."""
    before = os.sched_getaffinity(0)
    with suppress(OSError):  # it is off, or not ours
        os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _code(code: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    return struct.pack("=BBhi", code, src << 4 | dst, off, imm)


def _map_fd(register: int, table: BpfMap) -> bytes:
    """r = map: two instructions wide, with BPF_PSEUDO_MAP_FD."""
    return _code(0x18, register, 1, imm=table.fd) + _code(0)


def _load(old: BpfMap, new: BpfMap, words: list[tuple[int, int]]) -> int:
    """A classifier that moves the counters of key and CPU skb->mark; its file descriptor."""
    percpu = isinstance(old, PercpuArrayMap)
    moves = b"".join(
        _code(0xB7, 1)  # r1 = 0
        + _code(0xDB, 7, 1, source, 0xE1)  # r1 = xchg(*(u64 *)(r7 + source), r1)
        + _code(0xDB, 8, 1, target, 0x00)  # *(u64 *)(r8 + target) += r1, atomically
        for source, target in words
    )
    text = b"".join(
        (
            _code(0x61, 6, 1, _MARK),  # r6 = skb->mark
            _code(0xBF, 1, 6),
            _code(0x57, 1, imm=(1 << _CPU_SHIFT) - 1),
            _code(0x63, 10, 1, -4),  # key on the stack
            _code(0x77, 6, imm=_CPU_SHIFT),  # r6 = cpu
            _map_fd(1, old),
            _code(0xBF, 2, 10),
            _code(0x07, 2, imm=-4),
            _code(0xBF, 3, 6),
            _code(0x85, imm=_LOOKUP_PERCPU if percpu else _LOOKUP),
            _code(0x15, 0, off=8 + len(moves) // 8),  # none: to the end
            _code(0xBF, 7, 0),
            _map_fd(1, new),
            _code(0xBF, 2, 10),
            _code(0x07, 2, imm=-4),
            _code(0x85, imm=_LOOKUP),
            _code(0x15, 0, off=1 + len(moves) // 8),
            _code(0xBF, 8, 0),
            moves,
            _code(0xB7, 0),
            _code(0x95),
        )
    )
    return _load_text(text, f"moves the counters of {old.name}")


def _load_clear(table: PercpuArrayMap) -> int:
    """A classifier that sets the value of key skb->mark to zero; its file descriptor."""
    words = range(0, table.value_size, 8)
    text = b"".join(
        (
            _code(0x61, 1, 1, _MARK),
            _code(0x63, 10, 1, -4),  # key on the stack
            _map_fd(1, table),
            _code(0xBF, 2, 10),
            _code(0x07, 2, imm=-4),
            _code(0x85, imm=_LOOKUP),
            _code(0x15, 0, off=len(words)),  # none: to the end
            *(_code(0x7A, 0, off=at) for at in words),  # *(u64 *)(r0 + at) = 0
            _code(0xB7, 0),
            _code(0x95),
        )
    )
    return _load_text(text, f"clears the counters of {table.name}")


def _load_text(text: bytes, does: str) -> int:
    lib = libbpf.lib()
    count = ctypes.c_size_t(len(text) // 8)
    fd = lib.bpf_prog_load(_SCHED_CLS, b"vr_settle", b"Dual BSD/GPL", text, count, None)
    return libbpf.check(fd, f"cannot load the program that {does}")
