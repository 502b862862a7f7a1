# SPDX-License-Identifier: Apache-2.0
"""A lock on a file, for processes and threads, re-entrant within a thread."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
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


# is told why a caller waits, once it has waited for a second
tell: Callable[[str], None] | None = None

_PATIENCE = 1.0
_SIGNATURE = 20  # bytes
_held: dict[str, _Held] = {}
_guard = threading.Lock()


@contextmanager
def hold(path: Path, what: str, timeout: float) -> Iterator[None]:
    """Holds the lock `path` inside the block; its folder is made if need be.

    Raises Busy after `timeout` seconds, naming the process that holds it.
    """
    name = str(path)
    with _guard:
        state = _held.get(name)
        if state is None or state.pid != os.getpid():
            # a child of fork() holds nothing of what its parent holds
            if state is not None and state.fd >= 0:
                os.close(state.fd)
            state = _held[name] = _Held(os.getpid())
    deadline = time.monotonic() + timeout
    if not state.threads.acquire(timeout=timeout):
        raise Busy(f"{what} is being changed by another thread of process {os.getpid()}")
    try:
        if state.depth == 0:
            state.fd = _acquire(name, what, deadline)
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


def _acquire(path: str, what: str, deadline: float) -> int:
    while True:
        try:
            fd = _open(path)
        except OSError as error:
            raise Refused(f"cannot lock {what}: {path}: {error.strerror}") from None
        try:
            _wait(fd, what, deadline)
            if _is_current(fd, path):
                _sign(fd)
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _open(path: str) -> int:
    """The file descriptor of the lock file, made with its folder if need be."""
    while True:
        with contextlib.suppress(FileNotFoundError):
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # an unload may remove the folder between the two steps
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)


def _wait(fd: int, what: str, deadline: float) -> None:
    pause = 0.001
    patient_until = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            now = time.monotonic()
            left = deadline - now
            if left <= 0:
                raise Busy(f"{what} is being changed by {_holder(fd)}: try again") from None
            if now > patient_until and tell is not None:
                tell(f"waiting: {what} is being changed by {_holder(fd)}")
                patient_until = deadline
            time.sleep(min(pause, left))
            pause = min(pause * 2, 0.05)


def _is_current(fd: int, path: str) -> bool:
    """Whether the locked file is still the one of that name (unload removes it)."""
    try:
        return os.fstat(fd).st_ino == os.stat(path).st_ino
    except FileNotFoundError:
        return False


def _sign(fd: int) -> None:
    """Says who holds it. To write is not cheap, where /run is on a disk: once is enough."""
    mine = str(os.getpid()).encode().ljust(_SIGNATURE)
    if os.pread(fd, _SIGNATURE, 0) != mine:
        os.pwrite(fd, mine, 0)


def _holder(fd: int) -> str:
    owner = os.pread(fd, _SIGNATURE, 0).decode(errors="replace").strip() or "unknown"
    return f"process {owner} ({_command(owner)})"


def _command(pid: str) -> str:
    """The command of a process as a person would know it: `vrouter load`."""
    with contextlib.suppress(OSError):
        raw = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        words = [word.decode(errors="replace") for word in raw if word]
        if len(words) > 1 and os.path.basename(words[0]).startswith("python"):
            words = words[1:]
        if words and not words[0].startswith("-"):
            return " ".join([os.path.basename(words[0]), *words[1:2]])
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return "gone"
