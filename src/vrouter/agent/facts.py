# SPDX-License-Identifier: Apache-2.0
"""What the agent knows of this host's Linux: netdevices, and vhost0's addresses, routes and
neighbours. Pure data; `watch.py` keeps it current."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Final

from vrouter.dpcore.records import IPAddress, IPNetwork

_SERVICES: Final = "vrsvc"


@dataclass(frozen=True, slots=True)
class Device:
    """A netdevice. peer_elsewhere: a veth whose other end is in another network namespace.
    mtu: bytes, 0 unknown. kind: as `ip link` has it, "veth", "tun"; "" a NIC."""

    ifindex: int
    name: str
    mac: bytes = bytes(6)
    peer_elsewhere: bool = False
    mtu: int = 0
    kind: str = ""

    @property
    def is_settled(self) -> bool:
        """Whether an event tells of every change: the move of a veth's peer is told by none."""
        return self.kind != "veth" or self.peer_elsewhere


@dataclass(frozen=True, slots=True)
class KernelRoute:
    """An IPv4 or IPv6 route of the kernel's main table. gateway None: on the link.

    by_vhost: it leads out of vhost0; otherwise the host itself is the way (containers)."""

    prefix: IPNetwork
    gateway: IPAddress | None
    by_vhost: bool


@dataclass(frozen=True, slots=True)
class Fabric:
    """The way to the other hosts. nic, vhost: netdevices of vif0/0 and vif0/1; vhost's ifindex
    is that of the outer end, `inner` of the one that dp-core receives on.

    local: all addresses of this host but its loopback; addresses: those of vhost0, the first of
    each version is the end of tunnels; broadcasts: of vhost0's subnets. neighbours: MACs that the
    kernel has resolved on vhost0.
    """

    nic: Device
    vhost: Device
    inner: int
    addresses: tuple[IPAddress, ...] = ()
    local: frozenset[IPAddress] = frozenset()
    broadcasts: frozenset[IPAddress] = frozenset()
    routes: tuple[KernelRoute, ...] = ()
    neighbours: dict[IPAddress, bytes] = field(default_factory=dict)

    def source(self, version: int) -> IPAddress | None:
        """The end of this host's tunnels over that IP version."""
        return next((one for one in self.addresses if one.version == version), None)

    def next_hop(self, address: IPAddress) -> IPAddress | None:
        """Who is to be resolved for a packet to `address`: itself, or a gateway; None: no way."""
        fitting = [one for one in self.routes if one.by_vhost and address in one.prefix]
        if not fitting:
            return None
        return max(fitting, key=lambda one: one.prefix.prefixlen).gateway or address

    def mac_of(self, address: IPAddress) -> bytes | None:
        """The MAC by which a packet to `address` leaves, once it is resolved."""
        hop = self.next_hop(address)
        return None if hop is None else self.neighbours.get(hop)

    def gateways(self) -> frozenset[IPAddress]:
        """Every gateway that a route out of vhost0 names."""
        return frozenset(one.gateway for one in self.routes if one.by_vhost and one.gateway)


@dataclass
class Facts:
    """Everything. devices: by name. pkt0: None until the agent has its tap. groups: MACs of
    groups that are wanted behind a vif, by (vif, IP version)."""

    fabric: Fabric | None = None
    pkt0: Device | None = None
    devices: dict[str, Device] = field(default_factory=dict)
    groups: dict[tuple[int, int], frozenset[bytes]] = field(default_factory=dict)


def service_device(vrf: int) -> str:
    """The near end of the veth to a network's service namespace (agent/local/)."""
    return f"{_SERVICES}{vrf}"


def service_vrf(name: str) -> int | None:
    """The VRF whose service namespace a netdevice leads to; None for any other netdevice."""
    number = name.removeprefix(_SERVICES)
    return int(number) if name != number and number.isascii() and number.isdigit() else None


def alone(address: IPAddress | str) -> IPNetwork:
    """The prefix of one address: /32 or /128."""
    return ip_network(str(address))


def parse(text: str) -> IPAddress:
    """An address of a checked record."""
    return ip_address(text)
