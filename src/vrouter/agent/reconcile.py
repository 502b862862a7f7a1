# SPDX-License-Identifier: Apache-2.0
"""The writer: brings dp-core's tables to what is wanted, and keeps them there.

One thread runs everything in here: the desired state, its store, the plan and the tables
change in one order. Whatever goes wrong with a request takes it back whole.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from vrouter.agent import watch
from vrouter.agent.apply import Applier, MacKey
from vrouter.agent.desired.ids import Ids
from vrouter.agent.desired.ports import with_ports
from vrouter.agent.desired.records import KINDS, Host, Interface, Network, Record
from vrouter.agent.desired.state import Change, Key, State
from vrouter.agent.desired.store import Store
from vrouter.agent.facade import Outcome, Problem, Rejected, Source
from vrouter.agent.facts import Device, Fabric, Facts, parse
from vrouter.agent.gateways import Gateways
from vrouter.agent.neighbours import Neighbours
from vrouter.agent.plan.entries import Diff, Entries, PlannedMac
from vrouter.agent.plan.numbers import (
    BROADCAST,
    FLOOD_LABEL,
    LABEL,
    NEXTHOP,
    NIC,
    PKT0,
    VHOST,
    VIF,
    VRF,
    spaces,
)
from vrouter.agent.plan.planner import FABRIC, GROUPS, Planner, Step, Unit
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.errors import Refused, Reloaded, TableFull, VrouterError
from vrouter.dpcore.instance import Instance
from vrouter.dpcore.names import VifFlag, VifType
from vrouter.dpcore.records import Vif
from vrouter.dpcore.slots import QUARANTINE_NS
from vrouter.host.netlink import Netlink
from vrouter.host.takeover.pair import VHOST as VHOST_NAME
from vrouter.host.takeover.pair import inner_end

log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class Devices:
    """The netdevices of vif0/0 and vif0/1."""

    nic: str
    vhost: str = VHOST_NAME


class Reconciler:
    """See above. Raises VrouterError for what a person must know."""

    def __init__(self, instance: Instance, path: Path) -> None:
        self.instance = instance
        self.core = DpCore.open(instance)
        self.store = Store(path)
        self.state = State()
        self.ids = Ids()
        self.facts = Facts()
        self.planner = Planner(self.state, self.ids, self.facts)
        self.applier = Applier(self.core)
        self.gateways = Gateways(self.state, self.planner, self._links, self._note_device)
        self._devices = Devices("")
        self._neighbours = Neighbours()
        self._mac_changed = self._neighbour_lost = False
        self._netlink: Netlink | None = None
        self.behind = ""  # why the tables are not as wanted, "" when they are

    def close(self) -> None:
        """Let go; everything goes on forwarding."""
        if self._netlink is not None:
            self._netlink.close()
        self.store.close()
        self.core.close()

    # ---- start -------------------------------------------------------------------------

    def load(self) -> None:
        """Read the store."""
        core = self.core
        spaces(
            self.ids,
            vrfs=core.stats.vrf_count,
            nexthops=core.nexthops.size,
            labels=core.mpls.size,
        )
        self.ids.load(self.store.numbers())
        for problem in self.state.load(self.store.objects()):
            log.warning("the desired state that was stored: %s", problem)

    def take_fabric(self) -> None:
        """Number the NIC, vhost0 and pkt0 as 0, 1 and 2, and set up what the host needs to
        speak through routes instead of the cross-connect. Loses no packet."""
        nic, host, agent = self._own_vifs()
        self._renumber(nic, host, agent)
        self.read_fabric()
        step = self.planner.replan([FABRIC])
        self.keep_numbers()
        # the vifs last, with all the rest: as they are wanted they have no cross-connect
        step.diff.put.vif.clear()
        self.applier.apply(Diff(put=step.diff.put))

    def read_fabric(self) -> None:
        """Read all facts but pkt0. Raises Refused when there is no vhost0."""
        nic, host, _ = self._own_vifs()
        self._devices = Devices(nic.name, host.name)
        self.facts.devices = watch.read_devices()
        self.facts.fabric = self._read_fabric()

    def _own_vifs(self) -> tuple[Vif, Vif, Vif | None]:
        """The NIC's, vhost0's and pkt0's."""
        vifs = {vif.type: vif for vif in self.core.vifs.items() if vif.parent is None}
        nic, host = vifs.get(VifType.PHYSICAL), vifs.get(VifType.HOST)
        if nic is None or host is None:
            raise Refused(
                f"vRouter {self.instance.name!r} has no vhost0 yet: run "
                "`vrouter vhost up --physical DEVICE` first"
            )
        return nic, host, vifs.get(VifType.AGENT)

    def _renumber(self, nic: Vif, host: Vif, agent: Vif | None) -> None:
        wanted = {nic.idx: NIC, host.idx: VHOST}
        if agent is not None:
            wanted[agent.idx] = PKT0
        others = [
            vif.idx
            for vif in self.core.vifs.items()
            if vif.idx in (NIC, VHOST, PKT0) and vif.idx not in wanted
        ]
        used = {vif.idx for vif in self.core.vifs.items()}
        free = (idx for idx in range(PKT0 + 1, self.core.vifs.size) if idx not in used)
        wanted |= dict(zip(others, free, strict=False))
        self.core.vifs.renumber(wanted)

    def reconcile(self, pkt0: Device | None = None) -> Diff:
        """Compare all tables with all that is wanted, and mend what differs; what was mended."""
        if pkt0 is not None:
            self.facts.pkt0 = pkt0
        self.gateways.make_again()
        self.planner.replan(self.planner.all_units())
        self.planner.release_groups()
        self.keep_numbers()
        diff = self.difference()
        self.applier.apply(diff)
        self._attach_all()
        self.core.collect()
        self.behind = self.gateways.settle()
        return diff

    def difference(self) -> Diff:
        """What the tables lack, and have too much, of what is wanted."""
        return self.applier.difference(self.planner.wanted(), self._is_learned)

    def _is_learned(self, want: Entries, key: MacKey, mac: PlannedMac) -> bool:
        """A MAC that nobody planned, in a network that learns, behind something that is there."""
        owner = self.ids.owner(VRF, key[0])
        network = self.state.get(Network, owner.partition("/")[2]) if owner else None
        return network is not None and network.mac_learning and mac.nh in want.nexthop

    def write_planned_mac(self, vrf: int, mac: bytes) -> None:
        """dp-core has marked a planned MAC as moved: it stays where it is planned."""
        planned = self.planner.wanted_mac(vrf, mac)
        if planned is not None:
            self.core.bridge.put(vrf, mac, planned.nh, planned.label, int(planned.flags))

    def _attach_all(self) -> None:
        # a writer that was killed may have stored a vif and not attached it
        for idx, vif in self.planner.wanted().vif.items():
            if not self.core.vifs.is_attached(idx):
                self.core.vifs.add(vif)

    def keep_numbers(self) -> None:
        """Store the numbers that were given or released."""
        if self.ids.changes():
            self.store.commit(Change(), self.ids.changes())
        self.ids.settle()

    # ---- requests -----------------------------------------------------------------------

    def change(
        self,
        puts: Iterable[Record],
        deletes: Iterable[Key],
        source: Source,
        *,
        dry_run: bool = False,
    ) -> Outcome:
        """Make a change real: checked, planned, stored, applied, in this order.

        Raises Rejected (it is wrong, or does not fit into the tables) or Refused (it cannot be
        stored); then nothing has changed.
        """
        puts = list(puts)
        change = self.state.change(puts, deletes, source)
        if not change.after:
            return change.outcome()
        try:
            self._check_labels(change)
            self.gateways.check(change, self._read_fabric)
            self._look_at_devices(change)
            if not dry_run:
                self.core.vifs.ties.begin(self._becoming_vifs(change))
                self.gateways.make(change)
            step = self.planner.replan(self.planner.of_change(change))
            if not dry_run:
                self.store.commit(change, self.ids.changes())
        except BaseException:
            self._take_back(change)
            self.core.vifs.ties.forget()
            self.gateways.settle(change)
            raise
        if dry_run:
            self.planner.undo(step)
            self._take_back(change)
            return change.outcome()
        self.ids.settle()
        self._apply(change, step)
        self.behind = self.gateways.settle(change) or self.behind
        self.manage()
        return change.outcome()

    def apply_file(self, records: Iterable[Record], *, dry_run: bool) -> Outcome:
        """Make `records` all that is of source "file"."""
        puts, way = with_ports(self.state, records)
        named = {(one.kind, one.name) for one in puts}
        gone = [key for key in (*self.state.keys("file"), *way) if key not in named]
        return self.change(puts, gone, "file", dry_run=dry_run)

    def _look_at_devices(self, change: Change) -> None:
        for record in change.after.values():
            if not isinstance(record, Interface) or not record.device:
                continue
            known = self.facts.devices.get(record.device)
            if known is None or not known.is_settled:
                self._note_device(record.device, watch.read_device(record.device, self._links()))

    def _becoming_vifs(self, change: Change) -> Iterator[int]:
        """Netdevices of interfaces that are new."""
        for key, record in change.after.items():
            if isinstance(record, Interface) and record.device and change.before[key] is None:
                device, _ = self.planner.device_of(record)
                if device is not None:
                    yield device.ifindex

    def _links(self) -> Netlink:
        """Open as long as the writer lives: to open one takes longer than to ask."""
        if self._netlink is None:
            self._netlink = Netlink()
        return self._netlink

    def _take_back(self, change: Change) -> None:
        self.state.undo(change)
        self.ids.undo()

    def _check_labels(self, change: Change) -> None:
        """A label that is asked for must not have been given to another already."""
        problems = []
        for key, record in change.after.items():
            for field in ("label", "l2_label", "flood_label"):
                label = getattr(record, field, 0) if record is not None else 0
                if not label or self.state.owner("label", label) != key:
                    continue
                for space in (LABEL, FLOOD_LABEL):
                    owner = self.ids.owner(space, label) if label else None
                    if owner is not None and not owner.startswith(f"{key[0]}/{key[1]}/"):
                        why = f"label {label} was given to {owner.replace('/', ' ')} by the agent"
                        problems.append(Problem(f"{key[0]} {key[1]}.{field}", why))
        if problems:
            raise Rejected(problems)

    def _apply(self, change: Change, step: Step) -> None:
        try:
            self._write(step.diff)
        except VrouterError as error:
            self._revert(change)
            raise Rejected(
                [Problem("tables", f"this does not fit into dp-core: {error}")]
            ) from error

    def _revert(self, change: Change) -> None:
        """The tables cannot hold an acknowledged change: go back to what they held."""
        back = Change(
            before=change.after,
            after=change.before,
            sources=change.old_sources,
            old_sources=change.sources,
        )
        units = self.planner.of_change(change)
        self.core.vifs.ties.forget()
        self.state.undo(change)
        self.planner.replan(units)
        self.store.commit(back, self.ids.changes())
        self.ids.settle()
        with contextlib.suppress(VrouterError):
            self.applier.apply(self.difference())

    # ---- for those who ask --------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """How many objects there are of each kind."""
        return {kind: len(list(self.state.all(struct))) for kind, struct in KINDS.items()}

    def labels_of(self, interface: Interface) -> tuple[int | None, int | None]:
        """The MPLS labels by which other hosts reach a port, routed and bridged."""
        key = f"interface/{interface.name}"
        label = interface.label or self.ids.get(LABEL, f"{key}/l3")
        return label, interface.l2_label or self.ids.get(LABEL, f"{key}/l2")

    def unresolved(self) -> list[str]:
        """Remote hosts to which no tunnel leads: nobody answers for their next hop."""
        fabric = self.facts.fabric
        return sorted(
            host.name
            for host in list(self.state.all(Host))
            if fabric is None or fabric.mac_of(parse(host.address)) is None
        )

    # ---- events ----------------------------------------------------------------------------

    def heed(self, news: watch.News) -> list[Unit]:
        """Plan and apply what the kernel told; the units that it concerned."""
        if news.lost:
            self.facts.devices = watch.read_devices()
            self.facts.fabric = self._read_fabric()
            self.mend()
            return self.planner.all_units()
        changed = [name for name, device in news.links.items() if self._note_device(name, device)]
        pairs = self.gateways.devices()
        lost = pairs & set(changed)
        if lost:
            self.gateways.make_again()
        units = self.planner.of_devices(changed)
        if self._fabric_changed(news, changed):
            units += self.planner.of_fabric()
            if self._mac_changed:
                units = self.planner.all_units()
        if units:
            self._replan(units)
        if pairs and (news.fabric or lost):
            self.behind = self.gateways.settle() or self.behind
        self.manage(again=self._neighbour_lost)
        return units

    def hear_groups(self, vif: int, version: int, macs: frozenset[bytes]) -> None:
        """These groups are wanted behind a vif by now. They are no part of the desired state: a
        new agent begins without, and everybody gets everything until it has heard of them."""
        groups = self.facts.groups
        if macs:
            groups[vif, version] = macs
        else:
            groups.pop((vif, version), None)
        owner = self.ids.owner(VIF, vif)
        interface = self.state.get(Interface, owner.partition("/")[2]) if owner else None
        if interface is not None:
            self._replan([(GROUPS, interface.network)])

    def read_groups(self) -> None:
        """Take from the tables which groups an agent has heard of: to compare, not to forward."""
        nexthops = {one.id: one for one in self.core.nexthops.items()}
        for entry in self.core.bridge.items():
            top = nexthops.get(entry.nh)
            if not entry.mac[0] & 1 or entry.mac == BROADCAST or top is None or not top.members:
                continue
            owner = self.ids.owner(NEXTHOP, entry.nh) or ""
            kind, _, rest = owner.partition("/")
            name, found, slot = rest.partition("/group/")
            if kind == Network.kind and found:
                self.planner.slots.setdefault(name, {})[entry.mac] = int(slot)
            local = nexthops.get(top.members[0].nh)
            version = 4 if entry.mac[0] == 1 else 6
            for member in local.members if local is not None else ():
                port = nexthops.get(member.nh)
                if port is not None and port.oif is not None:
                    key = (port.oif, version)
                    self.facts.groups[key] = self.facts.groups.get(key, frozenset()) | {entry.mac}

    def mend(self) -> None:
        """Compare and write everything anew, after something could not be written."""
        try:
            self._reopen()
            if self.is_emptied():
                self._rejoin()
            self.reconcile()
            self.manage()
        except VrouterError as error:
            self.behind = str(error)
            log.error("the tables are not as wanted: %s", error)

    def is_emptied(self) -> bool:
        """Whether pkt0 is no vif any more: a RESET by the door for upstream's tools took it."""
        try:
            return self.facts.pkt0 is not None and self.core.vifs.get(PKT0) is None
        except (ValueError, VrouterError):
            return False  # another dp-core is just taking the place of this one

    def _rejoin(self) -> None:
        """Make vif0/0 and vif0/1, cross-connected, and the host's routes behind them: so its own
        packets always have a way."""
        wanted = self.planner.entries_of(FABRIC) or Entries()
        nic, host = wanted.vif[NIC], wanted.vif[VHOST]
        # the NIC first waits for its partner, which then joins both
        joined = {
            NIC: replace(nic, xconnect=None),
            VHOST: replace(host, flags=host.flags | VifFlag.XCONNECT),
        }
        self.applier.apply(Diff(put=Entries(vif=joined)))
        ways = {id: one for id, one in wanted.nexthop.items() if one.oif != PKT0}
        self.applier.apply(Diff(put=Entries(nexthop=ways, route=wanted.route)))

    def _replan(self, units: Iterable[Unit]) -> None:
        try:
            step = self.planner.replan(units)
            self.keep_numbers()
            self._write(step.diff)
        except VrouterError as error:
            self.behind = str(error)
            log.error("the tables are not as wanted: %s", error)

    def _write(self, diff: Diff) -> None:
        try:
            self.applier.apply(diff)
        except Reloaded:
            self._reopen()
            self.applier.apply(self.difference())
        except TableFull:
            # slots that were freed just now rest for a second; what is written stays written
            time.sleep(QUARANTINE_NS / 1e9 + 0.1)
            self.applier.apply(diff)

    def _reopen(self) -> None:
        """Another dp-core has taken the place of the one that is open."""
        if not self.core.is_current():
            self.core.close()
            self.core = DpCore.open(self.instance)
            self.applier = Applier(self.core)

    def _note_device(self, name: str, device: Device | None) -> bool:
        if self.facts.devices.get(name) == device:
            return False
        if device is None:
            self.facts.devices.pop(name, None)
        else:
            self.facts.devices[name] = device
        return True

    def _fabric_changed(self, news: watch.News, changed: list[str]) -> bool:
        self._mac_changed = self._neighbour_lost = False
        own = {self._devices.nic, self._devices.vhost}
        if not news.fabric and not own & set(changed) and not self._routes_went(changed):
            return False
        before, now = self.facts.fabric, self._read_fabric()
        if now == before:
            return False
        self._mac_changed = before is None or now is None or before.vhost.mac != now.vhost.mac
        self._neighbour_lost = bool(before and now and before.neighbours.keys() - now.neighbours)
        self.facts.fabric = now
        return True

    def _routes_went(self, changed: list[str]) -> bool:
        """Whether a netdevice has gone that was no port: the kernel tells nothing of the IPv4
        routes that go with one."""
        gone = [name for name in changed if name not in self.facts.devices]
        return any(self.state.owner("device", name) is None for name in gone)

    def _read_fabric(self) -> Fabric | None:
        devices = self.facts.devices
        nic, vhost = devices.get(self._devices.nic), devices.get(self._devices.vhost)
        inner = devices.get(inner_end(self._devices.vhost))
        if nic is None or vhost is None or inner is None:
            return self.facts.fabric  # without them nothing is better than what was
        return watch.read_fabric(nic, vhost, inner.ifindex)

    def manage(self, *, again: bool = False) -> None:
        """Let the kernel keep the next hops of all remote hosts resolved.

        again: tell it anew of those that are not: `ip neigh flush` makes it forget.
        """
        if self.facts.fabric is not None:
            self._neighbours.keep(self.facts.fabric, self.planner.tunnel_ends(), again=again)

    def is_vhost(self, ifindex: int) -> bool:
        """Whether that is vhost0's netdevice."""
        fabric = self.facts.fabric
        return fabric is not None and fabric.vhost.ifindex == ifindex
