# SPDX-License-Identifier: Apache-2.0
"""Routes as RTM_NEWROUTE bodies. Numbers: linux/rtnetlink.h."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping

from vrouter.host import rtnl
from vrouter.host.rtnl import Attrs, RtSocket

_HEADER = struct.Struct("=BBBBBBBBI")  # family dst src tos table protocol scope type flags
_NEXTHOP = struct.Struct("=HBBi")  # length, flags, hops, ifindex
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_MULTIPATH, _RTA_CACHEINFO = 1, 4, 5, 6, 9, 12
_RTA_TABLE, _RTA_VIA, _RTA_ENCAP_TYPE, _RTA_ENCAP, _RTA_EXPIRES, _RTA_NH_ID = 15, 18, 21, 22, 23, 30
_RTA_PREF = 20
_F_KEPT = 0x2 | 0x4  # pervasive, onlink; the others are state
_TABLE_MAIN, _TABLE_LOCAL = 254, 255
_PROTO_KERNEL = 2
_F_CLONED = 0x200  # a cache entry
_USER_HZ = 100


def dump(rt: RtSocket, ifindex: int) -> list[bytes]:
    """The routes of every table that leave by a device, in the order in which to add them.

    Without those that the kernel makes itself: table local, IPv6 link-local and multicast.
    """
    found = []
    for family in (socket.AF_INET, socket.AF_INET6):
        header = _HEADER.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
        for body in rt.dump(rtnl.RTM_GETROUTE, header):
            if _leaves_by(body, ifindex):
                found += _of_device(body, ifindex)
    return sorted(found, key=_needs_gateway)


def table(body: bytes) -> int:
    """Number of the table that the route stands in."""
    wide = rtnl.attr(_attrs(body), _RTA_TABLE)
    return int(struct.unpack("=I", wide)[0]) if wide is not None else body[4]


def is_kernel_made(body: bytes) -> bool:
    """Whether the kernel made it with an address."""
    return body[5] == _PROTO_KERNEL


def destination(body: bytes) -> bytes:
    """4 or 16 bytes; none for a default route."""
    return rtnl.attr(_attrs(body), _RTA_DST) or b""


def gateway(body: bytes) -> bytes:
    """4 or 16 bytes; none without a gateway of the same family, or with several."""
    return rtnl.attr(_attrs(body), _RTA_GATEWAY) or b""


def metric(body: bytes) -> int:
    """Its metric, 0 for none."""
    return int(struct.unpack("=I", rtnl.attr(_attrs(body), _RTA_PRIORITY) or bytes(4))[0])


def preference(body: bytes) -> int:
    """Router preference as RFC 4191, 2.1, numbers it."""
    return (rtnl.attr(_attrs(body), _RTA_PREF) or b"\0")[0]


def expires(body: bytes) -> int | None:
    """Seconds that it had left; None when it does not end."""
    info = rtnl.attr(_attrs(body), _RTA_CACHEINFO)
    left = struct.unpack_from("=i", info, 8)[0] if info is not None else 0
    return max(1, left // _USER_HZ) if left > 0 else None


def key(body: bytes) -> tuple[int, int, bytes, int, int, bytes, bytes]:
    """What tells routes of a device apart: family, length, destination, TOS, table, metric, way."""
    attrs = _attrs(body)
    way = b""
    for kind in (_RTA_GATEWAY, _RTA_VIA):
        way += rtnl.attr(attrs, kind) or b""
    for (_, _, hops, _), rest in _hops(rtnl.attr(attrs, _RTA_MULTIPATH) or b""):
        way += bytes([hops]) + rest
    metric = rtnl.attr(attrs, _RTA_PRIORITY) or b"\0\0\0\0"
    destination = rtnl.attr(attrs, _RTA_DST) or b""
    return body[0], body[1], destination, body[3], table(body), metric, way


def text(body: bytes) -> str:
    """As a person reads it: 10.77.0.0/16 via 10.0.0.2 table 77 metric 9."""
    attrs = _attrs(body)
    destination = rtnl.attr(attrs, _RTA_DST)
    parts = ["default"]
    if destination is not None:
        parts = [f"{socket.inet_ntop(body[0], destination)}/{body[1]}"]
    elif body[0] == socket.AF_INET6:
        parts = ["default (IPv6)"]
    gateway = rtnl.attr(attrs, _RTA_GATEWAY)
    if gateway is not None:
        parts.append(f"via {socket.inet_ntop(body[0], gateway)}")
    if rtnl.attr(attrs, _RTA_MULTIPATH) is not None:
        parts.append("by several next hops")
    if table(body) != _TABLE_MAIN:
        parts.append(f"table {table(body)}")
    metric = rtnl.attr(attrs, _RTA_PRIORITY)
    if metric is not None:
        parts.append(f"metric {struct.unpack('=I', metric)[0]}")
    return " ".join(parts)


def by_object(body: bytes) -> bool:
    """Whether it goes through a nexthop object (`ip nexthop`)."""
    return rtnl.attr(_attrs(body), _RTA_NH_ID) is not None


def for_device(body: bytes, renamed: Mapping[int, int], *, keep_object: bool) -> bytes:
    """The route's message with devices exchanged as `renamed` says (old to new ifindex).

    A route through a nexthop object is named by that object's id alone when it is restored
    (`keep_object`), and by gateway and device when it is moved: the object names the old device.
    """
    header = list(_HEADER.unpack_from(body))
    header[8] &= _F_KEPT
    attrs = _attrs(body)
    through_object = by_object(body)
    spelled_out = (_RTA_OIF, _RTA_GATEWAY, _RTA_VIA, _RTA_MULTIPATH, _RTA_ENCAP, _RTA_ENCAP_TYPE)
    result: Attrs = []
    for kind, value in attrs:
        number = kind & 0x3FFF
        if through_object and (number in spelled_out if keep_object else number == _RTA_NH_ID):
            continue
        if number == _RTA_OIF:
            old = struct.unpack("=I", value)[0]
            value = struct.pack("=I", renamed.get(old, old))
        elif number == _RTA_MULTIPATH:
            value = _move_hops(value, renamed)
        elif number == _RTA_CACHEINFO:
            left = expires(body)
            if left is not None:
                result.append((_RTA_EXPIRES, struct.pack("=I", left)))
            continue
        result.append((kind, value))
    return _HEADER.pack(*header) + rtnl.pack_attrs(result)


def local_of(address: bytes) -> bytes:
    """The kernel's route to an address (4 or 16 bytes) of the host itself, to be deleted."""
    family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
    header = _HEADER.pack(family, len(address) * 8, 0, 0, _TABLE_LOCAL, 0, 255, 2, 0)
    return header + rtnl.pack_attrs([(_RTA_DST, address)])


