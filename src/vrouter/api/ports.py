# SPDX-License-Identifier: Apache-2.0
"""The ports that upstream's API adds: files on disk, and what they make of the desired state.

A port becomes an Interface named by its UUID, of source "port". Where the desired state has an
interface of that UUID already, the port only gives it its device. What cannot be made yet (its
network or its address is not known) waits, and is tried again; the file keeps it meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from vrouter.agent.desired.records import Interface, Network, Record
from vrouter.agent.facade import Facade, Source
from vrouter.api import portfile
from vrouter.api.errors import ApiError
from vrouter.api.portfile import BadPort
from vrouter.api.turns import Turns
from vrouter.dpcore.errors import VrouterError

log = logging.getLogger("vrouter.api.ports")
RETRY_SECONDS = 2.0


@dataclass
class Port:
    """A port: its data as in its file; version: of the last POST /syncports that it followed;
    waiting: why it is no interface yet, "" when it is."""

    data: dict[str, Any]
    path: Path
    version: int = 0
    waiting: str = ""

    @property
    def uuid(self) -> str:
        """The interface's UUID."""
        return str(self.data.get("id") or self.data["vmi-uuid"])

    @property
    def device(self) -> str:
        """The netdevice that carries it."""
        return str(self.data.get("system-name") or self.data["host-ifname"])

    @property
    def of_container(self) -> bool:
        """Whether it came by POST /vm."""
        return "vmi-uuid" in self.data

    def leave_folder(self) -> None:
        """A container's own folder goes with the last of its files."""
        if self.of_container:
            with contextlib.suppress(OSError):
                self.path.parent.rmdir()


