# SPDX-License-Identifier: Apache-2.0
"""The service namespaces of all networks: made on first use, kept as the desired state wants them,
removed with their network.

Runs in the agent's loop; what blocks runs in threads, what changes tables in the writer's.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Final, Protocol

from vrouter.agent import watch
from vrouter.agent.desired.records import LinkLocal, Network
from vrouter.agent.facts import service_device, service_vrf
from vrouter.agent.local import dns
from vrouter.agent.local.client import Client, Gate, Tell, break_off, reset
from vrouter.agent.local.config import TcpConfig
from vrouter.agent.local.dns import DnsOverTcp
from vrouter.agent.local.metadata import Metadata
from vrouter.agent.local.relay import Relay
from vrouter.agent.local.space import Place, Space
from vrouter.agent.plan.local import SERVICE_MAC
from vrouter.agent.plan.numbers import ROUTER_MAC
from vrouter.agent.plan.planner import LOCAL
from vrouter.agent.reconcile import Reconciler
from vrouter.agent.services.base import Port, World
from vrouter.agent.services.facts import owned
from vrouter.agent.services.limits import Rate
from vrouter.dpcore.errors import Refused, VrouterError
from vrouter.dpcore.records import IPAddress
from vrouter.host.netlink import Netlink

log: Final = logging.getLogger(__name__)
NAME: Final = "tcp"
_MTU: Final = 1500
_AGAIN: Final = 2.0  # seconds after a failure
_MOST_MET: Final = 512
# connections that a network may begin, a second and at once
_RATE, _BURST = 500.0, 1000
_PAUSE: Final = 0.02
Write = Callable[..., Awaitable[Any]]  # calls something in the writer's thread
PortOf = Callable[[int, IPAddress], Port | None]


class Handlers(Protocol):
    """Who serves connections."""

    dns: DnsOverTcp
    relay: Relay
    metadata: Metadata


@dataclass
class _Served:
    """One network's. services: None for DNS. met: VMs' link-local addresses."""

    network: str
    space: Space
    services: dict[Place, LinkLocal | None] = field(default_factory=dict)
    addresses: frozenset[IPAddress] = frozenset()
    doors: dict[Place, asyncio.Task[None]] = field(default_factory=dict)
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    met: dict[IPAddress, tuple[bytes, int]] = field(default_factory=dict)  # MAC, vif


class LocalServices:
    """See the module. A `Keeper` of services/tcp.py. port_of: whose an address of a VRF is."""

    mac = SERVICE_MAC

    def __init__(
        self,
        tables: Callable[[], Reconciler],
        write: Write,
        world: World,
        port_of: PortOf,
        handlers: Handlers,
        tell: Tell,
    ) -> None:
        self._tables = tables
        self._write = write
        self._world = world
        self._port_of = port_of
        self._handlers = handlers
        self._tell = tell
        self.config = TcpConfig()
        self._served: dict[int, _Served] = {}
        self._locks: dict[int, asyncio.Lock] = {}
        self._failed: dict[int, float] = {}
        self._gate = Gate()
        self._pace = Rate(_RATE, _BURST)

    # ---- for services/tcp.py ------------------------------------------------------------

    def vif(self, vrf: int) -> int | None:
        """See Keeper."""
        served = self._served.get(vrf)
        if served is None or not served.doors:
            return None
        return self._planned(served.network)

    async def make(self, vrf: int) -> int | None:
        """See Keeper."""
        async with self._lock(vrf):
            there = self.vif(vrf)
            if there is not None:
                return there
            if time.monotonic() - self._failed.get(vrf, -_AGAIN) < _AGAIN:
                return None
            try:
                return await self._make(vrf)
            except (VrouterError, OSError) as error:
                log.error("no TCP services in VRF %d: %s", vrf, error)
                self._failed[vrf] = time.monotonic()
                await self._drop(vrf)
                return None

    def knows(self, vrf: int, address: IPAddress, mac: bytes, vif: int) -> bool:
        """See Keeper."""
        served = self._served.get(vrf)
        return served is not None and served.met.get(address) == (mac, vif)

    async def meet(self, vrf: int, address: IPAddress, mac: bytes, vif: int) -> bool:
        """See Keeper."""
        served = self._served.get(vrf)
        if served is None or (address not in served.met and len(served.met) >= _MOST_MET):
            return False
        there = served.met.get(address)
        if there is not None and there[1] != vif and self._world.port(there[1]) is not None:
            return False  # whose connections would it be, else?
        try:
            await asyncio.to_thread(served.space.meet, address, mac)
        except (VrouterError, OSError) as error:
            log.warning("no way back to %s in VRF %d: %s", address, vrf, error)
            return False
        served.met[address] = mac, vif
        return True

    def rows(self) -> Iterable[dict[str, str | int | float]]:
        """See Keeper."""
        for vrf, served in list(self._served.items()):
            yield {
                "vrf": vrf,
                "network": served.network,
                "device": served.space.device,
                "namespace": served.space.path,
                "services": len(served.doors),
                "connections": len(served.tasks),
            }

    # ---- as the desired state changes ---------------------------------------------------

    async def forget_earlier(self) -> None:
        """Remove what an agent has left that was not ended by itself."""
        await self._write(_remove_devices)

    async def refresh(self) -> None:
        """Bring all namespaces to what is wanted now."""
        for vrf in list(self._served):
            async with self._lock(vrf):
                served = self._served.get(vrf)
                if served is None:
                    continue
                network = self._world.network(vrf)
                try:
                    same = network is not None and network.name == served.network
                    there = served.space.device in self._tables().facts.devices
                    if network is None or not same or not there:
                        await self._drop(vrf)
                    else:
                        await self._fit(vrf, served, network)
                except (VrouterError, OSError) as error:
                    log.error("TCP services of VRF %d are removed: %s", vrf, error)
                    await self._drop(vrf)

    async def close(self) -> None:
        """End all of it; the tables follow."""
        for vrf in list(self._served):
            async with self._lock(vrf):
                await self._drop(vrf)

    # ---- one network's ------------------------------------------------------------------

    def _lock(self, vrf: int) -> asyncio.Lock:
        return self._locks.setdefault(vrf, asyncio.Lock())

    def _planned(self, network: str) -> int | None:
        entries = self._tables().planner.entries_of((LOCAL, network))
        return None if entries is None else next(iter(entries.vif), None)

    async def _make(self, vrf: int) -> int | None:
        await self._drop(vrf)
        network = self._world.network(vrf)
        if network is None:
            return None
        space = await asyncio.to_thread(Space, service_device(vrf), _MTU)
        served = self._served[vrf] = _Served(network.name, space)
        await self._fit(vrf, served, network)
        await self._follow(space.device)
        self._tell(NAME, "namespace made")
        vif = self._planned(network.name)
        if vif is None:
            raise Refused(f"{space.device} has no vif: {self._tables().behind or 'it is gone'}")
        return vif

    async def _fit(self, vrf: int, served: _Served, network: Network) -> None:
        """Addresses and listening sockets as they are wanted."""
        tables = self._tables()
        mine = owned(network, ROUTER_MAC)
        others = frozenset(tables.planner.service_addresses(network.name))
        by_agent = frozenset(tables.planner.metadata6())
        services: dict[Place, LinkLocal | None] = {
            Place(one, dns.PORT): None for one in mine - others
        }
        for record in list(tables.state.all(LinkLocal)):
            address = ip_address(record.address)
            if not record.target:
                continue  # stored by a release that did not want one
            if address in others:
                services[Place(address, record.port)] = record
            if record.metadata:
                services |= {Place(one, record.port): record for one in by_agent}
        addresses = mine | others | by_agent
        for place in served.doors.keys() - services.keys():
            await _ended(served.doors.pop(place))
        if addresses != served.addresses:
            await asyncio.to_thread(served.space.hold, addresses)
            served.addresses = addresses
        served.services = services
        for place in services.keys() - served.doors.keys():
            sock = await asyncio.to_thread(served.space.listen, place)
            served.doors[place] = asyncio.create_task(self._door(vrf, served, place, sock))

    async def _drop(self, vrf: int) -> None:
        served = self._served.pop(vrf, None)
        if served is None:
            return
        await _ended(*served.doors.values())
        await _ended(*served.tasks)
        await asyncio.to_thread(served.space.close)
        await self._follow(served.space.device)
        self._tell(NAME, "namespace removed")

    async def _follow(self, device: str) -> None:
        """Let the tables have what has become of a device."""

        def heed() -> None:
            news = watch.News(links={device: watch.read_device(device)})
            self._tables().heed(news)

        await self._write(heed)

    # ---- connections --------------------------------------------------------------------

    async def _door(self, vrf: int, served: _Served, place: Place, sock: socket.socket) -> None:
        """Takes connections, as long as the place is one. The pace is the network's own: who
        connects without end keeps nobody busy but his network."""
        loop = asyncio.get_running_loop()
        with sock:
            while True:
                while not self._pace.allows(vrf, time.monotonic()):
                    await asyncio.sleep(_PAUSE)
                try:
                    conn, peer = await loop.sock_accept(sock)
                except OSError as error:
                    # out of descriptors or memory; the connection waits
                    log.warning("%s:%d: cannot accept: %s", place.address, place.port, error)
                    await asyncio.sleep(1)
                    continue
                self._enter(vrf, served, place, conn, peer)

    def _enter(
        self, vrf: int, served: _Served, place: Place, conn: socket.socket, peer: Any
    ) -> None:
        address = ip_address(str(peer[0]).partition("%")[0])
        met = served.met.get(address)
        port = self._port_of(vrf, address) if met is None else self._world.port(met[1])
        key = (vrf, address) if port is None else port.interface.name
        if not self._gate.enter(key, self.config.connections_per_port, self.config.connections):
            self._tell(NAME, "too many connections")
            reset(conn)
            conn.close()
            return
        task = asyncio.create_task(self._serve(served, place, conn, address, port))
        served.tasks.add(task)

        def left(_: object) -> None:
            served.tasks.discard(task)
            self._gate.leave(key)

        task.add_done_callback(left)

    async def _serve(
        self,
        served: _Served,
        place: Place,
        conn: socket.socket,
        address: IPAddress,
        port: Port | None,
    ) -> None:
        reader, writer = await asyncio.open_connection(sock=conn)
        try:
            client = Client(address, port, reader, writer)
            await self._hand_to(served.services.get(place), client)
        except* OSError:
            # the VM has ended it, or takes nothing any more
            break_off(writer)
        except* Exception:
            log.exception("a connection to %s:%d failed", place.address, place.port)
            self._tell(NAME, "failed")
            break_off(writer)
        finally:
            writer.close()

    async def _hand_to(self, service: LinkLocal | None, client: Client) -> None:
        if service is None:
            await self._handlers.dns.serve(client)
        elif service.metadata:
            await self._handlers.metadata.serve(client, service)
        else:
            await self._handlers.relay.serve(client, service)


async def _ended(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _remove_devices() -> None:
    with Netlink() as links:
        for link in links.links():
            if service_vrf(link.name) is not None and link.kind == "veth" and link.peer_elsewhere:
                links.delete(link.name)
