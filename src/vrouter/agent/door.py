# SPDX-License-Identifier: Apache-2.0
"""The door for upstream's tools, kept open as long as the agent runs.

It is `vrouter sandesh` in a process of its own: however much its clients ask, it takes nothing of
the agent's loop, nor of its interpreter. What both write, the writers' lock keeps apart. A door
that ends is opened again; one whose agent was killed goes by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from typing import Final

from vrouter.agent.config import Sandesh
from vrouter.dpcore.instance import Instance

log: Final = logging.getLogger(__name__)
_PR_SET_PDEATHSIG: Final = 1
_GRACE: Final = 5.0
_FIRST_WAIT, _LAST_WAIT = 1.0, 60.0
_LIVED: Final = 60.0  # seconds: a door that did is none that cannot be opened


@contextlib.asynccontextmanager
async def kept_open(instance: Instance, config: Sandesh) -> AsyncIterator[None]:
    """Inside the block the door that `config` wants is open, or opened again."""
    if not config.sock_dir:
        yield
        return
    keeping = asyncio.create_task(_keep(_command(instance, config)))
    try:
        yield
    finally:
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping


def _command(instance: Instance, config: Sandesh) -> list[str]:
    command = ["sandesh", "--name", instance.name, "--sock-dir", config.sock_dir]
    return [*command, "--far-netns", config.far_netns] if config.far_netns else command


async def _keep(command: Sequence[str]) -> None:
    wait = _FIRST_WAIT
    while True:
        since = time.monotonic()
        code = await _run(command)
        wait = _FIRST_WAIT if time.monotonic() - since > _LIVED else wait
        log.warning("the door for upstream's tools has ended (%s): again in %.0f s", code, wait)
        await asyncio.sleep(wait)
        wait = min(2 * wait, _LAST_WAIT)


async def _run(command: Sequence[str]) -> int:
    """Run the door to its end; its exit code. It ends with this task."""
    # -P: what the current folder has is no module of ours
    door = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", __name__, str(os.getpid()), *command,
        stdin=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        return await door.wait()
    finally:
        if door.returncode is None:
            door.terminate()
            try:
                await asyncio.wait_for(door.wait(), _GRACE)
            except TimeoutError:
                door.kill()
                await door.wait()


def main() -> int:
    """The process of the door: it ends when the agent, whose id is the first argument, does."""
    from vrouter.tools.vrouter import main as tool  # noqa: PLC0415 - the agent needs it not

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(sys.argv[1]):
        return 0  # it was gone before it could be noticed
    return tool(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
