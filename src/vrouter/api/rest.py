# SPDX-License-Identifier: Apache-2.0
"""vrouter-api: upstream's paths and bodies (ctl:vnsw/agent/port_ipc/rest_server.cc)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from vrouter.agent.desired.records import Gateway, Interface, Network
from vrouter.agent.facade import Facade
from vrouter.api import bodies, gateway, portfile
from vrouter.api.errors import ApiError
from vrouter.api.ports import Port, Ports
from vrouter.api.portview import view

AUTHOR = "vrouter-agent"
MAX_PORTS = 4096
T = TypeVar("T")


class RestApi:
    """The handlers of upstream's paths."""

    def __init__(self, facade: Facade, ports: Ports) -> None:
        self._facade = facade
        self._ports = ports

    def routes(self) -> list[Route]:
        """All of them."""
        table: list[tuple[str, str, bodies.Handler]] = [
            ("POST", "/port", self._add),
            ("GET", "/port/{uuid}", self._show),
            ("DELETE", "/port/{uuid}", self._delete),
            ("PUT", "/enable-port/{uuid}", self._enable),
            ("PUT", "/disable-port/{uuid}", self._disable),
            ("POST", "/syncports", self._sync),
            ("POST", "/gateway", self._add_gateways),
            ("DELETE", "/gateway", self._delete_gateways),
            ("POST", "/vm", self._add_vm),
            ("DELETE", "/vm/{vm}", self._delete_vm),
            ("GET", "/vm/{vm}", self._show_vm),
            ("GET", "/vm/{vm}/{vmi}", self._show_vm),
            ("GET", "/vm-cfg/{name}", self._vm_config),
        ]
        return [Route(path, bodies.answered(call), methods=[verb]) for verb, path, call in table]

    async def _add(self, request: Request) -> Response:
        data = await bodies.read(request)
        entries = data if isinstance(data, list) else [data]
        if not 0 < len(entries) <= MAX_PORTS:
            raise ApiError(400, f"expected 1 to {MAX_PORTS} ports in one request")
        ports = [_checked(portfile.check_port, one) for one in entries]
        await self._ports.add(ports, AUTHOR)
        return _done()

    async def _show(self, request: Request) -> Response:
        uuid = _uuid(request, "uuid")
        port = self._ports.get(uuid)
        if port is None:
            raise ApiError(404, f"Not Found: there is no port {uuid}")
        return _pretty(self._view(self._ports.interface(uuid), port))

    def _view(self, interface: Interface | None, port: Port | None) -> dict[str, Any]:
        network = self._facade.get(Network, interface.network) if interface is not None else None
        shown = view(interface, network, port.data if port is not None else {})
        if interface is None:
            return {**shown, "active": False, "why": port.waiting if port is not None else ""}
        state = self._facade.port_state(interface.name)
        active = state is not None and state.active
        why = "" if active else state.why if state is not None else "the agent does not know it yet"
        return {**shown, "active": active, "why": why}

    async def _delete(self, request: Request) -> Response:
        await self._ports.delete([_uuid(request, "uuid")])
        return _done()

    async def _enable(self, request: Request) -> Response:
        await self._ports.enable(_uuid(request, "uuid"), on=True)
        return _done()

    async def _disable(self, request: Request) -> Response:
        await self._ports.enable(_uuid(request, "uuid"), on=False)
        return _done()

    async def _sync(self, request: Request) -> Response:
        self._ports.sync()
        return _done()

    async def _add_gateways(self, request: Request) -> Response:
        wanted = gateway.read_gateways(await bodies.read(request), self._network)
        await self._facade.put(wanted, "api")
        return _done()

    async def _delete_gateways(self, request: Request) -> Response:
        names = gateway.read_interfaces(await bodies.read(request))
        await self._facade.delete([(Gateway.kind, name) for name in names])
        return _done()

    def _network(self, instance: str) -> Network | None:
        """The network of a routing instance: by its name, or its UUID."""
        for name in gateway.instance_names(instance):
            found = self._facade.get(Network, name)
            if found is not None:
                return found
        return self._facade.by_uuid(Network, instance)

    async def _add_vm(self, request: Request) -> Response:
        await self._ports.add_vm(_checked(portfile.check_vm, await bodies.read(request)), AUTHOR)
        return _done()

    async def _delete_vm(self, request: Request) -> Response:
        vm = _uuid(request, "vm")
        await self._ports.delete(self._ports.uuids_of(vm))
        return _done()

    async def _show_vm(self, request: Request) -> Response:
        vm = _uuid(request, "vm")
        found = self._ports.of_vm(vm)
        if "vmi" in request.path_params:
            vmi = _uuid(request, "vmi")
            found = [one for one in found if vmi in (one.uuid, one.name)]
        return self._list(found, vm)

    async def _vm_config(self, request: Request) -> Response:
        name = request.path_params["name"]
        found = [one for one in self._facade.all(Interface) if one.vm == name]
        return self._list(found, name)

    def _list(self, found: list[Interface], what: str) -> Response:
        if not found:
            raise ApiError(404, f"Not Found: no interface is of {what[:100]!r}")
        ports = [self._ports.get(one.uuid or one.name) for one in found]
        return _pretty([self._view(*pair) for pair in zip(found, ports, strict=True)])


def _checked(check: Callable[[object], T], data: object) -> T:
    try:
        return check(data)
    except portfile.BadPort as error:
        raise ApiError(400, str(error)) from None


def _uuid(request: Request, key: str) -> str:
    return _checked(lambda text: portfile.check_uuid(text, key), request.path_params[key])


def _done() -> Response:
    return Response("{}", media_type="application/json")


def _pretty(data: object) -> Response:
    body = msgspec.json.format(msgspec.json.encode(data), indent=4) + b"\n"
    return Response(body, media_type="application/json")
