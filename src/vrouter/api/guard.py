# SPDX-License-Identifier: Apache-2.0
"""Who may ask: checks that every request passes before a handler sees it.

A TCP port is open to whatever runs on the machine, a browser with a hostile page included, so a
request by TCP must name the loopback in Host (DNS rebinding), come from no other origin, and show
the token when it changes something. By the unix socket the socket's mode has decided already.
"""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vrouter.api.errors import ApiError, failure

MAX_BODY = 1 << 20
MAX_PATH = 1024
BODY_SECONDS = 10.0
UNIX = "unix"
_SAFE = frozenset({"GET", "HEAD"})
_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?", re.ASCII)


def is_unix(scope: Scope) -> bool:
    """Whether a request came by the unix socket."""
    client = scope.get("client")
    return client is not None and client[0] == UNIX


def peer_uid(scope: Scope) -> int | None:
    """The user who asks by the unix socket; None by TCP."""
    return int(scope["client"][1]) if is_unix(scope) else None


class Guard:
    """ASGI middleware; `token`: what changes by TCP must show, None: nothing."""

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            if len(scope["path"]) > MAX_PATH:
                raise ApiError(414, f"the path is longer than {MAX_PATH} characters")
            headers = {name.lower(): value for name, value in scope["headers"]}
            if not is_unix(scope):
                self._check(scope["method"], headers)
            body = await _body(headers, receive)
        except ApiError as error:
            await failure(scope["path"], error)(scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), send)

    def _check(self, method: str, headers: Mapping[bytes, bytes]) -> None:
        host = headers.get(b"host", b"").decode("latin-1")
        if _HOST.fullmatch(host) is None:
            raise ApiError(
                403, f"Host is {host[:100]!r}: this API answers to 127.0.0.1 and localhost only"
            )
        if b"origin" in headers:
            origin = headers[b"origin"].decode("latin-1")
            if origin != f"http://{host}":
                raise ApiError(403, f"a page of {origin[:100]!r} may not use this API")
        if method not in _SAFE and self._token is not None:
            self._check_token(headers.get(b"authorization", b""))

    def _check_token(self, given: bytes) -> None:
        scheme, _, token = given.partition(b" ")
        wanted = (self._token or "").encode()
        if scheme.lower() != b"bearer" or not hmac.compare_digest(token.strip(), wanted):
            raise ApiError(
                401,
                "changes by TCP need the header Authorization: Bearer TOKEN, with the token of "
                "/var/lib/vrouter/NAME/token; or use the unix socket, or set [api] token = false",
            )


async def _body(headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
    """The whole body. ApiError: too large, too slow, or the client went away."""
    too_large = ApiError(413, f"the body is larger than {MAX_BODY} bytes")
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or len(length) > 18 or int(length) > MAX_BODY:
        raise too_large
    body = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ApiError(400, "the client went away before its body ended")
                body += bytes(message.get("body", b""))
                if len(body) > MAX_BODY:
                    raise too_large
                if not message.get("more_body", False):
                    return body
    except TimeoutError:
        raise ApiError(408, f"the body did not end within {BODY_SECONDS:g} seconds") from None


def _replay(body: bytes, receive: Receive) -> Receive:
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
