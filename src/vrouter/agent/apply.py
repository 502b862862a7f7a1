# SPDX-License-Identifier: Apache-2.0
"""Wanted entries into dp-core's tables, and what stands there as entries to compare with.

The order is such that no packet meets half of a change: what is named comes before what names
it, and goes after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from vrouter.agent.ownership import keeping
from vrouter.agent.plan.entries import Diff, Entries, PlannedMac, PlannedRoute, Sources, compare
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.errors import NoSuchEntry
from vrouter.dpcore.names import (
    NH_DISCARD,
    VRF_NONE,
    BridgeFlag,
    NhFlag,
    NhType,
    RouteFlag,
    VifFeature,
    VifFlag,
    VifType,
)
from vrouter.dpcore.records import IPNetwork, Nexthop, Route, Vif
from vrouter.dpcore.vif_checks import DATA_PLANE

_FOREIGN: Final = (VifType.STATS, VifType.MONITORING)
_FOLLOWS: Final = VifFeature.SOURCES | VifFeature.SUBVIFS
_AT_ONCE: Final = 256  # entries written in one hold of the lock
MacKey = tuple[int, bytes]
Learned = Callable[[Entries, MacKey, PlannedMac], bool]


class Applier:
    """Writes an instance's tables. Stitched routes are written by the index of their MAC."""

    def __init__(self, core: DpCore) -> None:
        self.core = core
        self._stitched: dict[tuple[int, bytes], set[tuple[int, Any]]] = {}
        self._routes: dict[tuple[int, Any], PlannedRoute] = {}
        self._sources: dict[int, Sources] = {}  # who may speak now

    # ---- reading --------------------------------------------------------------------

    def have(self) -> Entries:
        """All entries of the tables that an agent writes, as they would be wanted."""
        core, found = self.core, Entries()
        macs: dict[int, bytes] = {}
        for entry in core.bridge.items():
            macs[entry.index] = entry.mac
            flags = entry.flags & ~(BridgeFlag.VALID | BridgeFlag.LABEL_VALID)
            found.bridge[entry.vrf, entry.mac] = PlannedMac(entry.nh, entry.label, flags)
        for table in (core.inet, core.inet6):
            for route in table.items():
                found.route[route.vrf, route.prefix] = _planned(route, macs)
        for vif in core.vifs.items():
            if vif.type not in _FOREIGN:
                found.vif[vif.idx] = _comparable(vif)
        checked = {vif.idx for vif in core.vifs.items() if vif.features & VifFeature.SOURCES}
        sources = core.sources.all()
        for idx in checked:
            found.sources[idx] = frozenset(sources.get(idx, ()))
        found.nexthop = {one.id: one for one in core.nexthops.items() if one.id != NH_DISCARD}
        found.mpls = dict(core.mpls.items())
        found.vxlan = dict(core.vxlan.items())
        return found

    def difference(self, want: Entries, keep: Learned | None = None) -> Diff:
        """What is to be done so that the tables are `want`; learnt entries stay.

        keep: says of a MAC that is not wanted whether it was learnt.
        """
        have = self.have()
        kept = {idx: _kept(vif, have.vif.get(idx)) for idx, vif in want.vif.items()}
        diff = compare(have, replace(want, vif=kept))
        _keep_addresses(diff, have, want)
        # who copies packets by hand has a nexthop that no plan knows
        mirrors = {one.nh for one in self.core.mirrors.items()}
        diff.delete["nexthop"] = [one for one in diff.delete["nexthop"] if one not in mirrors]
        if keep is not None:
            diff.delete["bridge"] = [
                key for key in diff.delete["bridge"] if not keep(want, key, have.bridge[key])
            ]
        self._remember(want)
        self._sources = dict(have.sources)
        return diff

    def _remember(self, want: Entries) -> None:
        self._routes, self._stitched = {}, {}
        for key, route in want.route.items():
            self._note(key, route)

    def _note(self, key: tuple[int, Any], route: PlannedRoute | None) -> None:
        old = self._routes.pop(key, None)
        if old is not None and old.stitch is not None:
            self._stitched.get((key[0], old.stitch), set()).discard(key)
        if route is not None:
            self._routes[key] = route
            if route.stitch is not None:
                self._stitched.setdefault((key[0], route.stitch), set()).add(key)

    # ---- writing ----------------------------------------------------------------------

    def apply(self, diff: Diff) -> None:
        """Write it. Raises what the tables raise; what was written until then stays."""
        if diff.count() <= _AT_ONCE:
            with self.core.lock():  # taken once, not at each step
                self._apply(diff)
        else:
            self._apply(diff)

    def _apply(self, diff: Diff) -> None:
        put, delete = diff.put, diff.delete
        for key in delete["route"]:
            self._note(key, None)
        for key, route in put.route.items():
            self._note(key, route)
        there = self._make_way(put, delete)
        with self.core.vifs.ties.together():
            for idx in delete["vif"]:
                self._untie(there.get(idx))
            self._vifs(put, delete, there)
            self._nexthops(put.nexthop.values())
            self._reach(put)
            self._gone(delete)

    def _each(self, things: Iterable[Any], write: Callable[[Any], object]) -> None:
        """write() each, under the lock, which is let go in between."""
        todo = list(things)
        for start in range(0, len(todo), _AT_ONCE):
            with self.core.lock():
                for one in todo[start : start + _AT_ONCE]:
                    write(one)

    def _make_way(self, put: Entries, delete: dict[str, list[Any]]) -> dict[int, Vif | None]:
        """A netdevice has one vif: who leaves it goes before who comes. What was there, by idx."""
        vifs = self.core.vifs
        there = {idx: vifs.get(idx) for idx in (*delete["vif"], *put.vif)}
        coming = {vif.ifindex for vif in put.vif.values()}
        for idx in sorted(there, key=lambda idx: _leaves(there[idx])):
            old, new = there[idx], put.vif.get(idx)
            if old is None:
                continue
            if not _same_device(old, new) if new is not None else old.ifindex in coming:
                self._remove_vif(idx)
        return there

    def _vifs(
        self, put: Entries, delete: dict[str, list[Any]], there: dict[int, Vif | None]
    ) -> None:
        ordered = sorted(put.vif.values(), key=lambda vif: (vif.parent is not None, vif.idx))
        self._each(ordered, lambda vif: self._vif(vif, there[vif.idx], put))
        changed = [idx for idx in put.sources if idx not in put.vif]
        self._each(changed, lambda idx: self._allow(idx, put.sources[idx]))
        stays = [idx for idx in delete["sources"] if idx not in delete["vif"]]
        self._each(stays, lambda idx: self._allow(idx, None))

    def _vif(self, vif: Vif, before: Vif | None, put: Entries) -> None:
        vifs = self.core.vifs
        old = vifs.get(vif.idx)
        vif = _kept(vif, old or before)
        sources = put.sources.get(vif.idx)
        if old is None and sources is not None:
            # in no VRF nothing is heard of it before it is known who may speak
            vifs.add(replace(vif, vrf=VRF_NONE, flags=vif.flags & (VifFlag.L2 | VifFlag.L3)))
        if sources is not None:
            self._allow(vif.idx, sources)
        if old is None and sources is None:
            vifs.add(vif)
        else:
            vifs.change(vif)

    def _allow(self, idx: int, sources: Sources | None) -> None:
        self.core.vifs.set_sources(idx, sources, self._sources.get(idx, frozenset()))
        if sources is None:
            self._sources.pop(idx, None)
        else:
            self._sources[idx] = sources

    def _untie(self, vif: Vif | None) -> None:
        """The kernel takes its time: it begins while the rest is done."""
        if vif is not None and vif.type == VifType.VIRTUAL and vif.parent is None:
            self.core.vifs.ties.detach(vif)

    def _remove_vif(self, idx: int) -> None:
        with suppress(NoSuchEntry):
            self.core.vifs.delete(idx, self._sources.pop(idx, frozenset()))

    def _nexthops(self, nexthops: Iterable[Nexthop]) -> None:
        ordered = sorted(nexthops, key=_depth)
        self._each(ordered, self.core.nexthops.put)

    def _reach(self, put: Entries) -> None:
        core = self.core
        routes = dict(put.route)
        for (vrf, mac), _ in put.bridge.items():
            # the MAC may have a new index: who is stitched to it names that
            for key in self._stitched.get((vrf, mac), ()):
                routes.setdefault(key, self._routes[key])
        self._each(
            put.bridge.items(),
            lambda one: core.bridge.put(
                one[0][0], one[0][1], one[1].nh, one[1].label, int(one[1].flags)
            ),
        )
        rows = [self._route(key, planned) for key, planned in routes.items()]
        for table, version in ((core.inet, 4), (core.inet6, 6)):
            mine = [row for row in rows if row.prefix.version == version]
            for start in range(0, len(mine), _AT_ONCE):
                table.put_many(mine[start : start + _AT_ONCE])
        self._each(put.mpls.items(), lambda one: core.mpls.put(*one))
        self._each(put.vxlan.items(), lambda one: core.vxlan.put(*one))

    def _route(self, key: tuple[int, Any], planned: PlannedRoute) -> Route:
        vrf, prefix = key
        entry = None if planned.stitch is None else self.core.bridge.get(vrf, planned.stitch)
        return Route(
            vrf=vrf,
            prefix=prefix,
            nh=planned.nh,
            label=planned.label,
            flags=planned.flags,
            bridge=0 if entry is None else entry.index,
        )

    def _gone(self, delete: dict[str, list[Any]]) -> None:
        core = self.core
        self._each(delete["mpls"], _passing(core.mpls.delete))
        self._each(delete["vxlan"], _passing(core.vxlan.delete))
        for table, version in ((core.inet, 4), (core.inet6, 6)):
            mine = [key for key in delete["route"] if key[1].version == version]
            for start in range(0, len(mine), _AT_ONCE):
                table.delete_many(mine[start : start + _AT_ONCE])
        self._each(delete["bridge"], _passing(lambda key: core.bridge.delete(*key)))
        self._each(delete["nexthop"], _passing(core.nexthops.delete))
        vifs = {idx: core.vifs.get(idx) for idx in delete["vif"]}
        order = sorted(vifs, key=lambda idx: _leaves(vifs[idx]))
        self._each(order, self._remove_vif)


