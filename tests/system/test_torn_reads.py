# SPDX-License-Identifier: Apache-2.0
"""A reader never sees half of one table entry and half of another.

A process on one CPU rewrites an entry as fast as free slots allow; on another CPU a program in
the kernel looks it up as dp-core does. Every version of the entry carries its number in all of
its fields. The same without the protection shows torn reads, so the test can see them.
"""

from __future__ import annotations

import contextlib
import itertools
import mmap
import os
import signal
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from tests.system.compile import compile_bpf
from vrouter.dpcore import nexthops
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.errors import TableFull
from vrouter.dpcore.instance import Instance
from vrouter.dpcore.loader import load
from vrouter.dpcore.maps import ArrayMap, open_map
from vrouter.dpcore.names import Family, NhFlag, NhType
from vrouter.dpcore.object import BpfObject
from vrouter.dpcore.records import Member, Nexthop, Route
from vrouter.dpcore.sizes import SMALL
from vrouter.dpcore.testrun import test_run

SOURCE = Path(__file__).with_name("torn_reads.bpf.c")
NH, VRF, MAC = 4090, 1, bytes((2, 0, 0, 0, 0, 1))
PREFIX = IPv4Network("10.0.0.1/32")
NUMBERS = 4000  # versions of an entry, all of them valid as ids of nexthops too
MEMBERS = 40
LO = 1
PATIENCE = 60  # seconds that a busy machine gets for the writes that are wanted
WAITS = (0, 1_000, 100_000)  # ns between the reader's first look and the second
_RESULT = struct.Struct("=QQQQII")

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(
        len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs: a reader and a writer at a time"
    ),
]
Write = Callable[[DpCore, int], object]


@dataclass(frozen=True)
class Result:
    """What the reader saw, and how often the writer wrote."""

    reads: int
    torn: int
    missing: int
    changes: int
    writes: int = 0


def nexthop(number: int) -> Nexthop:
    return Nexthop(
        id=NH,
        type=NhType.DISCARD,
        vrf=number % 64,
        sip=IPv4Address(number),
        dip=IPv4Address(number),
        rewrite=number.to_bytes(4, "big") * 8,
    )


def composite(number: int) -> Nexthop:
    return Nexthop(
        id=NH,
        type=NhType.COMPOSITE,
        family=Family.BRIDGE,
        flags=NhFlag.VALID | NhFlag.COMPOSITE_EVPN,
        dip=IPv4Address(number),
        members=(Member(nh=number, label=number),) * MEMBERS,
    )


def lighten(core: DpCore) -> None:
    """Leave out what put() does besides writing, to write more often: lock, checks, packing."""
    table: Any = core.nexthops
    packed = {n: table._pack(nexthop(n), 0) for n in range(1, NUMBERS + 1)}
    pack = table._pack
    table._pack = lambda new, chain: pack(new, chain) if chain else packed[int(new.dip)]
    table._home.lock = contextlib.nullcontext
    vars(nexthops)["check_nexthop"] = lambda home, new: None


def by_slots(core: DpCore, number: int) -> None:
    core.nexthops.put(nexthop(number))


def members(core: DpCore, number: int) -> None:
    core.nexthops.put(composite(number))


def in_place(core: DpCore, number: int) -> None:
    """What the slots are there to avoid."""
    table = core.nexthops
    table._array.set(table._index.get(NH), table._pack(nexthop(number), 0))


def without_quarantine(core: DpCore, number: int) -> None:
    core.nexthops._slots.quarantine_ns = 0
    core.nexthops.put(nexthop(number))


def route(core: DpCore, number: int) -> None:
    core.inet.put(Route(vrf=VRF, prefix=PREFIX, nh=number, label=number, bridge=number))


def mac(core: DpCore, number: int) -> None:
    core.bridge.put(VRF, MAC, number, label=number)


class Reader:
    """The compiled programs, looking at the instance's own maps."""

    def __init__(self, instance: Instance, path: Path, stack: contextlib.ExitStack) -> None:
        self._object = stack.enter_context(BpfObject(path))
        for name, one in self._object.maps.items():
            if instance.map_path(name).exists():
                one.reuse(stack.enter_context(open_map(instance.map_path(name))).fd)
        self._object.load()
        table = ArrayMap(os.dup(self._object.maps["torn_result"].fd), "torn_result")
        self._result = stack.enter_context(table)

    def start(self) -> None:
        self._result.set(0, bytes(_RESULT.size))

    def run(self, program: str, wait: int) -> Result:
        """Some milliseconds of reads with `wait` ns between two fields; the sums so far."""
        fields = list(_RESULT.unpack(self._result.get(0)))
        self._result.set(0, _RESULT.pack(*fields[:5], wait))
        repeat = 50 if wait > 10_000 else 2000
        test_run(self._object.program(program), bytes(64), LO, repeat=repeat)
        return Result(*_RESULT.unpack(self._result.get(0))[:4])


