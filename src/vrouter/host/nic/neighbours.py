# SPDX-License-Identifier: Apache-2.0
"""ARP and ND entries as RTM_NEWNEIGH bodies. Numbers: linux/neighbour.h."""

from __future__ import annotations

import socket
import struct

from vrouter.host import rtnl
from vrouter.host.rtnl import Attrs, RtSocket

_HEADER = struct.Struct("=BxxxiHBB")  # family, ifindex, state, flags, type
_NDA_DST, _NDA_LLADDR = 1, 2
_STALE, _PERMANENT = 0x04, 0x80
_RESOLVED = 0x02 | _STALE | 0x08 | 0x10 | _PERMANENT  # reachable, delay, probe
_NTF_PROXY, _NTF_ROUTER = 0x08, 0x80  # the other flags are state or belong to bridges


def dump(rt: RtSocket, ifindex: int) -> list[bytes]:
    """What a device has resolved, what was entered by hand, and what it answers for (proxy)."""
    bodies = rt.dump(rtnl.RTM_GETNEIGH, _HEADER.pack(0, 0, 0, 0, 0))
    proxies = [
        body
        for family in (socket.AF_INET, socket.AF_INET6)
        for body in rt.dump(rtnl.RTM_GETNEIGH, _HEADER.pack(family, 0, 0, _NTF_PROXY, 0))
    ]
    return [body for body in (*bodies, *proxies) if _is_wanted(body, ifindex)]


def is_by_hand(body: bytes) -> bool:
    """Permanent, or a proxy entry: nothing brings it back by itself."""
    _, _, state, flags, _ = _HEADER.unpack_from(body)
    return bool(state & _PERMANENT or flags & _NTF_PROXY)


def for_device(body: bytes, ifindex: int) -> bytes:
    """The entry for another device.

    What was resolved becomes "stale", which means used at once and checked later.
    """
    family, _, state, flags, kind = _HEADER.unpack_from(body)
    if not flags & _NTF_PROXY:
        state = state & _PERMANENT or _STALE
    kept = [one for one in _attrs(body) if one[0] in (_NDA_DST, _NDA_LLADDR)]
    header = _HEADER.pack(family, ifindex, state, flags & (_NTF_PROXY | _NTF_ROUTER), kind)
    return header + rtnl.pack_attrs(kept)


def key(body: bytes) -> tuple[int, bool, bytes]:
    """Family, whether it is a proxy entry, address."""
    family, _, _, flags, _ = _HEADER.unpack_from(body)
    return family, bool(flags & _NTF_PROXY), rtnl.attr(_attrs(body), _NDA_DST) or b""


def text(body: bytes) -> str:
    """As a person reads it: 10.0.0.77 lladdr 02:00:00:00:00:77 permanent."""
    family, proxy, address = key(body)
    name = socket.inet_ntop(family, address)
    if proxy:
        return f"proxy {name}"
    mac = rtnl.attr(_attrs(body), _NDA_LLADDR) or b""
    return f"{name} lladdr {mac.hex(':')}" + (" permanent" if is_by_hand(body) else "")


def _is_wanted(body: bytes, ifindex: int) -> bool:
    family, index, state, flags, _ = _HEADER.unpack_from(body)
    if index != ifindex or family not in (socket.AF_INET, socket.AF_INET6):
        return False
    attrs = _attrs(body)
    if rtnl.attr(attrs, _NDA_DST) is None:
        return False
    if flags & _NTF_PROXY:
        return True
    return bool(state & _RESOLVED) and rtnl.attr(attrs, _NDA_LLADDR) is not None


def _attrs(body: bytes) -> Attrs:
    return rtnl.parse_attrs(body[_HEADER.size :])
