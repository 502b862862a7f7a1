# SPDX-License-Identifier: Apache-2.0
"""uvicorn inside the agent's event loop: listening sockets, and clients that dawdle.

uvicorn has no time limit for a request that never ends and none for an answer that is never
read; a local user could hold every connection. Here both end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from vrouter.api.guard import UNIX
from vrouter.api.paths import group_id
from vrouter.dpcore.errors import Refused

MAX_CONNECTIONS = 256
HEAD_SECONDS = 10.0
REQUEST_SECONDS = 90.0
KEEP_ALIVE_SECONDS = 5
_BACKLOG = 512


class Protocol(H11Protocol):
    """A connection with deadlines: for the head of a request, and for all of it."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family == socket.AF_UNIX:
            raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            self.client = (UNIX, struct.unpack("=iII", raw)[1])
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
        else:
            self._limit(HEAD_SECONDS)

    def _limit(self, seconds: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, self.transport.abort)

    def data_received(self, data: bytes) -> None:
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before and not self.cycle.response_complete:
            self._limit(REQUEST_SECONDS)

    def on_response_complete(self) -> None:
        self._limit(HEAD_SECONDS)
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # signals are the agent's


def _server(app: ASGIApp) -> _Server:
    return _Server(
        uvicorn.Config(
            app,
            http=Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=1,
            backlog=_BACKLOG,
        )
    )


@contextlib.asynccontextmanager
async def serving(*doors: tuple[ASGIApp, socket.socket]) -> AsyncIterator[None]:
    """Serve each app on its listening socket for the block; requests that run get a second to
    end."""
    servers = [_server(app) for app, _ in doors]
    tasks = [
        asyncio.create_task(server.serve(sockets=[listener]))
        for server, (_, listener) in zip(servers, doors, strict=True)
    ]
    try:
        for server, task in zip(servers, tasks, strict=True):
            while not server.started and not task.done():
                await asyncio.sleep(0.001)
            if task.done():
                task.result()
        yield
    finally:
        # all at once: each takes a tenth of a second to notice
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*tasks)


def listen_tcp(port: int) -> socket.socket:
    """A listening socket on the loopback. Raises Refused when somebody has the port."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise Refused(
            f"cannot listen on 127.0.0.1:{port}: {error.strerror}: end whoever has the port, or "
            "give another (0: none) in section [api] of the agent's configuration"
        ) from None
    sock.setblocking(False)
    return sock


class UnixDoor:
    """The unix socket: it listens at once, and is there for clients after `open()` only."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fresh = path.with_name(f".{path.name}.new")
        self._fresh.unlink(missing_ok=True)
        self.sock: Any = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.bind(os.fspath(self._fresh))
        os.chmod(self._fresh, 0o660)
        os.chown(self._fresh, 0, group_id())
        self.sock.listen(_BACKLOG)
        self.sock.setblocking(False)

    def open(self) -> None:
        """Let clients find it, in the place of what an agent that died has left."""
        if group := group_id():
            os.chown(self._path.parent, -1, group)
            os.chmod(self._path.parent, 0o710)
        os.replace(self._fresh, self._path)

    def close(self) -> None:
        """Remove it."""
        self._fresh.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)
