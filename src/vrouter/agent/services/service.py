# SPDX-License-Identifier: Apache-2.0
"""What the services have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address

from . import facts
from .base import Action, Count, LearnAddress, LearnMac, Port, Transmit, Trap, World
from .packet import Packet, dissect
from .wire import ethernet, icmp, ipv4, ipv6, udp
from .wire.malformed import Malformed

Row = Mapping[str, str | int | float]


class PacketService:
    """A service whose subclasses say in `take` what they do with a packet."""

    name: str

    def __init__(self, world: World) -> None:
        self.world = world

    def handle(self, trap: Trap) -> Iterable[Action] | None:
        """See base.Service."""
        packet = dissect(trap.frame)
        if packet is None:
            return None
        try:
            return self.take(trap, packet)
        except Malformed as bad:
            return (self.count(bad.reason),)

    def take(self, trap: Trap, packet: Packet) -> Iterable[Action] | None:
        """As handle; may raise Malformed once the packet is known to be this service's."""
        raise NotImplementedError

    def tick(self, now: float) -> Iterable[Action]:
        """See base.Service."""
        return ()

    def port_up(self, port: Port, now: float) -> Iterable[Action]:
        """See base.Service."""
        return ()

    def known(self, learnt: Iterable[LearnMac | LearnAddress], now: float) -> None:
        """See base.Service."""

    def macs(self) -> Iterable[tuple[int, bytes]]:
        """See base.Service."""
        return ()

    def heard(self, packets: Mapping[tuple[int, bytes], int], now: float) -> None:
        """See base.Service."""

    def remembered(self, now: float) -> Iterable[Row]:
        """See base.Service."""
        return ()

    def count(self, result: str) -> Count:
        """One more packet that ended so."""
        return Count(self.name, result)

    def owned(self, port: Port) -> frozenset[facts.Address]:
        """What the port's network answers for."""
        return facts.owned(port.network, self.world.router_mac)


def send4(
    port: Port,
    mac: bytes,
    router_mac: bytes,
    source: IPv4Address,
    target: IPv4Address,
    proto: int,
    payload: bytes,
    *,
    ttl: int = 64,
    tags: bytes = b"",
) -> Transmit:
    """An IPv4 packet of the gateway's to a port."""
    data = ipv4.build(source, target, proto, payload, ttl=ttl)
    return Transmit(port.vif, ethernet.build(mac, router_mac, ethernet.IPV4, data, tags))


def send6(
    port: Port,
    mac: bytes,
    router_mac: bytes,
    source: IPv6Address,
    target: IPv6Address,
    proto: int,
    payload: bytes,
    *,
    hops: int = 64,
    tags: bytes = b"",
) -> Transmit:
    """An IPv6 packet of the gateway's to a port."""
    data = ipv6.build(source, target, proto, payload, hops=hops)
    return Transmit(port.vif, ethernet.build(mac, router_mac, ethernet.IPV6, data, tags))


def answer_udp(port: Port, packet: Packet, router_mac: bytes, payload: bytes) -> Transmit:
    """A datagram back to where `packet` (UDP) came from."""
    ip = packet.ip
    eth = packet.eth
    sport, dport = packet.ports
    if isinstance(ip, ipv4.IPv4):
        data = udp.build(ip.target, ip.source, dport, sport, payload)
        return send4(
            port, eth.source, router_mac, ip.target, ip.source, udp.PROTO, data, tags=eth.tags
        )
    if isinstance(ip, ipv6.IPv6):
        data = udp.build(ip.target, ip.source, dport, sport, payload)
        return send6(
            port, eth.source, router_mac, ip.target, ip.source, udp.PROTO, data, tags=eth.tags
        )
    raise Malformed("short ip")


def nd_frame(
    router_mac: bytes,
    mac: bytes,
    source: IPv6Address,
    target: IPv6Address,
    kind: int,
    body: bytes,
    tags: bytes = b"",
) -> bytes:
    """A frame of neighbour discovery, whose hop limit says that it has not been routed."""
    message = icmp.build6(kind, 0, body, source, target)
    data = ipv6.build(source, target, ipv6.ICMP, message, hops=255)
    return ethernet.build(mac, router_mac, ethernet.IPV6, data, tags)
