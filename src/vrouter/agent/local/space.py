# SPDX-License-Identifier: Apache-2.0
"""A service namespace: a veth whose near end is a vif, the addresses of services, a way back.

Everything blocks, and is to be called in a thread that is in the vRouter's own namespace.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from vrouter.agent.plan.local import SERVICE_MAC
from vrouter.agent.plan.numbers import ROUTER_MAC
from vrouter.dpcore.errors import DeviceError
from vrouter.dpcore.records import IPAddress
from vrouter.host import netns, ports
from vrouter.host.netlink import Netlink

_FAR: Final = "eth0"
_THREAD: Final = "/proc/thread-self/ns/net"
# nobody's: the next hop of all that is sent, with the router's MAC (RFC 7600 for IPv4)
_GATEWAY, _GATEWAY6 = "192.0.0.8", "fe80::c000:8"
_BACKLOG: Final = 128
# seconds: a client that is gone is noticed after three times as long
_KEEPALIVE: Final = 30


@dataclass(frozen=True, order=True)
class Place:
    """Where connections are taken."""

    address: IPAddress
    port: int


class Space:
    """One network's. device: the near end, in the vRouter's namespace."""

    def __init__(self, device: str, mtu: int) -> None:
        """Makes it, in the place of what an earlier agent has left. Raises VrouterError."""
        self.device = device
        self._fd = netns.run(None, lambda: os.open(_THREAD, os.O_RDONLY | os.O_CLOEXEC))
        try:
            with Netlink() as links:
                links.delete(device)
                near = links.add_veth(
                    device, _FAR, peer_mac=SERVICE_MAC, peer_netns=self.path, mtu=mtu
                )
                netns.sysctl(f"net/ipv6/conf/{device}/disable_ipv6", 1)
                links.set(near, state="up")
                netns.run(self.path, _furnish)
                links.wait_ready(device)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise DeviceError(f"cannot make the namespace of {device}: {error}") from error
            raise

    @property
    def path(self) -> str:
        """A file of the namespace, for `nsenter --net=`."""
        return f"/proc/{os.getpid()}/fd/{self._fd}"

    def hold(self, addresses: Iterable[IPAddress]) -> None:
        """Let it have these addresses, and no others. Raises DeviceError."""
        wanted = {(str(one), _length(one)) for one in addresses}
        netns.run(self.path, lambda: _hold(wanted))

    def listen(self, place: Place) -> socket.socket:
        """A socket that takes connections. Raises OSError."""
        return netns.run(self.path, lambda: _listen(place))

    def meet(self, address: IPAddress, mac: bytes) -> None:
        """A VM's link-local address, to which no route leads, has that MAC. Raises DeviceError."""
        netns.run(self.path, lambda: _meet(address, mac))

    def close(self) -> None:
        """Remove it; connections that somebody holds are dead."""
        if self._fd < 0:
            return
        with Netlink() as links:
            links.delete(self.device)
        os.close(self._fd)
        self._fd = -1


def _furnish() -> None:
    for scope in ("all", "default", _FAR):
        ports.quiet_ipv6(scope)
    with Netlink() as links:
        links.up("lo")
        links.up(_FAR)
        links.add_gateway(_FAR, _GATEWAY, ROUTER_MAC)
        links.add_gateway(_FAR, _GATEWAY6, ROUTER_MAC)
        links.wait_ready(_FAR)


def _hold(wanted: set[tuple[str, int]]) -> None:
    with Netlink() as links:
        for device in ("lo", _FAR):
            mine = {one for one in wanted if _device(one[0]) == device}
            there = {one for one in links.addresses(device) if one[0] not in ("127.0.0.1", "::1")}
            for address, length in there - mine:
                links.delete_address(device, address, length)
            for address, length in mine - there:
                links.add_address(device, address, length)


def _length(address: IPAddress) -> int:
    """VMs' link-local addresses are on the link (`meet`), all others behind the gateway."""
    return 64 if address.version == 6 and address.is_link_local else address.max_prefixlen


def _device(address: str) -> str:
    """A link-local IPv6 address is one of its link."""
    return _FAR if address.startswith("fe80:") else "lo"


def _listen(place: Place) -> socket.socket:
    six = place.address.version == 6
    sock = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL):
            sock.setsockopt(socket.IPPROTO_TCP, option, _KEEPALIVE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2)
        if six:
            scope = socket.if_nametoindex(_FAR) if place.address.is_link_local else 0
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((str(place.address), place.port, 0, scope))
        else:
            sock.bind((str(place.address), place.port))
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _meet(address: IPAddress, mac: bytes) -> None:
    with Netlink() as links:
        links.set_neighbour(_FAR, str(address), mac)
