# SPDX-License-Identifier: Apache-2.0
"""The real doors over an agent in memory and a real dp-core, in a loop on a thread."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any

from tests.unit.api.conftest import BLUE
from tests.unit.api.memory import MemoryFacade

from vrouter.agent.facade import Facade
from vrouter.api import serve
from vrouter.api.config import ApiConfig
from vrouter.dpcore.instance import Instance


@contextlib.contextmanager
def served(
    instance: Instance, config: ApiConfig | None = None, facade: MemoryFacade | None = None
) -> Iterator[MemoryFacade]:
    """The doors of `instance` are open inside the block."""
    state = facade or MemoryFacade(BLUE)
    _check: Facade = state
    open_now, loops = threading.Event(), list[asyncio.AbstractEventLoop]()
    end = asyncio.Event()
    errors: list[BaseException] = []

    async def work() -> None:
        loops.append(asyncio.get_running_loop())
        async with serve(state, instance, config or ApiConfig()):
            open_now.set()
            await end.wait()

    def body() -> None:
        try:
            asyncio.run(work())
        except BaseException as error:
            errors.append(error)
        open_now.set()

    thread = threading.Thread(target=body)
    thread.start()
    open_now.wait()
    try:
        if errors:
            raise errors[0]
        yield state
    finally:
        if not errors:
            loops[0].call_soon_threadsafe(end.set)
        thread.join()


def ask(port: int, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """(status, body) by TCP; JSON where it is."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, headers)
        answer = connection.getresponse()
        data = answer.read()
        if answer.headers.get("content-type") == "application/json":
            with contextlib.suppress(ValueError):
                return answer.status, json.loads(data)
        return answer.status, data.decode()
    finally:
        connection.close()
