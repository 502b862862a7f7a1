# SPDX-License-Identifier: Apache-2.0
"""Network namespaces: who we are in, and how to go into another.

A namespace is known by its cookie, a number that the kernel gives once per
boot (the inode of a dead one is reused).
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from . import bpffs
from .errors import VrouterError

_SO_NETNS_COOKIE: Final = 71
_CLONE_NEWNET: Final = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_libc.setns.argtypes = [ctypes.c_int, ctypes.c_int]


def cookie() -> int:
    """The cookie of the calling thread's network namespace."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        raw = sock.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
    return int(struct.unpack("=Q", raw)[0])


def inode() -> int:
    """The inode of the calling thread's network namespace."""
    return os.stat("/proc/thread-self/ns/net").st_ino


def _setns(fd: int) -> None:
    if _libc.setns(fd, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _candidates() -> Iterator[str]:
    yield "/proc/1/ns/net"
    host = bpffs.host_process()
    folders = {"/run/netns", os.fspath((host or Path("/proc/self")) / "root/run/netns")}
    for folder in sorted(folders):
        try:
            yield from sorted(os.path.join(folder, name) for name in os.listdir(folder))
        except OSError:
            continue
    pids = [pid for pid in os.listdir("/proc") if pid.isdigit()]
    for pid in pids:
        yield f"/proc/{pid}/ns/net"
    for pid in pids:
        try:
            threads = os.listdir(f"/proc/{pid}/task")
        except OSError:
            continue
        yield from (f"/proc/{pid}/task/{thread}/ns/net" for thread in threads if thread != pid)


def open_by_cookie(wanted: int, wanted_inode: int) -> int | None:
    """A file descriptor of the live namespace of that cookie, None if none is found.

    Looks at process 1, the named ones (`ip netns`), and those of all processes and threads.
    """
    for path in _candidates():
        try:
            if os.stat(path).st_ino != wanted_inode:
                continue
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            with entered(fd):
                found = cookie()
        except OSError:
            found = -1
        if found == wanted:
            return fd
        os.close(fd)
    return None


@contextmanager
def entered(fd: int) -> Iterator[None]:
    """The calling thread is in the namespace `fd` inside the block."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _setns(fd)
        try:
            yield
        finally:
            try:
                _setns(home)
            except OSError as error:
                raise VrouterError(
                    f"cannot go back to the network namespace of this process: {error.strerror}"
                ) from None
    finally:
        os.close(home)


def boot_id() -> str:
    """What tells this boot of the machine from the others."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
