# SPDX-License-Identifier: Apache-2.0
"""Where the vRouters of this machine keep their files and pins.

Both /run/vrouter and the BPF file system /run/vrouter/bpf are those of
process 1's mount namespace: `ip netns exec` and containers have mounts of
their own. A process that does not see them at that path goes through
/proc/1/root. Where a sandbox hides process 1, the oldest ancestor that can be
looked at takes its place.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import sys
from functools import lru_cache
from pathlib import Path
from typing import Final, NoReturn

from .errors import Refused, VrouterError, from_errno

BASE: Final = Path("/run/vrouter")
_BPF_FS_MAGIC: Final = 0xCAFE4A11
_CLONE_NEWNS: Final = 0x20000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = [ctypes.c_char_p] * 3 + [ctypes.c_ulong, ctypes.c_char_p]
_libc.setns.argtypes = [ctypes.c_int, ctypes.c_int]
_libc.statfs.argtypes = [ctypes.c_char_p, ctypes.c_char_p]


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


@lru_cache(maxsize=1)
def host_process() -> Path | None:
    """/proc/PID of the process whose mounts count; None: our own do."""
    for pid in ("1", *reversed(_ancestors())):
        folder = Path("/proc", pid)
        if _identity(folder / "root/run") and _identity(folder / "ns/mnt"):
            return folder
    return None


def _ancestors() -> list[str]:
    """The pids of our parent, its parent, and so on."""
    found: list[str] = []
    pid = str(os.getppid())
    while int(pid) > 1:
        found.append(pid)
        try:
            # the name in parentheses may hold anything, so count from its end
            fields = Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()
        except OSError:
            break
        pid = fields[1]
    return found


def _shared(path: Path) -> Path:
    """`path` if it is the same file for the host process, else the way to that one's."""
    host = host_process()
    if host is None:
        return path
    there = host / "root" / path.relative_to("/")
    # A path that does not exist yet is the same if its parent is.
    probe, probe_there = path, there
    while _identity(probe) is None and _identity(probe_there) is None:
        if probe == probe.parent:
            break
        probe, probe_there = probe.parent, probe_there.parent
    return path if _identity(probe) == _identity(probe_there) else there


def base() -> Path:
    """The folder with one folder per vRouter; it may not exist yet."""
    return _shared(BASE)


def make_base() -> Path:
    """base(), made if need be; Refused if that is not allowed."""
    folder = base()
    try:
        folder.mkdir(mode=0o755, exist_ok=True)
    except OSError as error:
        raise Refused(f"cannot make {folder}: {error.strerror}: run this as root") from None
    return folder


def is_bpffs(path: Path) -> bool:
    """Whether `path` lies on a BPF file system."""
    buffer = ctypes.create_string_buffer(256)
    if _libc.statfs(os.fsencode(path), buffer) != 0:
        return False
    magic: int = struct.unpack_from("=Q" if sys.maxsize > 2**32 else "=I", buffer)[0]
    return magic & 0xFFFFFFFF == _BPF_FS_MAGIC


def root() -> Path:
    """The BPF file system of the vRouters, mounted or not."""
    return _shared(BASE / "bpf")


def pin_folder(name: str) -> Path:
    """Where the vRouter `name` pins; bpffs allows no dot in a file name."""
    return root() / name.replace(".", "+")


def mount() -> None:
    """Mounts the BPF file system if it is not; Refused if that is not allowed."""
    if is_bpffs(root()):
        return
    folder = make_base()
    with open(folder / ".mount.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_bpffs(root()):
            return
        error = _mount_in_host_namespace()
    if error:
        raise from_errno(
            error, f"cannot mount a BPF file system at {BASE}/bpf", hint="CAP_SYS_ADMIN is needed"
        )
    if not is_bpffs(root()):
        raise VrouterError(f"a BPF file system was mounted at {BASE}/bpf but cannot be reached")


def _mount_in_host_namespace() -> int:
    """Mounts in the mount namespace that counts; 0 or an errno."""
    target = BASE / "bpf"
    host = host_process()
    if host is None or _identity(Path("/proc/self/ns/mnt")) == _identity(host / "ns/mnt"):
        return _mount_here(target)
    # Only a process with one thread may change its mount namespace.
    child = os.fork()
    if child == 0:
        _mount_child(host, target)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _mount_child(host: Path, target: Path) -> NoReturn:
    code = 255
    try:
        fd = os.open(host / "ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        code = ctypes.get_errno() if _libc.setns(fd, _CLONE_NEWNS) else _mount_here(target)
    except OSError as error:
        code = error.errno or 255
    finally:
        os._exit(code)


def _mount_here(target: Path) -> int:
    try:
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        return error.errno or 255
    result = _libc.mount(b"bpf", os.fsencode(target), b"bpf", 0, b"mode=0700")
    return ctypes.get_errno() if result else 0


def remove_tree(folder: Path) -> None:
    """Removes a folder of pins and all in it; a folder that is not there is fine."""
    if not folder.is_dir():
        return
    for entry in list(folder.iterdir()):
        if entry.is_dir():
            remove_tree(entry)
        else:
            entry.unlink(missing_ok=True)
    folder.rmdir()
