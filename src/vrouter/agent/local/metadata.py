# SPDX-License-Identifier: Apache-2.0
"""The metadata service: an HTTP/1.1 proxy to Nova's metadata API, which says whose VM asks.

Requests are taken whole before Nova sees them; answers are passed on as they come.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import h11

from vrouter.agent.desired.records import LinkLocal
from vrouter.agent.local import headers, http
from vrouter.agent.local.client import CHUNK, Allow, Client, Tell, break_off
from vrouter.agent.local.http import Failure, Wire

NAME: Final = "metadata"
IDLE_SECONDS: Final = 15.0  # between requests
BODY_SECONDS: Final = 15.0  # for all of a request's body
CONNECT_SECONDS: Final = 5.0
LINGER_SECONDS: Final = 2.0
LONGEST_REQUEST: Final = 65_536  # bytes of body
LONGEST_ANSWER: Final = 16 << 20
_METHODS: Final = (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS")


@dataclass(frozen=True)
class Nova:
    """How Nova is spoken to. timeout: seconds until its answer begins, and between its parts."""

    secret: bytes = b""
    tls: ssl.SSLContext | None = None
    timeout: float = 30.0


class Metadata:
    """See the module. nova: may be replaced at any time."""

    def __init__(self, nova: Nova, allow: Allow, tell: Tell) -> None:
        self.nova = nova
        self._allow = allow
        self._tell = tell

    async def serve(self, client: Client, service: LinkLocal) -> None:
        """One connection, with one request after the other. Raises OSError."""
        wire = http.server(client.reader, client.writer)
        while True:
            request = None
            try:
                request = await self._head(wire)
                if request is None:
                    return
                await self._respond(client, wire, service, request)
            except Failure as failure:
                self._tell(NAME, failure.result)
                silent = request is not None and request.method == b"HEAD"
                if not await _say(wire, failure, silent=silent):
                    return
            if wire.conn.our_state is h11.MUST_CLOSE or wire.conn.their_state is not h11.DONE:
                await _linger(client)
                return
            wire.conn.start_next_cycle()

    async def _respond(
        self, client: Client, wire: Wire, service: LinkLocal, request: h11.Request
    ) -> None:
        target = _path(request)
        body = await _body(wire)
        nova = self.nova
        interface = None if client.port is None else client.port.interface
        if interface is None or not interface.vm_uuid:
            raise Failure(404, f"no instance is known to have {client.address}", "unknown instance")
        if client.port is not None and not self._allow(client.port.vif, NAME):
            raise Failure(429, "this VM asks too often", "too many requests")
        asked = h11.Request(
            method=request.method,
            target=target,
            headers=[
                *headers.of_request(request.headers.raw_items(), len(body)),
                *headers.of_instance(interface, client.address, nova.secret),
            ],
        )
        upstream = await _connect(service, nova)
        try:
            await _ask(upstream, asked, body)
            answer = await _answer(upstream, nova)
            await self._pass_on(upstream, wire, answer, nova)
        finally:
            upstream.writer.transport.abort()
        self._tell(NAME, f"answered {answer.status_code // 100}xx")

    async def _head(self, wire: Wire) -> h11.Request | None:
        try:
            event = await wire.next(IDLE_SECONDS)
        except TimeoutError:
            if wire.conn.trailing_data[0]:
                raise Failure(408, "the request did not end", "request too slow") from None
            return None
        except h11.RemoteProtocolError as error:
            raise _wrong(error) from None
        if not isinstance(event, h11.Request):
            return None
        # h11 looks at the size of what is not whole yet only
        if _size(event) > http.LONGEST_HEAD:
            raise _too_long()
        return event

    async def _pass_on(self, upstream: Wire, wire: Wire, answer: h11.Response, nova: Nova) -> None:
        kept = headers.end_to_end(answer.headers.raw_items())
        await wire.send(
            h11.Response(status_code=answer.status_code, headers=kept, reason=answer.reason)
        )
        total = 0
        try:
            while True:
                event = await upstream.next(nova.timeout)
                if isinstance(event, h11.EndOfMessage):
                    break
                if not isinstance(event, h11.Data):
                    raise h11.RemoteProtocolError("the answer is cut short")
                total += len(event.data)
                if total > LONGEST_ANSWER:
                    raise h11.RemoteProtocolError("the answer is too long")
                await wire.send(h11.Data(data=event.data))
            await wire.send(h11.EndOfMessage())
        except (h11.RemoteProtocolError, TimeoutError, OSError):
            # the answer has begun: that it is not whole shows only by the connection's end
            self._tell(NAME, "answer cut short")
            break_off(wire.writer)
            raise ConnectionAbortedError from None


async def _connect(service: LinkLocal, nova: Nova) -> Wire:
    port = service.target_port or service.port
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(
                service.target, port, ssl=nova.tls, server_hostname=nova.tls and service.target
            )
    except (OSError, TimeoutError):
        why = "the metadata service of the cloud cannot be reached"
        raise Failure(502, why, "nova unreachable") from None
    return http.client(reader, writer)


async def _ask(upstream: Wire, request: h11.Request, body: bytes) -> None:
    events: list[h11.Event] = [request]
    if body:
        events.append(h11.Data(data=body))
    try:
        await upstream.send(*events, h11.EndOfMessage())
    except (OSError, TimeoutError):
        why = "the metadata service of the cloud took no request"
        raise Failure(502, why, "nova unreachable") from None


async def _answer(upstream: Wire, nova: Nova) -> h11.Response:
    try:
        while True:
            event = await upstream.next(nova.timeout)
            if isinstance(event, h11.Response):
                return event
            if not isinstance(event, h11.InformationalResponse):
                raise h11.RemoteProtocolError("no answer")
    except TimeoutError:
        why = "the metadata service of the cloud does not answer"
        raise Failure(504, why, "nova silent") from None
    except (OSError, h11.RemoteProtocolError):
        why = "the metadata service of the cloud answered nothing that is HTTP"
        raise Failure(502, why, "nova malformed") from None


async def _body(wire: Wire) -> bytes:
    """All of a request's body."""
    if wire.conn.they_are_waiting_for_100_continue:
        await wire.send(h11.InformationalResponse(status_code=100, headers=[]))
    body = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                event = await wire.next(BODY_SECONDS)
                if isinstance(event, h11.EndOfMessage):
                    return body
                if not isinstance(event, h11.Data):
                    raise Failure(400, "the body is cut short", "malformed")
                body += event.data
                if len(body) > LONGEST_REQUEST:
                    why = f"a body has {LONGEST_REQUEST} bytes at most"
                    raise Failure(413, why, "body too long")
    except TimeoutError:
        raise Failure(408, "the body did not end", "request too slow") from None
    except h11.RemoteProtocolError as error:
        raise _wrong(error) from None


