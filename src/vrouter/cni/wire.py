# SPDX-License-Identifier: Apache-2.0
"""A container's veth: made, configured inside the container's namespace, looked at, removed.

All of it blocks, and runs on threads of the agent; a thread is in the container's namespace only
inside `_inside`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from pyroute2 import IPRoute  # type: ignore[import-untyped]

from vrouter.cni import request as cni
from vrouter.cni.request import (
    INVALID_ENVIRONMENT,
    IO_FAILURE,
    NOT_AS_ADDED,
    UNKNOWN_CONTAINER,
    CniError,
)
from vrouter.dpcore.errors import DeviceError
from vrouter.host import netns
from vrouter.host.netlink import IFF_UP, Netlink
from vrouter.host.ports import quiet_ipv6
from vrouter.host.rtnl import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    RTM_NEWADDR,
    RTM_NEWROUTE,
    Request,
    RtSocket,
    pack_attrs,
)

_NS_GET_NSTYPE = 0xB703  # linux/nsfs.h
_RTM_NEWLINK, _LOOPBACK = 16, 1
_INFO = struct.Struct("=BxHiII")  # struct ifinfomsg
_NO_LINK = _INFO.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINKINFO, _IFLA_NET_NS_FD = 1, 3, 4, 18, 28
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY = 1, 4, 5
_MAIN, _STATIC, _UNICAST = 254, 4, 1  # table, protocol and type of a route


@dataclass(frozen=True)
class Inside:
    """What a container's interface is to have. addresses: with prefix length; routes:
    (prefix, gateway)."""

    ifname: str
    mac: str
    mtu: int
    addresses: tuple[str, ...]
    routes: tuple[tuple[str, str], ...]


def open_namespace(request: cni.Request) -> int:
    """A file descriptor of the container's namespace. Raises CniError."""
    why = "no file of it was found"
    for path in request.netns:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            why = f"{path}: {getattr(error, 'strerror', None) or error}"
            continue
        status = os.fstat(fd)
        found = status.st_dev, status.st_ino
        if request.netns_id in (None, found):
            refused = "no network namespace" if not _is_netns(fd) else ""
            if found == netns.inode():
                refused = "the namespace of the vRouter itself, no container's"
            if not refused:
                return fd
            os.close(fd)
            raise CniError(INVALID_ENVIRONMENT, f"CNI_NETNS is {refused}", path)
        os.close(fd)
        why = f"{path} is another file than the runtime's"
    raise CniError(UNKNOWN_CONTAINER, "the container's network namespace is gone", why)


def _is_netns(fd: int) -> bool:
    try:
        return fcntl.ioctl(fd, _NS_GET_NSTYPE) == netns.CLONE_NEWNET
    except OSError:
        return False


@contextmanager
def _inside(fd: int) -> Iterator[Any]:
    """A netlink socket in the namespace; the thread itself is back before the block runs."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            netns.setns(fd)
        except OSError as error:
            why = error.strerror or ""
            raise CniError(INVALID_ENVIRONMENT, "CNI_NETNS is no network namespace", why) from None
        try:
            sock = IPRoute()
        finally:
            netns.setns(home)
    finally:
        os.close(home)
    with sock:
        yield sock


def make(device: str, fd: int, inside: Inside) -> str:
    """Make veth `device` with its other end, up and configured, in namespace `fd`.

    The MAC of our end. What an earlier try left of it is replaced. Raises CniError; nothing is
    left then.
    """
    remove(device)
    mac = b"\x02" + secrets.token_bytes(5)
    try:
        with RtSocket() as raw:
            raw.batch([_veth(device, mac, fd, inside)])
            try:
                netns.sysctl(f"net/ipv6/conf/{device}/disable_ipv6", 1)
                raw.batch([_up(socket.if_nametoindex(device))])
                _configure(fd, inside)
            except BaseException:
                remove(device)
                raise
    except OSError as error:
        if error.errno == errno.EEXIST and error.filename == device:
            why = f"the container has an interface {inside.ifname} already"
            raise CniError(INVALID_ENVIRONMENT, why, str(error)) from None
        raise CniError(IO_FAILURE, f"cannot make {device} and {inside.ifname}: {error}") from None
    return mac.hex(":")


def _veth(device: str, mac: bytes, fd: int, inside: Inside) -> Request:
    mtu = (_IFLA_MTU, struct.pack("=I", inside.mtu))
    far = [
        (_IFLA_IFNAME, inside.ifname.encode() + b"\0"),
        (_IFLA_ADDRESS, bytes.fromhex(inside.mac.replace(":", ""))),
        mtu,
        (_IFLA_NET_NS_FD, struct.pack("=i", fd)),
    ]
    data = pack_attrs([(_VETH_INFO_PEER, _NO_LINK + pack_attrs(far))])
    near = [
        (_IFLA_IFNAME, device.encode() + b"\0"),
        (_IFLA_ADDRESS, mac),
        mtu,
        (_IFLA_LINKINFO, pack_attrs([(_IFLA_INFO_KIND, b"veth"), (_IFLA_INFO_DATA, data)])),
    ]
    return Request(_RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, _NO_LINK + pack_attrs(near), device)


def _up(link: int) -> Request:
    body = _INFO.pack(socket.AF_UNSPEC, 0, link, IFF_UP, IFF_UP)
    return Request(_RTM_NEWLINK, 0, body, "link up")


def _configure(fd: int, inside: Inside) -> None:
    """All in the container's namespace, in one message to the kernel."""
    with netns.enter(f"/proc/self/fd/{fd}"):
        if any(":" in one for one in inside.addresses):
            quiet_ipv6(inside.ifname)
        else:
            netns.sysctl(f"net/ipv6/conf/{inside.ifname}/disable_ipv6", 1)
        index = socket.if_nametoindex(inside.ifname)
        with RtSocket() as raw:
            raw.batch(list(_requests(index, inside)))


