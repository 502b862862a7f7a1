# SPDX-License-Identifier: Apache-2.0
"""DNS over UDP at the gateway or the resolver's address of a subnet: the network's own names, and
the host's resolvers for the rest."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import Protocol

from dnslib import AAAA, PTR, RR, SOA, A, DNSHeader, DNSLabel, DNSQuestion, DNSRecord
from dnslib.label import DNSLabelError

from . import dns_names, facts
from .base import Action, Later, Port, Trap, World
from .dns_names import Local
from .packet import Packet
from .service import PacketService, answer_udp
from .wire import dns
from .wire.dns import Query
from .wire.malformed import Malformed

PORT = 53
TTL = 60  # seconds
NEGATIVE_TTL = 30
# what fits any path whole (RFC 9715), with and without EDNS0
MOST = 1232
MOST_PLAIN = 512
IN_FLIGHT_PER_PORT = 32
IN_FLIGHT = 1024
_GIVEN_UP = 30.0

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16
_QR, _AA, _TC, _RD, _RA = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080
_IN, _ANY_CLASS = 1, 255
_TRANSFERS = (251, 252)


class Forwarder(Protocol):
    """Asks the servers of the world."""

    async def ask(self, query: bytes) -> bytes | None:
        """The answer to a query, with the query's id and question; None when nobody answers."""


class DnsService(PacketService):
    """See the module. in_flight: forwarded queries by vif, each with when it is given up."""

    name = "dns"

    def __init__(self, world: World, forwarder: Forwarder) -> None:
        super().__init__(world)
        self._forwarder = forwarder
        self.in_flight: dict[int, dict[int, float]] = {}
        self._number = 0

    def take(self, trap: Trap, packet: Packet) -> Iterable[Action] | None:
        """UDP to port 53 of an address of the network's."""
        port = trap.port
        if packet.ports[1] != PORT or packet.ip is None or port is None:
            return None
        if packet.ip.target not in self.owned(port):
            return None
        data = packet.udp().payload
        if len(data) < 12:
            raise Malformed("short dns")
        flags = data[2] << 8 | data[3]
        if flags & _QR:
            return (self.count("not a query"),)
        if flags >> 11 & 15:
            return self._error(port, packet, data, NOTIMP, "not implemented")
        try:
            query = dns.read(data)
        except Malformed as bad:
            return self._error(port, packet, data, FORMERR, bad.reason)
        return self._query(port, packet, data, query, trap.now)

    def tick(self, now: float) -> Iterable[Action]:
        """Queries whose answer nobody waits for any more do not count for ever."""
        for vif, queries in list(self.in_flight.items()):
            for number in [number for number, until in queries.items() if until <= now]:
                del queries[number]
            if not queries:
                del self.in_flight[vif]
        return ()

    def _query(
        self, port: Port, packet: Packet, data: bytes, query: Query, now: float
    ) -> Iterable[Action]:
        if query.edns is not None and query.edns.version:
            return self._error(port, packet, data, BADVERS, "edns version", query)
        if query.klass not in (_IN, _ANY_CLASS) or query.kind in _TRANSFERS:
            return self._error(port, packet, data, REFUSED, "refused", query)
        network = facts.of_network(port.network)
        local = dns_names.find(self.world, network, query)
        if local is not None:
            answer = _local(data, query, local)
            if answer is not None:
                result = "answered" if local.exists else "no such name"
                return answer_udp(port, packet, self.world.router_mac, answer), self.count(result)
        if not data[2] << 8 & _RD:
            return self._error(port, packet, data, REFUSED, "refused", query)
        return self._forward(port, packet, data, query, now)

    def _forward(
        self, port: Port, packet: Packet, data: bytes, query: Query, now: float
    ) -> Iterable[Action]:
        mine = self.in_flight.setdefault(port.vif, {})
        total = sum(len(one) for one in self.in_flight.values())
        if len(mine) >= IN_FLIGHT_PER_PORT or total >= IN_FLIGHT:
            return (self.count("too many in flight"),)
        self._number += 1
        mine[self._number] = now + _GIVEN_UP
        number = self._number
        work = self._forwarded(port, packet, data, query, number)

        def drop() -> None:
            work.close()
            self._done(port, number)

        return Later(work, drop), self.count("forwarded")

    def _done(self, port: Port, number: int) -> None:
        self.in_flight.get(port.vif, {}).pop(number, None)

    async def _forwarded(
        self, port: Port, packet: Packet, data: bytes, query: Query, number: int
    ) -> Iterable[Action]:
        # its own id, so that who guesses the VM's does not know this one (RFC 5452)
        asked = os.urandom(2) + data[2:]
        try:
            answer = await self._forwarder.ask(asked)
        finally:
            self._done(port, number)
        now = self.world.port(port.vif)
        if now is None or now.interface != port.interface:
            return (self.count("port gone"),)
        if answer is None:
            return self._error(port, packet, data, SERVFAIL, "no server answered", query)
        answer = data[:2] + answer[2:]
        if len(answer) > _room(query):
            answer = _cut(answer, query)
        router = self.world.router_mac
        return answer_udp(port, packet, router, answer), self.count("forwarded answer")

    def _error(
        self,
        port: Port,
        packet: Packet,
        data: bytes,
        code: int,
        result: str,
        query: Query | None = None,
    ) -> Iterable[Action]:
        """An answer without records; the question only if it could be read."""
        flags = _QR | (data[2] << 8 & (0x7800 | _RD)) | _RA | (code & 15)
        questions = 0 if query is None else 1
        edns = b"" if query is None or query.edns is None else _opt(query.edns, code >> 4)
        head = data[:2] + struct.pack("!HHHHH", flags, questions, 0, 0, 1 if edns else 0)
        answer = head + (query.question if query is not None else b"") + edns
        return answer_udp(port, packet, self.world.router_mac, answer), self.count(result)


