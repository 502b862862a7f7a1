# SPDX-License-Identifier: Apache-2.0
"""A host whose own traffic goes through vhost0, and one that uses its NIC as it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from vrouter.dpcore.core import DpCore
from vrouter.dpcore.instance import Instance
from vrouter.dpcore.loader import load, unload
from vrouter.dpcore.sizes import SMALL
from vrouter.host import devices, netns
from vrouter.host import vhost as taken
from vrouter.host.holders import Holders
from vrouter.host.netlink import Netlink
from vrouter.lab.topology import NIC, WIRE_MTU, mac_bytes

from .paths import End, Route

_MACS = ("02:00:00:00:01:01", "02:00:00:00:01:02")
_IPS = ("172.31.0.1", "172.31.0.2")


@contextmanager
def vhost(prefix: str) -> Iterator[tuple[Route, Route]]:
    """The ways from a host to its plain neighbour: by vhost0, and by a plain NIC."""
    with ExitStack() as stack:
        ours = stack.enter_context(_pair(f"{prefix}-v"))
        plain = stack.enter_context(_pair(f"{prefix}-p"))
        stack.enter_context(_vrouter(ours.source.netns))
        yield ours, plain


@contextmanager
def _pair(prefix: str) -> Iterator[Route]:
    """Two namespaces joined by a wire, each with an address on its NIC."""
    names = (f"{prefix}1", f"{prefix}2")
    try:
        for name in names:
            netns.create(name)
        with netns.enter(names[0]), Netlink() as links:
            links.add_veth(
                NIC, NIC, mac=mac_bytes(_MACS[0]), peer_mac=mac_bytes(_MACS[1]), mtu=WIRE_MTU,
                peer_netns=str(netns.path(names[1])),
            )  # fmt: skip
        for name, ip in zip(names, _IPS, strict=True):
            with netns.enter(name), Netlink() as links:
                links.up("lo")
                links.add_address(NIC, ip, 24)
                links.up(NIC)
        ends = [End(name, NIC, ip, mac) for name, ip, mac in zip(names, _IPS, _MACS, strict=True)]
        yield Route(ends[0], ends[1], names)
    finally:
        for name in names:
            with suppress(OSError):
                netns.delete(name)


@contextmanager
def _vrouter(name: str) -> Iterator[None]:
    instance = Instance(f"{name}-vr")
    try:
        with netns.enter(name):
            load(instance, SMALL)
            with DpCore.open(instance) as core:
                devices.ensure_packet_devices(core)
            taken.up(instance, NIC, holders=Holders([], []))
        yield
    finally:
        taken.forget(instance)
        unload(instance)
