# SPDX-License-Identifier: Apache-2.0
"""Policy rules (`ip rule`) that name a device: RTM_NEWRULE bodies. Numbers: linux/fib_rules.h."""

from __future__ import annotations

import socket
import struct

from vrouter.host import rtnl
from vrouter.host.rtnl import Attrs, RtSocket

_HEADER = struct.Struct("=BBBBBBBBI")  # family dst src tos table - - action flags
_FRA_IIFNAME, _FRA_PRIORITY, _FRA_TABLE, _FRA_OIFNAME = 3, 6, 15, 17
_F_STATE = 0x4 | 0x8 | 0x10  # unresolved, iif detached, oif detached


def dump(rt: RtSocket, name: str) -> list[bytes]:
    """The rules whose iif or oif is the device called `name`."""
    found = []
    for family in (socket.AF_INET, socket.AF_INET6):
        bodies = rt.dump(rtnl.RTM_GETRULE, _HEADER.pack(family, 0, 0, 0, 0, 0, 0, 0, 0))
        found += [body for body in bodies if name in _names(body)]
    return found


def for_device(body: bytes, old: str, new: str) -> bytes:
    """The same rule, of the same priority, about device `new` where it says `old`."""
    header = list(_HEADER.unpack_from(body))
    header[8] &= ~_F_STATE
    attrs: Attrs = []
    for kind, value in _attrs(body):
        if kind in (_FRA_IIFNAME, _FRA_OIFNAME) and value.rstrip(b"\0").decode() == old:
            value = new.encode() + b"\0"
        attrs.append((kind, value))
    return _HEADER.pack(*header) + rtnl.pack_attrs(attrs)


def text(body: bytes) -> str:
    """As a person reads it: pref 1000 iif eth0 table 77."""
    attrs = _attrs(body)
    parts = []
    priority = rtnl.attr(attrs, _FRA_PRIORITY)
    if priority is not None:
        parts.append(f"pref {struct.unpack('=I', priority)[0]}")
    for kind, word in ((_FRA_IIFNAME, "iif"), (_FRA_OIFNAME, "oif")):
        value = rtnl.attr(attrs, kind)
        if value is not None:
            parts.append(f"{word} {value.rstrip(bytes(1)).decode()}")
    wide = rtnl.attr(attrs, _FRA_TABLE)
    parts.append(f"table {struct.unpack('=I', wide)[0] if wide is not None else body[4]}")
    return " ".join(parts)


def _names(body: bytes) -> set[str]:
    named = [rtnl.attr(_attrs(body), kind) for kind in (_FRA_IIFNAME, _FRA_OIFNAME)]
    return {value.rstrip(b"\0").decode() for value in named if value is not None}


def _attrs(body: bytes) -> Attrs:
    return rtnl.parse_attrs(body[_HEADER.size :])
