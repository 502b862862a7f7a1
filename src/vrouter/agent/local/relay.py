# SPDX-License-Identifier: Apache-2.0
"""A link-local service: what the VM and the target say is passed on, byte by byte."""

from __future__ import annotations

import asyncio
from typing import Final

from vrouter.agent.desired.records import LinkLocal
from vrouter.agent.local.client import CHUNK, Client, Tell, break_off

NAME: Final = "link-local"
CONNECT_SECONDS: Final = 5.0
IDLE_SECONDS: Final = 300.0


class Relay:
    """See the module. The target is reached from the vRouter's own namespace."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    async def serve(self, client: Client, service: LinkLocal) -> None:
        """One connection, until both sides have ended it, or both are silent. Raises OSError."""
        if client.port is None:
            self._tell(NAME, "unknown source")
            return
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(
                    service.target, service.target_port or service.port
                )
        except (OSError, TimeoutError):
            self._tell(NAME, "target unreachable")
            break_off(client.writer)
            return
        self._tell(NAME, "relayed")
        try:
            async with asyncio.timeout(IDLE_SECONDS) as limit, asyncio.TaskGroup() as both:
                both.create_task(_pump(client.reader, writer, limit))
                both.create_task(_pump(reader, client.writer, limit))
        except* TimeoutError:
            self._tell(NAME, "idle")
            break_off(client.writer)
            break_off(writer)
        except* OSError:
            # one side is gone in the middle: the other is to know
            break_off(client.writer)
            break_off(writer)
        finally:
            writer.close()


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: asyncio.Timeout
) -> None:
    loop = asyncio.get_running_loop()
    while data := await reader.read(CHUNK):
        limit.reschedule(loop.time() + IDLE_SECONDS)
        writer.write(data)
        await writer.drain()
    writer.write_eof()
