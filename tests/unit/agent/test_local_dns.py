# SPDX-License-Identifier: Apache-2.0
"""DNS over TCP: how messages come and go. What they say: test_services_dns.py."""

from __future__ import annotations

import asyncio
import contextlib
import random

import pytest
from tests.unit.agent.local_rig import Told, served
from tests.unit.services.rig import World

from vrouter.agent.local import dns
from vrouter.agent.local.dns import DnsOverTcp
from vrouter.agent.services.dns_resolver import Resolver

TAIL = b"\1\0\0\1\0\0\0\0\0\0"
OWN, WORLD = b"\3vm1\0\0\1\0\1", b"\3www\7example\3org\0\0\1\0\1"


class Slow:
    """Answers in the other order: the last question first."""

    def __init__(self) -> None:
        self.asked = 0
        self.streams: list[bool] = []

    async def ask(self, query: bytes, *, stream: bool = False) -> bytes | None:
        self.asked += 1
        self.streams.append(stream)
        await asyncio.sleep(0.2 / self.asked)
        return query[:2] + b"\x81\x80" + query[4:] + bytes(30_000)


def message(number: int, question: bytes) -> bytes:
    data = number.to_bytes(2, "big") + TAIL + question
    return len(data).to_bytes(2, "big") + data


async def answer(reader: asyncio.StreamReader) -> bytes:
    size = int.from_bytes(await reader.readexactly(2), "big")
    return await reader.readexactly(size)


def service(told: Told, forwarder: Slow | None = None) -> DnsOverTcp:
    return DnsOverTcp(Resolver(World(), forwarder or Slow()), lambda vif, name: True, told)


def test_many_at_once_whole_and_in_pieces() -> None:
    async def main() -> None:
        told, slow = Told(), Slow()
        async with served(service(told, slow).serve) as connect:
            reader, writer = await connect()
            data = b"".join((message(1, WORLD), message(2, WORLD), message(3, OWN)))
            for at in range(len(data)):
                writer.write(data[at : at + 1])
                await asyncio.sleep(0)
            writer.write_eof()
            found = [await answer(reader) for _ in range(3)]
            assert [one[1] for one in found] == [3, 2, 1], "each when it is there"
            assert len(found[2]) > 30_000 and not found[2][2] & 2, "not cut"
            assert await reader.read() == b""
        assert slow.streams == [True, True]
        assert told.counts["dns-tcp: forwarded answer"] == 2
        assert told.counts["dns-tcp: answered"] == 1

    asyncio.run(main())


@pytest.mark.parametrize(
    ("sent", "result"),
    [
        (b"\0", "cut short"),
        (b"\0\x20short", "cut short"),
        (b"\xff\xff" + bytes(100), "too long"),
        (b"\0\0", "short dns"),
        (b"\0\x0b" + bytes(11), "short dns"),
        (b"\0\x0c\0\0\x80" + bytes(9), "not a query"),
    ],
)
def test_what_is_no_query_ends_the_connection(sent: bytes, result: str) -> None:
    async def main() -> None:
        told = Told()
        async with served(service(told).serve) as connect:
            reader, writer = await connect()
            writer.write(sent)
            writer.write_eof()
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        assert told.counts == {f"dns-tcp: {result}": 1}

    asyncio.run(main())


def test_silence_ends_it_but_not_while_an_answer_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dns, "IDLE_SECONDS", 0.05)

    async def main() -> None:
        told = Told()
        async with served(service(told).serve) as connect:
            reader, writer = await connect()
            writer.write(message(1, WORLD))
            assert (await answer(reader))[1] == 1
            assert await asyncio.wait_for(reader.read(), 2) == b""
            assert told.counts["dns-tcp: idle"] == 1
            writer.close()

    asyncio.run(main())


def test_nobodys_address() -> None:
    async def main() -> None:
        told = Told()
        async with served(service(told).serve, port=None) as connect:
            reader, _ = await connect()
            assert await reader.read() == b""
        assert told.counts == {"dns-tcp: unknown source": 1}

    asyncio.run(main())


def test_who_asks_too_much_waits() -> None:
    async def main() -> None:
        told, allowed = Told(), iter([True, False, False, True])
        asked = DnsOverTcp(Resolver(World(), Slow()), lambda vif, name: next(allowed), told)
        async with served(asked.serve) as connect:
            reader, writer = await connect()
            writer.write(message(1, OWN) + message(2, OWN))
            before = asyncio.get_running_loop().time()
            assert [(await answer(reader))[1] for _ in range(2)] == [1, 2]
            assert asyncio.get_running_loop().time() - before > 0.09
            writer.close()

    asyncio.run(main())


@pytest.mark.parametrize("seed", range(4))
def test_garbage(seed: int) -> None:
    """Whatever comes: an answer or the end, and no error of the program."""
    chance = random.Random(seed)

    async def main() -> None:
        async with served(service(Told()).serve) as connect:
            for _ in range(60):
                reader, writer = await connect()
                data = bytearray(b"".join(message(n, OWN) for n in range(3)))
                for _ in range(chance.randrange(1, 12)):
                    data[chance.randrange(len(data))] = chance.randrange(256)
                writer.write(bytes(data))
                writer.write_eof()
                with contextlib.suppress(ConnectionResetError):
                    await asyncio.wait_for(reader.read(), 5)
                writer.close()

    asyncio.run(main())
