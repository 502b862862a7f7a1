# SPDX-License-Identifier: Apache-2.0
"""Dumps: the objects of a table, some at a time.

An answer holds as many objects as fit into a page. When more are left it says so (MORE), and the
client asks again with the last object's key as the marker. What is left is kept meanwhile, so
that a dump in parts is one picture: whatever was in the table from its beginning to its end is
in it, whatever others write.
"""

from __future__ import annotations

import contextlib
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Final

MORE: Final = 1 << 30
PAGE: Final = 3968  # bytes; upstream's: its clients have buffers of 4096
LONG_PAGE: Final = 61440  # for clients that ask for it
_KEPT: Final = 64
_KEPT_ROWS: Final = 500_000
_SECONDS: Final = 20.0
_Name = tuple[Hashable, Hashable, int | None]  # client (None: shared), scope, version


@dataclass(frozen=True, slots=True)
class Dump:
    """What a dump is made of.

    rows: all rows in the order of their keys. key: the key of a row. marker: the key after
    which to go on, None: from the beginning. encode: an object's bytes; None if it is gone by
    now. scope: tells this table from others; version: as long as it is the same, the rows are
    too (None: that is not known).
    """

    scope: Hashable
    rows: Callable[[], Sequence[Any]]
    key: Callable[[Any], Any]
    marker: Any
    encode: Callable[[Any], bytes | None]
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """The objects of one answer, and their number (with MORE if there are others)."""

    code: int
    objects: bytes


@dataclass(slots=True)
class _Rows:
    """Rows that are kept; used: when, last. ahead: the page of so many bytes from that row on, made
    before it was asked for, and which row comes after it."""

    used: float
    rows: Sequence[Any]
    ahead: tuple[int, int, Page, int] | None = None


class Kept:
    """The rows of dumps under way: of each client's, and those that clients may share."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._rows: OrderedDict[_Name, _Rows] = OrderedDict()
        self._clock = clock
        self._next: tuple[_Rows, Dump, int, int] | None = None  # what `ahead` makes

    def page(self, dump: Dump, client: Hashable, size: int) -> Page:
        """The next page of this client's dump, of at most `size` bytes (but one object)."""
        own: _Name = (client, dump.scope, None)
        shared: _Name = (None, dump.scope, dump.version)
        known = self._rows.get(own) if dump.marker is not None else None
        if known is None and dump.version is not None:
            known = self._rows.get(shared)
        rows = dump.rows() if known is None else known.rows
        start = 0 if dump.marker is None else bisect_right(rows, dump.marker, key=dump.key)
        if known is not None and known.ahead is not None and known.ahead[:2] == (start, size):
            page, end = known.ahead[2:]
        else:
            page, end = _fill(dump, rows, start, size)
        self._next = None
        if end < len(rows):
            if dump.version is not None:
                self._drop(lambda name: name[:2] == shared[:2] and name != shared)
                self._keep(shared, rows)
            kept = self._keep(own, rows)
            if dump.version is not None:  # else its objects are to be those of when it is asked
                self._next = kept, dump, end, size
        else:
            self._rows.pop(own, None)
        return page

    def ahead(self) -> None:
        """Makes the page that the client that was answered last will ask for next, while it is at
        the one it has. What cannot be made fails when it is asked for."""
        if self._next is not None:
            kept, dump, start, size = self._next
            self._next = None
            with contextlib.suppress(Exception):
                kept.ahead = (start, size, *_fill(dump, kept.rows, start, size))

    def forget(self, client: Hashable) -> None:
        """The client is gone."""
        self._drop(lambda name: name[0] == client)

    def expire(self) -> None:
        """What nobody has asked for in a while is read anew when somebody does."""
        limit = self._clock() - _SECONDS
        old = {name for name, kept in self._rows.items() if kept.used < limit}
        self._drop(old.__contains__)

    def _drop(self, which: Callable[[_Name], bool]) -> None:
        for one in [one for one in self._rows if which(one)]:
            del self._rows[one]

    def _keep(self, name: _Name, rows: Sequence[Any]) -> _Rows:
        kept = self._rows[name] = _Rows(self._clock(), rows)
        self._rows.move_to_end(name)
        while len(self._rows) > 1 and (len(self._rows) > _KEPT or self._count() > _KEPT_ROWS):
            self._rows.popitem(last=False)
        return kept

    def _count(self) -> int:
        different = {id(kept.rows): len(kept.rows) for kept in self._rows.values()}
        return sum(different.values())


def _fill(dump: Dump, rows: Sequence[Any], start: int, size: int) -> tuple[Page, int]:
    """A page of the rows from `start` on, and which row comes after it."""
    parts: list[bytes] = []
    used, at = 0, start
    while at < len(rows):
        made = dump.encode(rows[at])
        if made is not None:
            if parts and used + len(made) > size:
                break
            parts.append(made)
            used += len(made)
        at += 1
    more = MORE if at < len(rows) else 0
    return Page(len(parts) | more, b"".join(parts)), at
