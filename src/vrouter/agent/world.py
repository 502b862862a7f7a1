# SPDX-License-Identifier: Apache-2.0
"""What packet services may ask about the rest of the agent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from vrouter.agent.desired.ids import Ids
from vrouter.agent.desired.records import Endpoint, Interface, Network
from vrouter.agent.desired.state import State
from vrouter.agent.facts import alone, parse
from vrouter.agent.plan.numbers import ROUTER_MAC, VIF, VRF
from vrouter.agent.plan.planner import Planner
from vrouter.agent.services.base import Port
from vrouter.dpcore.records import IPAddress

# the widest encapsulation, VXLAN: outer IP and UDP, its header, the inner Ethernet header
_OVER_IPV4: Final = 20 + 8 + 8 + 14
_OVER_IPV6: Final = 40 + 8 + 8 + 14
_ETHERNET: Final = 1500


def mtu_of(network: Network | None, planner: Planner) -> int:
    """The MTU that ports of a network are told, by DHCP, router advertisements and CNI: its own,
    else what fits the fabric behind the widest encapsulation. 0: the fabric's is not known."""
    if network is not None and network.mtu:
        return network.mtu
    fabric = planner.facts.fabric
    nic = None if fabric is None else planner.facts.devices.get(fabric.nic.name)
    if fabric is None or nic is None or not nic.mtu:
        return 0
    over_ipv6 = fabric.source(4) is None or any(one.version == 6 for one in planner.tunnel_ends())
    return nic.mtu - (_OVER_IPV6 if over_ipv6 else _OVER_IPV4)


def device_mtu(network: Network, planner: Planner) -> int:
    """The same for a netdevice, which must have one: Ethernet's where nothing is known."""
    return mtu_of(network, planner) or _ETHERNET


class LiveWorld:
    """The ports that are live, kept current by the daemon, and the objects behind them."""

    def __init__(self, state: State, ids: Ids, planner: Planner) -> None:
        self._state = state
        self._ids = ids
        self._planner = planner
        self._ports: dict[int, Port] = {}
        self._vifs: dict[str, int] = {}  # by interface

    @property
    def router_mac(self) -> bytes:
        """The MAC of every gateway."""
        return ROUTER_MAC

    def port(self, vif: int) -> Port | None:
        """The live port of a vif."""
        return self._ports.get(vif)

    def ports(self, vrf: int) -> Sequence[Port]:
        """All live ports of a VRF."""
        return [port for port in list(self._ports.values()) if port.vrf == vrf]

    def network(self, vrf: int) -> Network | None:
        """The network whose VRF that is."""
        owner = self._ids.owner(VRF, vrf)
        return None if owner is None else self._state.get(Network, owner.partition("/")[2])

    def mtu(self, vrf: int) -> int:
        """What VMs of a VRF are told is their MTU."""
        return mtu_of(self.network(vrf), self._planner)

    def addresses_of(self, network: str, hostname: str) -> Sequence[IPAddress]:
        """The addresses in a network of the VMs of that host name. An endpoint's is its name."""
        wanted = hostname.lower().rstrip(".")
        found: list[IPAddress] = []
        for station in self._stations(network):
            if _name(station).lower() == wanted:
                found += map(parse, station.addresses)
        return found

    def name_of(self, network: str, address: IPAddress) -> str | None:
        """The host name of an address of a network."""
        owner = self._state.owner("route", network, str(alone(address)))
        station = None if owner is None else self._state.record(owner)
        return _name(station) if isinstance(station, Interface | Endpoint) else None

    def port_of(self, vrf: int, address: IPAddress) -> Port | None:
        """The live port that an address of a VRF was given to."""
        network = self.network(vrf)
        owner = network and self._state.owner("route", network.name, str(alone(address)))
        if not owner or owner[0] != Interface.kind:
            return None
        vif = self._vifs.get(owner[1])
        return None if vif is None else self._ports.get(vif)

    def _stations(self, network: str) -> Iterable[Interface | Endpoint]:
        for key in list(self._state.needed_by((Network.kind, network))):
            station = self._state.record(key)
            if isinstance(station, Interface | Endpoint):
                yield station

    def refresh(self, names: Iterable[str]) -> list[int]:
        """Interfaces of these names changed; the vifs of ports that came up, or are other ones
        than before."""
        fresh: list[int] = []
        for name in names:
            port = self._made(name)
            old = self._vifs.pop(name, None)
            if old is not None and (port is None or old != port.vif):
                self._ports.pop(old, None)
            if port is not None:
                if self._ports.get(port.vif) != port:
                    fresh.append(port.vif)
                self._ports[port.vif] = port
                self._vifs[name] = port.vif
        return fresh

    def _made(self, name: str) -> Port | None:
        idx = self._ids.get(VIF, f"interface/{name}")
        interface = self._state.get(Interface, name)
        entries = self._planner.entries_of((Interface.kind, name))
        if interface is None or entries is None or idx is None or idx not in entries.vif:
            return None
        network = self._state.get(Network, interface.network)
        if network is None:
            return None
        return Port(idx, entries.vif[idx].vrf, interface, network)


def _name(station: Interface | Endpoint) -> str:
    if isinstance(station, Interface):
        return station.hostname or station.vm or station.name
    return station.name