def _may_speak(want: Entries, vif: int | None, prefix: IPNetwork) -> bool:
    """Whether a port that is wanted may still use an address that it was learnt to use."""
    found = want.sources.get(vif, frozenset()) if vif is not None else frozenset()
    return any(
        one.prefix is not None
        and one.prefix.version == prefix.version
        and prefix.network_address in one.prefix
        for one in found
    )


def _keep_addresses(diff: Diff, have: Entries, want: Entries) -> None:
    """Learnt addresses of ports that are wanted stay, with the MAC and the nexthop of each."""
    kept = {
        key: route
        for key, route in have.route.items()
        if key not in want.route
        and route.flags & RouteFlag.MAC_IP_LEARNT
        and route.nh in have.nexthop
        and _may_speak(want, have.nexthop[route.nh].oif, key[1])
    }
    nexthops = {route.nh for route in kept.values()}
    macs = {(key[0], route.stitch) for key, route in kept.items()}
    for name, there in (("route", set(kept)), ("nexthop", nexthops), ("bridge", macs)):
        diff.delete[name] = [key for key in diff.delete[name] if key not in there]


def _passing(delete: Callable[[Any], object]) -> Callable[[Any], None]:
    def call(key: Any) -> None:
        with suppress(NoSuchEntry):
            delete(key)

    return call


