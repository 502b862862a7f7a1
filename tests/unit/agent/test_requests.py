# SPDX-License-Identifier: Apache-2.0
"""Requests that wait for the writer are one change, and yet each is answered for itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from vrouter.agent.desired.records import Network, Record
from vrouter.agent.desired.state import Key
from vrouter.agent.facade import Outcome, Problem, Rejected, Source
from vrouter.agent.requests import MOST, Requests


class Writer:
    """Takes its time; says what it was asked for; refuses what is named `bad`."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    async def change(self, puts: list[Record], deletes: list[Key], source: Source) -> Outcome:
        self.asked.append([*(one.name for one in puts), *(f"-{name}" for _, name in deletes)])
        await asyncio.sleep(0.01)
        if any(one.name == "bad" for one in puts):
            raise Rejected([Problem("network[0]", "it is bad")])
        added = tuple((one.kind, one.name) for one in puts)
        return Outcome(added=added, removed=tuple(deletes))


def run(ask: Callable[[Requests], list[Awaitable[Outcome]]]) -> tuple[Writer, list[object]]:
    writer = Writer()

    async def story() -> list[object]:
        return await asyncio.gather(*ask(Requests(writer.change)), return_exceptions=True)

    return writer, asyncio.run(story())


def put(requests: Requests, name: str, source: Source = "api") -> Awaitable[Outcome]:
    return requests.change([Network(name=name)], (), source)


def outcome(*names: str) -> Outcome:
    return Outcome(added=tuple(("network", name) for name in names))


def test_those_that_wait_are_one_change() -> None:
    names = ["a", "b", "c", "d"]
    writer, found = run(lambda requests: [put(requests, name) for name in names])
    assert writer.asked == [names]
    assert found == [outcome(name) for name in names]


def test_no_more_than_so_many_at_once() -> None:
    names = [f"n{number}" for number in range(MOST + 3)]
    writer, found = run(lambda requests: [put(requests, name) for name in names])
    assert [len(one) for one in writer.asked] == [MOST, 3]
    assert found == [outcome(name) for name in names]


def test_one_that_is_refused_harms_no_other() -> None:
    writer, found = run(lambda requests: [put(requests, name) for name in ("a", "bad", "b")])
    assert writer.asked == [["a", "bad", "b"], ["a"], ["bad"], ["b"]]
    assert found[::2] == [outcome("a"), outcome("b")] and isinstance(found[1], Rejected)


def test_what_is_about_the_same_object_keeps_its_order() -> None:
    def ask(requests: Requests) -> list[Awaitable[Outcome]]:
        gone = requests.change([], [("network", "a")], "api")
        return [put(requests, "a"), put(requests, "b"), gone, put(requests, "a")]

    writer, found = run(ask)
    assert writer.asked == [["a", "b"], ["-a"], ["a"]]
    assert found[2] == Outcome(removed=(("network", "a"),))


def test_sources_are_not_mixed() -> None:
    writer, found = run(lambda requests: [put(requests, "a", "port"), put(requests, "b")])
    assert writer.asked == [["a"], ["b"]] and found == [outcome("a"), outcome("b")]


@pytest.mark.parametrize("error", [Rejected([]), RuntimeError("x")])
def test_the_next_request_is_served_after_a_failure(error: Exception) -> None:
    async def story() -> Outcome:
        answers: Iterator[Exception | Outcome] = iter([error, outcome("b")])

        async def change(*_: object) -> Outcome:
            answer = next(answers)
            if isinstance(answer, Exception):
                raise answer
            return answer

        requests = Requests(change)
        with pytest.raises(type(error)):
            await put(requests, "a")
        return await put(requests, "b")

    assert asyncio.run(story()) == outcome("b")