def _requests(index: int, inside: Inside) -> Iterator[Request]:
    # rtnetlink(7): struct ifaddrmsg, rtmsg
    yield _up(_LOOPBACK)
    for text in inside.addresses:
        address, _, length = text.partition("/")
        packed = ip_address(address).packed
        head = struct.pack("=BBBBi", _family(address), int(length), 0, 0, index)
        attrs = pack_attrs([(_IFA_LOCAL, packed), (_IFA_ADDRESS, packed)])
        yield Request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, head + attrs, f"address {text}")
    yield _up(index)
    for prefix, gateway in inside.routes:
        network = ip_network(prefix)
        head = struct.pack(
            "=BBBBBBBBI", _family(gateway), network.prefixlen, 0, 0, _MAIN, _STATIC, 0, _UNICAST, 0
        )
        way = [(_RTA_GATEWAY, ip_address(gateway).packed), (_RTA_OIF, struct.pack("=i", index))]
        if network.prefixlen:
            way.append((_RTA_DST, network.network_address.packed))
        yield Request(
            RTM_NEWROUTE,
            NLM_F_CREATE | NLM_F_EXCL,
            head + pack_attrs(way),
            f"route to {prefix} by {gateway}",
            ignore=(errno.EEXIST,),  # another network's default route was there first
        )


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def check(fd: int, inside: Inside) -> None:
    """Raises CniError unless the container's interface is as ADD left it."""
    with _inside(fd) as sock:
        found = {one.get_attr("IFLA_IFNAME"): one for one in sock.get_links()}
        link = found.get(inside.ifname)
        if link is None:
            raise CniError(NOT_AS_ADDED, f"the container has no interface {inside.ifname}")
        mac = link.get_attr("IFLA_ADDRESS")
        if mac != inside.mac:
            raise CniError(NOT_AS_ADDED, f"{inside.ifname} has the MAC {mac}, not {inside.mac}")
        if not link["flags"] & 1:
            raise CniError(NOT_AS_ADDED, f"{inside.ifname} is down")
        index = link["index"]
        there = {
            f"{ip_address(one.get_attr('IFA_ADDRESS'))}/{one['prefixlen']}"
            for one in sock.get_addr(index=index)
        }
        for address in inside.addresses:
            if address not in there:
                raise CniError(NOT_AS_ADDED, f"{inside.ifname} has lost the address {address}")
        _check_routes(sock, index, inside.routes)


def _check_routes(sock: Any, index: int, wanted: Sequence[tuple[str, str]]) -> None:
    there = set()
    for family in (socket.AF_INET, socket.AF_INET6):
        for one in sock.get_routes(family=family, oif=index):
            whole = "0.0.0.0" if family == socket.AF_INET else "::"
            dst = one.get_attr("RTA_DST") or whole
            there.add((ip_network(f"{dst}/{one['dst_len']}"), one.get_attr("RTA_GATEWAY")))
    for prefix, gateway in wanted:
        if (ip_network(prefix), gateway) not in there:
            raise CniError(NOT_AS_ADDED, f"the route to {prefix} by {gateway} is gone")


def mac_of(device: str) -> str | None:
    """The MAC of our end; None if it is gone."""
    with Netlink() as links:
        link = links.get(device)
    return None if link is None else link.mac.hex(":")


def remove(device: str) -> None:
    """Remove the veth, from our end: that works without the container's namespace."""
    try:
        socket.if_nametoindex(device)
    except OSError:
        return  # mostly so, and quick to ask
    try:
        with Netlink() as links:
            links.delete(device)
    except DeviceError as error:
        raise CniError(IO_FAILURE, str(error)) from None
