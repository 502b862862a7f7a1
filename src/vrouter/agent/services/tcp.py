# SPDX-License-Identifier: Apache-2.0
"""TCP to what the network owns: handed on, frame by frame, to the kernel's own TCP in the
network's service namespace, which is made of the first one."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import Protocol

from vrouter.dpcore.names import TrapReason

from .base import Action, Later, Port, Transmit, Trap, World
from .facts import Address
from .packet import Packet
from .service import PacketService, Row
from .wire import ethernet, ipv6

PROTO = 6
WAITING_PER_PORT = 16


class Keeper(Protocol):
    """Who has the service namespaces (agent/local/)."""

    @property
    def mac(self) -> bytes:
        """Of the device in every namespace."""

    def vif(self, vrf: int) -> int | None:
        """Of the namespace of a network; None while there is none."""

    def make(self, vrf: int) -> Awaitable[int | None]:
        """The vif; the namespace is made if need be. None if that cannot be."""

    def knows(self, vrf: int, address: Address, mac: bytes, vif: int) -> bool:
        """Whether answers to a link-local address find the way to that port's VM."""

    def meet(self, vrf: int, address: Address, mac: bytes, vif: int) -> Awaitable[bool]:
        """Let them find it. False if that cannot be."""

    def rows(self) -> Iterable[Row]:
        """The namespaces, for people."""


class TcpService(PacketService):
    """See the module. Before the namespace is there packets wait for it, a few of a port."""

    name = "tcp"

    def __init__(self, world: World, keeper: Keeper) -> None:
        super().__init__(world)
        self._keeper = keeper
        self._waiting: dict[int, int] = {}

    def take(self, trap: Trap, packet: Packet) -> Iterable[Action] | None:
        """TCP that a route led to the agent: to a gateway, a resolver, a service."""
        port, ip = trap.port, packet.ip
        if trap.reason != TrapReason.NEXTHOP or port is None or ip is None or ip.proto != PROTO:
            return None
        source = ip.source if isinstance(ip, ipv6.IPv6) and ip.source.is_link_local else None
        vif = self._keeper.vif(port.vrf)
        known = source is None or self._keeper.knows(port.vrf, source, packet.eth.source, port.vif)
        if vif is not None and known:
            return self._hand_on(vif, packet), self.count("handed on")
        if self._waiting.get(port.vif, 0) >= WAITING_PER_PORT:
            return (self.count("too many waiting"),)
        self._waiting[port.vif] = self._waiting.get(port.vif, 0) + 1
        return (Later(self._later(port, packet, source)),)

    def remembered(self, now: float) -> Iterable[Row]:
        """Service namespaces."""
        return self._keeper.rows()

    async def _later(self, port: Port, packet: Packet, source: Address | None) -> Iterable[Action]:
        try:
            vif = await self._keeper.make(port.vrf)
            if vif is None:
                return (self.count("no namespace"),)
            if source is not None and not await self._keeper.meet(
                port.vrf, source, packet.eth.source, port.vif
            ):
                return (self.count("no way back"),)
        finally:
            self._waited(port)
        return self._hand_on(vif, packet), self.count("handed on")

    def _waited(self, port: Port) -> None:
        left = self._waiting.pop(port.vif) - 1
        if left:
            self._waiting[port.vif] = left

    def _hand_on(self, vif: int, packet: Packet) -> Transmit:
        eth = packet.eth
        frame = ethernet.build(self._keeper.mac, self.world.router_mac, eth.kind, eth.payload)
        return Transmit(vif, frame)
