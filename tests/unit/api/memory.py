# SPDX-License-Identifier: Apache-2.0
"""A Facade that keeps everything in memory and checks what the agent would: names, references,
and that no two ports share an address."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from vrouter.agent.desired.records import KINDS, Bfd, Interface, Network, Record
from vrouter.agent.facade import (
    BfdState,
    Neighbour,
    Outcome,
    PortState,
    Problem,
    Rejected,
    Source,
)

R = TypeVar("R", bound=Record)
Key = tuple[str, str]


class MemoryFacade:
    """See `vrouter.agent.facade.Facade`; `there`: whether a netdevice exists."""

    def __init__(self, *records: Record, there: Callable[[str], bool] = lambda name: True) -> None:
        self.records: dict[Key, Record] = {(one.kind, one.name): one for one in records}
        self.sources: dict[Key, Source] = dict.fromkeys(self.records, "file")
        self.there = there
        self.ready = True
        self.puts = 0

    async def put(self, records: Iterable[Record], source: Source) -> Outcome:
        records = list(records)
        fresh = {**self.records, **{(one.kind, one.name): one for one in records}}
        self._check(fresh)
        self.puts += 1
        before = self.records
        self.records = fresh
        keys = [(one.kind, one.name) for one in records]
        self.sources.update(dict.fromkeys(keys, source))
        return Outcome(
            added=tuple(key for key in keys if key not in before),
            changed=tuple(key for key in keys if key in before and before[key] != fresh[key]),
        )

    async def delete(self, keys: Iterable[Key]) -> Outcome:
        gone = {key for key in keys if key in self.records}
        fresh = {key: one for key, one in self.records.items() if key not in gone}
        self._check(fresh)
        self.records = fresh
        for key in gone:
            del self.sources[key]
        return Outcome(removed=tuple(sorted(gone)))

    async def apply(self, records: Iterable[Record], *, dry_run: bool = False) -> Outcome:
        wanted = {(one.kind, one.name): one for one in records}
        others = {k: one for k, one in self.records.items() if self.sources[k] != "file"}
        fresh = {**others, **wanted}
        self._check(fresh)
        before = self.records
        outcome = Outcome(
            added=tuple(key for key in fresh if key not in before),
            changed=tuple(key for key in fresh if key in before and before[key] != fresh[key]),
            removed=tuple(key for key in before if key not in fresh),
        )
        if not dry_run:
            self.records = fresh
            self.sources = {k: "file" if k in wanted else self.sources[k] for k in fresh}
        return outcome

    def _check(self, records: Mapping[Key, Record]) -> None:
        problems: list[Problem] = []
        users: dict[tuple[str, str], str] = {}
        for (kind, name), one in records.items():
            network = getattr(one, "network", None)
            if network is not None and ("network", network) not in records:
                problems.append(Problem(f"{kind}.{name}.network", f"no network {network!r}"))
            for address in one.addresses if isinstance(one, Interface) else ():
                if (other := users.setdefault((str(network), address), name)) != name:
                    problems.append(Problem(f"{kind}.{name}.addresses", f"{other} has {address}"))
            uuid = getattr(one, "uuid", "")
            if uuid and (other := users.setdefault((kind, uuid), name)) != name:
                problems.append(Problem(f"{kind}.{name}.uuid", f"{other} has {uuid}"))
        if problems:
            raise Rejected(problems)

    def get(self, kind: type[R], name: str) -> R | None:
        found = self.records.get((kind.kind, name))
        assert found is None or isinstance(found, kind)
        return found

    def by_uuid(self, kind: type[R], uuid: str) -> R | None:
        return next((one for one in self.all(kind) if getattr(one, "uuid", "") == uuid), None)

    def all(self, kind: type[R]) -> list[R]:
        assert kind.kind in KINDS
        return [one for _, one in sorted(self.records.items()) if isinstance(one, kind)]

    def source(self, kind: str, name: str) -> Source | None:
        return self.sources.get((kind, name))

    def port_state(self, name: str) -> PortState | None:
        one = self.get(Interface, name)
        if one is None:
            return None
        number = 1 + sorted(key for key in self.records if key[0] == "interface").index(
            ("interface", name)
        )
        if not one.device or not self.there(one.device):
            return PortState(name, False, f"there is no device {one.device!r}", None, None, 0, 0)
        return PortState(name, True, "", 10 + number, 1, 16 + number, 5000 + number)

    def bfd_state(self, name: str) -> BfdState | None:
        if self.get(Bfd, name) is None:
            return None
        return BfdState(name, "up", "", "10.1.1.254", 2.5)

    def status(self) -> Mapping[str, Any]:
        return {"phase": "running", "interfaces": len(self.all(Interface))}

    def counters(self) -> Mapping[str, Mapping[str, int]]:
        return {
            "dhcp": {"answered": 3},
            "dhcp6": {"replied": 2},
            "dns": {"answered": 1, "timeout": 2},
            "dns-tcp": {"answered": 4},
            "arp": {},
        }

    def neighbours(self) -> Sequence[Neighbour]:
        return [Neighbour("172.30.0.2", "02:00:00:00:00:02", "vhost0")]

    def mtu(self, network: Network) -> int:
        return network.mtu or 1430
