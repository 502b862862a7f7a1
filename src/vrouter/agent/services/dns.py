# SPDX-License-Identifier: Apache-2.0
"""DNS over UDP at the gateway or the resolver's address of a subnet; `dns_resolver.py` answers.
(Over TCP it is served by `agent/local/`.)"""

from __future__ import annotations

from collections.abc import Iterable

from .base import Action, Later, Port, Trap, World
from .dns_resolver import Pending, Reply, Resolver
from .packet import Packet
from .service import PacketService, answer_udp

PORT = 53


class DnsService(PacketService):
    """See the module."""

    name = "dns"

    def __init__(self, world: World, resolver: Resolver) -> None:
        super().__init__(world)
        self.resolver = resolver

    def take(self, trap: Trap, packet: Packet) -> Iterable[Action] | None:
        """UDP to port 53 of an address of the network's."""
        port = trap.port
        if packet.ports[1] != PORT or packet.ip is None or port is None:
            return None
        if packet.ip.target not in self.owned(port):
            return None
        found = self.resolver.answer(port, packet.udp().payload, trap.now)
        if isinstance(found, Reply):
            return self._reply(port, packet, found)
        return Later(self._later(port, packet, found)), self.count("forwarded")

    def tick(self, now: float) -> Iterable[Action]:
        """What is due by time."""
        self.resolver.expire(now)
        return ()

    async def _later(self, port: Port, packet: Packet, pending: Pending) -> Iterable[Action]:
        return self._reply(port, packet, await pending.work)

    def _reply(self, port: Port, packet: Packet, reply: Reply) -> Iterable[Action]:
        if reply.data is None:
            return (self.count(reply.result),)
        answer = answer_udp(port, packet, self.world.router_mac, reply.data)
        return answer, self.count(reply.result)
