# SPDX-License-Identifier: Apache-2.0
"""The agent's side of CNI: POST /cni of the unix socket, for root only.

A container's interface is an Interface of the desired state, of source "cni", named
CONFIGURATION:CONTAINER:HASH; its addresses stand nowhere else.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import uuid
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from vrouter.agent.desired.records import Interface, Network
from vrouter.agent.facade import Facade
from vrouter.api import bodies
from vrouter.api.errors import ApiError
from vrouter.api.guard import peer_uid
from vrouter.cni import pool, result, wire
from vrouter.cni.request import (
    INVALID_CONFIG,
    NOT_AS_ADDED,
    REFUSED,
    TRY_AGAIN,
    UNAVAILABLE,
    CniError,
    Request,
    decode,
    parse,
    split,
)
from vrouter.dpcore.errors import Busy, VrouterError

T = TypeVar("T")
_SPACE = uuid.UUID("9b0c2c3a-5b9e-4f51-8f7e-0c1d2a6f7c11")
_MAX_PART = 40
THREADS = 8
_FAILED = 422  # what the shim takes for an error that it prints


class CniApi:
    """The handler of POST /cni."""

    def __init__(self, facade: Facade) -> None:
        self._facade = facade
        self._reserved: set[tuple[str, str]] = set()  # (network, address) of ADDs that run
        self._busy: dict[str, tuple[asyncio.Lock, list[None]]] = {}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="cni")

    def routes(self) -> list[Route]:
        """The one path."""
        return [Route("/cni", bodies.answered(self._post), methods=["POST"])]

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def _post(self, request: HttpRequest) -> Response:
        if peer_uid(request.scope) != 0:
            raise ApiError(403, "CNI is for root, by the unix socket")
        failed, told = await self.handle(await request.body())
        text = b"" if told is None else msgspec.json.encode(told)
        return Response(text, _FAILED if failed else 200, media_type="application/json")

    async def handle(self, body: bytes) -> tuple[bool, Any]:
        """Whether what the shim sent fails, and the result or the error; never raises for what
        is in it."""
        version: object = None
        try:
            environment, stdin = split(body)
            config = decode(stdin)
            version = config.get("cniVersion")
            try:
                return False, await self._run(parse(environment, config))
            except Busy as error:
                raise CniError(TRY_AGAIN, str(error)) from None
            except VrouterError as error:
                raise CniError(REFUSED, str(error)) from None
        except CniError as error:
            return True, result.error(version, error)

    async def _run(self, request: Request) -> Any:
        if not self._facade.ready:
            if request.command == "STATUS":
                raise CniError(UNAVAILABLE, "the vRouter agent is starting")
            raise CniError(TRY_AGAIN, "the vRouter agent is starting")
        if request.command == "STATUS":
            self._network(request)
            return None
        if request.command == "GC":
            return await self._gc(request)
        commands = {"ADD": self._add, "DEL": self._del, "CHECK": self._check}
        async with self._alone(name_of(request)):
            return await commands[request.command](request)

    @asynccontextmanager
    async def _alone(self, name: str) -> AsyncIterator[None]:
        """One request at a time about one interface; others run beside it."""
        lock, users = self._busy.setdefault(name, (asyncio.Lock(), []))
        users.append(None)
        try:
            async with lock:
                yield
        finally:
            users.pop()
            if not users:
                del self._busy[name]

    async def _thread(self, work: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)

    def _network(self, request: Request) -> Network:
        network = self._facade.get(Network, request.network)
        if network is None:
            why = f"network: the desired state has no network {request.network!r}"
            code = UNAVAILABLE if request.command == "STATUS" else INVALID_CONFIG
            raise CniError(code, why)
        return network

    # ---- the commands -------------------------------------------------------------------

    async def _add(self, request: Request) -> Any:
        network = self._network(request)
        mtu = request.mtu or self._facade.mtu(network)
        fd = await self._thread(wire.open_namespace, request)
        try:
            before = self._facade.get(Interface, name_of(request))
            if before is not None and before.network == network.name:
                return await self._again(request, fd, network, before, mtu)
            addresses = pool.allocate(self._facade, network, request, self._reserved)
            keys = {(network.name, address) for address in addresses}
            self._reserved |= keys
            try:
                return await self._make(request, fd, network, addresses, mtu)
            finally:
                self._reserved -= keys
        finally:
            os.close(fd)

    async def _make(
        self, request: Request, fd: int, network: Network, addresses: tuple[str, ...], mtu: int
    ) -> Any:
        """The device first, so that dp-core forwards for it when `put` is back."""
        interface = _interface(request, network, addresses)
        inside = _inside(request, network, interface, mtu)
        mac = await self._thread(wire.make, interface.device, fd, inside)
        try:
            await self._facade.put([interface], "cni")
            await self._active(interface)
        except BaseException:
            await self._forget(interface.name, interface.device)
            raise
        return result.success(request, interface, network, mac, mtu)

    async def _again(
        self, request: Request, fd: int, network: Network, interface: Interface, mtu: int
    ) -> Any:
        """ADD of what was added before: the same result, and what is lost of it made anew."""
        inside = _inside(request, network, interface, mtu)
        mac = await self._thread(_intact, fd, interface.device, inside)
        if mac is None:
            mac = await self._thread(wire.make, interface.device, fd, inside)
            await self._active(interface)
        return result.success(request, interface, network, mac, mtu)

    async def _active(self, interface: Interface) -> None:
        """Wait until the agent has found the device and dp-core forwards for it."""
        why = "the agent does not know it"
        for _ in range(500):
            state = self._facade.port_state(interface.name)
            if state is not None and state.active:
                return
            why = state.why if state is not None else why
            await asyncio.sleep(0.01)
        raise CniError(TRY_AGAIN, f"{interface.device} did not become active: {why}")

    async def _del(self, request: Request) -> None:
        await self._forget(name_of(request), device_of(request))

    async def _forget(self, name: str, device: str) -> None:
        if self._facade.get(Interface, name) is not None:
            await self._facade.delete([("interface", name)])
        await self._thread(wire.remove, device)

    async def _check(self, request: Request) -> None:
        network = self._network(request)
        interface = self._facade.get(Interface, name_of(request))
        if interface is None:
            raise CniError(NOT_AS_ADDED, f"container {request.container} has no such interface")
        fd = await self._thread(wire.open_namespace, request)
        try:
            inside = _inside(request, network, interface, 0)
            await self._thread(wire.check, fd, inside)
        finally:
            os.close(fd)
        state = self._facade.port_state(interface.name)
        if state is None or not state.active:
            why = state.why if state is not None else "the agent does not know it"
            raise CniError(NOT_AS_ADDED, f"{interface.device} is not active: {why}")

    async def _gc(self, request: Request) -> None:
        valid = {name_for(request.name, *one) for one in request.valid}
        mine = f"{_part(request.name)}:"
        for one in self._facade.all(Interface):
            own = self._facade.source("interface", one.name) == "cni"
            if own and one.name.startswith(mine) and one.name not in valid:
                async with self._alone(one.name):
                    await self._forget(one.name, one.device)


def _intact(fd: int, device: str, inside: wire.Inside) -> str | None:
    """The MAC of our end if the veth is as it was made, else None."""
    try:
        wire.check(fd, inside)
    except CniError:
        return None
    return wire.mac_of(device)


def _part(text: str) -> str:
    """`text`, or what is as unique and not as long."""
    if len(text) <= _MAX_PART:
        return text
    return f"{text[: _MAX_PART - 17]}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _key(configuration: str, container: str, ifname: str) -> uuid.UUID:
    return uuid.uuid5(_SPACE, "\n".join((configuration, container, ifname)))


def name_for(configuration: str, container: str, ifname: str) -> str:
    """The name of an interface: by CNI a container's is told by these three."""
    short = _key(configuration, container, ifname).hex[:12]
    return f"{_part(configuration)}:{_part(container)}:{short}"


def name_of(request: Request) -> str:
    """The name of the interface that a request is about."""
    return name_for(request.name, request.container, request.ifname)


def device_of(request: Request) -> str:
    """The host's end of its veth."""
    return "tap" + _key(request.name, request.container, request.ifname).hex[:12]


def _interface(request: Request, network: Network, addresses: tuple[str, ...]) -> Interface:
    key = _key(request.name, request.container, request.ifname)
    return Interface(
        name=name_of(request),
        uuid=str(key),
        network=network.name,
        device=device_of(request),
        mac=request.mac or "02:" + key.bytes[-5:].hex(":"),
        addresses=addresses,
        vm=request.container,
        hostname=request.hostname,
    )


def _inside(request: Request, network: Network, interface: Interface, mtu: int) -> wire.Inside:
    subnets = [result.subnet_of(network, address) for address in interface.addresses]
    lengths = [one.prefix.partition("/")[2] for one in subnets]
    return wire.Inside(
        ifname=request.ifname,
        mac=interface.mac,
        mtu=mtu,
        addresses=tuple(map("/".join, zip(interface.addresses, lengths, strict=True))),
        routes=tuple((one["dst"], one["gw"]) for one in result.routes(request, subnets)),
    )
