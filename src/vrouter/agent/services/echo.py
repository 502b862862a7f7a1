# SPDX-License-Identifier: Apache-2.0
"""Echo (ping) to what the network owns: RFC 792, RFC 4443 section 4.2."""

from __future__ import annotations

from collections.abc import Iterable

from .base import Action, Port, Trap
from .packet import Packet
from .service import PacketService, send4, send6
from .wire import icmp, ipv4, ipv6
from .wire.malformed import Malformed


class EchoService(PacketService):
    """ICMP."""

    name = "icmp"

    def take(self, trap: Trap, packet: Packet) -> Iterable[Action] | None:
        """Echo requests."""
        ip = packet.ip
        if trap.port is None or not isinstance(ip, ipv4.IPv4) or ip.proto != ipv4.ICMP:
            return None
        if ip.target not in self.owned(trap.port):
            return None
        if ip.fragment:
            raise Malformed("fragment")
        message = icmp.read(ip.payload)
        if message.kind != icmp.ECHO or message.code:
            return (self.count("not an echo request"),)
        if not ipv4.is_unicast(ip.source) or ip.source in self.owned(trap.port):
            return (self.count("source"),)
        data = icmp.build(icmp.ECHO_REPLY, 0, message.body)
        return self._reply(trap.port, packet, ip, data), self.count("answered")

    def _reply(self, port: Port, packet: Packet, ip: ipv4.IPv4, data: bytes) -> Action:
        mac, router, tags = packet.eth.source, self.world.router_mac, packet.eth.tags
        return send4(port, mac, router, ip.target, ip.source, ipv4.ICMP, data, tags=tags)


class Echo6Service(PacketService):
    """ICMPv6."""

    name = "icmp6"

    def take(self, trap: Trap, packet: Packet) -> Iterable[Action] | None:
        """Echo requests."""
        ip = packet.ip
        if trap.port is None or not isinstance(ip, ipv6.IPv6) or ip.proto != ipv6.ICMP:
            return None
        if ip.target not in self.owned(trap.port):
            return None
        if ip.more or ip.offset:
            raise Malformed("fragment")
        message = icmp.read6(ip.payload, ip.source, ip.target)
        if message.kind != icmp.ECHO6 or message.code:
            return (self.count("not an echo request"),)
        if not ipv6.is_unicast(ip.source) or ip.source in self.owned(trap.port):
            return (self.count("source"),)
        if len(message.body) < 4:
            raise Malformed("short icmp")
        data = icmp.build6(icmp.ECHO_REPLY6, 0, message.body, ip.target, ip.source)
        mac, router, tags = packet.eth.source, self.world.router_mac, packet.eth.tags
        reply = send6(trap.port, mac, router, ip.target, ip.source, ipv6.ICMP, data, tags=tags)
        return reply, self.count("answered")
