# SPDX-License-Identifier: Apache-2.0
"""A lock on a file, for processes and threads, re-entrant within a thread."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .errors import Busy, Refused


@dataclass
class _Held:
    pid: int
    threads: threading.RLock = field(default_factory=threading.RLock)
    depth: int = 0
    fd: int = -1


_held: dict[str, _Held] = {}
_guard = threading.Lock()


@contextmanager
def hold(path: Path, what: str, timeout: float) -> Iterator[None]:
    """Holds the lock `path` inside the block; its folder is made if need be.

    Raises Busy after `timeout` seconds, naming the process that holds it.
    """
    with _guard:
        state = _held.get(str(path))
        if state is None or state.pid != os.getpid():
            # a child of fork() holds nothing of what its parent holds
            if state is not None and state.fd >= 0:
                os.close(state.fd)
            state = _held[str(path)] = _Held(os.getpid())
    deadline = time.monotonic() + timeout
    if not state.threads.acquire(timeout=timeout):
        raise Busy(f"{what} is being changed by another thread of process {os.getpid()}")
    try:
        if state.depth == 0:
            state.fd = _acquire(path, what, deadline)
        state.depth += 1
        try:
            yield
        finally:
            state.depth -= 1
            if state.depth == 0:
                fd, state.fd = state.fd, -1
                os.close(fd)
    finally:
        state.threads.release()


def _acquire(path: Path, what: str, deadline: float) -> int:
    while True:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue  # an unload removed the folder between the two steps
        except OSError as error:
            raise Refused(f"cannot lock {what}: {path}: {error.strerror}") from None
        try:
            _wait(fd, what, deadline)
            if _is_current(fd, path):
                os.ftruncate(fd, 0)
                os.pwrite(fd, str(os.getpid()).encode(), 0)
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _wait(fd: int, what: str, deadline: float) -> None:
    pause = 0.001
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            left = deadline - time.monotonic()
            if left <= 0:
                owner = os.pread(fd, 20, 0).decode(errors="replace") or "unknown"
                raise Busy(
                    f"{what} is being changed by process {owner} ({_command(owner)}): try again"
                ) from None
            time.sleep(min(pause, left))
            pause = min(pause * 2, 0.05)


def _is_current(fd: int, path: Path) -> bool:
    """Whether the locked file is still the one of that name (unload removes it)."""
    try:
        return os.fstat(fd).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def _command(pid: str) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return "gone"
