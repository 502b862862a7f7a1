# SPDX-License-Identifier: Apache-2.0
"""Who changes different ports need not wait for another; who wants them all waits for all."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager

import pytest

from vrouter.api.turns import Turns


class Story:
    """Blocks that begin in their order and last a moment; `told` says who began and ended."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.told: list[str] = []

    async def block(self, name: str, turn: AbstractAsyncContextManager[None]) -> None:
        async with turn:
            self.told.append(f"+{name}")
            await asyncio.sleep(0.02)
            self.told.append(f"-{name}")

    def run(self, *blocks: tuple[str, list[str]]) -> list[str]:
        async def all_of_them() -> None:
            self.turns = Turns()
            async with asyncio.timeout(5), asyncio.TaskGroup() as group:
                for name, keys in blocks:
                    turn = self.turns.of(keys) if keys else self.turns.alone()
                    group.create_task(self.block(name, turn))

        asyncio.run(all_of_them())
        return self.told


def test_different_ones_go_beside_each_other() -> None:
    told = Story().run(("a", ["1"]), ("b", ["2", "3"]), ("c", ["4"]))
    assert told == ["+a", "+b", "+c", "-a", "-b", "-c"]


def test_the_same_one_waits() -> None:
    told = Story().run(("a", ["1", "2"]), ("b", ["2"]), ("c", ["3"]))
    assert told.index("+b") > told.index("-a") and told.index("+c") < told.index("-a")


def test_alone_waits_for_all_and_those_that_come_later_behind_it() -> None:
    told = Story().run(("a", ["1"]), ("alone", []), ("b", ["2"]))
    assert told == ["+a", "-a", "+alone", "-alone", "+b", "-b"]


def test_a_turn_that_failed_or_was_given_up_is_over() -> None:
    async def story() -> None:
        turns = Turns()
        for turn in (turns.of(["1"]), turns.alone()):
            with pytest.raises(ValueError, match="x"):
                async with turn:
                    raise ValueError("x")
        async with turns.of(["1"]):
            waits = asyncio.create_task(turns.alone().__aenter__())
            await asyncio.sleep(0.01)
            waits.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waits
            async with turns.of(["2"]):
                pass
        async with turns.alone():
            pass

    asyncio.run(asyncio.wait_for(story(), 5))