@pytest.fixture
def loaded(instance: Instance) -> Instance:
    # a slot is free again after a second, so as many are needed as are written in one
    load(instance, replace(SMALL, spare_nexthops=131072, members=131072))
    return instance


@pytest.fixture
def reader(loaded: Instance, tmp_path: Path) -> Iterator[Reader]:
    with contextlib.ExitStack() as stack:
        path = compile_bpf(SOURCE, tmp_path / "torn_reads.bpf.o")
        yield Reader(loaded, path, stack)


class Writes:
    """How often a writer has written: memory that it shares with its parent."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 8)

    def set(self, count: int) -> None:
        self._memory[:] = count.to_bytes(8, "little")

    def get(self) -> int:
        return int.from_bytes(self._memory[:], "little")


def writer(instance: Instance, write: Write, writes: Writes, cpu: int) -> None:
    """Write until killed."""
    os.sched_setaffinity(0, {cpu})
    done = 0
    with DpCore.open(instance) as core, core.lock():
        lighten(core)
        while True:
            try:
                write(core, done % NUMBERS + 1)
                done += 1
                writes.set(done)
            except TableFull:
                time.sleep(0.001)


def race(
    instance: Instance,
    reader: Reader,
    program: str,
    write: Write,
    seconds: float,
    *,
    enough: int,
    writes: int = 0,
) -> Result:
    """Reader against writer for so long and so many writes, or until `enough` torn reads."""
    reading_cpu, writing_cpu = sorted(os.sched_getaffinity(0))[:2]
    with DpCore.open(instance) as core:
        by_slots(core, 1)
        write(core, 1)
    reader.start()
    before = os.sched_getaffinity(0)
    done = Writes()
    child = os.fork()  # it needs nothing but the maps, and opens them itself
    if child == 0:
        with contextlib.suppress(BaseException):
            writer(instance, write, done, writing_cpu)
        os._exit(1)
    os.sched_setaffinity(0, {reading_cpu})
    start = time.monotonic()
    seen = Result(0, 0, 0, 0)
    try:
        for turn in itertools.count():
            took = time.monotonic() - start
            if seen.torn >= enough or took >= PATIENCE:
                break
            if took >= seconds and done.get() >= writes:
                break
            seen = reader.run(program, WAITS[turn % len(WAITS)])
    finally:
        os.sched_setaffinity(0, before)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, "the writer ended by itself"
    return replace(seen, writes=done.get())


NEVER = 1  # torn read is one too many, and the race can end
PROMISED_WRITES = 100_000


def test_a_nexthop_is_read_whole(loaded: Instance, reader: Reader) -> None:
    """The promise: ten seconds, at least 100,000 rewrites of an entry of more than 64 bytes."""
    with DpCore.open(loaded) as core:
        assert core.layouts.layout("vr_nexthop").size > 64
    seen = race(loaded, reader, "read_nexthop", by_slots, 10, enough=NEVER, writes=PROMISED_WRITES)
    assert (seen.torn, seen.missing) == (0, 0)
    assert seen.writes >= PROMISED_WRITES
    assert seen.changes > 1000


@pytest.mark.parametrize("write", [in_place, without_quarantine])
def test_without_the_protection_it_is_not(loaded: Instance, reader: Reader, write: Write) -> None:
    seen = race(loaded, reader, "read_nexthop", write, 10, enough=20)
    assert seen.torn >= 20


@pytest.mark.parametrize(
    ("program", "write"),
    [("read_members", members), ("read_route", route), ("read_mac", mac)],
    ids=["composite", "route", "mac"],
)
def test_so_are_the_other_tables(
    loaded: Instance, reader: Reader, program: str, write: Write
) -> None:
    seen = race(loaded, reader, program, write, 3, enough=NEVER, writes=5000)
    assert (seen.torn, seen.missing) == (0, 0)
    assert seen.writes >= 5000
    assert seen.changes > 500
