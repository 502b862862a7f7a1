# SPDX-License-Identifier: Apache-2.0
"""The veth pair of vhost0: its outer end is the host's, its inner end the vif's netdevice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vrouter.dpcore.core import DpCore
from vrouter.dpcore.errors import DeviceError
from vrouter.dpcore.instance import Instance
from vrouter.host import netns
from vrouter.host.netlink import Link, Netlink

VHOST = "vhost0"


@dataclass(frozen=True)
class Host:
    """Where a take-over works: an instance, its tables (None: not loaded), its namespace."""

    instance: Instance
    core: DpCore | None
    links: Netlink


def inner_end(name: str = VHOST) -> str:
    """Name of the end of a vhost pair on which dp-core receives."""
    return name + "i"


def make(
    links: Netlink,
    name: str,
    mac: bytes | None,
    mtu: int,
    prepare: Callable[[Link], None] = lambda outer: None,
) -> bool:
    """Make the pair and set it up; False when it exists, DeviceError when that is no veth.

    `prepare` gets the outer end before it is up: what an IPv6 device does then depends on its
    sysctls.
    """
    there = links.get(name)
    if there is not None:
        if there.kind != "veth":
            raise DeviceError(f"netdevice {name} exists and is a {there.kind}, not ours")
        return False
    outer = links.add_veth(name, inner_end(name), mac=mac, mtu=mtu)
    inner = links.need(inner_end(name))
    # the inner end is dp-core's: the kernel must not speak on it
    links.no_link_local(inner)
    netns.sysctl(f"net/ipv6/conf/{inner.name}/disable_ipv6", 1)
    prepare(outer)
    links.set(inner, state="up")
    links.set(outer, state="up")
    for end in (outer, inner):
        links.wait_ready(end.name)
    return True
