# SPDX-License-Identifier: Apache-2.0
"""Link-local services: bytes between a VM and a target; who may have how many connections."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from tests.unit.agent.local_rig import Streams, Told, served

from vrouter.agent.desired.records import LinkLocal
from vrouter.agent.local import relay
from vrouter.agent.local.client import Gate, break_off
from vrouter.agent.local.relay import Relay

Target = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def relayed(target: Target, told: Told) -> AsyncIterator[Callable[[], Awaitable[Streams]]]:
    server = await asyncio.start_server(target, "127.0.0.1", 0)
    service = LinkLocal(
        name="s",
        address="169.254.7.7",
        port=80,
        target="localhost",
        target_port=server.sockets[0].getsockname()[1],
    )
    async with served(lambda client: Relay(told).serve(client, service)) as connect:
        yield connect
    server.close()


async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speaks when the other side has ended: what it was told, twice."""
    data = await reader.read()
    writer.write(data * 2)
    writer.close()


async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Ends its side at once, and counts what comes."""
    writer.write_eof()
    EARLY.append(len(await reader.read()))
    writer.close()


EARLY: list[int] = []


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    break_off(writer)


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


def test_each_side_may_end_before_the_other() -> None:
    data = bytes(range(256)) * 8192

    async def main() -> None:
        told = Told()
        async with relayed(late, told) as connect:
            reader, writer = await connect()
            writer.write(data)
            writer.write_eof()
            assert await asyncio.wait_for(reader.read(), 10) == data * 2
            writer.close()
        async with relayed(early, told) as connect:
            reader, writer = await connect()
            assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.write(data)
            writer.write_eof()
            async with asyncio.timeout(5):
                while not EARLY:
                    await asyncio.sleep(0.01)
            assert EARLY.pop() == len(data)
            writer.close()
        assert told.counts == {"link-local: relayed": 2}

    asyncio.run(main())


def test_a_target_that_hangs_up_is_felt() -> None:
    async def main() -> None:
        async with relayed(hangs_up, Told()) as connect:
            reader, writer = await connect()
            writer.write(b"x")
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(), 5)
            writer.close()

    asyncio.run(main())


def test_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "IDLE_SECONDS", 0.2)

    async def main() -> None:
        told = Told()
        async with relayed(silent, told) as connect:
            reader, writer = await connect()
            for _ in range(4):
                await asyncio.sleep(0.1)
                writer.write(b"still here")
            assert told.counts == {"link-local: relayed": 1}
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(), 5)
            assert dict(told.counts) == {"link-local: relayed": 1, "link-local: idle": 1}
            writer.close()

    asyncio.run(main())


def test_gate() -> None:
    gate = Gate()
    assert [gate.enter("a", 2, 3) for _ in range(3)] == [True, True, False]
    assert [gate.enter("b", 2, 3) for _ in range(2)] == [True, False], "three in all"
    gate.leave("a")
    assert gate.enter("b", 2, 3) and not gate.enter("a", 2, 3)
    for key in ("a", "b", "b"):
        gate.leave(key)
    assert (gate.total, gate.of) == (0, {})
