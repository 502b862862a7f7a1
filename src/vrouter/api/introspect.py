# SPDX-License-Identifier: Apache-2.0
"""Introspection: what dp-core's tables and the agent hold, as JSON, each linked to the others.

Upstream's objects (request sandesh in ctl:vnsw/agent) under paths of ours; reading only.
"""

from __future__ import annotations

import html
from types import TracebackType
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from vrouter.agent.desired.records import KINDS, Bfd, Interface
from vrouter.agent.facade import Facade
from vrouter.api import bodies, metrics, tables
from vrouter.api.errors import ApiError, json_response
from vrouter.api.guard import Guard
from vrouter.dpcore.errors import BadValue
from vrouter.dpcore.instance import Instance

FAMILIES = ("inet", "inet6", "bridge")
LINKS = {
    "/agent": "agent state",
    "/interfaces": "interfaces (vifs) and their counters",
    "/vrfs": "VRFs, their counters and their routes",
    "/nexthops": "nexthops",
    "/labels": "MPLS labels",
    "/vxlans": "VNIDs",
    "/neighbours": "hosts on the fabric",
    "/drops": "dropped packets by reason",
    "/packets": "packets of the packet services",
    "/dhcp": "what ports are told by DHCP, and how often",
    "/dns": "the names that DNS answers, and how often",
    "/desired": "the desired state",
    "/metrics": "metrics for Prometheus",
    "/healthz": "whether the agent is ready",
}


