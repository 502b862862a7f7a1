# SPDX-License-Identifier: Apache-2.0
"""Addresses as RTM_NEWADDR bodies. Numbers: linux/if_addr.h."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from vrouter.host import rtnl
from vrouter.host.rtnl import Attrs, RtSocket

HEADER = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, ifindex
_IFA_ADDRESS, _IFA_LOCAL, _IFA_LABEL, _IFA_CACHEINFO, _IFA_FLAGS, _IFA_PROTO = 1, 2, 3, 6, 8, 11
_F_TEMPORARY, _F_NODAD, _F_MANAGETEMP = 0x01, 0x02, 0x100
_F_NOPREFIXROUTE, _F_MCAUTOJOIN = 0x200, 0x400
_KEPT_FLAGS = 0x10 | _F_MANAGETEMP | _F_NOPREFIXROUTE | _F_MCAUTOJOIN  # 0x10: home address
_PROTO_KERNEL_RA = 2
_SCOPE_LINK = 253
FOREVER = 0xFFFFFFFF


@dataclass(frozen=True)
class Device:
    """Which netdevice a message is about."""

    ifindex: int
    name: str


def dump(rt: RtSocket, ifindex: int) -> list[bytes]:
    """All IPv4 and IPv6 addresses of a device, in the order in which they must be added.

    The kernel lists the IPv6 addresses of a device newest first, and prefers the newest.
    """
    bodies = rt.dump(rtnl.RTM_GETADDR, HEADER.pack(0, 0, 0, 0, 0))
    mine = [body for body in bodies if HEADER.unpack_from(body)[4] == ifindex]
    inet6 = [body for body in mine if body[0] == socket.AF_INET6]
    return [body for body in mine if body[0] == socket.AF_INET] + inet6[::-1]


def is_link_local(body: bytes) -> bool:
    """An IPv6 address that belongs to its device; the new device needs its own of it."""
    family, _, _, scope, _ = HEADER.unpack_from(body)
    return family == socket.AF_INET6 and bool(scope == _SCOPE_LINK)


def key(body: bytes) -> tuple[int, int, bytes]:
    """What makes two addresses of a device the same: family, prefix length, address."""
    attrs = _attrs(body)
    own = rtnl.attr(attrs, _IFA_LOCAL) or rtnl.attr(attrs, _IFA_ADDRESS) or b""
    return body[0], body[1], own


def lifetimes(body: bytes) -> tuple[int, int]:
    """(preferred, valid) in seconds, FOREVER where there is no end."""
    info = rtnl.attr(_attrs(body), _IFA_CACHEINFO)
    if info is None:
        return FOREVER, FOREVER
    preferred, valid = struct.unpack_from("=II", info)
    return preferred, valid


def is_leased(body: bytes) -> bool:
    """Whether it ends unless somebody renews it."""
    return lifetimes(body)[1] != FOREVER


def is_advertised(body: bytes) -> bool:
    """Whether the kernel made it from a router advertisement, and renews it itself."""
    proto = rtnl.attr(_attrs(body), _IFA_PROTO)
    ours = proto is not None and proto[0] == _PROTO_KERNEL_RA
    return body[0] == socket.AF_INET6 and (ours or bool(_flags(body) & _F_MANAGETEMP))


def is_temporary(body: bytes) -> bool:
    """An IPv6 privacy address: the kernel makes new ones on the other device."""
    return body[0] == socket.AF_INET6 and bool(_flags(body) & _F_TEMPORARY)


def is_group(body: bytes) -> bool:
    """Not an address but a multicast group that the kernel joins (`autojoin`)."""
    return bool(_flags(body) & _F_MCAUTOJOIN)


def prefix_text(body: bytes) -> str:
    """10.0.0.1/24"""
    family, length, own = key(body)
    return f"{socket.inet_ntop(family, own)}/{length}"


def text(body: bytes) -> str:
    """As a person reads it: 10.0.0.3/24, label eth0:x, valid 5000 s."""
    parts = [prefix_text(body)]
    label = rtnl.attr(_attrs(body), _IFA_LABEL)
    if label is not None and b":" in label:
        parts.append("label " + label.rstrip(b"\0").decode())
    if is_leased(body):
        parts.append(f"valid {lifetimes(body)[1]} s")
    if is_temporary(body):
        parts.append("temporary")
    return ", ".join(parts)


def for_device(body: bytes, old: str, new: Device, elapsed: float = 0.0) -> bytes | None:
    """The RTM_NEWADDR body that gives device `new` what `old` (a name) had `elapsed` s ago.

    None when its lifetime has run out. A temporary address becomes an ordinary one that ends.
    """
    family, prefix, flags, scope, _ = HEADER.unpack_from(body)
    attrs: Attrs = []
    for kind, value in _attrs(body):
        if kind == _IFA_CACHEINFO:
            preferred, valid = struct.unpack_from("=II", value)
            valid = _left(valid, elapsed)
            if valid == 0:
                return None
            value = struct.pack("=IIII", _left(preferred, elapsed), valid, 0, 0)
        elif kind == _IFA_FLAGS:
            flags = struct.unpack_from("=I", value)[0] & _KEPT_FLAGS
            if family == socket.AF_INET6:
                flags |= _F_NODAD  # the address has been in use: nothing to detect
            value = struct.pack("=I", flags)
        elif kind == _IFA_LABEL:
            value = _label(value, old, new.name)
        attrs.append((kind, value))
    header = HEADER.pack(family, prefix, flags & 0xFF & (_KEPT_FLAGS | 2), scope, new.ifindex)
    return header + rtnl.pack_attrs(attrs)


def without_route(body: bytes) -> bytes:
    """An IPv6 RTM_NEWADDR body that brings no route to its network with it; others as they are."""
    if body[0] != socket.AF_INET6:
        return body
    attrs = [one for one in _attrs(body) if one[0] != _IFA_FLAGS]
    attrs.append((_IFA_FLAGS, struct.pack("=I", _flags(body) | _F_NOPREFIXROUTE)))
    return body[: HEADER.size] + rtnl.pack_attrs(attrs)


def with_lifetime(body: bytes, seconds: int) -> bytes:
    """The same address, valid and preferred that long from now."""
    lifetime = struct.pack("=IIII", seconds, seconds, 0, 0)
    attrs = [(k, lifetime if k == _IFA_CACHEINFO else value) for k, value in _attrs(body)]
    return body[: HEADER.size] + rtnl.pack_attrs(attrs)


def group(address: bytes, new: Device) -> bytes:
    """The body that makes the kernel join a multicast group (4 or 16 bytes) on a device."""
    family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
    flags = _F_MCAUTOJOIN | _F_NOPREFIXROUTE | (_F_NODAD if family == socket.AF_INET6 else 0)
    attrs: Attrs = [(_IFA_ADDRESS, address), (_IFA_FLAGS, struct.pack("=I", flags))]
    if family == socket.AF_INET:
        attrs.append((_IFA_LOCAL, address))
    # scope host: never picked as a source address
    return HEADER.pack(family, len(address) * 8, 0, 254, new.ifindex) + rtnl.pack_attrs(attrs)


def _label(value: bytes, old: str, new: str) -> bytes:
    label = value.rstrip(b"\0").decode()
    if label == old or label.startswith(old + ":"):
        label = (new + label[len(old) :])[:15]
    return label.encode() + b"\0"


def _left(lifetime: int, elapsed: float) -> int:
    return lifetime if lifetime == FOREVER else max(0, lifetime - int(elapsed))


def _attrs(body: bytes) -> Attrs:
    return rtnl.parse_attrs(body[HEADER.size :])


def _flags(body: bytes) -> int:
    wide = rtnl.attr(_attrs(body), _IFA_FLAGS)
    return int(struct.unpack("=I", wide)[0]) if wide is not None else body[2]
