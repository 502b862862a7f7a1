# SPDX-License-Identifier: Apache-2.0
"""Services of TCP on the loopback: a client's end, and the service's."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address

from tests.unit.services.rig import PORT1

from vrouter.agent.local.client import Client
from vrouter.agent.services.base import Port

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Told:
    """What was counted, as `service: result`."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def __call__(self, service: str, result: str) -> None:
        self.counts[f"{service}: {result}"] += 1


@asynccontextmanager
async def served(
    serve: Callable[[Client], Awaitable[None]], port: Port | None = PORT1
) -> AsyncIterator[Callable[[], Awaitable[Streams]]]:
    """Opens connections to a service; errors of it are the test's."""
    errors: list[BaseException] = []

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(Client(ip_address("10.1.1.10"), port, reader, writer))
        except* OSError:
            writer.transport.abort()
        except* Exception as group:
            errors.extend(group.exceptions)
            writer.transport.abort()
        finally:
            writer.close()

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    place = server.sockets[0].getsockname()
    try:
        yield lambda: asyncio.open_connection(*place)
    finally:
        server.close()
    if errors:
        raise errors[0]
