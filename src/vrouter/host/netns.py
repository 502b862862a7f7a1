# SPDX-License-Identifier: Apache-2.0
"""Network namespaces by name, as `ip netns` keeps them (/run/netns/NAME), without its process.

All functions work on the calling *thread*: `enter` moves it and moves it back.
Errors: OSError of the system call, with the namespace's path as its file name.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

RUN_DIR = Path("/run/netns")
_MADE_BY_US = Path("/run/vrouter/netns-mount")  # id of the mount that we put on RUN_DIR
CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
_MS_BIND, _MS_REC, _MS_SHARED = 0x1000, 0x4000, 0x100000
_MNT_DETACH = 2
_THREAD_NS = "/proc/thread-self/ns/net"

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)


def setns(fd: int, kind: int = CLONE_NEWNET) -> None:
    """Move the calling thread into the namespace of `fd`. (os.setns is 3.12 and newer.)"""
    _check(_libc.setns(fd, kind), f"setns fd {fd}")


def unshare(kind: int) -> None:
    """Give the calling thread a namespace of its own of the given CLONE_NEW* kind."""
    _check(_libc.unshare(kind), "unshare")


def mount(source: str, target: str, fstype: str | None, flags: int) -> None:
    """mount(2) without data."""
    kind = fstype.encode() if fstype is not None else None
    _check(_libc.mount(source.encode(), target.encode(), kind, ctypes.c_ulong(flags), None), target)


def path(name: str | Path) -> Path:
    """The file of a namespace: a bare name stands for /run/netns/NAME."""
    return Path(name) if "/" in str(name) else RUN_DIR / name


def inode(name: str | Path = _THREAD_NS) -> tuple[int, int]:
    """(device, inode) of a namespace: equal for two files of the same one."""
    status = os.stat(path(name))
    return status.st_dev, status.st_ino


def exists(name: str) -> bool:
    """True if NAME is a live namespace; a file left by a killed creation is none."""
    try:
        return inode(name)[0] == inode()[0]
    except FileNotFoundError:
        return False


def names() -> list[str]:
    """Every name in /run/netns, left-over files included."""
    with contextlib.suppress(FileNotFoundError):
        return sorted(os.listdir(RUN_DIR))
    return []


def run(name: str | Path | None, function: Callable[[], T]) -> T:
    """Call `function` in namespace `name` on a thread of its own; None: a new namespace.

    For work that must not move the caller's thread. Exceptions are passed on.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            if name is None:
                unshare(CLONE_NEWNET)
                results.append(function())
            else:
                with enter(name):
                    results.append(function())
        except BaseException as error:  # handed to the caller's thread, whatever it is
            errors.append(error)

    thread = threading.Thread(target=body, name=f"netns {name}")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def create(name: str) -> None:
    """Make namespace NAME. A left-over file without a namespace is replaced.

    Raises FileExistsError when it is alive.
    """
    target = path(name)
    if exists(name):
        raise FileExistsError(errno.EEXIST, "the namespace exists", str(target))
    delete(name)
    with _directory():
        _share_directory()
        target.touch(mode=0o444)
        try:
            run(None, lambda: mount(_THREAD_NS, str(target), None, _MS_BIND))
        except OSError:
            target.unlink(missing_ok=True)
            raise


def delete(name: str) -> bool:
    """Remove NAME, whatever state it is in; False if there was nothing."""
    target = path(name)
    if not target.exists():
        return False
    with _directory():
        _remove(target)
        _unshare_directory()
    return True


def _remove(target: Path) -> None:
    while _libc.umount2(str(target).encode(), _MNT_DETACH) == 0:
        pass  # a file may be mounted over more than once
    target.unlink(missing_ok=True)


@contextlib.contextmanager
def _directory() -> Iterator[None]:
    """RUN_DIR, made if need be, under the lock that `ip netns add` takes on it too."""
    RUN_DIR.mkdir(mode=0o755, exist_ok=True)
    fd = os.open(RUN_DIR, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _share_directory() -> None:
    """Make RUN_DIR a shared mount of its own, as `ip netns add` does.

    Else its first run later would cover our namespaces' mounts with a copy, and what is covered
    can never be unmounted.
    """
    try:
        mount("none", str(RUN_DIR), None, _MS_SHARED | _MS_REC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        mount(str(RUN_DIR), str(RUN_DIR), None, _MS_BIND | _MS_REC)
        mount("none", str(RUN_DIR), None, _MS_SHARED | _MS_REC)
        _MADE_BY_US.parent.mkdir(mode=0o755, exist_ok=True)
        _MADE_BY_US.write_text(_mount_id() or "")


def _unshare_directory() -> None:
    """Take that mount away again with the last namespace, if it was we who made it."""
    if os.listdir(RUN_DIR):
        return
    with contextlib.suppress(FileNotFoundError):
        ours = _MADE_BY_US.read_text()
        if ours and ours == _mount_id():
            # the lazy way: our own lock is held in there
            _libc.umount2(str(RUN_DIR).encode(), _MNT_DETACH)
        _MADE_BY_US.unlink()


def _mount_id() -> str | None:
    """Id and device of the uppermost mount on RUN_DIR (proc(5), mountinfo); None: no mount."""
    found = None
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        fields = line.split()
        if fields[4] == str(RUN_DIR):
            found = f"{fields[0]} {fields[2]}"
    return found


@contextlib.contextmanager
def enter(name: str | Path) -> Iterator[None]:
    """Run the body with the calling thread in namespace `name` (a name or a path)."""
    home = os.open(_THREAD_NS, os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(path(name), os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            setns(home)
    finally:
        os.close(home)


def processes(name: str) -> list[int]:
    """Process ids that live in namespace NAME; never those of the caller's or pid 1's own."""
    if not exists(name):
        return []
    wanted = inode(name)
    if wanted == inode():
        return []
    with contextlib.suppress(PermissionError):  # pid 1 may be out of reach in a container
        if wanted == inode("/proc/1/ns/net"):
            return []
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                if inode(f"/proc/{entry}/ns/net") == wanted:
                    found.append(int(entry))
    return found


def sysctl(key: str, value: int | str) -> None:
    """Write net.* sysctl KEY (dots or slashes) of the thread's namespace; absent keys are skipped.

    Absent means that the kernel has no such feature (IPv6 off at build, for example).
    """
    # /proc/sys/net shows the namespace of the task that looks, here the thread
    target = Path("/proc/sys") / key.replace(".", "/")
    with contextlib.suppress(FileNotFoundError):
        target.write_text(str(value))
