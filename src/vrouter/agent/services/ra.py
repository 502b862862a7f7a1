# SPDX-License-Identifier: Apache-2.0
"""Router advertisements (RFC 4861, section 6.2; RFC 8106): how hosts of a network get an address,
a router and a resolver."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network

from . import facts
from .base import Action, Port, Transmit, Trap, World
from .packet import Packet
from .service import PacketService, nd_frame
from .wire import ethernet, icmp, ipv6, nd

# RFC 4861, sections 6.2.1 and 10: the defaults, in seconds
MOST_INTERVAL = 600.0
LEAST_INTERVAL = 200.0
LIFETIME = 1800
VALID = 2_592_000
PREFERRED = 604_800
FIRST_INTERVAL = 16.0
FIRST_COUNT = 3
LEAST_DELAY = 3.0
# RFC 8106, section 5.1
TOLD_LIFETIME = int(3 * MOST_INTERVAL)
# resolvers, and domains: an option's length has eight bits; RFC 8106 asks for three to be used
_MOST_TOLD = 7


@dataclass(slots=True)
class _Timer:
    """sent: advertisements to all; last: when; next: when the next is due."""

    sent: int
    last: float
    next: float


class RaService(PacketService):
    """See the module."""

    name = "ra"

    def __init__(self, world: World, chance: random.Random | None = None) -> None:
        super().__init__(world)
        self._chance = chance or random.Random()
        self._timers: dict[int, _Timer] = {}

    def take(self, trap: Trap, packet: Packet) -> Iterable[Action] | None:
        """Solicitations; an advertisement of a VM's is not believed."""
        ip = packet.ip
        if not isinstance(ip, ipv6.IPv6) or ip.proto != ipv6.ICMP or ip.offset or not ip.payload:
            return None
        if ip.payload[0] not in (nd.ROUTER_SOLICIT, nd.ROUTER_ADVERT):
            return None
        message = icmp.read6(ip.payload, ip.source, ip.target)
        if message.kind == nd.ROUTER_ADVERT:
            return (self.count("another router"),)
        if trap.port is None:
            return (self.count("from the fabric"),)
        nd.read_router_solicit(ip, message.code, message.body)
        body = self.body(trap.port)
        if body is None:
            return (self.count("no ipv6"),)
        if ip.source == ipv6.ANY:
            return self._to_all_soon(trap.port, trap.now)
        frame = self._frame(ip.source, packet.eth.source, body, packet.eth.tags)
        return Transmit(trap.port.vif, frame), self.count("answered")

    def tick(self, now: float) -> Iterable[Action]:
        """Unsolicited advertisements."""
        actions: list[Action] = []
        for vif, timer in list(self._timers.items()):
            if timer.next > now:
                continue
            port = self.world.port(vif)
            if port is None or self.body(port) is None:
                del self._timers[vif]
            else:
                actions += self._to_all(port, timer, now)
        return actions

    def port_up(self, port: Port, now: float) -> Iterable[Action]:
        """The first of three that follow each other quickly."""
        if self.body(port) is None:
            return ()
        if port.vif in self._timers:
            self._timers[port.vif].sent = 0
        return self._to_all_soon(port, now)

    def body(self, port: Port) -> bytes | None:
        """What the port's network advertises; None without an IPv6 subnet."""
        network = facts.of_network(port.network)
        subnets = list(network.of_version(6))
        if not subnets:
            return None
        routed = any(one.gateway is not None for one in subnets)
        resolvers = dict.fromkeys(
            told for one in subnets for told in one.resolvers if isinstance(told, IPv6Address)
        )
        domains = dict.fromkeys(one.record.domain for one in subnets if one.record.domain)
        return nd.router_advert(
            nd.RouterAdvert(
                mac=self.world.router_mac,
                managed=any(one.record.dhcp for one in subnets),
                other=True,
                lifetime=LIFETIME if routed else 0,
                mtu=self._mtu(port),
                prefixes=[_prefix(one, port) for one in subnets],
                servers=list(resolvers)[:_MOST_TOLD],
                domains=list(domains)[:_MOST_TOLD],
                told_lifetime=TOLD_LIFETIME,
            )
        )

    def _mtu(self, port: Port) -> int:
        """RFC 8200, section 5: no IPv6 link has less than 1280."""
        mtu = self.world.mtu(port.vrf)
        return mtu if mtu >= 1280 else 0

    def _to_all_soon(self, port: Port, now: float) -> Iterable[Action]:
        """At once, or when three seconds have passed since the last (RFC 4861, 6.2.6)."""
        timer = self._timers.setdefault(port.vif, _Timer(0, now - LEAST_DELAY, now))
        if now - timer.last >= LEAST_DELAY:
            return self._to_all(port, timer, now)
        timer.next = min(timer.next, timer.last + LEAST_DELAY)
        return (self.count("answered later"),)

    def _to_all(self, port: Port, timer: _Timer, now: float) -> list[Action]:
        body = self.body(port) or b""
        timer.sent += 1
        timer.last = now
        delay = self._chance.uniform(LEAST_INTERVAL, MOST_INTERVAL)
        timer.next = now + (min(delay, FIRST_INTERVAL) if timer.sent < FIRST_COUNT else delay)
        mac = ethernet.group6(ipv6.ALL_NODES.packed)
        frame = self._frame(ipv6.ALL_NODES, mac, body)
        return [Transmit(port.vif, frame), self.count("advertised")]

    def _frame(self, target: IPv6Address, mac: bytes, body: bytes, tags: bytes = b"") -> bytes:
        router = self.world.router_mac
        source = ipv6.link_local(router)
        return nd_frame(router, mac, source, target, nd.ROUTER_ADVERT, body, tags)


def _prefix(one: facts.SubnetFacts, port: Port) -> nd.Prefix:
    """A network that only routes has nobody on the link but the router."""
    assert isinstance(one.prefix, IPv6Network)
    on_link = port.network.forwarding != "l3"
    return nd.Prefix(one.prefix, on_link, one.slaac, VALID, PREFERRED)
