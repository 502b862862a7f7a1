# SPDX-License-Identifier: Apache-2.0
"""Which slot is free: quarantine, exhaustion, many writers."""

from __future__ import annotations

import mmap
import random
import time

import pytest

from vrouter.dpcore.errors import TableFull, VrouterError
from vrouter.dpcore.slots import SlotAllocator

SECOND = 1_000_000_000


class Retire:
    """What the allocator needs of the map of states, in plain memory."""

    def __init__(self, entries: int) -> None:
        self.max_entries = entries
        self._memory = mmap.mmap(-1, -(-entries * 8 // mmap.PAGESIZE) * mmap.PAGESIZE)
        self.states = memoryview(self._memory)[: entries * 8].cast("Q")
        self.states[0] = 1

    def mapping(self) -> mmap.mmap:
        return self._memory


class Clock:
    def __init__(self) -> None:
        self.now = 1_000 * SECOND

    def __call__(self) -> int:
        return self.now


def make(entries: int, clock: Clock | None = None) -> tuple[SlotAllocator, Retire, Clock]:
    retire, clock = Retire(entries), clock or Clock()
    return SlotAllocator(retire, "test", clock=clock, spare="spare_test"), retire, clock  # type: ignore[arg-type]


def test_hands_out_every_slot_but_0_once() -> None:
    slots, _, _ = make(100)
    assert sorted(slots.allocate() for _ in range(99)) == list(range(1, 100))
    assert slots.used() == 99
    with pytest.raises(TableFull, match="delete entries"):
        slots.allocate()


def test_a_retired_slot_is_not_reused_before_its_quarantine() -> None:
    slots, _, clock = make(3)
    first, _ = slots.allocate(), slots.allocate()
    slots.retire(first)
    clock.now += SECOND - 1
    with pytest.raises(TableFull, match=r"again in 1 s.*--size spare_test=N"):
        slots.allocate()
    clock.now += 1
    assert slots.allocate() == first


def test_another_process_reuses_what_this_one_retired() -> None:
    slots, retire, clock = make(3)
    first, _ = slots.allocate(), slots.allocate()
    slots.retire(first)
    other = SlotAllocator(retire, "test", clock=clock)  # type: ignore[arg-type]
    with pytest.raises(TableFull):
        other.allocate()
    clock.now += SECOND
    assert other.allocate() == first
    with pytest.raises(TableFull):  # and the one that retired it knows
        slots.allocate()


def test_release_frees_at_once() -> None:
    slots, _, _ = make(2)
    slot = slots.allocate()
    slots.release(slot)
    assert slots.used() == 0
    assert slots.allocate() == slot


@pytest.mark.parametrize("slot", [0, -1, 10, 11])
def test_a_slot_that_cannot_be_is_refused(slot: int) -> None:
    slots, _, _ = make(10)
    with pytest.raises(VrouterError):
        slots.retire(slot)
    with pytest.raises(VrouterError):
        slots.release(slot)


def test_random_writers_never_get_a_slot_twice_or_early() -> None:
    random.seed(1)
    clock = Clock()
    first, retire, _ = make(64, clock)
    writers = [first, SlotAllocator(retire, "test", clock=clock)]  # type: ignore[arg-type]
    used: set[int] = set()
    retired: dict[int, int] = {}
    for _ in range(5000):
        clock.now += random.randrange(SECOND // 20)
        writer = random.choice(writers)
        if used and random.random() < 0.5:
            slot = used.pop()
            writer.retire(slot)
            retired[slot] = clock.now
            continue
        try:
            slot = writer.allocate()
        except TableFull:
            waiting = [at for at in retired.values() if at + SECOND > clock.now]
            assert len(used) + len(waiting) == 63
            continue
        assert slot not in used
        assert clock.now - retired.pop(slot, 0) >= SECOND
        used.add(slot)
        assert first.used() == len(used)


def test_states_that_look_free_across_a_border_are_not() -> None:
    slots, retire, clock = make(50)
    clock.now = 0
    for slot in range(1, 50):
        # six zero bytes at the end, then six at the start of the next
        retire.states[slot] = 0xFFFF if slot % 2 else 0xFFFF << 48
    with pytest.raises(TableFull):
        slots.allocate()


def test_a_new_process_finds_the_last_free_of_half_a_million_fast() -> None:
    slots, retire, clock = make(589825)
    retire.states[:] = memoryview(b"\1\0\0\0\0\0\0\0" * 589825).cast("Q")
    retire.states[300000] = 0
    retire.states[300001] = clock.now - 2 * SECOND
    start = time.perf_counter()
    fresh = SlotAllocator(retire, "test", clock=clock)  # type: ignore[arg-type]
    assert {fresh.allocate(), fresh.allocate()} == {300000, 300001}
    assert time.perf_counter() - start < 0.5
    assert slots.used() == 589824


def test_steady_churn_costs_little() -> None:
    slots, _, clock = make(70000)
    kept = [slots.allocate() for _ in range(4000)]
    start = time.perf_counter()
    for number in range(100_000):
        clock.now += SECOND // 50_000
        new = slots.allocate()
        slots.retire(kept[number % 4000])
        kept[number % 4000] = new
    assert time.perf_counter() - start < 5
    assert slots.used() == 4000
