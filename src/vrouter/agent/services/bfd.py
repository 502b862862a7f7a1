# SPDX-License-Identifier: Apache-2.0
"""BFD over one hop (RFC 5881) with VMs: sessions that are configured, and those that a VM of a
network that allows it begins towards the gateway."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from vrouter.dpcore.names import TrapReason

from . import facts
from .base import Action, Port, Transmit, Trap, World
from .bfd_session import Session
from .packet import Packet
from .service import PacketService, Row
from .wire import bfd, ethernet, ipv4, ipv6, udp

# RFC 5881, section 5: whoever is further away cannot say so
_HOPS = 255
# sessions that VMs began
PER_PORT = 4
_FORGET_AFTER = 60.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """A session with a VM's address behind a vif. Intervals in seconds, at least 1."""

    vif: int
    remote: facts.Address
    passive: bool = False
    min_tx: float = 1.0
    min_rx: float = 1.0
    multiplier: int = 3


@dataclass(frozen=True, slots=True)
class Seen:
    """A session, for people and for who acts on its state ("down", "init", "up")."""

    vif: int
    local: facts.Address
    remote: facts.Address
    state: str
    diag: int
    configured: bool
    since: float


@dataclass(slots=True)
class _Link:
    vif: int
    local: facts.Address
    remote: facts.Address
    mac: bytes
    wanted: Wanted | None
    session: Session


_NAMES = ("admin-down", "down", "init", "up")
_Key = tuple[int, facts.Address]


