# SPDX-License-Identifier: Apache-2.0
"""Frames that no service can read: counted, so that none disappears without a word."""

from __future__ import annotations

from collections.abc import Iterable

from .base import Action, Trap
from .packet import Packet, dissect
from .service import PacketService
from .wire import ethernet, ipv4, ipv6
from .wire.malformed import Malformed


class UnreadService(PacketService):
    """The last of the services."""

    name = "unread"

    def handle(self, trap: Trap) -> Iterable[Action] | None:
        """What is no Ethernet frame, or has an IP header that is none."""
        packet = dissect(trap.frame)
        if packet is not None:
            return super().handle(trap)
        try:
            ethernet.read(trap.frame)
        except Malformed as bad:
            return (self.count(bad.reason),)
        return None

    def take(self, trap: Trap, packet: Packet) -> Iterable[Action] | None:
        """Reads the IP header once more, to say what is wrong with it."""
        if packet.ip is None and packet.eth.kind == ethernet.IPV4:
            ipv4.read(packet.eth.payload)
        elif packet.ip is None and packet.eth.kind == ethernet.IPV6:
            ipv6.read(packet.eth.payload)
        return None
