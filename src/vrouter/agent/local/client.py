# SPDX-License-Identifier: Apache-2.0
"""A connection of a VM, and what its services have in common."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from vrouter.agent.services.base import Port
from vrouter.dpcore.records import IPAddress

# seconds in which a client must take what it is sent
TAKE_SECONDS: Final = 30.0
CHUNK: Final = 65_536
Allow = Callable[[int, str], bool]  # (vif, service): whether it may have one more by now
Tell = Callable[[str, str], None]  # (service, result): one more that ended so


@dataclass(frozen=True, slots=True)
class Client:
    """Who is at the other end. port: whose the address is, None if nobody's of this host."""

    address: IPAddress
    port: Port | None
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


async def send(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Write, and wait until there is room for more. Raises OSError, TimeoutError."""
    writer.write(data)
    async with asyncio.timeout(TAKE_SECONDS):
        await writer.drain()


def reset(sock: socket.socket) -> None:
    """Let the end of a connection be a reset: what came is not all there was to be."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def break_off(writer: asyncio.StreamWriter) -> None:
    """End a connection at once, with a reset."""
    sock = writer.get_extra_info("socket")
    if sock is not None:
        reset(sock)
    writer.transport.abort()


class Gate:
    """How many connections there are, of each port and in all."""

    def __init__(self) -> None:
        self.total = 0
        self.of: dict[object, int] = {}

    def enter(self, key: object, each: int, total: int) -> bool:
        """Whether there is room for one more of `key`'s."""
        if self.total >= total or self.of.get(key, 0) >= each:
            return False
        self.total += 1
        self.of[key] = self.of.get(key, 0) + 1
        return True

    def leave(self, key: object) -> None:
        """One of `key`'s is over."""
        self.total -= 1
        self.of[key] -= 1
        if not self.of[key]:
            del self.of[key]
