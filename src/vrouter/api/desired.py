# SPDX-License-Identifier: Apache-2.0
"""The desired state over HTTP: /v1/KIND[/NAME], /v1/apply, /v1/status."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from vrouter.agent.desired import load
from vrouter.agent.desired.records import KINDS, Bfd, Interface, Record
from vrouter.agent.facade import BfdState, Facade, Outcome, PortState, Problem, Rejected
from vrouter.api import bodies
from vrouter.api.errors import ApiError, json_response
from vrouter.api.ports import Ports


class DesiredApi:
    """The handlers of /v1."""

    def __init__(self, facade: Facade, ports: Ports) -> None:
        self._facade = facade
        self._ports = ports

    def routes(self) -> list[Route]:
        """All of them."""
        table: list[tuple[str, str, bodies.Handler]] = [
            ("GET", "/v1", self._kinds),
            ("GET", "/v1/status", self._status),
            ("POST", "/v1/apply", self._apply),
            ("GET", "/v1/{kind}", self._list),
            ("GET", "/v1/{kind}/{name:path}", self._show),
            ("PUT", "/v1/{kind}/{name:path}", self._put),
            ("DELETE", "/v1/{kind}/{name:path}", self._delete),
        ]
        return [Route(path, bodies.answered(call), methods=[verb]) for verb, path, call in table]

    async def _kinds(self, request: Request) -> Response:
        return json_response({kind: f"/v1/{kind}" for kind in KINDS})

    async def _status(self, request: Request) -> Response:
        return json_response({"ready": self._facade.ready, **self._facade.status()})

    async def _apply(self, request: Request) -> Response:
        dry_run = _flag(request, "dry_run")
        found = load.read(_table(await bodies.read(request)))
        outcome = await self._facade.apply(found, dry_run=dry_run)
        if not dry_run:
            await self._ports.retry()
        return json_response({**_told(outcome), "dry_run": dry_run})

    async def _list(self, request: Request) -> Response:
        found = self._facade.all(_kind(request))
        return json_response([self._shown(request, one) for one in found])

    async def _show(self, request: Request) -> Response:
        return json_response(self._shown(request, self._need(request)))

    def _shown(self, request: Request, one: Record) -> dict[str, Any]:
        record: dict[str, Any] = {"name": one.name, **msgspec.to_builtins(one)}
        if not _flag(request, "state"):
            return record
        state: PortState | BfdState | None = None
        if isinstance(one, Interface):
            state = self._facade.port_state(one.name)
        elif isinstance(one, Bfd):
            state = self._facade.bfd_state(one.name)
        source = self._facade.source(one.kind, one.name)
        return {"record": record, "source": source, "state": state}

    def _need(self, request: Request) -> Record:
        kind, name = _kind(request), request.path_params["name"]
        one = self._facade.get(kind, name)
        if one is None:
            raise ApiError(404, f"there is no {kind.kind} {name[:100]!r}")
        return one

    async def _put(self, request: Request) -> Response:
        kind, name = _kind(request), request.path_params["name"]
        data = {"name": name, **_table(await bodies.read(request))}
        one = load.read_object(kind.kind, data)
        if one.name != name:
            why = f"the path says {name!r}; names do not change"
            raise Rejected([Problem(f"{kind.kind}.name", why)])
        async with self._ports.bound([one]) as records:
            outcome = await self._facade.put(records, "api")
        return json_response(_told(outcome))

    async def _delete(self, request: Request) -> Response:
        one = self._need(request)
        return json_response(_told(await self._facade.delete([(one.kind, one.name)])))


def _table(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise Rejected([Problem("", "expected an object of keys and values")])
    return data


def _kind(request: Request) -> type[Record]:
    kind = request.path_params["kind"]
    if kind not in KINDS:
        raise ApiError(404, f"there is no kind {kind[:60]!r}; there are: {', '.join(KINDS)}")
    return KINDS[kind]


def _flag(request: Request, name: str) -> bool:
    value = request.query_params.get(name, "0")
    if value not in ("0", "1"):
        raise ApiError(400, f"{name} is {value[:60]!r}: expected 0 or 1")
    return value == "1"


def _told(outcome: Outcome) -> dict[str, list[dict[str, str]]]:
    return {
        what: [{"kind": kind, "name": name} for kind, name in getattr(outcome, what)]
        for what in ("added", "changed", "removed")
    }
