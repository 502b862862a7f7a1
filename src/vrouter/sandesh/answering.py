# SPDX-License-Identifier: Apache-2.0
"""From a frame with requests to the frames that answer it."""

from __future__ import annotations

import contextlib
import errno
import sys
import time
import traceback
from collections.abc import Callable, Hashable

from vrouter.dpcore.errors import VrouterError

from . import frames
from .codec import Malformed, Message, decode, encode
from .context import Context, Result
from .dumps import LONG_PAGE, PAGE, Dump, Kept
from .errors import SandeshError, invalid, number_of, unsupported
from .frames import OWN_CLIENT, REASON, Frame
from .requests import HANDLERS
from .schema import ADD, DEL, RESET, RESPONSE

_WRITES = (ADD, DEL, RESET)
_MESSAGES = 1024  # in a frame
_SECOND = 1.0
_LINES = 100  # a second
_ROUTE = "vr_route_req"
_CHANGE_VIFS = ("vr_interface_req", "vrouter_ops")


class Answering:
    """Answers the requests of all clients, one after another."""

    def __init__(self, context: Context, say: Callable[[str], None]) -> None:
        self._context = context
        self._say = say
        self._kept = Kept()

    def forget(self, client: Hashable) -> None:
        """The client is gone."""
        self._kept.forget(client)

    def expire(self) -> None:
        """Forgets dumps that nobody goes on with."""
        self._kept.expire()

    def ahead(self) -> None:
        """What is likely to be asked for next, while there is nothing else to do."""
        self._kept.ahead()

    def answer(self, data: bytes, client: Hashable) -> bytes:
        """The answer to a whole frame, whatever is in it."""
        try:
            frame = frames.parse_request(data)
            requests = list(decode(frame.payload))
            if not 0 < len(requests) <= _MESSAGES:
                raise Malformed(f"{len(requests)} messages: a frame has 1 to {_MESSAGES}")
        except Malformed as error:
            return frames.answers(frames.head_of(data), [self._error(invalid(str(error)), "", 0)])
        # what a frame asks for must not be without end
        size = LONG_PAGE if frame.version == OWN_CLIENT and len(requests) == 1 else PAGE
        payloads: list[bytes] = []
        for request in requests:
            payloads += self._one(request, frame, client, size)
        return frames.answers(frame, payloads)

    def _one(self, request: Message, frame: Frame, client: Hashable, size: int) -> list[bytes]:
        """What one request is answered with: a message, or two for a dump with objects."""
        try:
            result = self._handle(request)
            if isinstance(result, Dump):
                page = self._kept.page(result, client, size)
                code = _response(page.code)
                return [code, page.objects] if page.objects else [code]
        except VrouterError as error:
            return [self._error(error, request.name, frame.version)]
        except Exception as error:  # a bug of ours ends a request, not the door
            self._say(f"{request.name}: {traceback.format_exc()}")
            return [self._error(VrouterError(str(error)), request.name, frame.version)]
        return [_DONE if result is None else _DONE + encode(*result)]

    def _handle(self, request: Message) -> Result:
        handlers = HANDLERS.get(request.name)
        if handlers is None:
            raise _nothing(request)
        handler = handlers.get(request.h_op)
        if handler is None:
            raise unsupported(f"{request.name} with h_op {request.h_op}")
        if request.h_op in _WRITES:
            self._context.writes += 1
            if request.name != _ROUTE:
                self._context.forget_kinds()
            if request.name in _CHANGE_VIFS:
                self._context.vifs_changed = True
        return handler(self._context, request)

    def _error(self, error: VrouterError, name: str, version: int) -> bytes:
        number = number_of(error)
        reason = " ".join(str(error).split())
        self._say(f"{name or 'a frame'} refused, {errno.errorcode.get(number, number)}: {reason}")
        return _response(-number, reason if version == OWN_CLIENT else "")


def _nothing(request: Message) -> SandeshError:
    flows = request.name.startswith(("vr_flow", "vr_bridge_table", "vr_hugepage"))
    if flows:
        return unsupported(f"{request.name}: there are no flows, and no table to map into memory")
    return invalid(f"{request.name} is no request")


def _response(code: int, reason: str = "") -> bytes:
    """vr_response, and behind its fields the reason for clients of ours."""
    made = encode("vr_response", {"h_op": RESPONSE, "resp_code": code})
    if not reason:
        return made
    raw = reason.encode(errors="surrogateescape")
    field = b"\x0b" + REASON.to_bytes(2, "big") + len(raw).to_bytes(4, "big") + raw
    return made[:-1] + field + b"\0"


_DONE = _response(0)


class Teller:
    """Says lines to whoever runs the door, some at a time: clients must not fill its journal."""

    def __init__(self, prog: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._prog, self._clock = prog, clock
        self._since, self._said, self._kept_back = clock(), 0, 0

    def __call__(self, line: str) -> None:
        if self._clock() - self._since > _SECOND:
            self._print_kept_back()
            self._since, self._said = self._clock(), 0
        self._said += 1
        if self._said > _LINES:
            self._kept_back += 1
        else:
            self._print(line)

    def _print_kept_back(self) -> None:
        if self._kept_back:
            self._print(f"{self._kept_back} more lines were kept back")
        self._kept_back = 0

    def _print(self, line: str) -> None:
        # a closed stderr harms nothing
        with contextlib.suppress(OSError, ValueError):
            print(f"{self._prog}: {line}", file=sys.stderr, flush=True)
