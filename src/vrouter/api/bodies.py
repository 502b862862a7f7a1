# SPDX-License-Identifier: Apache-2.0
"""JSON as clients send it, read with distrust; and handlers as Starlette wants them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from vrouter.api.errors import ApiError, failure

Handler = Callable[[Request], Awaitable[Response]]


def decode(body: bytes) -> Any:
    """The JSON of `body`. ApiError 400: it is none, or nested too deep."""
    try:
        return msgspec.json.decode(body)
    except RecursionError:
        raise ApiError(400, "the JSON is nested too deep") from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise ApiError(400, f"the body is no JSON: {error}") from None


async def read(request: Request) -> Any:
    """The JSON body of a request. Raises ApiError."""
    return decode(await request.body())


def answered(handler: Handler) -> Handler:
    """A handler whose errors become answers."""

    async def call(request: Request) -> Response:
        try:
            return await handler(request)
        except Exception as error:
            return failure(request.url.path, error)

    return call


async def unknown(request: Request, error: Exception) -> Response:
    """The answer where Starlette knows no handler (404, 405)."""
    status = getattr(error, "status_code", 500)
    method = request.method[:20]
    why = {404: "there is no such path", 405: f"{method} does not go with this path"}
    path = request.url.path
    return failure(path, ApiError(status, f"{path[:200]}: {why.get(status, str(error))}"))
