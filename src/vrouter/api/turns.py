# SPDX-License-Identifier: Apache-2.0
"""Who may change ports at the same time: those that are about different ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager


class Turns:
    """Blocks of different keys run beside each other; a block `alone` beside none."""

    def __init__(self) -> None:
        self._busy: set[str] = set()
        self._alone = False
        self._waiting = 0  # for a turn alone: those that come later wait behind
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def of(self, keys: Iterable[str]) -> AsyncIterator[None]:
        """Beside all that is about others than `keys`."""
        mine = set(keys)

        def free() -> bool:
            return not (self._alone or self._waiting or mine & self._busy)

        async with self._changed:
            await self._changed.wait_for(free)
            self._busy |= mine
        try:
            yield
        finally:
            async with self._changed:
                self._busy -= mine
                self._changed.notify_all()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """When nobody else has a turn."""
        async with self._changed:
            self._waiting += 1
            try:
                await self._changed.wait_for(lambda: not self._alone and not self._busy)
                self._alone = True
            finally:
                self._waiting -= 1
                self._changed.notify_all()
        try:
            yield
        finally:
            async with self._changed:
                self._alone = False
                self._changed.notify_all()
