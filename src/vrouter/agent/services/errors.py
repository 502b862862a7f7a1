# SPDX-License-Identifier: Apache-2.0
"""ICMP errors about packets that dp-core could not forward: too long (HANDLE_DF), too old
(ZERO_TTL); and about datagrams to the gateway that nobody serves.

Never about an ICMP error, a later fragment, multicast, broadcast, or for a source that is no one
host's (RFC 1122, section 3.2.2; RFC 4443, section 2.4).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from vrouter.dpcore.names import TrapReason

from . import facts
from .base import Action, Inject, Transmit, Trap, World
from .limits import Rate
from .packet import Packet
from .service import PacketService
from .wire import ethernet, icmp, ipv4, ipv6, udp
from .wire.malformed import Malformed

RATE = 20.0  # a second, for each vif
BURST = 20
# RFC 791, RFC 8200: what every link carries
_LEAST_MTU4 = 68
_LEAST_MTU6 = 1280
# RFC 1812, section 4.3.2.3; RFC 4443, section 2.4 (c): all of the error
_MOST4 = 576
_MOST6 = 1280


class ErrorService(PacketService):
    """See the module. Last of all services: it takes datagrams that no other did."""

    name = "icmp-error"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._rate = Rate(RATE, BURST)

    def take(self, trap: Trap, packet: Packet) -> Iterable[Action] | None:
        """By the reason of the trap."""
        kind = packet.eth.kind
        if trap.reason not in (TrapReason.HANDLE_DF, TrapReason.ZERO_TTL, TrapReason.NEXTHOP):
            return None
        if trap.reason == TrapReason.NEXTHOP and not self._unserved(trap, packet):
            return None
        if trap.reason == TrapReason.ZERO_TTL and self._unserved(trap, packet):
            # it has arrived, which is what a trace wants to hear
            trap = replace(trap, reason=TrapReason.NEXTHOP)
        if kind not in (ethernet.IPV4, ethernet.IPV6):
            return None
        if packet.eth.target[0] & 1:
            return (self.count("to a group"),)
        # such traps may be cut short, and the datagram's own length then says more
        if kind == ethernet.IPV4:
            return self._about4(trap, packet, ipv4.read(packet.eth.payload, whole=False))
        return self._about6(trap, packet, ipv6.read(packet.eth.payload, whole=False))

    def _unserved(self, trap: Trap, packet: Packet) -> bool:
        return (
            trap.port is not None
            and packet.ip is not None
            and packet.ip.proto == udp.PROTO
            and packet.ip.target in self.owned(trap.port)
        )

    def _about4(self, trap: Trap, packet: Packet, ip: ipv4.IPv4) -> Iterable[Action]:
        if ip.offset:
            return (self.count("about a fragment"),)
        if not ipv4.is_unicast(ip.source):
            return (self.count("source"),)
        if ip.target.is_multicast or ip.target == ipv4.BROADCAST:
            return (self.count("to a group"),)
        if ip.proto == ipv4.ICMP and (not ip.payload or ip.payload[0] not in icmp.QUERIES):
            return (self.count("about an icmp error"),)
        source = self._source(trap, ip.source, ip.target)
        if not isinstance(source, IPv4Address):
            return (self.count("no gateway"),)
        if not self._rate.allows(trap.vif, trap.now):
            return (self.count("too many"),)
        kind, code, word = _error4(trap)
        cited = packet.eth.payload[: len(ip.header) + len(ip.payload)][: _MOST4 - 28]
        data = icmp.build(kind, code, word.to_bytes(4, "big") + cited)
        body = ipv4.build(source, ip.source, ipv4.ICMP, data, tos=0xC0)
        return self._send(trap, packet, ethernet.IPV4, body), self.count(_RESULTS[trap.reason])

    def _about6(self, trap: Trap, packet: Packet, ip: ipv6.IPv6) -> Iterable[Action]:
        if ip.offset:
            return (self.count("about a fragment"),)
        if not ipv6.is_unicast(ip.source):
            return (self.count("source"),)
        if ip.target.is_multicast:
            return (self.count("to a group"),)
        if ip.proto == ipv6.ICMP and (
            not ip.payload or ip.payload[0] < 128 or ip.payload[0] == icmp.REDIRECT6
        ):
            return (self.count("about an icmp error"),)
        source = self._source(trap, ip.source, ip.target)
        if not isinstance(source, IPv6Address):
            return (self.count("no gateway"),)
        if not self._rate.allows(trap.vif, trap.now):
            return (self.count("too many"),)
        kind, code, word = _error6(trap)
        whole = 40 + int.from_bytes(packet.eth.payload[4:6], "big")
        cited = packet.eth.payload[:whole][: _MOST6 - 48]
        message = word.to_bytes(4, "big") + cited
        data = icmp.build6(kind, code, message, source, ip.source)
        body = ipv6.build(source, ip.source, ipv6.ICMP, data)
        return self._send(trap, packet, ethernet.IPV6, body), self.count(_RESULTS[trap.reason])

    def _source(
        self, trap: Trap, sender: facts.Address, target: facts.Address
    ) -> facts.Address | None:
        """The gateway of the sender's subnet; of an unserved datagram, who it was for."""
        if trap.reason == TrapReason.NEXTHOP:
            return target
        network = trap.port.network if trap.port else self.world.network(trap.vrf)
        return facts.of_network(network).server_for(sender) if network is not None else None

    def _send(self, trap: Trap, packet: Packet, kind: int, body: bytes) -> Action:
        """Straight to the port that sent it; to one elsewhere by the routes of its VRF."""
        router = self.world.router_mac
        if trap.port is not None:
            frame = ethernet.build(packet.eth.source, router, kind, body, packet.eth.tags)
            return Transmit(trap.port.vif, frame)
        return Inject(trap.vif, trap.vrf, ethernet.build(router, router, kind, body))


_RESULTS: dict[int, str] = {
    TrapReason.HANDLE_DF: "too big",
    TrapReason.ZERO_TTL: "time exceeded",
    TrapReason.NEXTHOP: "port unreachable",
}


def _mtu(trap: Trap, least: int) -> int:
    given = trap.params[0] if trap.params else 0
    if not 0 < given <= 65_535:
        raise Malformed("mtu")
    return max(given, least)


def _error4(trap: Trap) -> tuple[int, int, int]:
    """Type, code, and the four bytes after the checksum (RFC 1191 for the MTU)."""
    if trap.reason == TrapReason.HANDLE_DF:
        return icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, _mtu(trap, _LEAST_MTU4)
    if trap.reason == TrapReason.ZERO_TTL:
        return icmp.TIME_EXCEEDED, 0, 0
    return icmp.UNREACHABLE, icmp.PORT_UNREACHABLE, 0


def _error6(trap: Trap) -> tuple[int, int, int]:
    if trap.reason == TrapReason.HANDLE_DF:
        return icmp.TOO_BIG6, 0, _mtu(trap, _LEAST_MTU6)
    if trap.reason == TrapReason.ZERO_TTL:
        return icmp.TIME_EXCEEDED6, 0, 0
    return icmp.UNREACHABLE6, icmp.PORT_UNREACHABLE6, 0
