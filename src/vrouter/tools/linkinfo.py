# SPDX-License-Identifier: Apache-2.0
"""What the tools need to know of a netdevice, asked of the kernel in one netlink message.

/sys/class/net would show the devices of the namespace in which /sys was mounted, not those of
the namespace that we are in; and pyroute2 takes longer to import than a tool takes to run.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from vrouter.dpcore.errors import DeviceError

NETLINK_ROUTE = 0
RTM_NEWLINK = 16
RTM_GETLINK = 18
NLMSG_ERROR = 2
NLM_F_REQUEST = 1
IFLA_ADDRESS = 1
IFLA_IFNAME = 3
IFLA_MTU = 4
IFLA_LINK = 5
IFLA_LINKINFO = 18
IFLA_LINK_NETNSID = 37
IFLA_INFO_KIND = 1
NLA_TYPE_MASK = 0x3FFF
IFF_UP = 0x1
IFF_LOOPBACK = 0x8

SIOCETHTOOL = 0x8946
ETHTOOL_GSET = 0x1
SPEED_UNKNOWN = 0xFFFFFFFF
DUPLEX_UNKNOWN = 0xFF

_HEADER = struct.Struct("=LHHLL")  # nlmsghdr: length, type, flags, sequence, port
_IFINFO = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
_ATTR = struct.Struct("=HH")


@dataclass(frozen=True, kw_only=True)
class LinkInfo:
    """A netdevice. `mac` has 6 bytes, or none for a device without Ethernet addresses."""

    name: str
    ifindex: int
    mac: bytes
    mtu: int
    up: bool
    kind: str
    peer_elsewhere: bool  # a veth whose other end is in another namespace
    loopback: bool = False


def link(name: str) -> LinkInfo:
    """The netdevice called `name` in the current namespace; DeviceError if there is none."""
    body = _IFINFO.pack(0, 0, 0, 0, 0)
    raw_name = name.encode() + b"\0"
    attr = _ATTR.pack(_ATTR.size + len(raw_name), IFLA_IFNAME) + raw_name
    attr += b"\0" * (-len(attr) % 4)
    payload = body + attr
    header = _HEADER.pack(_HEADER.size + len(payload), RTM_GETLINK, NLM_F_REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE) as sock:
        sock.settimeout(5)
        sock.send(header + payload)
        answer = sock.recv(65536)
    _, kind, _, _, _ = _HEADER.unpack_from(answer)
    if kind == NLMSG_ERROR:
        (code,) = struct.unpack_from("=i", answer, _HEADER.size)
        raise DeviceError(
            f"no device {name} in this network namespace ({os.strerror(-code)}); "
            "`ip link` shows those that are there"
        )
    return parse_link(answer[_HEADER.size :])


def parse_link(message: bytes) -> LinkInfo:
    """A LinkInfo of the body of an RTM_NEWLINK message (ifinfomsg and attributes)."""
    _, _, ifindex, flags, _ = _IFINFO.unpack_from(message)
    found = dict(_attributes(message[_IFINFO.size :]))
    info = dict(_attributes(found.get(IFLA_LINKINFO, b"")))
    kind = info.get(IFLA_INFO_KIND, b"").rstrip(b"\0").decode()
    return LinkInfo(
        name=found[IFLA_IFNAME].rstrip(b"\0").decode(),
        ifindex=ifindex,
        mac=found.get(IFLA_ADDRESS, b""),
        mtu=int.from_bytes(found.get(IFLA_MTU, b""), "little"),
        up=bool(flags & IFF_UP),
        kind=kind,
        peer_elsewhere=kind == "veth" and IFLA_LINK_NETNSID in found,
        loopback=bool(flags & IFF_LOOPBACK),
    )


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTR.size:
        length, kind = _ATTR.unpack_from(data)
        if length < _ATTR.size:
            return
        yield kind & NLA_TYPE_MASK, data[_ATTR.size : length]
        data = data[(length + 3) & ~3 :]


def speed_duplex(name: str) -> tuple[int, int] | None:
    """Speed in Mbit/s and duplex (0 half, 1 full) of a device; None where it has none."""
    command = struct.pack("=I40x", ETHTOOL_GSET)  # struct ethtool_cmd
    buffer = ctypes.create_string_buffer(command, len(command))
    request = struct.pack("16sP16x", name.encode(), ctypes.addressof(buffer))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            fcntl.ioctl(sock, SIOCETHTOOL, request)
        except OSError:
            return None
    low, duplex = struct.unpack_from("=HB", buffer.raw, 12)
    (high,) = struct.unpack_from("=H", buffer.raw, 28)
    speed = high << 16 | low
    if speed in (0, SPEED_UNKNOWN, 0xFFFF) or duplex == DUPLEX_UNKNOWN:
        return None
    return speed, duplex
