# SPDX-License-Identifier: Apache-2.0
"""Move addresses, routes and neighbours from one netdevice to another, in either direction.

What is saved are the kernel's own messages, so a restored address or route has every
attribute that it had: label, scope, broadcast, lifetime, metric, encapsulation, next hops.
Numbers: linux/if_addr.h, linux/rtnetlink.h, linux/neighbour.h.
"""

from __future__ import annotations

import errno
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Any

from vrouter.host import rtnl
from vrouter.host.rtnl import Attrs, Request

_IFADDR = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, ifindex
_RTMSG = struct.Struct("=BBBBBBBBI")  # family dst src tos table protocol scope type flags
_NEXTHOP = struct.Struct("=HBBi")  # length, flags, hops, ifindex
_NDMSG = struct.Struct("=BxxxiHBB")  # family, ifindex, state, flags, type
_NDA_DST, _NDA_LLADDR = 1, 2
_NUD_STALE, _NUD_PERMANENT = 0x04, 0x80
_NTF_KEPT = 0x80  # NTF_ROUTER; the others are state or belong to bridges
_NUD_RESOLVED = 0x02 | _NUD_STALE | 0x08 | 0x10 | _NUD_PERMANENT  # reachable, delay, probe
_IFA_LABEL, _IFA_CACHEINFO, _IFA_FLAGS = 3, 6, 8
_KEPT_FLAGS = 0x10 | 0x100 | 0x200 | 0x400  # homeaddress managetempaddr noprefixroute mcautojoin
_IFA_F_TEMPORARY, _IFA_F_NODAD = 0x01, 0x02
_FOREVER = 0xFFFFFFFF
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_MULTIPATH, _RTA_CACHEINFO = 1, 4, 5, 9, 12
_RTA_TABLE, _RTA_VIA, _RTA_ENCAP_TYPE, _RTA_ENCAP, _RTA_EXPIRES, _RTA_NH_ID = 15, 18, 21, 22, 23, 30
_RTNH_F_KEPT = 0x2 | 0x4  # pervasive, onlink; the others are state
_RT_TABLE_LOCAL, _RTPROT_KERNEL, _RT_SCOPE_LINK = 255, 2, 253
_RTM_F_CLONED = 0x200  # a cache entry
_USER_HZ = 100


