# SPDX-License-Identifier: Apache-2.0
"""Answers DNS messages, whichever way they came: the network's own names, and the host's resolvers
for the rest."""

from __future__ import annotations

import os
import struct
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, Protocol

from dnslib import AAAA, PTR, RR, SOA, A, DNSHeader, DNSLabel, DNSQuestion, DNSRecord
from dnslib.label import DNSLabelError

from . import dns_names, facts
from .base import Port, World
from .dns_names import Local
from .wire import dns
from .wire.dns import Query
from .wire.malformed import Malformed

TTL = 60  # seconds
NEGATIVE_TTL = 30
# what fits any path whole (RFC 9715), with and without EDNS0
MOST = 1232
MOST_PLAIN = 512
MOST_STREAM = 65_535
IN_FLIGHT_PER_PORT = 32
IN_FLIGHT = 1024
_GIVEN_UP = 30.0

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16
_QR, _AA, _TC, _RD, _RA = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080
_IN, _ANY_CLASS = 1, 255
_TRANSFERS = (251, 252)


class Forwarder(Protocol):
    """Asks the servers of the world."""

    async def ask(self, query: bytes, *, stream: bool = False) -> bytes | None:
        """The answer to a query, with the query's id and question; None when nobody answers.
        stream: by TCP, for an answer of any length."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A message to send back, None for silence; how it ended, for a counter."""

    data: bytes | None
    result: str


@dataclass(frozen=True, slots=True)
class Pending:
    """A reply that others have to be asked for."""

    work: Coroutine[Any, Any, Reply]


class Resolver:
    """See the module. in_flight: forwarded queries by vif, each with when it is given up."""

    def __init__(self, world: World, forwarder: Forwarder) -> None:
        self._world = world
        self._forwarder = forwarder
        self.in_flight: dict[int, dict[int, float]] = {}
        self._number = 0

    def answer(
        self, port: Port, data: bytes, now: float, *, stream: bool = False
    ) -> Reply | Pending:
        """To a message of a port's. stream: it came by TCP, and its answer may have any length.
        Raises Malformed for what is no DNS message: `short dns`."""
        if len(data) < 12:
            raise Malformed("short dns")
        flags = data[2] << 8 | data[3]
        if flags & _QR:
            return Reply(None, "not a query")
        if flags >> 11 & 15:
            return Reply(_error(data, NOTIMP), "not implemented")
        try:
            query = dns.read(data)
        except Malformed as bad:
            return Reply(_error(data, FORMERR), bad.reason)
        return self._query(port, data, query, now, stream)

    def expire(self, now: float) -> None:
        """Queries whose answer nobody waits for any more do not count for ever."""
        for vif, queries in list(self.in_flight.items()):
            for number in [number for number, until in queries.items() if until <= now]:
                del queries[number]
            if not queries:
                del self.in_flight[vif]

    def _query(
        self, port: Port, data: bytes, query: Query, now: float, stream: bool
    ) -> Reply | Pending:
        if query.edns is not None and query.edns.version:
            return Reply(_error(data, BADVERS, query), "edns version")
        if query.klass not in (_IN, _ANY_CLASS) or query.kind in _TRANSFERS:
            return Reply(_error(data, REFUSED, query), "refused")
        network = facts.of_network(port.network)
        local = dns_names.find(self._world, network, query)
        if local is not None:
            answer = _local(data, query, local, stream)
            if answer is not None:
                return Reply(answer, "answered" if local.exists else "no such name")
        if not data[2] << 8 & _RD:
            return Reply(_error(data, REFUSED, query), "refused")
        return self._forward(port, data, query, now, stream)

    def _forward(
        self, port: Port, data: bytes, query: Query, now: float, stream: bool
    ) -> Reply | Pending:
        mine = self.in_flight.setdefault(port.vif, {})
        total = sum(len(one) for one in self.in_flight.values())
        if len(mine) >= IN_FLIGHT_PER_PORT or total >= IN_FLIGHT:
            # by TCP nobody asks again by himself
            return Reply(_error(data, SERVFAIL, query) if stream else None, "too many in flight")
        self._number += 1
        mine[self._number] = now + _GIVEN_UP
        return Pending(self._forwarded(port, data, query, self._number, stream))

    def _done(self, port: Port, number: int) -> None:
        self.in_flight.get(port.vif, {}).pop(number, None)

    async def _forwarded(
        self, port: Port, data: bytes, query: Query, number: int, stream: bool
    ) -> Reply:
        # its own id, so that who guesses the VM's does not know this one (RFC 5452)
        asked = os.urandom(2) + data[2:]
        try:
            answer = await self._forwarder.ask(asked, stream=stream)
        finally:
            self._done(port, number)
        now = self._world.port(port.vif)
        if now is None or now.interface != port.interface:
            return Reply(None, "port gone")
        if answer is None:
            return Reply(_error(data, SERVFAIL, query), "no server answered")
        answer = data[:2] + answer[2:]
        if len(answer) > _room(query, stream):
            answer = _cut(answer, query)
        return Reply(answer, "forwarded answer")


def _error(data: bytes, code: int, query: Query | None = None) -> bytes:
    """An answer without records; the question only if it could be read."""
    flags = _QR | (data[2] << 8 & (0x7800 | _RD)) | _RA | (code & 15)
    questions = 0 if query is None else 1
    edns = b"" if query is None or query.edns is None else _opt(query.edns, code >> 4)
    head = data[:2] + struct.pack("!HHHHH", flags, questions, 0, 0, 1 if edns else 0)
    return head + (query.question if query is not None else b"") + edns


def _room(query: Query, stream: bool) -> int:
    if stream:
        return MOST_STREAM
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


def _local(data: bytes, query: Query, local: Local, stream: bool) -> bytes | None:
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
    return packed if len(packed) <= _room(query, stream) else _cut(packed, query)


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