def _leaves(vif: Vif | None) -> int:
    """Parts before what they are parts of, the host before its NIC."""
    if vif is None or vif.parent is not None:
        return 0
    return 2 if vif.type == VifType.PHYSICAL else 1


def _depth(nexthop: Nexthop) -> int:
    """Members before composites before their composites."""
    if nexthop.type != NhType.COMPOSITE:
        return 0
    return 2 if nexthop.flags & NhFlag.MULTICAST else 1


def _same_device(old: Vif, new: Vif) -> bool:
    fields = ("type", "ifindex", "os_ifindex", "name", "parent")
    return all(getattr(old, field) == getattr(new, field) for field in fields)


def _kept(new: Vif, old: Vif | None) -> Vif:
    """A wanted vif with what is not the agent's of the one in its place, even if its netdevice
    has been made anew."""
    same = old is not None and (old.type, old.name) == (new.type, new.name)
    return keeping(new, old) if old is not None and same else new


def _comparable(vif: Vif) -> Vif:
    """A stored vif without what is dp-core's own."""
    return replace(
        vif,
        flags=VifFlag(int(vif.flags) & ~DATA_PLANE),
        features=vif.features & ~_FOLLOWS,
    )


def _planned(route: Route, macs: dict[int, bytes]) -> PlannedRoute:
    # a stitch to an index that is gone is one to nobody
    stitch = macs.get(route.bridge, b"") if route.bridge else None
    return PlannedRoute(route.nh, route.label, route.flags, stitch)
