# SPDX-License-Identifier: Apache-2.0
"""A world of two networks and three ports, and the services in it.

red: IPv4 by DHCP and IPv6 by DHCPv6, bridged and routed. blue: routed only, IPv6 by SLAAC, no
IPv4 gateway. Frames are made and read by scapy, which shares no code with the services.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from scapy.layers.l2 import Ether

from vrouter.agent.desired.records import AddressPair, HostRoute, Interface, Network, Subnet
from vrouter.agent.services import all_services
from vrouter.agent.services.base import Action, Count, Inject, IPAddress, Port, Transmit, Trap
from vrouter.dpcore.names import TrapReason

ROUTER = "00:00:5e:00:01:00"
ROUTER_LL = "fe80::200:5eff:fe00:100"
VM1, VM2, VM3 = "02:00:0a:01:01:0a", "02:00:0a:01:01:0b", "02:00:0a:02:01:0a"
VM1_LL = "fe80::aff:fe01:10a"
FABRIC = 9

RED = Network(
    name="red",
    mtu=1400,
    igmp=True,
    subnets=(
        Subnet(
            prefix="10.1.1.0/24",
            gateway="10.1.1.1",
            dns="10.1.1.2",
            ntp_servers=("10.1.1.5",),
            domain="red.example",
            host_routes=(HostRoute(prefix="10.9.0.0/16", next_hop="10.1.1.7"),),
            lease_time=3600,
        ),
        Subnet(
            prefix="fd00:1::/64",
            gateway="fd00:1::1",
            domain="red.example",
            ntp_servers=("fd00:1::5",),
            lease_time=3600,
        ),
    ),
)
BLUE = Network(
    name="blue",
    forwarding="l3",
    igmp=True,
    subnets=(
        Subnet(prefix="10.2.1.0/24", dns_servers=("9.9.9.9",)),
        Subnet(prefix="fd00:2::/64", gateway="fd00:2::1", dhcp=False, domain="blue.example"),
    ),
)
PORT1 = Port(
    1,
    2,
    Interface(
        name="if1",
        network="red",
        mac=VM1,
        addresses=("10.1.1.10", "fd00:1::a"),
        hostname="vm1",
        allowed_address_pairs=(
            AddressPair(prefix="10.1.1.100/32"),
            AddressPair(prefix="fd00:1::100/128"),
            AddressPair(prefix="10.1.3.0/24"),
        ),
    ),
    RED,
)
PORT2 = Port(
    2,
    2,
    Interface(
        name="if2",
        network="red",
        mac=VM2,
        addresses=("10.1.1.11", "fd00:1::b"),
        hostname="vm2",
        allowed_address_pairs=(AddressPair(prefix="10.1.1.100/32"),),
    ),
    RED,
)
PORT3 = Port(
    3,
    3,
    Interface(name="if3", network="blue", mac=VM3, addresses=("10.2.1.10", "fd00:2::a")),
    BLUE,
)


@dataclass
class World:
    """See services.base.World. names: (network, host name) of further VMs."""

    live: dict[int, Port] = field(default_factory=lambda: {1: PORT1, 2: PORT2, 3: PORT3})
    names: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    mtus: dict[int, int] = field(default_factory=lambda: {2: 1400})
    router_mac: bytes = bytes.fromhex(ROUTER.replace(":", ""))

    def port(self, vif: int) -> Port | None:
        return self.live.get(vif)

    def ports(self, vrf: int) -> Sequence[Port]:
        return [one for one in self.live.values() if one.vrf == vrf]

    def network(self, vrf: int) -> Network | None:
        return {2: RED, 3: BLUE}.get(vrf)

    def addresses_of(self, network: str, hostname: str) -> Sequence[IPAddress]:
        return [
            ip_address(address)
            for known, name, addresses in self._hosts()
            if (known, name) == (network, hostname)
            for address in addresses
        ]

    def name_of(self, network: str, address: IPAddress) -> str | None:
        for known, name, addresses in self._hosts():
            if known == network and str(address) in addresses:
                return name
        return None

    def mtu(self, vrf: int) -> int:
        return self.mtus.get(vrf, 0)

    def _hosts(self) -> Iterable[tuple[str, str, tuple[str, ...]]]:
        for port in self.live.values():
            if port.interface.hostname:
                yield port.network.name, port.interface.hostname, port.interface.addresses
        for (network, name), addresses in self.names.items():
            yield network, name, addresses


@dataclass
class Rig:
    """The services, asked as pkt0 asks them."""

    world: World = field(default_factory=World)
    services: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.services = self.services or all_services(self.world)

    def get(self, name: str) -> Any:
        """The service of a name."""
        return next(one for one in self.services if one.name == name)

    def raw(
        self,
        frame: bytes,
        *,
        vif: int = 1,
        reason: int = TrapReason.L3_PROTOCOLS,
        params: tuple[int, ...] = (),
        now: float = 1000.0,
        vrf: int = 2,
    ) -> list[Action] | None:
        """What the first service that knows the frame does."""
        port = self.world.live.get(vif)
        trap = Trap(vif, port.vrf if port else vrf, reason, params, frame, port, now)
        for one in self.services:
            actions = one.handle(trap)
            if actions is not None:
                return list(actions)
        return None

    def send(self, packet: Any, **how: Any) -> list[Action]:
        """As raw, of a scapy packet that some service must know."""
        actions = self.raw(bytes(packet), **how)
        assert actions is not None, "no service knows it"
        return actions

    def up(self, port: Port, now: float = 1000.0) -> list[Action]:
        """What all services do for a new port."""
        return [one for each in self.services for one in each.port_up(port, now)]

    def tick(self, now: float) -> list[Action]:
        """What all services do by time."""
        return [one for each in self.services for one in each.tick(now)]

    def remembered(self, name: str, now: float) -> list[dict[str, Any]]:
        """What a service shows of what it knows."""
        return [dict(one) for one in self.get(name).remembered(now)]


def frames(actions: Iterable[Action], vif: int = 1) -> list[Any]:
    """What is sent to a vif, read by scapy."""
    sent = [one.frame for one in actions if isinstance(one, Transmit) and one.vif == vif]
    return [Ether(one) for one in sent]


def only(actions: Iterable[Action], vif: int = 1) -> Any:
    """The one frame that is sent, to that vif."""
    actions = list(actions)
    assert sum(isinstance(one, Transmit | Inject) for one in actions) == 1, actions
    (frame,) = frames(actions, vif)
    return frame


def results(actions: Iterable[Action]) -> list[str]:
    """`service: result` of each count."""
    return [f"{one.service}: {one.result}" for one in actions if isinstance(one, Count)]


def same_sums(frame: Any) -> bool:
    """Whether every checksum in the frame is the one that scapy computes; not those of a packet
    that an ICMP error cites, which may be cut short."""
    again = frame.copy()
    layer = again
    while layer and "in ICMP" not in layer.name:
        for name in ("chksum", "cksum"):
            if name in layer.fields:
                delattr(layer, name)
        layer = layer.payload
    return bytes(again) == bytes(frame)


V4, V6 = IPv4Address, IPv6Address
