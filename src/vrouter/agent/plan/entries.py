# SPDX-License-Identifier: Apache-2.0
"""Entries that are wanted in dp-core's tables, as plain values that can be compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from vrouter.dpcore.names import BridgeFlag, RouteFlag
from vrouter.dpcore.records import IPNetwork, Nexthop, Source, Vif

NO_FLAGS: Final = RouteFlag(0)
TABLES: Final = ("vif", "sources", "nexthop", "bridge", "route", "mpls", "vxlan")
Sources = frozenset[Source]


@dataclass(frozen=True, slots=True)
class PlannedRoute:
    """A route; stitch: the MAC of the same VRF whose bridge entry it names."""

    nh: int
    label: int | None = None
    flags: RouteFlag = NO_FLAGS
    stitch: bytes | None = None


@dataclass(frozen=True, slots=True)
class PlannedMac:
    """A bridge entry."""

    nh: int
    label: int | None = None
    flags: BridgeFlag = BridgeFlag(0)  # noqa: RUF009 - a constant


@dataclass
class Entries:
    """Entries by table and key. Keys: vif and sources idx; nexthop id; bridge (VRF, MAC);
    route (VRF, prefix); mpls label; vxlan VNI."""

    vif: dict[int, Vif] = field(default_factory=dict)
    sources: dict[int, Sources] = field(default_factory=dict)
    nexthop: dict[int, Nexthop] = field(default_factory=dict)
    bridge: dict[tuple[int, bytes], PlannedMac] = field(default_factory=dict)
    route: dict[tuple[int, IPNetwork], PlannedRoute] = field(default_factory=dict)
    mpls: dict[int, int] = field(default_factory=dict)
    vxlan: dict[int, int] = field(default_factory=dict)

    def tables(self) -> Iterator[tuple[str, dict[Any, Any]]]:
        """(name, entries) of each table."""
        for name in TABLES:
            yield name, getattr(self, name)

    def add(self, other: Entries) -> None:
        """Take another's entries as well."""
        for name, table in other.tables():
            getattr(self, name).update(table)

    def put_nexthop(self, nexthop: Nexthop) -> int:
        """Want this nexthop; its id."""
        self.nexthop[nexthop.id] = nexthop
        return nexthop.id


@dataclass
class Diff:
    """What is to be written, and the keys of what is to go, by table."""

    put: Entries = field(default_factory=Entries)
    delete: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in TABLES})

    def __bool__(self) -> bool:
        return any(self.delete.values()) or any(table for _, table in self.put.tables())

    def count(self) -> int:
        """How many entries it touches."""
        puts = sum(len(table) for _, table in self.put.tables())
        return puts + sum(map(len, self.delete.values()))

    def lines(self) -> Iterator[str]:
        """One line for each entry, for people."""
        for name, table in self.put.tables():
            yield from (f"put {name} {key}: {value}" for key, value in table.items())
        for name, keys in self.delete.items():
            yield from (f"delete {name} {key}" for key in keys)


def compare(have: Entries, want: Entries) -> Diff:
    """What makes `want` of `have`."""
    diff = Diff()
    mine: Mapping[str, dict[Any, Any]] = dict(have.tables())
    for name, wanted in want.tables():
        there = mine[name]
        target = getattr(diff.put, name)
        for key, value in wanted.items():
            if there.get(key) != value:
                target[key] = value
        diff.delete[name] = [key for key in there if key not in wanted]
    return diff