def _leaves_by(body: bytes, ifindex: int) -> bool:
    family, _, _, _, _, protocol, _, _, flags = _HEADER.unpack_from(body)
    attrs = _attrs(body)
    if (table(body) == _TABLE_LOCAL and protocol == _PROTO_KERNEL) or flags & _F_CLONED:
        return False
    destination = rtnl.attr(attrs, _RTA_DST) or b""
    if family == socket.AF_INET6 and protocol == _PROTO_KERNEL:
        link_local = len(destination) == 16 and destination[0] == 0xFE and destination[1] >> 6 == 2
        if link_local or destination[:1] == b"\xff":
            return False  # belongs to the device, which keeps its link-local address
    oif = rtnl.attr(attrs, _RTA_OIF)
    if oif is not None and struct.unpack("=I", oif)[0] == ifindex:
        return True
    paths = rtnl.attr(attrs, _RTA_MULTIPATH)
    return paths is not None and any(hop[3] == ifindex for hop, _ in _hops(paths))


def _of_device(body: bytes, ifindex: int) -> list[bytes]:
    """The route; of an IPv6 one by several devices, each of equal weight, the device's part.

    The kernel makes one of equal IPv6 routes by two devices (net/ipv6/ip6_fib.c), as they stand
    on the NIC and vhost0 for a moment, and lets each be added and removed by itself.
    """
    attrs = _attrs(body)
    hops = _hops(rtnl.attr(attrs, _RTA_MULTIPATH) or b"")
    several = len({hop[3] for hop, _ in hops}) > 1
    if body[0] != socket.AF_INET6 or by_object(body) or not several or any(h[2] for h, _ in hops):
        return [body]
    common = [(kind, value) for kind, value in attrs if kind & 0x3FFF != _RTA_MULTIPATH]
    parts = []
    for (_, flags, _, leaves_by), rest in hops:
        if leaves_by == ifindex:
            header = list(_HEADER.unpack_from(body))
            header[8] |= flags & _F_KEPT
            own: Attrs = [(_RTA_OIF, struct.pack("=I", ifindex)), *rtnl.parse_attrs(rest)]
            parts.append(_HEADER.pack(*header) + rtnl.pack_attrs(common + own))
    return parts


def _needs_gateway(body: bytes) -> bool:
    """Order of adding: a gateway can only be named once its network is reachable."""
    attrs = _attrs(body)
    return any(rtnl.attr(attrs, one) for one in (_RTA_GATEWAY, _RTA_VIA, _RTA_MULTIPATH))


def _hops(paths: bytes) -> list[tuple[tuple[int, int, int, int], bytes]]:
    found = []
    offset = 0
    while offset + _NEXTHOP.size <= len(paths):
        length, flags, hops, ifindex = _NEXTHOP.unpack_from(paths, offset)
        if length < _NEXTHOP.size:
            break
        rest = paths[offset + _NEXTHOP.size : offset + length]
        found.append(((length, flags, hops, ifindex), rest))
        offset += (length + 3) & ~3
    return found


def _move_hops(paths: bytes, renamed: Mapping[int, int]) -> bytes:
    parts = []
    for (length, flags, hops, ifindex), rest in _hops(paths):
        part = _NEXTHOP.pack(length, flags & _F_KEPT, hops, renamed.get(ifindex, ifindex)) + rest
        parts.append(part + b"\0" * (-len(part) % 4))
    return b"".join(parts)


def _attrs(body: bytes) -> Attrs:
    return rtnl.parse_attrs(body[_HEADER.size :])
