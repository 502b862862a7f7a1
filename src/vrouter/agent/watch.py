# SPDX-License-Identifier: Apache-2.0
"""Facts from the kernel by netlink: read whole, then followed by its events.

Everything is of the network namespace of the calling thread.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any, Final

from pyroute2 import IPRoute  # type: ignore[import-untyped]
from pyroute2.netlink import rtnl as rtmgrp  # type: ignore[import-untyped]
from pyroute2.netlink.rtnl.marshal import MarshalRtnl  # type: ignore[import-untyped]

from vrouter.agent.facts import Device, Fabric, KernelRoute
from vrouter.dpcore.records import IPAddress, IPNetwork
from vrouter.host import rtnl
from vrouter.host.netlink import Link, Netlink
from vrouter.host.nic import neighbours
from vrouter.host.rtnl import Request, RtSocket

_LINKS: Final = rtmgrp.RTMGRP_LINK
_GROUPS: Final = (
    _LINKS
    | rtmgrp.RTMGRP_NEIGH
    | rtmgrp.RTMGRP_IPV4_IFADDR
    | rtmgrp.RTMGRP_IPV6_IFADDR
    | rtmgrp.RTMGRP_IPV4_ROUTE
    | rtmgrp.RTMGRP_IPV6_ROUTE
)
_BUFFER: Final = 4 << 20
_MAIN, _LOCAL = 254, 255
_UNICAST, _LOCAL_TYPE, _BROADCAST = 1, 2, 3
_NDA_DST, _NDA_FLAGS_EXT = 1, 15
_NTF_EXT_MANAGED, _NUD_NONE = 1, 0
_NEIGHBOUR = struct.Struct("=BxxxiHBB")  # family, ifindex, state, flags, type


def device_of(link: Link) -> Device:
    """What the plan wants to know of a netdevice."""
    elsewhere = link.kind == "veth" and link.peer_elsewhere
    return Device(link.ifindex, link.name, link.mac, elsewhere, link.mtu, link.kind)


def read_devices() -> dict[str, Device]:
    """All netdevices, by name."""
    with Netlink() as links:
        return {link.name: device_of(link) for link in links.links()}


def read_device(name: str, links: Netlink | None = None) -> Device | None:
    """The netdevice of that name; by `links`, if the caller has one open."""
    with contextlib.nullcontext(links) if links is not None else Netlink() as opened:
        link = opened.get(name)
    return None if link is None else device_of(link)


def read_fabric(nic: Device, vhost: Device, inner: int) -> Fabric:
    """Addresses, routes and neighbours as they are now."""
    with IPRoute() as kernel, RtSocket() as raw:
        addresses, local, broadcasts = _addresses(kernel, vhost.ifindex)
        known = neighbours.dump(raw, vhost.ifindex)
        routes = tuple(_routes(kernel, vhost.ifindex))
    return Fabric(
        nic=nic,
        vhost=vhost,
        inner=inner,
        addresses=addresses,
        local=local,
        broadcasts=broadcasts,
        routes=routes,
        neighbours=dict(filter(None, map(_neighbour, known))),
    )


def _addresses(
    kernel: Any, vhost: int
) -> tuple[tuple[IPAddress, ...], frozenset[IPAddress], frozenset[IPAddress]]:
    own: list[IPAddress] = []
    local: set[IPAddress] = set()
    broadcasts: set[IPAddress] = set()
    for message in kernel.get_addr():
        address = ip_address(message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS"))
        if address.is_loopback or (address.is_link_local and address.version == 6):
            continue
        local.add(address)
        if message["index"] != vhost:
            continue
        own.append(address)
        network = ip_network((str(address), message["prefixlen"]), strict=False)
        if network.version == 4 and network.prefixlen < 31:
            broadcasts.add(network.broadcast_address)
    return tuple(own), frozenset(local), frozenset(broadcasts)


def _routes(kernel: Any, vhost: int) -> Iterable[KernelRoute]:
    best: dict[IPNetwork, tuple[int, KernelRoute]] = {}
    for family in (socket.AF_INET, socket.AF_INET6):
        for message in kernel.get_routes(family=family, table=_MAIN):
            if message["type"] != _UNICAST:
                continue
            route = _route(message, family, vhost)
            metric = message.get_attr("RTA_PRIORITY") or 0
            there = best.get(route.prefix)
            if there is None or metric < there[0]:
                best[route.prefix] = metric, route
    return [route for _, route in best.values()]


def _route(message: Any, family: int, vhost: int) -> KernelRoute:
    zero = "0.0.0.0" if family == socket.AF_INET else "::"
    prefix = ip_network((message.get_attr("RTA_DST") or zero, message["dst_len"]))
    gateway, oif = message.get_attr("RTA_GATEWAY"), message.get_attr("RTA_OIF")
    for hop in message.get_attr("RTA_MULTIPATH") or ():
        if gateway is None and oif in (None, vhost):
            oif = hop["oif"]
            gateway = hop.get_attr("RTA_GATEWAY")
    return KernelRoute(prefix, ip_address(gateway) if gateway else None, oif == vhost)


def _neighbour(body: bytes) -> tuple[IPAddress, bytes] | None:
    _, proxy, packed = neighbours.key(body)
    attrs = rtnl.parse_attrs(body[_NEIGHBOUR.size :])
    mac = rtnl.attr(attrs, 2)
    if proxy or mac is None or len(mac) != 6 or not any(mac):
        return None
    address = ip_address(packed)
    if address.is_multicast or (address.is_link_local and address.version == 6):
        return None
    return address, mac


def manage(vhost: int, wanted: Iterable[IPAddress], no_more: Iterable[IPAddress]) -> None:
    """Let the kernel resolve these neighbours of vhost0, and keep them resolved by itself."""
    requests = [_managed(vhost, address, on=True) for address in wanted]
    requests += [_managed(vhost, address, on=False) for address in no_more]
    with RtSocket() as raw:
        raw.batch(requests)


def _managed(vhost: int, address: IPAddress, *, on: bool) -> Request:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    attrs = [(_NDA_DST, address.packed)]
    attrs.append((_NDA_FLAGS_EXT, struct.pack("=I", _NTF_EXT_MANAGED if on else 0)))
    body = _NEIGHBOUR.pack(family, vhost, _NUD_NONE, 0, 0) + rtnl.pack_attrs(attrs)
    flags = rtnl.NLM_F_CREATE | rtnl.NLM_F_REPLACE if on else rtnl.NLM_F_REPLACE
    missing = () if on else (errno.ENOENT,)
    return Request(rtnl.RTM_NEWNEIGH, flags, body, f"neighbour {address}", missing)


@dataclass
class News:
    """What events said since the last time: links that came, changed or went, by name; whether
    anything of vhost0 changed; whether events were lost, and all is to be read again."""

    links: dict[str, Device | None] = field(default_factory=dict)
    fabric: bool = False
    lost: bool = False

    def __bool__(self) -> bool:
        return bool(self.links) or self.fabric or self.lost


class Events:
    """The kernel's events, read when its socket is readable."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, 33, _BUFFER)  # SO_RCVBUFFORCE
        self._socket.bind((0, _GROUPS))
        self._marshal = MarshalRtnl()

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        """Follow no more."""
        self._socket.close()

    def read(self, news: News, *, is_vhost: Callable[[int], bool]) -> None:
        """Add everything that is there to `news`."""
        while True:
            try:
                data = self._socket.recv(1 << 18)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                news.lost = True
                continue
            for message in self._marshal.parse(data):
                self._take(news, message, is_vhost)

    @staticmethod
    def _take(news: News, message: Any, is_vhost: Callable[[int], bool]) -> None:
        event = message.get("event", "")
        if event.endswith("LINK"):
            if message["family"] == socket.AF_UNSPEC:
                _note_link(news, message, gone=event == "RTM_DELLINK")
        elif event.endswith("NEIGH"):
            if is_vhost(message["ifindex"]):
                news.fabric = True
        elif event.endswith(("ADDR", "ROUTE")):
            news.fabric = True


def _note_link(news: News, message: Any, *, gone: bool) -> None:
    name = message.get_attr("IFLA_IFNAME")
    info = message.get_attr("IFLA_LINKINFO")
    kind = info.get_attr("IFLA_INFO_KIND") if info is not None else None
    elsewhere = kind == "veth" and message.get_attr("IFLA_LINK_NETNSID") is not None
    mac = bytes.fromhex((message.get_attr("IFLA_ADDRESS") or "").replace(":", ""))
    mtu = message.get_attr("IFLA_MTU") or 0
    device = Device(message["index"], name, mac, elsewhere, mtu, kind or "")
    news.links[name] = None if gone else device