class BfdService(PacketService):
    """See the module."""

    name = "bfd"

    def __init__(self, world: World, chance: random.Random | None = None) -> None:
        super().__init__(world)
        self._chance = chance or random.Random()
        self._wanted: dict[_Key, Wanted] = {}
        self._networks: frozenset[str] = frozenset()
        self._links: dict[_Key, _Link] = {}
        self._held: Counter[int] = Counter()

    def configure(self, sessions: Iterable[Wanted], networks: Iterable[str] = ()) -> None:
        """All sessions that are wanted, by vif and remote address, and the networks whose VMs
        may begin one. A session whose configuration changes begins anew."""
        self._wanted = {(one.vif, one.remote): one for one in sessions}
        self._networks = frozenset(networks)
        for key, link in list(self._links.items()):
            if link.wanted != self._wanted.get(key):
                self._drop(key)

    def sessions(self) -> list[Seen]:
        """All of them."""
        return [
            Seen(
                one.vif,
                one.local,
                one.remote,
                _NAMES[one.session.state],
                one.session.diag,
                one.wanted is not None,
                one.session.changed,
            )
            for one in self._links.values()
        ]

    def remembered(self, now: float) -> Iterable[Row]:
        """Sessions."""
        for one in self.sessions():
            yield {
                "vif": one.vif,
                "local": str(one.local),
                "remote": str(one.remote),
                "state": one.state,
                "diag": one.diag,
                "configured": int(one.configured),
                "seconds_in_state": round(now - one.since, 1),
            }

    def take(self, trap: Trap, packet: Packet) -> Iterable[Action] | None:
        """UDP to port 3784 of an address of the network's."""
        ip = packet.ip
        if ip is None or (trap.reason != TrapReason.BFD and packet.ports[1] != bfd.PORT):
            return None
        port = trap.port
        if port is None or ip.target not in self.owned(port):
            return None
        datagram = packet.udp()
        if (ip.ttl if isinstance(ip, ipv4.IPv4) else ip.hops) != _HOPS:
            return (self.count("from further away"),)
        control = bfd.read(datagram.payload)
        link = self._find(port, packet, control, trap.now)
        if isinstance(link, str):
            return (self.count(link),)
        before = link.session.state
        answer = link.session.receive(control, trap.now)
        actions: list[Action] = [self.count("heard")]
        if answer is not None:
            actions.append(self._send(link, answer))
        return [*actions, *self._changed(link, before)]

    def tick(self, now: float) -> Iterable[Action]:
        """Configured sessions begin, silent ones go down, what is due is sent."""
        actions: list[Action] = []
        for key, wanted in self._wanted.items():
            if key not in self._links:
                port = self.world.port(wanted.vif)
                if port is not None:
                    self._begin(port, wanted, now)
        for key, link in list(self._links.items()):
            if self.world.port(link.vif) is None or self._is_over(link, now):
                self._drop(key)
                continue
            before = link.session.state
            link.session.expired(now)
            actions += self._changed(link, before)
            control = link.session.due(now, self._chance)
            if control is not None:
                actions += self._send(link, control), self.count("sent")
        return actions

    def _is_over(self, link: _Link, now: float) -> bool:
        one = link.session
        down = one.state == bfd.DOWN and one.heard is None
        return link.wanted is None and down and now - one.changed >= _FORGET_AFTER

    def _find(self, port: Port, packet: Packet, control: bfd.Control, now: float) -> _Link | str:
        """The session of a packet, or why there is none (RFC 5880, section 6.8.6)."""
        assert packet.ip is not None
        source: facts.Address = packet.ip.source
        key = (port.vif, source)
        link = self._links.get(key)
        if link is not None and link.local == packet.ip.target:
            if control.yours and control.yours != link.session.mine:
                return "unknown discriminator"
            link.mac = packet.eth.source
            return link
        if control.yours:
            return "unknown discriminator"
        if link is not None:
            return "second session of an address"
        wanted = self._wanted.get(key)
        if wanted is None:
            if port.network.name not in self._networks:
                return "not allowed"
            if self._held[port.vif] >= PER_PORT:
                return "too many sessions"
            mine = facts.of_interface(port.interface)
            if source not in mine.addresses and not mine.may_use(source, packet.eth.source):
                return "not the port's address"
        return self._add(port, packet.ip.target, source, packet.eth.source, wanted, now)

    def _begin(self, port: Port, wanted: Wanted, now: float) -> None:
        local = facts.of_network(port.network).server_for(wanted.remote)
        if local is not None:
            mac = facts.of_interface(port.interface).mac
            self._add(port, local, wanted.remote, mac, wanted, now)

    def _add(
        self,
        port: Port,
        local: facts.Address,
        remote: facts.Address,
        mac: bytes,
        wanted: Wanted | None,
        now: float,
    ) -> _Link:
        like = wanted or Wanted(port.vif, remote, passive=True)
        taken = {one.session.mine for one in self._links.values()}
        mine = self._chance.getrandbits(32) or 1
        while mine in taken:
            mine = self._chance.getrandbits(32) or 1
        session = Session(mine, like.passive, like.min_tx, like.min_rx, like.multiplier, now)
        link = _Link(port.vif, local, remote, mac, wanted, session)
        self._links[port.vif, remote] = link
        if wanted is None:
            self._held[port.vif] += 1
        return link

    def _drop(self, key: _Key) -> None:
        link = self._links.pop(key)
        if link.wanted is None:
            self._held[link.vif] -= 1
            if not self._held[link.vif]:
                del self._held[link.vif]

    def _changed(self, link: _Link, before: int) -> list[Action]:
        now = link.session.state
        return [self.count(_NAMES[now])] if now != before else []

    def _send(self, link: _Link, control: bfd.Control) -> Transmit:
        sport = 49152 + link.session.mine % 16384
        data = udp.build(link.local, link.remote, sport, bfd.PORT, bfd.build(control))
        router = self.world.router_mac
        if isinstance(link.local, IPv4Address) and isinstance(link.remote, IPv4Address):
            body = ipv4.build(link.local, link.remote, udp.PROTO, data, ttl=_HOPS, tos=0xC0)
            return Transmit(link.vif, ethernet.build(link.mac, router, ethernet.IPV4, body))
        assert isinstance(link.local, IPv6Address) and isinstance(link.remote, IPv6Address)
        body = ipv6.build(link.local, link.remote, udp.PROTO, data, hops=_HOPS)
        return Transmit(link.vif, ethernet.build(link.mac, router, ethernet.IPV6, body))
