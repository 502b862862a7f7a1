# SPDX-License-Identifier: Apache-2.0
"""Multicast groups that the host's programs have joined on a device.

A program's membership stays with the device that it named. The other device joins the same
groups by itself (`ip address ... autojoin`), and a socket with IP_MULTICAST_ALL (the default) gets
what arrives there. Formats: net/ipv4/igmp.c, net/ipv6/mcast.c of the kernel.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

# what the kernel joins by itself: all hosts, all nodes (interface-local, link-local), all routers
_OWN = {
    socket.inet_aton("224.0.0.1"),
    *(socket.inet_pton(socket.AF_INET6, text) for text in ("ff01::1", "ff02::1")),
    *(socket.inet_pton(socket.AF_INET6, text) for text in ("ff01::2", "ff02::2", "ff05::2")),
}
_SOLICITED = bytes.fromhex("ff0200000000000000000001ff")
_NET = Path("/proc/thread-self/net")  # /proc/net is that of the process's first thread


def joined(name: str) -> list[bytes]:
    """The groups (4 or 16 bytes) joined on a device of the thread's namespace, kernel's apart."""
    found = [*_inet(name), *_inet6(name)]
    return [group for group in found if group not in _OWN and not group.startswith(_SOLICITED)]


def text(group: bytes) -> str:
    """239.1.1.1 or ff05::5"""
    return socket.inet_ntop(socket.AF_INET if len(group) == 4 else socket.AF_INET6, group)


def _inet(name: str) -> list[bytes]:
    groups: list[bytes] = []
    device = ""
    for line in _lines("igmp"):
        fields = line.split()
        if not line.startswith("\t"):
            device = fields[1]
        elif device == name:
            groups.append(int(fields[0], 16).to_bytes(4, sys.byteorder))
    return groups


def _inet6(name: str) -> list[bytes]:
    rows = [line.split() for line in _lines("igmp6")]
    return [bytes.fromhex(row[2]) for row in rows if row[1] == name]


def _lines(file: str) -> list[str]:
    try:
        lines = (_NET / file).read_text(encoding="ascii").splitlines()
    except FileNotFoundError:  # a kernel without IPv6
        return []
    return [line for line in lines if line.strip() and not line.startswith("Idx")]
