# SPDX-License-Identifier: Apache-2.0
"""An opened dp-core made of dicts, for tests of the tools without a kernel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from vrouter.dpcore.names import NhType, VifFeature
from vrouter.dpcore.object import known_abi
from vrouter.dpcore.records import (
    BridgeEntry,
    Config,
    IPAddress,
    IPNetwork,
    Nexthop,
    Route,
    Source,
    Vif,
    VifStats,
    VrfStats,
)

RECORD: dict[str, Any] = {
    "name": "vrouter",
    "version": "0.1.0",
    "profile": "small",
    "object_sha256": "ab" * 32,
    "loaded_at": "2026-01-02T03:04:05+00:00",
    "netns_inode": 4026531840,
    "netns_cookie": 1,
    "sizes": {
        "nexthops": 4096,
        "labels": 1024,
        "vnis": 256,
        "routes": 16384,
        "bridge": 4096,
        "sources": 99,
    },
}


class FakeInstance:
    name = "vrouter"
    link_dir = staging_dir = Path("/nowhere")

    def registered(self) -> dict[str, Any]:
        return RECORD

    def is_loaded(self) -> bool:
        return True

    def is_here(self) -> bool:
        return True

    def open_netns(self) -> None:
        return None

    def enter_netns(self) -> AbstractContextManager[None]:
        return nullcontext()


class Labels(dict[int, int]):
    def put(self, key: int, nh: int) -> None:
        self[key] = nh

    def delete(self, key: int) -> None:
        del self[key]


class Nexthops:
    def __init__(self) -> None:
        self.table = {0: Nexthop(id=0, type=NhType.DISCARD)}

    def get(self, id: int) -> Nexthop | None:
        return self.table.get(id)

    def put(self, nexthop: Nexthop) -> Nexthop:
        self.table[nexthop.id] = nexthop
        return nexthop

    def delete(self, id: int) -> None:
        del self.table[id]

    def items(self) -> Iterator[Nexthop]:
        yield from (self.table[key] for key in sorted(self.table))

    def ref_counts(self) -> Counter[int]:
        return Counter(self.table)


class Inet:
    def __init__(self) -> None:
        self.table: dict[tuple[int, IPNetwork], Route] = {}

    def get(self, vrf: int, network: IPNetwork) -> Route | None:
        return self.table.get((vrf, network))

    def lookup(self, vrf: int, address: IPAddress) -> Route | None:
        found = [one for one in self.table.values() if one.vrf == vrf and address in one.prefix]
        return max(found, key=lambda one: one.prefix.prefixlen, default=None)

    def put(self, route: Route) -> Route:
        self.table[route.vrf, route.prefix] = route
        return route

    def delete(self, vrf: int, network: IPNetwork) -> None:
        del self.table[vrf, network]

    def items(self, vrf: int | None = None) -> Iterator[Route]:
        yield from (one for one in self.table.values() if vrf in (None, one.vrf))


class Bridge:
    def __init__(self) -> None:
        self.table: dict[tuple[int, bytes], BridgeEntry] = {}

    def get(self, vrf: int, mac: bytes) -> BridgeEntry | None:
        return self.table.get((vrf, mac))

    def by_index(self, index: int) -> BridgeEntry | None:
        return next((one for one in self.table.values() if one.index == index), None)

    def put(
        self, vrf: int, mac: bytes, nh: int, label: int | None = None, flags: Any = 0
    ) -> BridgeEntry:
        index = len(self.table) + 1
        entry = BridgeEntry(vrf=vrf, mac=mac, nh=nh, label=label, flags=flags, index=index)
        self.table[vrf, mac] = entry
        return entry

    def delete(self, vrf: int, mac: bytes) -> None:
        del self.table[vrf, mac]

    def items(self, vrf: int | None = None) -> Iterator[BridgeEntry]:
        yield from (one for one in self.table.values() if vrf in (None, one.vrf))


class Vifs:
    size = 4352

    def __init__(self) -> None:
        self.table: dict[int, Vif] = {}
        self.lost: dict[int, int] = {}
        self.allowed: dict[int, tuple[Source, ...] | None] = {}

    def get(self, idx: int) -> Vif | None:
        return self.table.get(idx)

    def by_name(self, name: str) -> Vif | None:
        return next((one for one in self.table.values() if one.name == name), None)

    def items(self) -> Iterator[Vif]:
        yield from (self.table[key] for key in sorted(self.table))

    def free_idx(self, ifindex: int) -> int:
        return ifindex if ifindex not in self.table else 0

    def add(self, vif: Vif) -> Vif:
        self.table[vif.idx] = vif
        return vif

    change = add

    def delete(self, idx: int) -> None:
        del self.table[idx]

    def stats(self, idx: int, core: int | None = None) -> VifStats:
        return VifStats(rx_packets=idx)

    def drops(self, idx: int) -> dict[int, int]:
        return self.lost

    def clear_stats(self, idx: int, core: int | None = None) -> None:
        if core is None:
            self.lost = {}

    def set_sources(self, idx: int, sources: Iterable[Source] | None) -> bool:
        before = self.allowed.get(idx)
        wanted = None if sources is None else tuple(sources)
        features = self.table[idx].features & ~VifFeature.SOURCES
        if wanted is not None:
            features |= VifFeature.SOURCES
        self.table[idx] = replace(self.table[idx], features=features)
        self.allowed[idx] = wanted
        return wanted != before

    def is_attached(self, idx: int) -> bool:
        return True


class Sources:
    def __init__(self, vifs: Vifs) -> None:
        self.vifs = vifs

    def all(self) -> dict[int, tuple[Source, ...]]:
        return {idx: allowed for idx, allowed in self.vifs.allowed.items() if allowed}


class Stats:
    def __init__(self) -> None:
        self.counts = {1: 3, 35: 7, 64: 2}

    def drops(self, core: int | None = None) -> dict[int, int]:
        return self.counts

    def clear_drops(self) -> None:
        self.counts = {}

    def vrf(self, vrf: int) -> VrfStats:
        return VrfStats(vxlan_tunnels=vrf)

    def vrfs(self) -> Iterator[tuple[int, VrfStats]]:
        yield 1, self.vrf(1)


class FakeConfig:
    trap_rate = 1000

    def set(self, trap_rate: int) -> None:
        self.trap_rate = trap_rate

    def get(self) -> Config:
        return Config(
            abi_version=known_abi() or 0,
            agent_vif=None,
            hash_seed=0,
            events=0,
            loaded_ns=0,
            spare_vifs=0,
            qos_maps=0,
            spare_nexthops=0,
            trap_rate=self.trap_rate,
        )


class FakeCore:
    def __init__(self) -> None:
        self.instance = FakeInstance()
        self.mpls, self.vxlan = Labels(), Labels()
        self.nexthops, self.inet, self.bridge = Nexthops(), Inet(), Bridge()
        self.inet6 = Inet()
        self.vifs, self.stats, self.config = Vifs(), Stats(), FakeConfig()
        self.sources = Sources(self.vifs)

    def routes_of(self, prefix: IPNetwork | IPAddress) -> Inet:
        return self.inet if prefix.version == 4 else self.inet6

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def lock(self) -> AbstractContextManager[None]:
        return nullcontext()

    def memory(self) -> dict[str, int]:
        return {"vif_slots": 100, "vif_index": 20, "bridge": 3, "events": 4}

    def add_vif(self, **values: Any) -> Vif:
        vif = Vif(**{"os_ifindex": 0, "ifindex": 0, **values})
        return self.vifs.add(replace(vif))
