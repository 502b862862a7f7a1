# SPDX-License-Identifier: Apache-2.0
"""Ports for VMs and containers: a veth into a namespace, or a persistent tap.

They make netdevices only; whoever calls adds the vif.
"""

from __future__ import annotations

import fcntl
import os
import struct
from dataclasses import dataclass

from vrouter.dpcore.errors import DeviceError
from vrouter.host import netns
from vrouter.host.netlink import Link, Netlink

_TUNSETIFF, _TUNSETPERSIST = 0x400454CA, 0x400454CB
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000


@dataclass(frozen=True)
class Port:
    """A guest's end of a veth: its device, addresses and gateways; IPv6 if it has `ip6`."""

    netns: str
    device: str
    mac: bytes
    ip: str
    prefix: int
    gateway: str
    mtu: int
    ip6: str = ""
    prefix6: int = 64
    gateway6: str = ""


def make_veth(name: str, port: Port) -> Link:
    """Make veth `name` in the current namespace with its other end configured in the guest's.

    Both ends are up. Raises DeviceError.
    """
    with Netlink() as links:
        file = str(netns.path(port.netns))
        link = links.add_veth(name, port.device, peer_mac=port.mac, mtu=port.mtu, peer_netns=file)
        _silence(name)
        links.set(link, state="up")
    with netns.enter(port.netns), Netlink() as links:
        links.up("lo")
        links.add_address(port.device, port.ip, port.prefix)
        if port.ip6:
            quiet_ipv6(port.device)
            links.add_address(port.device, port.ip6, port.prefix6)
        links.up(port.device)
        links.add_default_route(port.gateway)
        if port.gateway6:
            links.add_default_route(port.gateway6)
    with Netlink() as links:
        return links.need(name)


def make_tap(name: str, *, vnet_hdr: bool = True, mtu: int = 1500) -> Link:
    """Make a persistent tap in the current namespace, up; whoever opens it later is the guest.

    `vnet_hdr`: frames carry a virtio_net_hdr, as a VM's do. Raises DeviceError.
    """
    flags = _IFF_TAP | _IFF_NO_PI | (_IFF_VNET_HDR if vnet_hdr else 0)
    try:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(fd, _TUNSETIFF, struct.pack("=16sH22x", name.encode(), flags))
            fcntl.ioctl(fd, _TUNSETPERSIST, 1)
        finally:
            os.close(fd)
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise DeviceError(f"cannot make tap {name} by /dev/net/tun: {why}") from error
    _silence(name)
    with Netlink() as links:
        link = links.need(name)
        links.set(link, mtu=mtu)
        links.set(link, state="up")
        return links.need(name)


def delete(name: str) -> bool:
    """Delete a port of the current namespace; False if there is none of that name."""
    with Netlink() as links:
        return links.delete(name)


_QUIET = {
    "accept_ra": 0,
    "router_solicitations": 0,
    "dad_transmits": 0,
    "accept_dad": 0,
    "addr_gen_mode": 1,  # no link-local address
    # the second report of a group that was joined: in a day or so
    "mldv1_unsolicited_report_interval": 86_400_000,
    "mldv2_unsolicited_report_interval": 86_400_000,
    "disable_ipv6": 0,
}


def quiet_ipv6(device: str) -> None:
    """Switch IPv6 on for `device` (or `all`, `default`) of the current namespace, such that
    nothing is sent but what somebody asked for: no DAD, no solicitations for routers."""
    for name, value in _QUIET.items():
        netns.sysctl(f"net/ipv6/conf/{device}/{name}", value)


def _silence(name: str) -> None:
    # the host's end of a port is dp-core's: no ND frames of the host's kernel on it
    netns.sysctl(f"net/ipv6/conf/{name}/disable_ipv6", 1)
