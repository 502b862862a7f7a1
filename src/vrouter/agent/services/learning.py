# SPDX-License-Identifier: Apache-2.0
"""MACs and addresses that are learnt from who speaks (traps MAC_LEARN, MAC_MOVE,
MAC_IP_LEARNING of vifs with flags L and Ml)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from vrouter.dpcore.names import TrapReason

from . import facts
from .addresses import Addresses
from .arp import ArpService
from .base import Action, ForgetMac, Inject, LearnAddress, LearnMac, Port, Trap, World
from .facts import Address
from .nd import NdService
from .packet import Packet
from .service import PacketService, Row
from .wire import arp, ethernet, icmp, ipv4, ipv6, nd

AGE = 300.0  # seconds
PER_PORT = 256
# RFC 7432, section 15.1: a MAC that moves more than so often is in two places
MOVES = 5
MOVES_IN = 180.0


@dataclass(slots=True)
class Learnt:
    """Where a MAC is. packets: that had come from it when last asked, None: not asked yet;
    moves: when it moved."""

    vif: int
    seen: float
    packets: int | None = None
    moves: list[float] = field(default_factory=list)


class MacService(PacketService):
    """MACs. learnt: by (vrf, mac), at most PER_PORT of a vif."""

    name = "mac-learning"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.learnt: dict[tuple[int, bytes], Learnt] = {}
        self._held: Counter[int] = Counter()

    def take(self, trap: Trap, packet: Packet) -> Iterable[Action] | None:
        """Traps MAC_LEARN and MAC_MOVE; the packet itself went on."""
        if trap.reason not in (TrapReason.MAC_LEARN, TrapReason.MAC_MOVE):
            return None
        if trap.port is None:
            return (self.count("from the fabric"),)
        mac = packet.eth.source
        if mac == self.world.router_mac:
            return (self.count("claims the router"),)
        if self._is_a_ports(trap.port, mac):
            return (self.count("claims another port's"),)
        index = trap.params[0] if trap.params else 0
        return self._seen(trap.port, mac, index, trap.now)

    def known(self, learnt: Iterable[LearnMac | LearnAddress], now: float) -> None:
        """See base.Service. Not bounded here: an earlier agent was."""
        for one in learnt:
            if isinstance(one, LearnMac) and (one.vrf, one.mac) not in self.learnt:
                self.learnt[one.vrf, one.mac] = Learnt(one.vif, now)
                self._held[one.vif] += 1

    def macs(self) -> Iterable[tuple[int, bytes]]:
        """See base.Service."""
        return list(self.learnt)

    def heard(self, packets: Mapping[tuple[int, bytes], int], now: float) -> None:
        """See base.Service. A MAC whose count grew has spoken."""
        for key, count in packets.items():
            entry = self.learnt.get(key)
            if entry is None:
                continue
            if entry.packets is not None and count != entry.packets:
                entry.seen = now
            entry.packets = count

    def tick(self, now: float) -> Iterable[Action]:
        """Forgets what was silent for AGE, and what was behind a port that is gone."""
        gone = [
            key
            for key, entry in self.learnt.items()
            if now - entry.seen >= AGE or self._left(key[0], entry.vif)
        ]
        for key in gone:
            self._drop(key)
        return [*[ForgetMac(vrf, mac) for vrf, mac in gone], *[self.count("aged") for _ in gone]]

    def remembered(self, now: float) -> Iterable[Row]:
        """Learnt MACs."""
        for (vrf, mac), entry in self.learnt.items():
            yield {
                "vrf": vrf,
                "mac": ethernet.text(mac),
                "vif": entry.vif,
                "moves": len(entry.moves),
                "seconds_ago": round(now - entry.seen, 1),
            }

    def _left(self, vrf: int, vif: int) -> bool:
        port = self.world.port(vif)
        return port is None or port.vrf != vrf

    def _is_a_ports(self, port: Port, mac: bytes) -> bool:
        return any(
            facts.of_interface(one.interface).mac == mac
            for one in self.world.ports(port.vrf)
            if one.vif != port.vif
        )

    def _seen(self, port: Port, mac: bytes, index: int, now: float) -> Iterable[Action]:
        key = (port.vrf, mac)
        entry = self.learnt.get(key)
        learn = LearnMac(port.vrf, mac, port.vif, index)
        if entry is not None and entry.vif == port.vif:
            entry.seen = now
            return learn, self.count("refreshed")
        if self._held[port.vif] >= PER_PORT:
            # dp-core has made an entry for it already, in a table that is everybody's
            refused = self.count("too many macs")
            return (refused,) if entry is not None else (refused, ForgetMac(*key))
        moves: list[float] = []
        if entry is not None:
            moves = [when for when in entry.moves if now - when < MOVES_IN]
            if len(moves) >= MOVES:
                return (self.count("moves too often"),)
            moves.append(now)
            self._drop(key)
        # of a new entry dp-core has counted the packet that it was made for
        heard = None if entry is not None else 1
        self.learnt[key] = Learnt(port.vif, now, heard, moves)
        self._held[port.vif] += 1
        return learn, self.count("moved" if moves else "learnt")

    def _drop(self, key: tuple[int, bytes]) -> None:
        entry = self.learnt.pop(key)
        self._held[entry.vif] -= 1
        if not self._held[entry.vif]:
            del self._held[entry.vif]


class AddressService(PacketService):
    """Addresses. dp-core held the packet back: what asks for the network's own is answered,
    the rest goes on to whom it is for."""

    name = "address-learning"

    def __init__(
        self, world: World, table: Addresses, answers: ArpService, advertises: NdService
    ) -> None:
        super().__init__(world)
        self._table = table
        self._arp = answers
        self._nd = advertises

    def take(self, trap: Trap, packet: Packet) -> Iterable[Action] | None:
        """Trap MAC_IP_LEARNING, which is ARP or neighbour discovery."""
        if trap.reason != TrapReason.MAC_IP_LEARNING:
            return None
        port = trap.port
        if port is None:
            return (self.count("from the fabric"),)
        if packet.eth.kind == ethernet.ARP:
            message = arp.read(packet.eth.payload)
            ours = self._answer_arp(port, packet, message)
            return self._learn(trap, port, packet, message.spa, message.sha, ours)
        ip = packet.ip
        if not isinstance(ip, ipv6.IPv6) or ip.proto != ipv6.ICMP or ip.offset or not ip.payload:
            return (self.count("neither arp nor nd"),)
        said = icmp.read6(ip.payload, ip.source, ip.target)
        if said.kind == nd.SOLICIT:
            asked = nd.read_solicit(ip, said.code, said.body)
            ours = self._answer_nd(port, packet, ip, asked)
            return self._learn(trap, port, packet, ip.source, asked.mac, ours)
        if said.kind == nd.ADVERT:
            told = nd.read_advert(ip, said.code, said.body)
            return self._learn(trap, port, packet, told.target, told.mac, None)
        return (self.count("neither arp nor nd"),)

    def _answer_arp(
        self, port: Port, packet: Packet, message: arp.Arp
    ) -> Callable[[], Iterable[Action]] | None:
        if message.op != arp.REQUEST or not self._arp.is_ours(port, message.tpa):
            return None
        return lambda: self._arp.answer(port, packet, message)

    def _answer_nd(
        self, port: Port, packet: Packet, ip: ipv6.IPv6, asked: nd.Neighbour
    ) -> Callable[[], Iterable[Action]] | None:
        if not self._nd.is_ours(port, asked.target, probing=ip.source == asked.target):
            return None
        return lambda: self._nd.answer(port, packet, ip, asked)

    def _learn(
        self,
        trap: Trap,
        port: Port,
        packet: Packet,
        address: Address,
        mac: bytes | None,
        answer: Callable[[], Iterable[Action]] | None,
    ) -> Iterable[Action]:
        """Learns that `mac` has the address, and lets the packet go on, unless the network itself
        has the `answer`."""
        if not address.is_link_local:
            refused = self._refused(port, packet, address, mac)
            if refused is not None:
                return (self.count(refused),)
        goes_on = (Inject(port.vif, port.vrf, trap.frame),) if answer is None else answer()
        if address.is_link_local or address in facts.of_interface(port.interface).addresses:
            return [self.count("known"), *goes_on]
        news = self._table.seen(port, address, mac or packet.eth.source, trap.now)
        if news is None:
            return (self.count("too many addresses"),)
        return [*news, self.count("learnt" if news else "refreshed"), *goes_on]

    def tick(self, now: float) -> Iterable[Action]:
        """Ageing of what this, ARP and neighbour discovery have learnt."""
        gone = self._table.expire(now)
        return [*gone, *[self.count("aged") for _ in gone]]

    def known(self, learnt: Iterable[LearnMac | LearnAddress], now: float) -> None:
        """See base.Service."""
        for one in learnt:
            port = self.world.port(one.vif)
            if isinstance(one, LearnAddress) and port is not None:
                self._table.seen(port, one.address, one.mac, now)

    def remembered(self, now: float) -> Iterable[Row]:
        """Learnt addresses, whichever service learnt them."""
        return self._table.rows(now)

    def _refused(
        self, port: Port, packet: Packet, address: Address, mac: bytes | None
    ) -> str | None:
        network = facts.of_network(port.network)
        if mac != packet.eth.source:
            return "sender differs from frame"
        one_host = (
            ipv4.is_unicast(address)
            if isinstance(address, IPv4Address)
            else ipv6.is_unicast(address)
        )
        if not one_host or network.subnet_of(address) is None:
            return "not of the network"
        if address in self.owned(port):
            return "claims an address of the network"
        for one in self.world.ports(port.vrf):
            if one.vif != port.vif and address in facts.of_interface(one.interface).addresses:
                return "claims another port's"
        return None
