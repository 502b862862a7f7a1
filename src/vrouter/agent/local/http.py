# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 on asyncio's streams: h11 says what bytes mean, here is how they come and go."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import h11

from vrouter.agent.local.client import CHUNK, send

LONGEST_HEAD: Final = 16_384  # bytes of a request or status line, with all headers
Event = h11.Event | type[h11.PAUSED]


class Failure(Exception):  # noqa: N818 - an answer, not an error of the program
    """An answer that tells what is wrong. result: for the counter."""

    def __init__(self, status: int, why: str, result: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why
        self.result = result


@dataclass(frozen=True, slots=True)
class Wire:
    """One connection, either side of it."""

    conn: h11.Connection
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def next(self, seconds: float) -> Event:
        """What comes next. Raises TimeoutError, h11.RemoteProtocolError, OSError."""
        async with asyncio.timeout(seconds):
            while True:
                event = self.conn.next_event()
                if event is not h11.NEED_DATA:
                    return event  # type: ignore[return-value]
                self.conn.receive_data(await self.reader.read(CHUNK))

    async def send(self, *events: h11.Event) -> None:
        """Raises h11.LocalProtocolError, TimeoutError, OSError."""
        data = b"".join(self.conn.send(event) or b"" for event in events)
        if data:
            await send(self.writer, data)


def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Wire:
    """The side that answers."""
    return Wire(h11.Connection(h11.SERVER, LONGEST_HEAD), reader, writer)


def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Wire:
    """The side that asks."""
    return Wire(h11.Connection(h11.CLIENT, 4 * LONGEST_HEAD), reader, writer)
