# SPDX-License-Identifier: Apache-2.0
"""What a packet service gets and gives.

`pkt0.py` reads a trap, finds its port in the `World`, asks the services in upstream's order
(upstream-style dispatch: the first that knows the packet takes it) and carries out the actions.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Protocol

from vrouter.agent.desired.records import Interface, Network

IPAddress = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Trap:
    """A packet that dp-core gave to the agent: its agent_hdr and the whole inner frame.

    vif: idx it came in by; vrf; reason: a TrapReason; params: param, param1..param5 in order.
    port: whose vif that is; None for the fabric and vhost0. now: seconds, monotonic.
    """

    vif: int
    vrf: int
    reason: int
    params: tuple[int, ...]
    frame: bytes
    port: Port | None
    now: float


@dataclass(frozen=True, slots=True)
class Port:
    """An interface that is live: its vif, its VRF, and what is wanted of it and its network."""

    vif: int
    vrf: int
    interface: Interface
    network: Network


@dataclass(frozen=True, slots=True)
class Transmit:
    """Send `frame` out of vif `vif` as it is (agent_hdr command SWITCH)."""

    vif: int
    frame: bytes


@dataclass(frozen=True, slots=True)
class Inject:
    """Let dp-core treat `frame` as received on `vif` in `vrf` (agent_hdr command ROUTE)."""

    vif: int
    vrf: int
    frame: bytes


@dataclass(frozen=True, slots=True)
class Count:
    """One more packet of this service that ended so: `answered`, or the reason of a drop."""

    service: str
    result: str


@dataclass(frozen=True, slots=True)
class LearnMac:
    """A MAC of `vrf` is behind `vif` (bridge index as trapped, 0 unknown)."""

    vrf: int
    mac: bytes
    vif: int
    index: int = 0


@dataclass(frozen=True, slots=True)
class ForgetMac:
    """A learned MAC has aged."""

    vrf: int
    mac: bytes


@dataclass(frozen=True, slots=True)
class LearnAddress:
    """`address` is used by `mac` behind `vif` in `vrf`."""

    vrf: int
    address: IPAddress
    mac: bytes
    vif: int


@dataclass(frozen=True, slots=True)
class ForgetAddress:
    """A learned address has aged or moved away."""

    vrf: int
    address: IPAddress


@dataclass(frozen=True, slots=True)
class HearGroups:
    """The MACs of all groups of an IP version that are wanted behind `vif` by now."""

    vif: int
    version: int
    macs: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class Later:
    """Actions that something to be awaited will give (a forwarded DNS query)."""

    work: Coroutine[Any, Any, Iterable[Action]]


Action = (
    Transmit
    | Inject
    | Count
    | LearnMac
    | ForgetMac
    | LearnAddress
    | ForgetAddress
    | HearGroups
    | Later
)


class World(Protocol):
    """What services may ask about the rest of the agent."""

    def port(self, vif: int) -> Port | None:
        """The live port of a vif."""

    def ports(self, vrf: int) -> Sequence[Port]:
        """All live ports of a VRF."""

    def network(self, vrf: int) -> Network | None:
        """The network whose VRF that is."""

    def addresses_of(self, network: str, hostname: str) -> Sequence[IPAddress]:
        """The addresses in a network of the VMs of that host name, local and remote.

        hostname: in lower case; host names are the same in either case (RFC 4343).
        """

    def name_of(self, network: str, address: IPAddress) -> str | None:
        """The host name of an address of a network, local or remote."""

    def mtu(self, vrf: int) -> int:
        """What VMs of a VRF are told is their MTU: the network's, else what fits the fabric
        behind the widest encapsulation. 0: they are told none."""

    @property
    def router_mac(self) -> bytes:
        """The MAC of every gateway (00:00:5e:00:01:00)."""


class Service(Protocol):
    """A packet service. `name` is its name in counters and rates."""

    name: str

    def handle(self, trap: Trap) -> Iterable[Action] | None:
        """Actions for a packet of this service; None when it is not one (the next is asked).

        Never raises for what a packet holds: a bad one is a Count with the reason.
        """

    def tick(self, now: float) -> Iterable[Action]:
        """What is due by time alone; asked about once a second."""

    def port_up(self, port: Port, now: float) -> Iterable[Action]:
        """What a port that came up, or whose interface or network changed, is sent (gratuitous
        ARP, router advertisement)."""

    def known(self, learnt: Iterable[LearnMac | LearnAddress], now: float) -> None:
        """What dp-core's tables hold of an earlier agent's learning: it ages like what is new."""

    def macs(self) -> Iterable[tuple[int, bytes]]:
        """The learnt MACs, by (vrf, mac), of which it wants to be told how often they spoke."""

    def heard(self, packets: Mapping[tuple[int, bytes], int], now: float) -> None:
        """How many packets dp-core has had from these MACs by now."""

    def remembered(self, now: float) -> Iterable[Mapping[str, str | int | float]]:
        """What it knows beside the desired state, a row for each thing, for people to see:
        what has been learnt, joined, declined."""