class Ports:
    """All ports of the API; `folder`: of their files. Changes of one port come one at a time."""

    def __init__(self, facade: Facade, folder: Path, stale_seconds: float) -> None:
        self._facade = facade
        self._folder = folder
        self._stale_seconds = stale_seconds
        self._ports: dict[str, Port] = {}
        self._version = 0
        self._turns = Turns()
        self._timers: set[asyncio.TimerHandle] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    # ---- start and end ----------------------------------------------------------------

    async def start(self) -> None:
        """Make the desired state's ports those of the files, and look after them."""
        for path in await asyncio.to_thread(_files, self._folder):
            try:
                found = portfile.read(path)
                check = portfile.check_vm if path.parent != self._folder else portfile.check_port
                port = Port({**found, **check(found)}, path)
                if port.uuid != path.name:
                    raise BadPort(f"it is of port {port.uuid}")
            except (OSError, BadPort) as error:
                log.warning("port file %s is passed over: %s", path, error)
            else:
                self._ports[port.uuid] = port
        gone = [
            ("interface", one.name)
            for one in self._facade.all(Interface)
            if self._facade.source("interface", one.name) == "port" and one.name not in self._ports
        ]
        async with self._turns.alone():
            try:
                await self._facade.delete(gone)
            except VrouterError as error:
                log.warning("ports without a file stay: %s", error)
            await self._realize_all(list(self._ports.values()))
        self._start(self._look_after())

    async def stop(self) -> None:
        """End what runs beside the requests; files and interfaces stay."""
        for timer in self._timers:
            timer.cancel()
        for task in list(self._tasks):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            try:
                await self.retry()
            except Exception:
                log.exception("waiting ports could not be looked at")

    async def retry(self) -> None:
        """Try again what waits, and what lost its device to a change of the desired state."""
        async with self._turns.alone():
            again = [port for port in self._ports.values() if port.waiting or self._lost(port)]
            if again:
                await self._realize_all(again)

    def _lost(self, port: Port) -> bool:
        interface = self._facade.by_uuid(Interface, port.uuid)
        return interface is None or interface.device != port.device

    # ---- what the API asks ------------------------------------------------------------

    def get(self, uuid: str) -> Port | None:
        """The port of that UUID."""
        return self._ports.get(uuid)

    def interface(self, uuid: str) -> Interface | None:
        """What the desired state makes of a port."""
        return self._facade.by_uuid(Interface, uuid)

    def of_vm(self, vm: str) -> list[Interface]:
        """The interfaces of a VM or container by its UUID."""
        uuids = set(self.uuids_of(vm))
        return [
            one
            for one in self._facade.all(Interface)
            if vm and (one.vm_uuid == vm or (one.uuid or one.name) in uuids)
        ]

    def uuids_of(self, vm: str) -> list[str]:
        """The interfaces that POST /vm named for a container."""
        return [port.uuid for port in self._ports.values() if port.data.get("vm-uuid") == vm]

    async def add(self, data: Sequence[dict[str, Any]], author: str) -> None:
        """Add ports, all or none. Raises ApiError and what the agent refuses them for."""
        ports = [Port(portfile.stamped(one, author), self._folder / one["id"]) for one in data]
        if len({port.uuid for port in ports}) != len(ports):
            raise ApiError(400, "two ports of one request have the same id")
        await self._add(ports)

    async def add_vm(self, data: dict[str, Any], author: str) -> None:
        """Say which device a container's interface has."""
        path = self._folder / "vm" / data["vm-uuid"] / data["vmi-uuid"]
        await self._add([Port(portfile.stamped(data, author), path)])

    async def _add(self, ports: Sequence[Port]) -> None:
        async with self._turns.of(port.uuid for port in ports):
            fresh = [port for port in ports if port.uuid not in self._ports]
            files = asyncio.create_task(asyncio.to_thread(_prepare, ports))
            try:
                await self._realize(ports)
            except BaseException:
                with contextlib.suppress(OSError):
                    _remove((await files).values())
                for port in ports:
                    port.leave_folder()
                raise
            try:
                _rename(await files)
            except OSError as error:
                await self._forget(fresh)
                why = f"cannot write the port's file in {self._folder}: {error.strerror}"
                raise ApiError(500, why) from None
            for port in ports:
                port.version = self._version
                self._ports[port.uuid] = port

    async def delete(self, uuids: Iterable[str]) -> None:
        """Remove ports and their files; what is not there is passed over."""
        wanted = list(dict.fromkeys(uuids))
        async with self._turns.of(wanted):
            found = [self._ports[uuid] for uuid in wanted if uuid in self._ports]
            await self._forget(found)
            for port in found:
                port.path.unlink(missing_ok=True)
                port.leave_folder()
                del self._ports[port.uuid]

    async def enable(self, uuid: str, *, on: bool) -> None:
        """Let a port of type 2 send and receive, or not. Raises ApiError."""
        async with self._turns.of([uuid]):
            port = self._ports.get(uuid)
            if port is None:
                raise ApiError(404, f"Not Found: there is no port {uuid}")
            if port.data.get("type") != portfile.REMOTE:
                raise ApiError(400, f"port {uuid} is not of type 2: only those can be switched")
            data = {**port.data, "link-state": int(on)}
            changed = Port(data, port.path, port.version)
            await self._realize([changed])
            await asyncio.to_thread(portfile.write, port.path, data)
            self._ports[uuid] = changed

    def sync(self) -> None:
        """Ports that are not added again in time are stale from now on."""
        self._version += 1
        version = self._version
        loop = asyncio.get_running_loop()

        def due() -> None:
            self._timers.discard(timer)
            self._start(self._collect(version))

        timer = loop.call_later(self._stale_seconds, due)
        self._timers.add(timer)

    async def _collect(self, version: int) -> None:
        stale = [
            port.uuid
            for port in self._ports.values()
            if port.version < version and not port.of_container
        ]
        log.info("%d ports are stale and go: %s", len(stale), ", ".join(stale[:10]))
        try:
            await self.delete(stale)
        except VrouterError as error:
            log.warning("stale ports stay: %s", error)

    @asynccontextmanager
    async def bound(self, records: Iterable[Record]) -> AsyncIterator[list[Record]]:
        """`records` with the devices that ports give them, so that replacing an interface of
        the desired state does not take its device away for a moment.

        An interface that a port had made by itself gives way to one of its UUID for the block,
        and for good if that does not raise. What waits is tried again afterwards.
        """
        async with self._turns.alone():
            bound = [self._bound(one) if isinstance(one, Interface) else one for one in records]
            named = {(one.kind, one.name) for one in bound}
            uuids = [one.uuid for one in bound if isinstance(one, Interface) and one.uuid]
            own = [self._facade.by_uuid(Interface, uuid) for uuid in uuids if uuid in self._ports]
            way = [one for one in own if one is not None and (one.kind, one.name) not in named]
            way = [one for one in way if self._facade.source(one.kind, one.name) == "port"]
            if way:
                await self._facade.delete([(one.kind, one.name) for one in way])
            try:
                yield bound
            except BaseException:
                if way:
                    await self._facade.put(way, "port")
                raise
        await self.retry()

    def _bound(self, one: Interface) -> Interface:
        port = self._ports.get(one.uuid)
        if one.device or port is None or one.name == one.uuid == port.data.get("id"):
            return one
        return msgspec.structs.replace(one, device=port.device)

    # ---- what a port is in the desired state ------------------------------------------

    def _wanted(self, uuid: str) -> Interface | None:
        """An interface of the desired state that is not the port's own."""
        one = self._facade.by_uuid(Interface, uuid)
        if one is None or self._facade.source("interface", one.name) == "port":
            return None
        return one

    async def _realize_all(self, ports: Sequence[Port]) -> None:
        """As `_realize`; one that is refused waits, and keeps the others from nothing."""
        try:
            await self._realize(ports)
        except VrouterError:
            for port in ports:
                try:
                    await self._realize([port])
                except VrouterError as error:
                    port.waiting = str(error)
                    log.warning("port %s waits: %s", port.uuid, error)

    async def _realize(self, ports: Sequence[Port]) -> None:
        """Make the interfaces of ports, those that can be made now. Raises what put raises."""
        own: list[Interface] = []
        given: dict[Source, list[Interface]] = {}
        for port in ports:
            wanted = self._wanted(port.uuid)
            if wanted is None:
                made = self._interface(port)
                own += [made] if made is not None else []
                continue
            source = self._facade.source("interface", wanted.name) or "api"
            bound = msgspec.structs.replace(wanted, device=port.device)
            if port.data.get("type") == portfile.REMOTE:
                bound = msgspec.structs.replace(bound, enabled=bool(port.data.get("link-state", 1)))
            given.setdefault(source, []).append(bound)
            port.waiting = ""
        await self._put_all({**({"port": own} if own else {}), **given})

    async def _put_all(self, by_source: Mapping[Source, list[Interface]]) -> None:
        """Put all, or, where one source's are refused, none."""
        done: list[tuple[Source, list[Interface], list[Interface]]] = []
        try:
            for source, interfaces in by_source.items():
                before = [self._facade.get(Interface, one.name) for one in interfaces]
                await self._facade.put(interfaces, source)
                done.append((source, interfaces, [one for one in before if one is not None]))
        except VrouterError:
            for source, interfaces, old in reversed(done):
                kept = {one.name for one in old}
                await self._facade.put(old, source)
                fresh = [("interface", one.name) for one in interfaces if one.name not in kept]
                await self._facade.delete(fresh)
            raise

    def _interface(self, port: Port) -> Interface | None:
        """The interface of a port that brings all that it needs; None: it waits."""
        data = port.data
        network = None if port.of_container else self._network(data["vn-id"])
        addresses = tuple(filter(None, (data.get("ip-address"), data.get("ip6-address"))))
        port.waiting = ""
        if port.of_container:
            port.waiting = f"the desired state has no interface of UUID {port.uuid}"
        elif network is None:
            port.waiting = f"the desired state has no network of UUID or name {data['vn-id']}"
        elif not addresses and network.forwarding != "l2":
            port.waiting = f"no address was given, and no interface of UUID {port.uuid} has one"
        if port.waiting or network is None:
            return None
        return Interface(
            name=port.uuid,
            uuid=port.uuid,
            network=network.name,
            device=port.device,
            mac=data["mac-address"],
            addresses=addresses,
            vm=data["display-name"],
            vm_uuid=data["instance-id"],
            project=data["vm-project-id"],
            enabled=bool(data.get("link-state", 1)),
        )

    def _network(self, wanted: str) -> Network | None:
        by_name = self._facade.get(Network, wanted)
        if by_name is not None:
            return by_name
        return self._facade.by_uuid(Network, wanted) if wanted else None

    async def _forget(self, ports: Iterable[Port]) -> None:
        own: list[tuple[str, str]] = []
        for port in ports:
            wanted = self._wanted(port.uuid)
            if wanted is None:
                own.append(("interface", port.uuid))
            elif wanted.device == port.device:
                source = self._facade.source("interface", wanted.name) or "api"
                await self._facade.put([msgspec.structs.replace(wanted, device="")], source)
        own = [key for key in own if self._facade.get(Interface, key[1]) is not None]
        if own:
            await self._facade.delete(own)


def _files(folder: Path) -> list[Path]:
    found = list(portfile.names(folder))
    for vm in _folders(folder / "vm"):
        found += portfile.names(vm)
    return found


def _folders(folder: Path) -> list[Path]:
    """The folders of containers, named by their UUID."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if portfile.UUID.fullmatch(p.name) and p.is_dir())


def _prepare(ports: Iterable[Port]) -> dict[Path, Path]:
    """The files of ports that have none yet, by the path that each is to have."""
    made: dict[Path, Path] = {}
    try:
        for port in ports:
            if not port.path.exists():
                made[port.path] = portfile.prepare(port.path, port.data)
    except BaseException:
        _remove(made.values())
        raise
    return made


def _rename(made: Mapping[Path, Path]) -> None:
    try:
        for path, file in made.items():
            os.replace(file, path)
    finally:
        _remove(made.values())


def _remove(files: Iterable[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)
