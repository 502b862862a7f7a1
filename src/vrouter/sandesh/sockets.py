# SPDX-License-Identifier: Apache-2.0
"""Unix sockets that appear and go as a whole, and a lock for their folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vrouter.dpcore.errors import Refused

_BACKLOG: Final = 128


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock file for the block. Raises Refused: another process does."""
    folder = path.parent
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Refused(f"cannot use {folder}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"another door serves {folder}; choose another --sock-dir") from None
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def bound(path: Path, kind: socket.SocketKind) -> Iterator[socket.socket]:
    """A unix socket that appears at `path` (0600) when the block begins, in the place of one
    that a dead process left; it goes with the block. Raises Refused."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    sock = socket.socket(socket.AF_UNIX, kind)
    try:
        try:
            if path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
                raise Refused(f"{path} is there, and is no socket: remove it")
            fresh.unlink(missing_ok=True)
            sock.setblocking(False)
            sock.bind(os.fspath(fresh))
            os.chmod(fresh, 0o600)
            if kind == socket.SOCK_STREAM:
                sock.listen(_BACKLOG)
            mine = fresh.stat().st_ino
            os.replace(fresh, path)
        except OSError as error:
            why = "the path is too long" if error.errno == errno.ENAMETOOLONG else error.strerror
            raise Refused(f"cannot make socket {path}: {why or error}") from None
        yield sock
        with contextlib.suppress(OSError):
            if path.stat().st_ino == mine:
                path.unlink()
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        sock.close()
