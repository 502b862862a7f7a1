# SPDX-License-Identifier: Apache-2.0
"""Which process is an instance's agent: it holds a lock on /run/vrouter/NAME/agent.lock."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from vrouter.dpcore.errors import Busy
from vrouter.dpcore.instance import Instance


def _path(instance: Instance) -> Path:
    return instance.run_dir / "agent.lock"


def hold(instance: Instance) -> int:
    """A file descriptor that holds the lock until it is closed. Raises Busy."""
    instance.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(_path(instance), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(fd, 20, 0).decode(errors="replace") or "unknown"
        os.close(fd)
        raise Busy(
            f"vRouter {instance.name!r} has an agent already, process {holder}: stop that first"
        ) from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, str(os.getpid()).encode(), 0)
    return fd


def holder(instance: Instance) -> int | None:
    """The process that is the agent now; None: there is none."""
    try:
        with _path(instance).open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read() or b"0")
    except FileNotFoundError:
        return None
    return None
