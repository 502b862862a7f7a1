# SPDX-License-Identifier: Apache-2.0
"""Neighbour discovery (RFC 4861): ARP's work for IPv6. Routers' part is `ra.py`.

An advertisement for the router's own link-local address has to be had here or from dp-core: hosts
ask for it again and again while they use the router (neighbour unreachability detection).
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv6Address

from . import facts
from .addresses import Addresses
from .base import Action, Port, Transmit, Trap, World
from .packet import Packet
from .probes import Probes
from .service import PacketService, nd_frame
from .wire import ethernet, icmp, ipv6, nd


class NdService(PacketService):
    """See the module."""

    name = "nd"

    def __init__(self, world: World, table: Addresses) -> None:
        super().__init__(world)
        self._table = table
        self._probes = Probes(world, table, 6)

    def take(self, trap: Trap, packet: Packet) -> Iterable[Action] | None:
        """Advertisements are heard, solicitations answered."""
        ip = packet.ip
        if not isinstance(ip, ipv6.IPv6) or ip.proto != ipv6.ICMP or ip.offset or not ip.payload:
            return None
        if ip.payload[0] not in (nd.SOLICIT, nd.ADVERT):
            return None
        message = icmp.read6(ip.payload, ip.source, ip.target)
        if trap.port is None:
            return (self.count("from the fabric"),)
        if message.kind == nd.SOLICIT:
            asked = nd.read_solicit(ip, message.code, message.body)
            return self.answer(trap.port, packet, ip, asked)
        said = nd.read_advert(ip, message.code, message.body)
        return self._heard(trap.port, packet, said, trap.now)

    def answer(
        self, port: Port, packet: Packet, ip: ipv6.IPv6, asked: nd.Neighbour
    ) -> Iterable[Action]:
        """To a solicitation, for what the network owns; in a network that only routes for every
        address in its subnets but the port's own. Duplicate address detection hears of what the
        network owns only."""
        probing = ip.source == ipv6.ANY or ip.source == asked.target
        if not self.is_ours(port, asked.target, probing=probing):
            return (self.count("not for the network"),)
        if ip.source in self.owned(port):
            return (self.count("claims an address of the network"),)
        router = self.world.router_mac
        target = ipv6.ALL_NODES if ip.source == ipv6.ANY else ip.source
        mac = ethernet.group6(target.packed) if target.is_multicast else packet.eth.source
        flags = nd.ROUTER | nd.OVERRIDE | (0 if target.is_multicast else nd.SOLICITED)
        body = nd.advert(asked.target, router, flags)
        frame = nd_frame(router, mac, asked.target, target, nd.ADVERT, body, packet.eth.tags)
        return Transmit(port.vif, frame), self.count("answered")

    def tick(self, now: float) -> Iterable[Action]:
        """Probes."""
        asked: list[Action] = [
            self._probe(port, address) for port, address in self._probes.due(now)
        ]
        for port, address, _ in self._table.due(now, 6):
            asked.append(self._probe(port, address))
        return [*asked, *[self.count("probed") for _ in asked]]

    def port_up(self, port: Port, now: float) -> Iterable[Action]:
        """Gateways are announced."""
        actions: list[Action] = []
        router = self.world.router_mac
        mac = ethernet.group6(ipv6.ALL_NODES.packed)
        for gateway in sorted(self.owned(port), key=int):
            if isinstance(gateway, IPv6Address):
                body = nd.advert(gateway, router, nd.ROUTER | nd.OVERRIDE)
                frame = nd_frame(router, mac, gateway, ipv6.ALL_NODES, nd.ADVERT, body)
                actions += Transmit(port.vif, frame), self.count("announced")
        for address in self._probes.port_up(port, now):
            actions += self._probe(port, address), self.count("probed")
        return actions

    def is_ours(self, port: Port, address: IPv6Address, *, probing: bool) -> bool:
        """Whether a solicitation of the port for that address is answered with the router's
        MAC. probing: it is duplicate address detection."""
        if address in self.owned(port):
            return True
        if probing or port.network.forwarding != "l3":
            return False
        mine = facts.of_interface(port.interface)
        inside = facts.of_network(port.network).subnet_of(address) is not None
        return inside and address not in mine.addresses

    def _heard(
        self, port: Port, packet: Packet, said: nd.Neighbour, now: float
    ) -> Iterable[Action]:
        if said.target in self.owned(port):
            return (self.count("claims an address of the network"),)
        mac = said.mac or packet.eth.source
        news, result = self._table.hear(port, said.target, mac, now)
        return [*news, self.count(result)]

    def _probe(self, port: Port, address: facts.Address) -> Transmit:
        assert isinstance(address, IPv6Address)
        router = self.world.router_mac
        source = ipv6.link_local(router)
        target = ipv6.solicited_node(address)
        mac = ethernet.group6(target.packed)
        body = nd.solicit(address, router)
        return Transmit(port.vif, nd_frame(router, mac, source, target, nd.SOLICIT, body))
