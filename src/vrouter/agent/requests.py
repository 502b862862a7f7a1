# SPDX-License-Identifier: Apache-2.0
"""Requests for changes, as they come to the writer: those that wait for it are made one change, so
that what is done once for each change (the flood tree, the disk) is done once for all of them.

Each still has an outcome of its own, and is refused by itself: where the one change is refused,
its requests are made one by one, in the order in which they came.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final

from vrouter.agent.desired.records import Record
from vrouter.agent.desired.state import Key
from vrouter.agent.facade import Outcome, Source
from vrouter.dpcore.errors import VrouterError

MOST: Final = 64
Change = Callable[[list[Record], list[Key], Source], Awaitable[Outcome]]


@dataclass(frozen=True)
class _Request:
    puts: list[Record]
    deletes: list[Key]
    source: Source
    done: asyncio.Future[Outcome]

    def keys(self) -> set[Key]:
        return {(one.kind, one.name) for one in self.puts} | set(self.deletes)


class Requests:
    """change: makes one change real, in the writer's thread."""

    def __init__(self, change: Change) -> None:
        self._change = change
        self._waiting: deque[_Request] = deque()
        self._working: asyncio.Task[None] | None = None

    async def change(
        self, puts: Iterable[Record], deletes: Iterable[Key], source: Source
    ) -> Outcome:
        """What became of it. Raises what the writer raises."""
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Request(list(puts), list(deletes), source, done))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        return await done

    async def _work(self) -> None:
        while self._waiting:
            together = self._take()
            if len(together) == 1 or not await self._as_one(together):
                for one in together:
                    await self._alone(one)

    def _take(self) -> list[_Request]:
        """The next, and those behind it that are of the same source and of other objects."""
        found = [self._waiting.popleft()]
        keys = found[0].keys()
        while self._waiting and len(found) < MOST:
            one = self._waiting[0]
            if one.source != found[0].source or keys & one.keys():
                break
            keys |= one.keys()
            found.append(self._waiting.popleft())
        return found

    async def _as_one(self, requests: list[_Request]) -> bool:
        puts = [record for one in requests for record in one.puts]
        deletes = [key for one in requests for key in one.deletes]
        try:
            outcome = await self._change(puts, deletes, requests[0].source)
        except VrouterError:
            return False
        except BaseException as error:
            for one in requests:
                _fail(one, error)
            raise
        for one in requests:
            _finish(one, outcome)
        return True

    async def _alone(self, one: _Request) -> None:
        try:
            outcome = await self._change(one.puts, one.deletes, one.source)
        except Exception as error:
            _fail(one, error)
        except BaseException as error:
            _fail(one, error)
            raise
        else:
            _finish(one, outcome)


def _finish(one: _Request, outcome: Outcome) -> None:
    """With its own part of the outcome."""
    keys = one.keys()
    added, changed, removed = (
        tuple(key for key in part if key in keys)
        for part in (outcome.added, outcome.changed, outcome.removed)
    )
    if not one.done.done():
        one.done.set_result(Outcome(added, changed, removed))


def _fail(one: _Request, error: BaseException) -> None:
    if not one.done.done():
        one.done.set_exception(error)
