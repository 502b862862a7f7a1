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
    """One table: entries in use and entries that fit."""

    table: str
    used: int
    limit: int


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
    found = [Usage(table="vifs", used=_count(core.vifs.items()), limit=core.vifs.size)]
    for name, size, entries in _TABLES:
        found.append(Usage(table=name, used=_count(entries(core)), limit=int(sizes[size])))
    return found


def _count(entries: Iterable[object]) -> int:
    return sum(1 for _ in entries)
