# SPDX-License-Identifier: Apache-2.0
"""DNS over TCP (RFC 7766): each message behind its length, two bytes in network order."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from vrouter.agent.local.client import Allow, Client, Tell, break_off, send
from vrouter.agent.services.dns_resolver import Pending, Reply, Resolver
from vrouter.agent.services.wire.malformed import Malformed

NAME: Final = "dns-tcp"
PORT: Final = 53
IDLE_SECONDS: Final = 10.0
MESSAGE_SECONDS: Final = 5.0
# no query is longer: one question, OPT, a signature
LONGEST: Final = 4096
AT_ONCE: Final = 16  # questions of a connection that wait for others' answers
_PAUSE: Final = 0.05


class DnsOverTcp:
    """Answers come when they are there, not in the order of the questions (section 7)."""

    def __init__(self, resolver: Resolver, allow: Allow, tell: Tell) -> None:
        self._resolver = resolver
        self._allow = allow
        self._tell = tell

    async def serve(self, client: Client) -> None:
        """One connection, until the client ends it or is silent. Raises OSError."""
        if client.port is None:
            self._tell(NAME, "unknown source")
            return
        room = asyncio.Semaphore(AT_ONCE)
        asked: set[Pending] = set()
        # all end with this one
        async with asyncio.TaskGroup() as waiting:
            while (data := await self._message(client, asked)) is not None:
                while not self._allow(client.port.vif, "dns"):
                    await asyncio.sleep(_PAUSE)
                try:
                    found = self._resolver.answer(client.port, data, time.monotonic(), stream=True)
                except Malformed as bad:
                    self._tell(NAME, bad.reason)
                    break
                if isinstance(found, Reply):
                    await self._reply(client, found)
                    continue
                self._tell(NAME, "forwarded")
                await room.acquire()
                asked.add(found)
                waiting.create_task(self._later(client, found, room, asked))

    async def _message(self, client: Client, asked: set[Pending]) -> bytes | None:
        """The next one; None at the end of the connection."""
        while True:
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    first = await client.reader.read(1)
                break
            except TimeoutError:
                if not asked:
                    self._tell(NAME, "idle")
                    return None
        if not first:
            return None
        try:
            async with asyncio.timeout(MESSAGE_SECONDS):
                size = first[0] << 8 | (await client.reader.readexactly(1))[0]
                if size > LONGEST:
                    self._tell(NAME, "too long")
                    return None
                return await client.reader.readexactly(size)
        except (TimeoutError, asyncio.IncompleteReadError):
            self._tell(NAME, "cut short")
            return None

    async def _later(
        self,
        client: Client,
        pending: Pending,
        room: asyncio.Semaphore,
        asked: set[Pending],
    ) -> None:
        try:
            await self._reply(client, await pending.work)
        except (OSError, TimeoutError):
            break_off(client.writer)
        finally:
            asked.discard(pending)
            room.release()

    async def _reply(self, client: Client, reply: Reply) -> None:
        self._tell(NAME, reply.result)
        if reply.data is None:
            break_off(client.writer)
        else:
            await send(client.writer, len(reply.data).to_bytes(2, "big") + reply.data)
