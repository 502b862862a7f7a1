# SPDX-License-Identifier: Apache-2.0
"""The agent: one asyncio loop for what comes in, one thread that writes.

`reconcile.py` does the work in the thread; here is what wakes it: requests (as `Facade`), netlink
events, packets on pkt0, the clock.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from vrouter.agent import services, tap, watch
from vrouter.agent.bfd import BfdSessions
from vrouter.agent.config import Config
from vrouter.agent.desired import load
from vrouter.agent.desired.records import Interface, Network, Record
from vrouter.agent.facade import BfdState, Neighbour, Outcome, PortState, Rejected, Source
from vrouter.agent.learn import Learner
from vrouter.agent.local import wiring
from vrouter.agent.local.services import LocalServices
from vrouter.agent.pkt0 import Limits, Pkt0
from vrouter.agent.plan.numbers import VRF
from vrouter.agent.plan.planner import LOCAL
from vrouter.agent.reconcile import Reconciler
from vrouter.agent.requests import Requests
from vrouter.agent.services import dns_forward
from vrouter.agent.services.addresses import Addresses
from vrouter.agent.services.base import Action, Count, Service
from vrouter.agent.services.bfd import BfdService
from vrouter.agent.services.dns_forward import HostForwarder
from vrouter.agent.services.dns_resolver import Resolver
from vrouter.agent.systemd import notify
from vrouter.agent.world import LiveWorld, device_mtu
from vrouter.dpcore.errors import Busy, VrouterError
from vrouter.dpcore.instance import Instance
from vrouter.host import agent_lock
from vrouter.host.takeover import state as takeover

log: Final = logging.getLogger(__name__)
R = TypeVar("R", bound=Record)
T = TypeVar("T")
_SETTLE: Final = 0.02  # seconds: events come in crowds
_RETRY: Final = 5.0
_NEIGHBOURS: Final = 3  # seconds
_SWEEP: Final = 10
_HEARD: Final = 30
_PART: Final = 1000  # MACs that are asked about between two other jobs of the writer


def database(instance: Instance) -> Path:
    """Where the desired state of an instance is kept."""
    return takeover.path(instance).with_name("agent.db")


class Agent:
    """The agent of `instance`, in whose network namespace the process is. A `Facade`."""

    def __init__(self, instance: Instance, config: Config) -> None:
        self.instance = instance
        self.config = config
        self._lock = agent_lock.hold(instance)
        self._thread = ThreadPoolExecutor(1, "writer")
        self._tables: Reconciler | None = None
        self._world: LiveWorld | None = None
        self._learner: Learner | None = None
        self._pkt0: Pkt0 | None = None
        self._local: tuple[LocalServices, wiring.Handlers] | None = None
        self._bfd: BfdSessions | None = None
        self._requests = Requests(lambda *asked: self._run(self.tables.change, *asked))
        self._events: watch.Events | None = None
        self._news = watch.News()
        self._heeding: asyncio.Task[None] | None = None
        self._clocks: list[asyncio.Task[None]] = []
        self._behind_since = 0.0
        self._tasks: set[asyncio.Future[None]] = set()
        self._ready = False
        self.started = time.time()

    # ---- life -----------------------------------------------------------------------------

    async def start(self) -> None:
        """Take the host over from the cross-connect and make everything real. Raises
        VrouterError."""
        self._events = watch.Events()  # before the facts are read, so that none is missed
        self._tables = tables = await self._run(self._open)
        self._learner = Learner(tables)
        self._world = LiveWorld(tables.state, tables.ids, tables.planner)
        packet_services = self._services(self._world)
        if self._local is not None:
            await self._local[0].forget_earlier()
        await self._run(tables.take_fabric)
        fd = await self._run(tap.open_pkt0)
        pkt0 = await self._run(watch.read_device, tap.PKT0)
        diff = await self._run(tables.reconcile, pkt0)
        log.info("tables reconciled: %d entries differed", diff.count())
        await self._run(tables.manage)
        limits = Limits(self.config.services.rate, self.config.services.burst)
        self._pkt0 = Pkt0(fd, self._world, packet_services, self._learn, limits)
        bfd = next(one for one in packet_services if isinstance(one, BfdService))
        self._bfd = BfdSessions(tables.state, bfd, self.port_state)
        self._refresh(record.name for record in list(tables.state.all(Interface)))
        self._pkt0.known(await self._run(self._learner.known))
        self._pkt0.start()
        self._beat()
        asyncio.get_running_loop().add_reader(self._events, self._told)
        self._clocks = [asyncio.create_task(each()) for each in (self._tick, self._look_after)]
        if self.config.desired_state:
            await self.load_file()
        self._ready = True

    async def load_file(self) -> None:
        """Apply the file that the configuration names; what is wrong with it is told."""
        path = Path(self.config.desired_state)
        try:
            outcome = await self.apply(load.read_file(path))
        except Rejected as error:
            for problem in error.problems:
                log.error("%s: %s", path, problem)
        else:
            log.info("%s: %s", path, _counted(outcome))

    def reload(self, config: Config) -> None:
        """Another configuration: rates hold from now on, its file is applied soon. What the APIs
        are told takes a new start."""
        self.config = config
        if self._pkt0 is not None:
            self._pkt0.limits = Limits(config.services.rate, config.services.burst)
        if self._local is not None:
            wiring.configure(*self._local, config.tcp, config.metadata)
        if config.desired_state:
            self._soon(self.load_file())

    async def stop(self) -> None:
        """Leave; everything goes on forwarding."""
        self._ready = False
        loop = asyncio.get_running_loop()
        if self._events is not None:
            loop.remove_reader(self._events)
            self._events.close()
        for task in (*self._clocks, self._heeding):
            if task is not None:
                task.cancel()
        if self._local is not None:
            await self._local[0].close()
        if self._pkt0 is not None:
            self._pkt0.stop()
            self._pkt0.close()
        if self._tables is not None:
            await self._run(self._tables.close)
        self._thread.shutdown()
        os.close(self._lock)

    def _services(self, world: LiveWorld) -> list[Service]:
        given = self.config.services.resolvers
        forwarder = HostForwarder(lambda: dns_forward.named(given)) if given else HostForwarder()
        table, resolver = Addresses(world), Resolver(world, forwarder)
        self._local = wiring.local_services(
            lambda: self.tables, self._run, world, table, resolver, self._may_ask, self._tell
        )
        wiring.configure(*self._local, self.config.tcp, self.config.metadata)
        return services.all_services(world, table=table, resolver=resolver, keeper=self._local[0])

    def _may_ask(self, vif: int, service: str) -> bool:
        """Whether a service may answer a port once more by now, by UDP or TCP."""
        return self._pkt0 is not None and self._pkt0.limits.allow(vif, service, time.monotonic())

    def _tell(self, service: str, result: str) -> None:
        if self._pkt0 is not None:
            self._pkt0.act((Count(service, result),))

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _open(self) -> Reconciler:
        tables = Reconciler(self.instance, database(self.instance))
        tables.load()
        return tables

    async def _run(self, call: Callable[..., T], *args: Any) -> T:
        """In the writer's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *args)

    @property
    def tables(self) -> Reconciler:
        """The writer; only its thread changes anything in it."""
        if self._tables is None:
            raise Busy("the agent is starting: try again in a moment")
        return self._tables

    # ---- what wakes it ------------------------------------------------------------------------

    def _told(self) -> None:
        if self._events is not None:
            self._events.read(self._news, is_vhost=self.tables.is_vhost)
        if self._news and (self._heeding is None or self._heeding.done()):
            self._heeding = asyncio.create_task(self._heed())

    async def _heed(self) -> None:
        while self._news:
            await asyncio.sleep(_SETTLE)
            news, self._news = self._news, watch.News()
            try:
                units = await self._run(self.tables.heed, news)
            except Exception:
                log.exception("netlink events could not be followed")
                self._news.lost = True
                await asyncio.sleep(_RETRY)
                continue
            self._refresh(name for kind, name in units if kind == Interface.kind)
            if self._local is not None and any(kind == LOCAL for kind, _ in units):
                self._soon(self._local[0].refresh())

    async def _tick(self) -> None:
        """What VMs and dp-core need each second; nothing here waits for the writer, who may be at
        a change, or at a slow disk, for long."""
        while True:
            await asyncio.sleep(1 - time.time() % 1)
            self._beat()
            notify("WATCHDOG=1")
            if self._pkt0 is not None:
                self._pkt0.tick()

    async def _look_after(self) -> None:
        """What the writer looks after by the clock."""
        seconds = 0
        while True:
            await asyncio.sleep(1 - time.time() % 1)
            seconds += 1
            try:
                if seconds % _NEIGHBOURS == 0:
                    await self._run(lambda: self.tables.manage(again=True))
                await self._learnt(seconds)
                await self._mended()
            except Exception as error:
                # the kernel's no is the whole story; anything else wants its traceback
                trace = not isinstance(error, VrouterError)
                later = "the tables were not looked after, in %g s they are: %s"
                log.warning(later, _RETRY, error, exc_info=trace)
                await asyncio.sleep(_RETRY)

    async def _mended(self) -> None:
        """Mend what is known to be wrong with the tables."""
        now = time.monotonic()
        if not self.tables.core.is_current():
            log.info("another dp-core has taken the place of this one")
        elif self.tables.is_emptied():
            log.warning("somebody has emptied the tables: everything is written again")
        elif not self.tables.behind:
            self._behind_since = 0.0
            return
        elif not self._behind_since or now - self._behind_since <= _RETRY:
            self._behind_since = self._behind_since or now
            return
        self._behind_since = 0.0
        await self._run(self.tables.mend)

    async def _learnt(self, seconds: int) -> None:
        """What is due for learnt MACs."""
        learner, pkt0 = self._learner, self._pkt0
        if learner is None or pkt0 is None:
            return
        try:
            if seconds % _SWEEP == 0:
                await self._run(learner.sweep)
            if seconds % _HEARD == 0:
                macs = pkt0.macs()
                for start in range(0, len(macs), _PART):
                    part = macs[start : start + _PART]
                    pkt0.heard(await self._run(learner.packets, part))
        except VrouterError as error:
            # another dp-core is just taking the place of this one
            log.warning("learnt MACs are not looked after this time: %s", error)

    def _beat(self) -> None:
        """A sign of life for dp-core, which puts nothing on pkt0 three seconds after the last."""
        try:
            self.tables.core.config.beat(time.clock_gettime_ns(time.CLOCK_BOOTTIME))
        except (ValueError, VrouterError) as error:
            # another dp-core is just taking the place of this one
            log.warning("no sign of life this second: %s", error)

    def _refresh(self, names: Iterable[str]) -> None:
        if self._world is None or self._pkt0 is None:
            return
        for vif in self._world.refresh(names):
            self._pkt0.port_up(vif)
        if self._bfd is not None:
            self._bfd.configure()

    def _learn(self, action: Action) -> None:
        """A service has learnt something: into the tables with it, in the writer's thread."""
        if self._learner is not None:
            done = self._thread.submit(self._learner.act, action)
            done.add_done_callback(_told_if_failed)

    # ---- Facade -----------------------------------------------------------------------------

    async def put(self, records: Iterable[Record], source: Source) -> Outcome:
        """Add or replace objects. Raises Rejected."""
        return await self._change(list(records), (), source)

    async def delete(self, keys: Iterable[tuple[str, str]]) -> Outcome:
        """Remove objects by (kind, name)."""
        return await self._change((), list(keys), "api")

    async def apply(self, records: Iterable[Record], *, dry_run: bool = False) -> Outcome:
        """Make `records` all that is of source "file"; others stay."""
        tables = self.tables
        wanted = list(records)
        outcome = await self._run(lambda: tables.apply_file(wanted, dry_run=dry_run))
        if not dry_run:
            self._changed(outcome)
        return outcome

    async def _change(
        self, puts: Iterable[Record], deletes: Iterable[tuple[str, str]], source: Source
    ) -> Outcome:
        outcome = await self._requests.change(puts, deletes, source)
        self._changed(outcome)
        return outcome

    def _changed(self, outcome: Outcome) -> None:
        names: dict[str, None] = {}
        for kind, name in (*outcome.added, *outcome.changed, *outcome.removed):
            if kind == Interface.kind:
                names[name] = None
            else:
                users = list(self.tables.state.needed_by((kind, name)))
                names |= {user: None for one, user in users if one == Interface.kind}
        self._refresh(names)
        if self._local is not None:
            self._soon(self._local[0].refresh())

    def get(self, kind: type[R], name: str) -> R | None:
        """One object."""
        return self.tables.state.get(kind, name)

    def by_uuid(self, kind: type[R], uuid: str) -> R | None:
        """The object of that UUID, whatever its name."""
        owner = self.tables.state.owner("uuid", kind.kind, uuid)
        return None if owner is None else self.tables.state.get(kind, owner[1])

    def all(self, kind: type[R]) -> list[R]:
        """All objects of a kind, by name."""
        return sorted(self.tables.state.all(kind), key=lambda record: record.name)

    def source(self, kind: str, name: str) -> Source | None:
        """Where an object came from."""
        return self.tables.state.source((kind, name))

    def port_state(self, name: str) -> PortState | None:
        """How far an interface is real."""
        tables = self.tables
        interface = tables.state.get(Interface, name)
        if interface is None:
            return None
        device, why = tables.planner.device_of(interface)
        entries = tables.planner.entries_of((Interface.kind, name))
        vif = next(iter(entries.vif), None) if entries is not None else None
        if device is not None and vif is None:
            why = tables.behind or "it is being made"
        label, l2_label = tables.labels_of(interface)
        return PortState(
            name=name,
            active=vif is not None,
            why="" if vif is not None else why,
            vif=vif,
            vrf=tables.ids.get(VRF, f"network/{interface.network}"),
            label=label,
            l2_label=l2_label,
        )

    def bfd_state(self, name: str) -> BfdState | None:
        """How a BFD session is."""
        return None if self._bfd is None else self._bfd.of(name)

    def status(self) -> Mapping[str, Any]:
        """Agent state for people and probes."""
        found: dict[str, Any] = {
            "instance": self.instance.name,
            "pid": os.getpid(),
            "since": self.started,
            "phase": "ready" if self._ready else "starting",
        }
        if self._tables is None:
            return found
        state = self._tables.state
        pending = [one for one in map(self.port_state, _names(state.all(Interface))) if one]
        found["objects"] = self._tables.counts()
        found["behind"] = self._tables.behind
        found["pending"] = {one.name: one.why for one in pending if not one.active}
        found["unresolved_hosts"] = self._tables.unresolved()
        found["services"] = self.counters()
        found["remembered"] = self._pkt0.remembered() if self._pkt0 is not None else {}
        return found

    def counters(self) -> Mapping[str, Mapping[str, int]]:
        """Packets of each packet service by how they ended."""
        counts: dict[str, dict[str, int]] = {}
        for (service, result), count in sorted(self._pkt0.counts.items()) if self._pkt0 else ():
            counts.setdefault(service, {})[result] = count
        return counts

    def neighbours(self) -> Sequence[Neighbour]:
        """The neighbours on the fabric that tunnels need."""
        fabric = self.tables.facts.fabric
        if fabric is None:
            return []
        known = dict(fabric.neighbours)
        hops = {fabric.next_hop(address) for address in self.tables.planner.tunnel_ends()}
        wanted = {hop for hop in hops if hop is not None}
        return [
            Neighbour(str(one), known[one].hex(":") if one in known else "", fabric.vhost.name)
            for one in sorted(wanted | set(known), key=lambda one: (one.version, int(one)))
        ]

    def mtu(self, network: Network) -> int:
        """The MTU that ports of a network are told, by DHCP or by CNI."""
        return device_mtu(network, self.tables.planner)

    @property
    def ready(self) -> bool:
        """Whether the start is over."""
        return self._ready


def _told_if_failed(done: Future[None]) -> None:
    error = done.exception() if not done.cancelled() else None
    if error is not None:
        log.error("what was learnt is not in the tables: %s", error)


def _names(records: Iterable[Record]) -> list[str]:
    return sorted(record.name for record in list(records))


def _counted(outcome: Outcome) -> str:
    if not outcome:
        return "nothing to change"
    parts = {"added": outcome.added, "changed": outcome.changed, "removed": outcome.removed}
    return ", ".join(f"{len(keys)} {what}" for what, keys in parts.items() if keys)
