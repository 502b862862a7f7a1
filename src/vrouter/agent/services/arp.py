# SPDX-License-Identifier: Apache-2.0
"""ARP (RFC 826): answers for what the network owns, announces gateways, finds who uses an
allowed address.

dp-core answers by itself what its routes say; here comes what it trapped: replies to the
router's MAC, gratuitous ARP of routes with the trap flag, and whatever the agent alone can answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address

from . import facts
from .addresses import Addresses
from .base import Action, Port, Transmit, Trap, World
from .packet import Packet
from .probes import Probes
from .service import PacketService
from .wire import arp, ethernet, ipv4


class ArpService(PacketService):
    """See the module."""

    name = "arp"

    def __init__(self, world: World, table: Addresses) -> None:
        super().__init__(world)
        self._table = table
        self._probes = Probes(world, table, 4)

    def take(self, trap: Trap, packet: Packet) -> Iterable[Action] | None:
        """Replies and gratuitous ARP are heard, requests answered."""
        if packet.eth.kind != ethernet.ARP:
            return None
        message = arp.read(packet.eth.payload)
        if trap.port is None:
            return (self.count("from the fabric"),)
        if message.sha != packet.eth.source:
            return (self.count("sender differs from frame"),)
        if message.spa in self.owned(trap.port):
            return (self.count("claims an address of the network"),)
        if message.op == arp.REPLY or message.spa == message.tpa:
            return self._heard(trap.port, message, trap.now)
        return self.answer(trap.port, packet, message)

    def answer(self, port: Port, packet: Packet, message: arp.Arp) -> Iterable[Action]:
        """To a request: the router's MAC, for what the network owns; in a network that only
        routes for every address in its subnets but the port's own."""
        if not self.is_ours(port, message.tpa):
            return (self.count("not for the network"),)
        reply = arp.Arp(arp.REPLY, self.world.router_mac, message.tpa, message.sha, message.spa)
        frame = self._frame(message.sha, reply, packet.eth.tags)
        return Transmit(port.vif, frame), self.count("answered")

    def tick(self, now: float) -> Iterable[Action]:
        """Probes."""
        asked: list[Action] = [
            self._probe(port, address) for port, address in self._probes.due(now)
        ]
        for port, address, mac in self._table.due(now, 4):
            asked.append(self._probe(port, address, mac))
        return [*asked, *[self.count("probed") for _ in asked]]

    def port_up(self, port: Port, now: float) -> Iterable[Action]:
        """Gateways are announced (a VM that was moved here may have another's MAC for them)."""
        actions: list[Action] = []
        router = self.world.router_mac
        for gateway in sorted(facts.of_network(port.network).owned, key=int):
            if isinstance(gateway, IPv4Address):
                said = arp.Arp(arp.REQUEST, router, gateway, ethernet.ZERO, gateway)
                actions += (
                    Transmit(port.vif, self._frame(ethernet.BROADCAST, said)),
                    self.count("announced"),
                )
        for address in self._probes.port_up(port, now):
            actions += self._probe(port, address), self.count("probed")
        return actions

    def is_ours(self, port: Port, address: IPv4Address) -> bool:
        """Whether the network answers a request of the port's for the address."""
        if address in self.owned(port):
            return True
        if port.network.forwarding != "l3":
            return False
        mine = facts.of_interface(port.interface)
        inside = facts.of_network(port.network).subnet_of(address) is not None
        return inside and address not in mine.addresses and not _paired(mine, address)

    def _heard(self, port: Port, message: arp.Arp, now: float) -> Iterable[Action]:
        if not ipv4.is_unicast(message.spa):
            return (self.count("arp sender"),)
        news, result = self._table.hear(port, message.spa, message.sha, now)
        return [*news, self.count(result)]

    def _probe(
        self, port: Port, address: facts.Address, mac: bytes = ethernet.BROADCAST
    ) -> Transmit:
        """From the subnet's gateway; without one as RFC 5227's probes, from 0.0.0.0."""
        assert isinstance(address, IPv4Address)
        source = facts.of_network(port.network).server_for(address)
        spa = source if isinstance(source, IPv4Address) else ipv4.ANY
        asked = arp.Arp(arp.REQUEST, self.world.router_mac, spa, ethernet.ZERO, address)
        return Transmit(port.vif, self._frame(mac, asked))

    def _frame(self, mac: bytes, message: arp.Arp, tags: bytes = b"") -> bytes:
        return ethernet.build(mac, self.world.router_mac, ethernet.ARP, arp.build(message), tags)


def _paired(mine: facts.InterfaceFacts, address: IPv4Address) -> bool:
    return any(one.prefix.version == 4 and address in one.prefix for one in mine.pairs)
