# SPDX-License-Identifier: Apache-2.0
"""Programs bound to the NIC, and configuration files that name it."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from pyroute2 import DiagSocket  # type: ignore[import-untyped]

from vrouter.host.holders.finding import Finding
from vrouter.host.holders.firewall import names

_LARGEST = 1 << 18  # bytes of a configuration file
_PASSED_OVER = {"alternatives", "ssl", "ca-certificates", "fonts", "X11", "perl", "python3"}
_PROTOCOLS = {"TCP": socket.IPPROTO_TCP, "UDP": socket.IPPROTO_UDP, "raw": socket.IPPROTO_RAW}
_ALL_STATES = 0xFFFFFFFF


def find(name: str, ifindex: int, root: Path, ignored: frozenset[int]) -> list[Finding]:
    """Sockets bound to the device, but for those of processes `ignored`; files under root/etc."""
    found = []
    bound = {**_bound(ifindex), **_packet(ifindex)}
    for inode, owner in _owners(set(bound)).items():
        if owner not in ignored:
            what, blocks = bound[inode]
            remedy = "it would get no packets: let it use vhost0" if blocks else _CAPTURES
            found.append(Finding("service", f"{_process(owner)} has {what}", remedy, blocks))
    for path, number, line in _files(root / "etc", name):
        text = f"/{path.relative_to(root)} line {number}: {line[:80]}"
        found.append(Finding("file", text, "see whether it must name vhost0", False))
    return list(dict.fromkeys(found))


_CAPTURES = "what it captures on the NIC goes on; a protocol of its own (LLDP) moves to vhost0"


def _bound(ifindex: int) -> dict[int, tuple[str, bool]]:
    """Inodes of sockets with SO_BINDTODEVICE, or of a link-local address on the device."""
    found = {}
    with DiagSocket() as diag:
        for family in (socket.AF_INET, socket.AF_INET6):
            for label, protocol in _PROTOCOLS.items():
                with contextlib.suppress(Exception):  # the kernel has no such sock_diag
                    for one in diag.get_sock_stats(
                        family=family, protocol=protocol, states=_ALL_STATES
                    ):
                        if one["idiag_if"] == ifindex and one["idiag_inode"]:
                            text = f"a {label} socket bound to it (port {one['idiag_sport']})"
                            found[one["idiag_inode"]] = (text, True)
    return found


def _packet(ifindex: int) -> dict[int, tuple[str, bool]]:
    """Packet sockets on the device: captures, LLDP, DHCP clients."""
    found = {}
    lines = Path("/proc/thread-self/net/packet").read_text(encoding="ascii").splitlines()[1:]
    for fields in map(str.split, lines):
        if int(fields[4]) == ifindex:
            found[int(fields[8])] = (f"a packet socket on it (protocol 0x{fields[3]})", False)
    return found


def _owners(inodes: set[int]) -> dict[int, int]:
    """Inode to the pid of a process that has that socket open."""
    found: dict[int, int] = {}
    if not inodes:
        return found
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            for entry in os.scandir(f"/proc/{pid}/fd"):
                target = os.readlink(entry.path)
                if target.startswith("socket:["):
                    inode = int(target[8:-1])
                    if inode in inodes:
                        found.setdefault(inode, int(pid))
    return found


def _process(pid: int) -> str:
    with contextlib.suppress(OSError):
        comm = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
        return f"process {pid} ({comm})"
    return f"process {pid}"


def _files(folder: Path, name: str) -> Iterator[tuple[Path, int, str]]:
    """Lines of configuration files that name the device, comments apart; one a file."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(one for one in folders if one not in _PASSED_OVER)
        for file in sorted(files):
            path = Path(place) / file
            with contextlib.suppress(OSError, UnicodeDecodeError):
                if path.is_symlink() or not path.is_file() or path.stat().st_size > _LARGEST:
                    continue
                text = path.read_text(encoding="utf-8")
                if name in text:
                    yield from _first_line(path, text, name)


def _first_line(path: Path, text: str, name: str) -> Iterator[tuple[Path, int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if not bare.startswith(("#", ";", "//")) and names(bare, name):
            yield path, number, bare
            return
