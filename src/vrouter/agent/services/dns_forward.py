# SPDX-License-Identifier: Apache-2.0
"""Asks the host's resolvers, by asyncio: a socket and so a source port of its own for each query
(RFC 5452), the next server when one is silent, refuses, or answers something else. Who asked by
TCP is asked for by TCP (RFC 5625, section 4.4), of a server that takes none by UDP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path

from .wire import dns

TIMEOUT = 1.5  # seconds, for each server
ROUNDS = 2
SERVERS = 3
_PORT = 53
# of the world's answers these say: ask somebody else (RFC 2308, section 7)
_FAILURES = (2, 4, 5)

Server = tuple[str, int]


def of_host(path: Path = Path("/etc/resolv.conf")) -> Sequence[Server]:
    """The servers that resolv.conf(5) names now; none when it cannot be read."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return ()
    found = []
    for words in (line.split() for line in lines):
        if len(words) < 2 or words[0] != "nameserver":
            continue
        try:
            ip_address(words[1])
        except ValueError:
            continue
        found.append((words[1], _PORT))
    return found[:SERVERS]


def named(addresses: Sequence[str]) -> Sequence[Server]:
    """Servers at these addresses."""
    return [(one, _PORT) for one in addresses[:SERVERS]]


class HostForwarder:
    """servers: asked anew for each query, so that a change is seen."""

    def __init__(self, servers: Callable[[], Sequence[Server]] = of_host) -> None:
        self._servers = servers
        self._good: Server | None = None

    async def ask(self, query: bytes, *, stream: bool = False) -> bytes | None:
        """See dns_resolver.Forwarder. A server's failure is the answer when no other has one."""
        failed: bytes | None = None
        for server in self._order() * ROUNDS:
            answer = await _by_tcp(server, query) if stream else None
            answer = answer or await _exchange(server, query)
            if answer is None:
                continue
            if answer[3] & 15 not in _FAILURES:
                self._good = server
                return answer
            failed = answer
        return failed

    def _order(self) -> list[Server]:
        """The one that answered last comes first."""
        servers = list(self._servers())
        if self._good in servers[1:]:
            servers.remove(self._good)
            servers.insert(0, self._good)
        return servers


class _Exchange(asyncio.DatagramProtocol):
    def __init__(self, query: bytes) -> None:
        self._query = query
        self.answer: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:
        # the socket is connected: nobody but the server is heard
        if is_answer(self._query, data) and not self.answer.done():
            self.answer.set_result(_with_question(self._query, data))

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.answer.done():
            self.answer.set_result(None)


def is_answer(query: bytes, data: bytes) -> bool:
    """Whether `data` answers `query`: id, the bit for answers, and the question."""
    if len(data) < 12 or data[:2] != query[:2] or not data[2] & 0x80:
        return False
    asked = dns.question_of(query)
    return data[4:6] == b"\0\1" and dns.question_of(data).lower() == asked.lower()


def _with_question(query: bytes, data: bytes) -> bytes:
    """With the question in the case in which it was asked."""
    asked = dns.question_of(query)
    return data[:12] + asked + data[12 + len(asked) :]


async def _exchange(server: Server, query: bytes) -> bytes | None:
    loop = asyncio.get_running_loop()
    try:
        transport, protocol = await loop.create_datagram_endpoint(
            lambda: _Exchange(query), remote_addr=server
        )
    except OSError:
        return None
    try:
        transport.sendto(query)
        return await asyncio.wait_for(protocol.answer, TIMEOUT)
    except TimeoutError:
        return None
    finally:
        transport.close()


async def _by_tcp(server: Server, query: bytes) -> bytes | None:
    """RFC 7766: each message behind its length, two bytes in network order."""
    try:
        async with asyncio.timeout(TIMEOUT):
            return await _converse(server, query)
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return None


async def _converse(server: Server, query: bytes) -> bytes | None:
    reader, writer = await asyncio.open_connection(*server)
    try:
        writer.write(len(query).to_bytes(2, "big") + query)
        size = int.from_bytes(await reader.readexactly(2), "big")
        data = await reader.readexactly(size)
    finally:
        writer.transport.abort()
    return _with_question(query, data) if is_answer(query, data) else None
