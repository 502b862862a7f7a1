# SPDX-License-Identifier: Apache-2.0
"""How full the tables of an instance are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vrouter.dpcore.core import DpCore


@dataclass(frozen=True, kw_only=True)
class Usage:
    """One table: entries in use, entries that fit, bytes of kernel memory."""

    table: str
    used: int
    limit: int
    bytes: int = 0


# Table, and how the names of its maps begin.
_MAPS = (
    ("vifs", ("vif_",)),
    ("nexthops", ("nexthop_", "member_")),
    ("labels", ("mpls",)),
    ("vnis", ("vxlan",)),
    ("routes", ("inet",)),
    ("bridge", ("bridge",)),
    ("sources", ("sources",)),
)

# Table, the field of `Sizes` with its limit, and what counts its entries.
_TABLES: tuple[tuple[str, str, Callable[[DpCore], Iterable[object]]], ...] = (
    ("nexthops", "nexthops", lambda core: core.nexthops.items()),
    ("labels", "labels", lambda core: core.mpls.items()),
    ("vnis", "vnis", lambda core: core.vxlan.items()),
    ("routes", "routes", lambda core: core.inet.items()),
    ("bridge", "bridge", lambda core: core.bridge.items()),
    ("sources", "sources", lambda core: chain.from_iterable(core.sources.all().values())),
)


def table_usage(core: DpCore, sizes: dict[str, Any]) -> list[Usage]:
    """Every table with its fill; `sizes` is what the instance was loaded with."""
    memory = core.memory()
    vifs = _count(core.vifs.items())
    found = [_usage("vifs", vifs, core.vifs.size, memory)]
    for name, size, entries in _TABLES:
        found.append(_usage(name, _count(entries(core)), int(sizes[size]), memory))
    return found


def _usage(table: str, used: int, limit: int, memory: dict[str, int]) -> Usage:
    occupied = sum(size for name, size in memory.items() if table_of(name) == table)
    return Usage(table=table, used=used, limit=limit, bytes=occupied)


def table_of(map_name: str) -> str:
    """The table that a map is part of; `others` if it is of none."""
    return next((table for table, starts in _MAPS if map_name.startswith(starts)), "others")


def _count(entries: Iterable[object]) -> int:
    return sum(1 for _ in entries)