def _path(request: h11.Request) -> bytes:
    """The target as Nova is asked for it: a path, also of a whole URL (RFC 9112, section 3.2)."""
    target = request.target
    if request.method not in _METHODS:
        raise Failure(501, "this method is not for metadata", "method")
    if target[:7].lower() == b"http://":
        target = b"/" + target[7:].partition(b"/")[2]
    if not target.startswith(b"/"):
        raise Failure(400, "the target is no path", "malformed")
    return target


def _size(request: h11.Request) -> int:
    fields = request.headers.raw_items()
    return len(request.target) + sum(len(name) + len(value) + 4 for name, value in fields)


def _too_long() -> Failure:
    return Failure(431, f"a head has {http.LONGEST_HEAD} bytes at most", "head too long")


def _wrong(error: h11.RemoteProtocolError) -> Failure:
    status = error.error_status_hint
    if status == 431:
        return _too_long()
    return Failure(status, f"this is no request: {error}", "malformed")


async def _say(wire: Wire, failure: Failure, *, silent: bool) -> bool:
    """Answers with the failure, where there can be an answer yet. silent: without a body."""
    if wire.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
        return False
    body = f"{failure.status} {HTTPStatus(failure.status).phrase}: {failure.why}\n".encode()
    said = [
        (b"Content-Type", b"text/plain; charset=utf-8"),
        (b"Content-Length", str(len(body)).encode()),
    ]
    if wire.conn.their_state is not h11.DONE:
        said.append((b"Connection", b"close"))
    response = h11.Response(
        status_code=failure.status, headers=said, reason=HTTPStatus(failure.status).phrase.encode()
    )
    await wire.send(response, *([] if silent else [h11.Data(data=body)]), h11.EndOfMessage())
    return True


async def _linger(client: Client) -> None:
    """A connection that is closed with something unread is reset, and the answer may be lost."""
    client.writer.write_eof()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            for _ in range(LONGEST_REQUEST // CHUNK + 16):
                if not await client.reader.read(CHUNK):
                    return
