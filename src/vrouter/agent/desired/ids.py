# SPDX-License-Identifier: Apache-2.0
"""Numbers that stay the same over restarts: of vifs, nexthops, VRFs and labels.

Each is given to a key and kept in the store with the objects. A released number rests before
another key gets it, so that what still names it (a packet under way, another host's route)
does not reach somebody else; the same key gets it back at once.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from vrouter.dpcore.errors import Refused

REST: Final = 120.0  # seconds


@dataclass(frozen=True, slots=True)
class Row:
    """A number and whose it is. released: when (seconds since the epoch), None: in use."""

    space: str
    key: str
    number: int
    released: float | None = None


@dataclass
class _Space:
    name: str
    first: int
    end: int  # exclusive
    next: int = 0
    by_key: dict[str, Row] = field(default_factory=dict)
    by_number: dict[int, str] = field(default_factory=dict)
    resting: list[tuple[float, int]] = field(default_factory=list)


class Ids:
    """All numbers. What changed since the last `changes()` is to be stored."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._spaces: dict[str, _Space] = {}
        self._dirty: dict[tuple[str, str], Row | None] = {}
        self._old: dict[tuple[str, str], Row | None] = {}
        self._nexts: dict[str, int] = {}

    def space(self, name: str, first: int, end: int) -> None:
        """Numbers `first` to `end` - 1 are given in space `name`."""
        self._spaces[name] = _Space(name, first, end, next=first)

    def load(self, rows: Iterable[Row]) -> None:
        """What was stored. A number that is out of its space by now is given anew."""
        for row in rows:
            space = self._spaces.get(row.space)
            if space is None or not space.first <= row.number < space.end:
                continue
            self._set(space, row)
        for space in self._spaces.values():
            space.next = max([space.first, *(number + 1 for number in space.by_number)])

    def get(self, space: str, key: str) -> int | None:
        """The number of a key, if it has one that is in use."""
        row = self._spaces[space].by_key.get(key)
        return row.number if row is not None and row.released is None else None

    def owner(self, space: str, number: int) -> str | None:
        """Whose a number is (in use)."""
        found = self._spaces[space]
        key = found.by_number.get(number)
        row = None if key is None else found.by_key[key]
        return key if row is not None and row.released is None else None

    def give(self, space: str, key: str, taken: Callable[[int], bool] = lambda _: False) -> int:
        """The number of a key, given now if it has none.

        taken: numbers that are somebody's by other means. Raises Refused if all are in use.
        """
        found = self._spaces[space]
        row = found.by_key.get(key)
        if row is not None and (row.released is None or not taken(row.number)):
            number = row.number
        else:
            number = self._fresh(found, taken)
        if row is None or row.released is not None:
            self._put(found, Row(space, key, number))
        return number

    def release(self, space: str, key: str) -> None:
        """A key needs its number no more."""
        found = self._spaces[space]
        row = found.by_key.get(key)
        if row is not None and row.released is None:
            self._put(found, Row(space, key, row.number, self._clock()))

    def keys(self, space: str) -> list[str]:
        """The keys that have a number in use."""
        rows = self._spaces[space].by_key.values()
        return [row.key for row in rows if row.released is None]

    def changes(self) -> list[tuple[str, str, Row | None]]:
        """(space, key, row or None: forgotten) of what changed since `settle` or `undo`."""
        return [(space, key, row) for (space, key), row in self._dirty.items()]

    def settle(self) -> None:
        """The changes are stored."""
        self._dirty.clear()
        self._old.clear()
        self._nexts.clear()

    def undo(self) -> None:
        """Take the changes back."""
        for name, key in self._dirty:
            self._drop(self._spaces[name], key)
        for (name, _), row in self._old.items():
            if row is not None:
                self._set(self._spaces[name], row)
        for name, number in self._nexts.items():
            self._spaces[name].next = number
        self.settle()

    # ---- how --------------------------------------------------------------------------

    def _fresh(self, space: _Space, taken: Callable[[int], bool]) -> int:
        self._nexts.setdefault(space.name, space.next)
        while space.next < space.end:
            number = space.next
            space.next += 1
            if number not in space.by_number and not taken(number):
                return number
        return self._rested(space, taken)

    def _rested(self, space: _Space, taken: Callable[[int], bool]) -> int:
        """The number that has rested longest; after REST seconds if there is a choice."""
        skipped: list[tuple[float, int]] = []
        try:
            while space.resting:
                released, number = heapq.heappop(space.resting)
                key = space.by_number.get(number)
                row = None if key is None else space.by_key[key]
                if row is None or row.released != released:
                    continue  # given again since
                if taken(number):
                    skipped.append((released, number))
                    continue
                self._forget(space, row.key)
                return number
        finally:
            for one in skipped:
                heapq.heappush(space.resting, one)
        for number in range(space.first, space.end):
            if number not in space.by_number and not taken(number):
                return number
        raise Refused(
            f"all {space.end - space.first} numbers for {space.name}s are in use: delete what is "
            "not needed, or load dp-core with larger tables (vrouter load --size)"
        )

    def _put(self, space: _Space, row: Row) -> None:
        self._note(space, row.key)
        self._set(space, row)
        self._dirty[space.name, row.key] = row

    def _forget(self, space: _Space, key: str) -> None:
        self._note(space, key)
        self._drop(space, key)
        self._dirty[space.name, key] = None

    def _note(self, space: _Space, key: str) -> None:
        self._old.setdefault((space.name, key), space.by_key.get(key))

    def _set(self, space: _Space, row: Row) -> None:
        self._drop(space, row.key)
        space.by_key[row.key] = row
        space.by_number[row.number] = row.key
        if row.released is not None:
            heapq.heappush(space.resting, (row.released, row.number))

    @staticmethod
    def _drop(space: _Space, key: str) -> None:
        row = space.by_key.pop(key, None)
        if row is not None and space.by_number.get(row.number) == key:
            del space.by_number[row.number]