def _room(query: Query) -> int:
    return MOST_PLAIN if query.edns is None else min(max(query.edns.size, MOST_PLAIN), MOST)


def _opt(edns: dns.Edns, extended: int) -> bytes:
    """An OPT record that says what we can take; DO is copied (RFC 3225)."""
    return struct.pack("!BHHBBHH", 0, 41, MOST, extended, 0, edns.flags & 0x8000, 0)


def _cut(answer: bytes, query: Query) -> bytes:
    """Header and question of an answer that is too long, with TC (RFC 2181, section 9)."""
    flags = (answer[2] << 8 | answer[3]) | _TC
    edns = b"" if query.edns is None else _opt(query.edns, 0)
    head = answer[:2] + struct.pack("!HHHHH", flags, 1, 0, 0, 1 if edns else 0)
    return head + query.question + edns


def _local(data: bytes, query: Query, local: Local) -> bytes | None:
    """The network's own answer; None if a name of it cannot be put into DNS."""
    name = DNSLabel(query.labels)
    code = NOERROR if local.exists else NXDOMAIN
    header = DNSHeader(
        id=data[0] << 8 | data[1], bitmap=_QR | _AA | _RA | (data[2] << 8 & _RD) | code
    )
    record = DNSRecord(header, q=DNSQuestion(name, query.kind, query.klass))
    try:
        for one in _records(name, query.kind, local):
            record.add_answer(one)
        if not record.rr:
            record.add_auth(_soa(local.zone))
        packed: bytes = record.pack()
    except (DNSLabelError, UnicodeError):
        return None
    if query.edns is not None:
        opt = _opt(query.edns, 0)
        packed = packed[:10] + b"\0\1" + packed[12:] + opt
    return packed if len(packed) <= _room(query) else _cut(packed, query)


def _records(name: DNSLabel, kind: int, local: Local) -> Iterable[RR]:
    if local.pointer and kind in (dns_names.PTR, dns_names.ANY):
        yield RR(name, dns_names.PTR, ttl=TTL, rdata=PTR(local.pointer))
    for address in local.addresses:
        four = isinstance(address, IPv4Address)
        wanted = dns_names.A if four else dns_names.AAAA
        if kind in (wanted, dns_names.ANY):
            yield RR(name, wanted, ttl=TTL, rdata=(A if four else AAAA)(str(address)))


def _soa(zone: str) -> RR:
    """For how long a denial may be kept (RFC 2308)."""
    times = (1, 3600, 600, 86_400, NEGATIVE_TTL)
    soa = SOA(zone, f"hostmaster.{zone}", times)
    return RR(zone, dns_names.SOA, ttl=NEGATIVE_TTL, rdata=soa)