class Introspect:
    """The handlers; a context manager that ends its reader's thread."""

    def __init__(self, facade: Facade, instance: Instance) -> None:
        self._facade = facade
        self._instance = instance
        self._reader = tables.Reader(instance)
        self._fill = metrics.Fill()

    def __enter__(self) -> Introspect:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._reader.close()

    def app(self) -> ASGIApp:
        """The application of the introspection port."""
        table: list[tuple[str, bodies.Handler]] = [
            ("/", self._index),
            ("/agent", self._agent),
            ("/interfaces", self._interfaces),
            ("/interfaces/{id:int}", self._interfaces),
            ("/vrfs", self._vrfs),
            ("/vrfs/{vrf:int}", self._vrfs),
            ("/vrfs/{vrf:int}/{family}", self._routes),
            ("/nexthops", self._nexthops),
            ("/nexthops/{id:int}", self._nexthops),
            ("/neighbours", self._neighbours),
            ("/drops", self._drops),
            ("/packets", self._packets),
            ("/dhcp", self._dhcp),
            ("/dns", self._dns),
            ("/desired", self._desired),
            ("/desired/{kind}", self._desired),
            ("/metrics", self._metrics),
            ("/healthz", self._health),
            ("/{kind}", self._labels),
            ("/{kind}/{number:int}", self._labels),
        ]
        routes = [Route(path, bodies.answered(call), methods=["GET"]) for path, call in table]
        handlers: dict[Any, Any] = {HTTPException: bodies.unknown}
        return Guard(Starlette(routes=routes, exception_handlers=handlers), None)

    # ---- what the facade knows, read in the agent's own thread -------------------------

    def _names(self) -> dict[int, str]:
        """The desired state's interfaces by vif."""
        found: dict[int, str] = {}
        for one in self._facade.all(Interface):
            state = self._facade.port_state(one.name)
            if state is not None and state.vif is not None:
                found[state.vif] = one.name
        return found

    def _networks(self) -> dict[int, str]:
        found: dict[int, str] = {}
        for one in self._facade.all(Interface):
            state = self._facade.port_state(one.name)
            if state is not None and state.vrf is not None:
                found[state.vrf] = one.network
        return found

    # ---- handlers -----------------------------------------------------------------------

    async def _index(self, request: Request) -> Response:
        rows = "".join(
            f'<li><a href="{path}">{path}</a> {html.escape(text)}</li>'
            for path, text in LINKS.items()
        )
        name = html.escape(self._instance.name)
        return HTMLResponse(
            f"<!doctype html><title>vRouter {name}</title><h1>vRouter {name}</h1><ul>{rows}</ul>"
        )

    async def _agent(self, request: Request) -> Response:
        status = {"instance": self._instance.name, "ready": self._facade.ready}
        links = {path.strip("/"): path for path in LINKS}
        return json_response({**status, **self._facade.status(), "links": links})

    async def _interfaces(self, request: Request) -> Response:
        idx, names = request.path_params.get("id"), self._names()
        found = await self._reader.run(lambda core: tables.vifs(core, idx, names))
        if idx is not None:
            return json_response(tables.one(found, f"vif {idx}"))
        return self._page(request, found)

    async def _vrfs(self, request: Request) -> Response:
        vrf, networks = request.path_params.get("vrf"), self._networks()
        try:
            found = await self._reader.run(lambda core: tables.vrfs(core, networks, vrf))
        except BadValue as error:
            raise ApiError(404, str(error)) from None
        if vrf is not None:
            return json_response(found[0])
        return self._page(request, found)

    async def _routes(self, request: Request) -> Response:
        vrf, family = request.path_params["vrf"], request.path_params["family"]
        if family not in FAMILIES:
            raise ApiError(404, f"there is no family {family[:40]!r}: {', '.join(FAMILIES)}")
        span = _span(request)
        path = request.url.path
        return json_response(
            await self._reader.run(
                lambda core: tables.page(tables.routes(core, vrf, family), path, *span)
            )
        )

    async def _nexthops(self, request: Request) -> Response:
        id = request.path_params.get("id")
        if id is not None:
            found = await self._reader.run(lambda core: list(tables.nexthops(core, id)))
            return json_response(tables.one(found, f"nexthop {id}"))
        span = _span(request)
        return json_response(
            await self._reader.run(
                lambda core: tables.page(tables.nexthops(core, None), "/nexthops", *span)
            )
        )

    async def _labels(self, request: Request) -> Response:
        kind, number = request.path_params["kind"], request.path_params.get("number")
        if kind not in ("labels", "vxlans"):
            raise ApiError(404, f"there is no such path; there are: {', '.join(LINKS)}")
        if number is None:
            span = _span(request)
            work = lambda core: tables.page(tables.labels(core, kind), f"/{kind}", *span)  # noqa: E731
            return json_response(await self._reader.run(work))
        key = "label" if kind == "labels" else "vnid"
        found = await self._reader.run(
            lambda core: [one for one in tables.labels(core, kind) if one[key] == number]
        )
        return json_response(tables.one(found, f"{key} {number}"))

    async def _neighbours(self, request: Request) -> Response:
        return self._page(request, [msgspec.to_builtins(n) for n in self._facade.neighbours()])

    async def _drops(self, request: Request) -> Response:
        return json_response(await self._reader.run(tables.drops))

    async def _packets(self, request: Request) -> Response:
        return json_response(self._facade.counters())

    async def _dhcp(self, request: Request) -> Response:
        ports = [
            {"interface": one.name, "mac": one.mac, "addresses": one.addresses}
            for one in self._facade.all(Interface)
            if one.addresses
        ]
        counters = self._facade.counters()
        counted = {name: counters[name] for name in ("dhcp", "dhcp6") if name in counters}
        return json_response({"counters": counted, **tables.page(ports, "/dhcp", *_span(request))})

    async def _dns(self, request: Request) -> Response:
        names = [
            {
                "network": one.network,
                "name": one.hostname or one.vm or one.name,
                "addresses": one.addresses,
            }
            for one in self._facade.all(Interface)
        ]
        counters = self._facade.counters()
        counted = {name: counters[name] for name in ("dns", "dns-tcp") if name in counters}
        return json_response({"counters": counted, **tables.page(names, "/dns", *_span(request))})

    async def _desired(self, request: Request) -> Response:
        kind = request.path_params.get("kind")
        if kind is None:
            return json_response({"links": {one: f"/desired/{one}" for one in KINDS}})
        if kind not in KINDS:
            raise ApiError(404, f"there is no kind {kind[:60]!r}; there are: {', '.join(KINDS)}")
        found = [self._wanted(kind, one) for one in self._facade.all(KINDS[kind])]
        return self._page(request, found)

    def _wanted(self, kind: str, one: Any) -> tables.Json:
        entry = {"name": one.name, **msgspec.to_builtins(one)}
        entry["source"] = self._facade.source(kind, one.name)
        if isinstance(one, Interface):
            state = self._facade.port_state(one.name)
            entry["state"] = state
            if state is not None and state.vif is not None:
                entry["links"] = {"interface": f"/interfaces/{state.vif}"}
        elif isinstance(one, Bfd):
            entry["state"] = self._facade.bfd_state(one.name)
            entry["links"] = {"interface": "/desired/interface"}
        return entry

    async def _metrics(self, request: Request) -> Response:
        states = [self._facade.port_state(one.name) for one in self._facade.all(Interface)]
        agent = metrics.AgentNumbers(
            ready=self._facade.ready,
            ports=len(states),
            active=sum(1 for state in states if state is not None and state.active),
            services=self._facade.counters(),
            names=self._names(),
        )
        body = await self._reader.run(lambda core: metrics.text(core, agent, self._fill))
        return Response(body, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _health(self, request: Request) -> Response:
        if not self._facade.ready:
            return Response("starting\n", 503, media_type="text/plain")
        return Response("ok\n", media_type="text/plain")

    def _page(self, request: Request, found: list[tables.Json]) -> Response:
        return json_response(tables.page(found, request.url.path, *_span(request)))


def _span(request: Request) -> tuple[int, int]:
    """offset and limit of a request. ApiError: no such numbers."""
    numbers = []
    for name, default, most in (
        ("offset", 0, 1 << 40),
        ("limit", tables.DEFAULT_LIMIT, tables.MAX_LIMIT),
    ):
        text = request.query_params.get(name, str(default))
        if not (text.isascii() and text.isdigit() and len(text) < 14 and int(text) <= most):
            raise ApiError(400, f"{name} is {text[:40]!r}: expected a number up to {most}")
        numbers.append(int(text))
    return numbers[0], numbers[1]