@dataclass(frozen=True)
class Saved:
    """Addresses and routes of one netdevice as message bodies; `when` on CLOCK_BOOTTIME."""

    ifindex: int
    name: str
    when: float
    addresses: list[bytes] = field(default_factory=list)
    routes: list[bytes] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {
            "ifindex": self.ifindex,
            "name": self.name,
            "when": self.when,
            "addresses": [body.hex() for body in self.addresses],
            "routes": [body.hex() for body in self.routes],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Saved:
        return cls(
            ifindex=int(data["ifindex"]),
            name=str(data["name"]),
            when=float(data["when"]),
            addresses=[bytes.fromhex(text) for text in data["addresses"]],
            routes=[bytes.fromhex(text) for text in data["routes"]],
        )


def boot_time() -> float:
    """Seconds since boot, suspended time included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def collect(name: str, ifindex: int) -> Saved:
    """Read what belongs to a device in the calling thread's namespace.

    IPv4 addresses and global IPv6 ones (link-local addresses belong to a device); the routes of
    every table that leave by it, except those of table local that the kernel makes itself.
    """
    with rtnl.RtSocket() as rt:
        addresses = rt.dump(rtnl.RTM_GETADDR, _IFADDR.pack(0, 0, 0, 0, 0))
        routes = []
        for family in (socket.AF_INET, socket.AF_INET6):
            header = _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
            routes += [b for b in rt.dump(rtnl.RTM_GETROUTE, header) if _leaves_by(b, ifindex)]
    mine = [body for body in addresses if _is_movable(body, ifindex)]
    return Saved(ifindex, name, boot_time(), mine, sorted(routes, key=_needs_gateway))


def move(saved: Saved, ifindex: int, name: str, *, back: bool = False) -> None:
    """Give device `name` what `saved` holds, then take it from the device that it was read from.

    `back`: only give (what the other device has goes away with it), with lifetimes shortened by
    the time that has passed. First all is added, in one batch; only when that succeeded is the
    old removed, in a second one: at no moment is an address or a route missing.
    Raises OSError naming the address or route.
    """
    target = (ifindex, name)
    add: list[Request] = []
    for body in saved.addresses:
        changed = _address(body, saved, target, boot_time() - saved.when)
        if changed is not None:
            flags = rtnl.NLM_F_CREATE | rtnl.NLM_F_REPLACE
            what = f"add an address to {name}"
            add.append(Request(rtnl.RTM_NEWADDR, flags, changed, what))
    for body in saved.routes:
        flags = rtnl.NLM_F_CREATE | rtnl.NLM_F_APPEND
        text = f"add route {_route_text(body)} to {name}"
        new = _route(body, saved.ifindex, ifindex, keep_object=back)
        add.append(Request(rtnl.RTM_NEWROUTE, flags, new, text, (errno.EEXIST,)))
    with rtnl.RtSocket() as rt:
        rt.batch(add)
        if not back:
            rt.batch(_removals(saved))


def copy_neighbours(source: int, target: int) -> int:
    """Make what device `source` (ifindex) has resolved known on `target`; how many entries.

    A host must not have to ask again while its address moves: answers to requests sent by the
    NIC arrive on vhost0 as long as dp-core is attached. Copies are "stale", which means used at
    once and checked later; entries made by hand stay permanent. The kernel drops the entries of a
    device with its last address, so there is nothing to remove from `source`.
    """
    copies: list[Request] = []
    with rtnl.RtSocket() as rt:
        for body in rt.dump(rtnl.RTM_GETNEIGH, _NDMSG.pack(0, 0, 0, 0, 0)):
            family, ifindex, state, flags, kind = _NDMSG.unpack_from(body)
            attrs = rtnl.parse_attrs(body[_NDMSG.size :])
            kept = [one for one in attrs if one[0] in (_NDA_DST, _NDA_LLADDR)]
            if ifindex != source or not state & _NUD_RESOLVED or len(kept) != 2:
                continue
            if family not in (socket.AF_INET, socket.AF_INET6):
                continue
            state = state & _NUD_PERMANENT or _NUD_STALE
            header = _NDMSG.pack(family, target, state, flags & _NTF_KEPT, kind)
            create = rtnl.NLM_F_CREATE | rtnl.NLM_F_REPLACE
            what = "copy a neighbour entry"
            copies.append(Request(rtnl.RTM_NEWNEIGH, create, header + rtnl.pack_attrs(kept), what))
        rt.batch(copies)
    return len(copies)


def take_away(saved: Saved) -> None:
    """Remove from the device what `saved` holds of it; what is gone already is no error."""
    with rtnl.RtSocket() as rt:
        rt.batch(_removals(saved))


def _removals(saved: Saved) -> list[Request]:
    gone = (errno.ESRCH, errno.ENOENT, errno.EADDRNOTAVAIL, errno.ENODEV)
    away: list[Request] = []
    for body in reversed(saved.routes):
        old = _route(body, saved.ifindex, saved.ifindex, keep_object=True)
        what = f"remove route {_route_text(body)} from {saved.name}"
        away.append(Request(rtnl.RTM_DELROUTE, 0, old, what, gone))
    for body in reversed(saved.addresses):
        what = f"remove an address from {saved.name}"
        away.append(Request(rtnl.RTM_DELADDR, 0, body, what, gone))
    return away


def _is_movable(body: bytes, ifindex: int) -> bool:
    family, _, flags, scope, index = _IFADDR.unpack_from(body)
    if index != ifindex or family not in (socket.AF_INET, socket.AF_INET6):
        return False
    if family == socket.AF_INET:
        return True
    return bool(scope != _RT_SCOPE_LINK and not flags & _IFA_F_TEMPORARY)


def _address(body: bytes, saved: Saved, target: tuple[int, str], elapsed: float) -> bytes | None:
    """The RTM_NEWADDR body for the target device; None when its lifetime has run out."""
    family, prefix, flags, scope, _ = _IFADDR.unpack_from(body)
    ifindex, name = target
    attrs: Attrs = []
    for kind, value in rtnl.parse_attrs(body[_IFADDR.size :]):
        if kind == _IFA_CACHEINFO:
            preferred, valid = struct.unpack_from("=II", value)
            valid = _left(valid, elapsed)
            if valid == 0:
                return None
            value = struct.pack("=IIII", _left(preferred, elapsed), valid, 0, 0)
        elif kind == _IFA_FLAGS:
            flags = struct.unpack_from("=I", value)[0] & _KEPT_FLAGS
            if family == socket.AF_INET6:
                flags |= _IFA_F_NODAD  # the address has been in use: nothing to detect
            value = struct.pack("=I", flags)
        elif kind == _IFA_LABEL:
            label = value.rstrip(b"\0").decode()
            if label == saved.name or label.startswith(saved.name + ":"):
                label = (name + label[len(saved.name) :])[:15]
            value = label.encode() + b"\0"
        attrs.append((kind, value))
    header = _IFADDR.pack(family, prefix, flags & 0xFF & (_KEPT_FLAGS | 2), scope, ifindex)
    return header + rtnl.pack_attrs(attrs)


def _left(lifetime: int, elapsed: float) -> int:
    return lifetime if lifetime == _FOREVER else max(0, lifetime - int(elapsed))


def _leaves_by(body: bytes, ifindex: int) -> bool:
    family, _, _, _, table, protocol, _, _, flags = _RTMSG.unpack_from(body)
    attrs = rtnl.parse_attrs(body[_RTMSG.size :])
    wide = rtnl.attr(attrs, _RTA_TABLE)
    number = struct.unpack("=I", wide)[0] if wide is not None else table
    if number == _RT_TABLE_LOCAL and protocol == _RTPROT_KERNEL:
        return False
    if flags & _RTM_F_CLONED:
        return False
    destination = rtnl.attr(attrs, _RTA_DST) or b""
    if family == socket.AF_INET6 and protocol == _RTPROT_KERNEL:
        link_local = len(destination) == 16 and destination[0] == 0xFE and destination[1] >> 6 == 2
        if link_local or destination[:1] == b"\xff":
            return False  # belongs to the device, which keeps its link-local address
    oif = rtnl.attr(attrs, _RTA_OIF)
    if oif is not None and struct.unpack("=I", oif)[0] == ifindex:
        return True
    paths = rtnl.attr(attrs, _RTA_MULTIPATH)
    return paths is not None and any(hop[3] == ifindex for hop, _ in _hops(paths))


def _needs_gateway(body: bytes) -> bool:
    """Order of adding: a gateway can only be named once its network is reachable."""
    attrs = rtnl.parse_attrs(body[_RTMSG.size :])
    return any(rtnl.attr(attrs, one) for one in (_RTA_GATEWAY, _RTA_VIA, _RTA_MULTIPATH))


def _route(body: bytes, old: int, new: int, *, keep_object: bool) -> bytes:
    """The route's message with device `old` replaced by `new`.

    A route through a nexthop object is named by that object's id alone when it is restored
    (`keep_object`), and by gateway and device when it is moved: the object names the old device.
    """
    header = list(_RTMSG.unpack_from(body))
    header[8] &= _RTNH_F_KEPT
    attrs = rtnl.parse_attrs(body[_RTMSG.size :])
    by_object = rtnl.attr(attrs, _RTA_NH_ID) is not None
    spelled_out = (_RTA_OIF, _RTA_GATEWAY, _RTA_VIA, _RTA_MULTIPATH, _RTA_ENCAP, _RTA_ENCAP_TYPE)
    result: Attrs = []
    for kind, value in attrs:
        number = kind & 0x3FFF
        if by_object and (number in spelled_out if keep_object else number == _RTA_NH_ID):
            continue
        if number == _RTA_OIF and struct.unpack("=I", value)[0] == old:
            value = struct.pack("=I", new)
        elif number == _RTA_MULTIPATH:
            value = _move_hops(value, old, new)
        elif number == _RTA_CACHEINFO:
            expires = struct.unpack_from("=i", value, 8)[0]
            if expires > 0:
                result.append((_RTA_EXPIRES, struct.pack("=I", max(1, expires // _USER_HZ))))
            continue
        result.append((kind, value))
    return _RTMSG.pack(*header) + rtnl.pack_attrs(result)


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


def _move_hops(paths: bytes, old: int, new: int) -> bytes:
    parts = []
    for (length, flags, hops, ifindex), rest in _hops(paths):
        device = new if ifindex == old else ifindex
        part = _NEXTHOP.pack(length, flags & _RTNH_F_KEPT, hops, device) + rest
        parts.append(part + b"\0" * (-len(part) % 4))
    return b"".join(parts)


def _route_text(body: bytes) -> str:
    family, length = body[0], body[1]
    destination = rtnl.attr(rtnl.parse_attrs(body[_RTMSG.size :]), _RTA_DST)
    if destination is None:
        return "default"
    return f"{socket.inet_ntop(family, destination)}/{length}"
