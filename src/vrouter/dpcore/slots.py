# SPDX-License-Identifier: Apache-2.0
"""Which slots of a slot array are free.

A map of one u64 per slot tells all writers: 0 free, 1 in use, else the
CLOCK_MONOTONIC time in ns when the slot was retired. A retired slot may still
be read by a packet under way, so it is not reused before a quarantine, much
longer than any packet takes. Slot 0 is never used. The caller holds the
instance's lock.
"""

from __future__ import annotations

import random
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from .errors import TableFull, VrouterError
from .maps import ArrayMap

QUARANTINE_NS: Final = 1_000_000_000
_FREE, _IN_USE = 0, 1
_ZERO: Final = bytes(8)
_BLOCK: Final = 4096


class SlotAllocator:
    """Hands out slots of the table whose states stand in the map `retire`."""

    def __init__(
        self,
        retire: ArrayMap,
        table: str,
        quarantine_ns: int = QUARANTINE_NS,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        spare: str | None = None,
    ) -> None:
        """spare: the size name that gives the table more slots, for the message."""
        self.size = retire.max_entries
        self.table = table
        self.quarantine_ns = quarantine_ns
        self._clock = clock
        self._spare = spare
        self._memory = retire.mapping()
        self._states = memoryview(self._memory)[: 8 * self.size].cast("Q")
        # Short-lived writers that all start at the same place would walk over
        # the same used slots again and again.
        self._cursor = random.randrange(1, self.size) if self.size > 1 else 1
        self._retired: deque[tuple[int, int]] = deque()

    def allocate(self) -> int:
        """A free slot, marked in use; TableFull if there is none."""
        slot = self._from_own() or self._from_free()
        if not slot and self._sweep():
            slot = self._from_free()
        if not slot:
            raise self._full()
        self._states[slot] = _IN_USE
        return slot

    def retire(self, slot: int) -> None:
        """`slot` is not named by any index any more."""
        self._check(slot)
        now = max(self._clock(), _IN_USE + 1)
        self._states[slot] = now
        self._retired.append((now, slot))

    def release(self, slot: int) -> None:
        """`slot` was allocated but never published: free at once."""
        self._check(slot)
        self._states[slot] = _FREE

    def used(self) -> int:
        """How many slots are in use (retired ones are not)."""
        blocks = range(0, self.size, _BLOCK)
        total = sum(self._states[at : at + _BLOCK].tolist().count(_IN_USE) for at in blocks)
        return total - (self._states[0] == _IN_USE)

    def _check(self, slot: int) -> None:
        if not 0 < slot < self.size:
            raise VrouterError(f"slot {slot} of {self.table} is out of range: a bug of vrouter")

    def _from_own(self) -> int:
        """A slot that this process retired long enough ago, 0 if there is none."""
        limit = self._clock() - self.quarantine_ns
        while self._retired and self._retired[0][0] <= limit:
            when, slot = self._retired.popleft()
            # another process may have taken it meanwhile
            if self._states[slot] == when:
                return slot
        return 0

    def _from_free(self) -> int:
        """A slot that was never used or was swept, 0 if there is none."""
        slot = self._find(self._cursor, self.size) or self._find(1, self._cursor)
        if slot:
            self._cursor = slot + 1 if slot + 1 < self.size else 1
        return slot

    def _find(self, start: int, end: int) -> int:
        at, stop = start * 8, end * 8
        while True:
            at = self._memory.find(_ZERO, at, stop)
            if at < 0:
                return 0
            if at % 8 == 0:
                return at // 8
            # Zeros that straddle two slots: the second one is a candidate.
            at += 8 - at % 8

    def _sweep(self) -> int:
        """Frees all slots whose quarantine is over; returns how many."""
        limit = self._clock() - self.quarantine_ns
        all_used = _IN_USE.to_bytes(8, sys.byteorder) * _BLOCK
        freed = 0
        for start in range(1, self.size, _BLOCK):
            block = self._states[start : min(start + _BLOCK, self.size)]
            if block.tobytes() == all_used[: 8 * len(block)]:
                continue
            for number, state in enumerate(block.tolist()):
                if _IN_USE < state <= limit:
                    block[number] = _FREE
                    freed += 1
        return freed

    def _full(self) -> TableFull:
        in_use = self.used()
        waiting = self.size - 1 - in_use
        if waiting <= 0:
            return TableFull(
                self.table,
                self.size,
                "delete entries, or make it larger with `vrouter load --size`",
            )
        more = f", or load with more spare slots (--size {self._spare}=N)" if self._spare else ""
        seconds = max(1, round(self.quarantine_ns / 1e9))
        return TableFull(
            self.table,
            self.size,
            f"{waiting} freed slots can be used again in {seconds} s: wait and try again{more}",
        )
