# SPDX-License-Identifier: Apache-2.0
"""How a request fails: a status, a text for people, and, for records, what is wrong where.

The form is that of whoever asks: `{text}` for upstream's paths (no JSON: upstream's form), an
object with `error` and `problems` for ours.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

import msgspec
from starlette.responses import Response

from vrouter.agent.facade import Problem, Rejected
from vrouter.dpcore.errors import Busy, NotLoaded, Refused, TableFull, UsageError, VrouterError

log = logging.getLogger("vrouter.api")
_UPSTREAMS = re.compile(r"/(port|enable-port|disable-port|syncports|gateway|vm|vm-cfg)(/|$)")


class ApiError(Exception):
    """A request that fails with `status`."""

    def __init__(self, status: int, why: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(why)
        self.status = status
        self.why = why
        self.problems = tuple(problems)


def status_of(error: VrouterError) -> int:
    """The HTTP status that says the same as an error of ours."""
    if isinstance(error, Rejected):
        return 422
    if isinstance(error, Busy | NotLoaded):
        return 503
    if isinstance(error, TableFull):
        return 507
    return 409 if isinstance(error, Refused | UsageError) else 500


def json_response(data: object, status: int = 200) -> Response:
    """`data` as indented JSON."""
    body = msgspec.json.format(msgspec.json.encode(data), indent=2) + b"\n"
    return Response(body, status, media_type="application/json")


def failure(path: str, error: Exception) -> Response:
    """The answer for `error` to a request for `path`; what nobody foresaw is logged."""
    problems: Sequence[Problem] = ()
    if isinstance(error, ApiError):
        status, why, problems = error.status, error.why, error.problems
    elif isinstance(error, VrouterError):
        status, why = status_of(error), str(error)
        problems = error.problems if isinstance(error, Rejected) else ()
    else:
        log.error("request for %s failed", path, exc_info=error)
        status, why = 500, f"the agent failed: {type(error).__name__}; its log says more"
    return refusal(path, status, why, problems)


def refusal(path: str, status: int, why: str, problems: Sequence[Problem] = ()) -> Response:
    """An answer that refuses a request for `path`."""
    if _UPSTREAMS.match(path) is None:
        told = [{"path": one.path, "why": one.why} for one in problems]
        return json_response({"error": why, "problems": told}, status)
    if status == 422:
        status = 400  # upstream's clients know no other
    return Response("{" + why + "}", status, media_type="application/json")
