# SPDX-License-Identifier: Apache-2.0
"""All objects of the desired state, and the rules between them.

An object *claims* what only one may have (a MAC of a network, a VNI, a label, a device) and
*needs* others (an interface its network). Both are kept as indexes, so a change is checked in
time that depends on the change, not on how much there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, ip_address, ip_network
from typing import Any, TypeVar, cast

from vrouter.agent.desired.canonical import canonical
from vrouter.agent.desired.records import (
    KINDS,
    Bfd,
    Endpoint,
    Gateway,
    Host,
    Interface,
    LinkLocal,
    Membership,
    Network,
    Record,
    StaticRoute,
)
from vrouter.agent.facade import Outcome, Problem, Rejected, Source
from vrouter.host.takeover.pair import inner_end

Key = tuple[str, str]
Claim = tuple[Any, ...]
R = TypeVar("R", bound=Record)
MAX_FLOOD_LABEL = 1023  # above it dp-core takes a label for one of the fabric's multicast tree
DISCARD = "discard"


def key_of(record: Record) -> Key:
    """(kind, name)."""
    return record.kind, record.name


@dataclass
class Change:
    """What a request does: records before and after by key (None: not there)."""

    before: dict[Key, Record | None] = field(default_factory=dict)
    after: dict[Key, Record | None] = field(default_factory=dict)
    sources: dict[Key, Source] = field(default_factory=dict)
    old_sources: dict[Key, Source] = field(default_factory=dict)

    @property
    def keys(self) -> list[Key]:
        return list(self.after)

    def outcome(self) -> Outcome:
        """Which objects it adds, changes and removes, in order."""
        kinds: dict[str, list[Key]] = {"added": [], "changed": [], "removed": []}
        for key, after in self.after.items():
            before = self.before[key]
            if after is None:
                kinds["removed"].append(key)
            elif before is None:
                kinds["added"].append(key)
            else:
                kinds["changed"].append(key)
        return Outcome(**{name: tuple(keys) for name, keys in kinds.items()})


class State:
    """The objects, by kind and name."""

    def __init__(self) -> None:
        self._records: dict[str, dict[str, Record]] = {kind: {} for kind in KINDS}
        self._sources: dict[Key, Source] = {}
        self._claims: dict[Claim, Key] = {}
        self._needed_by: dict[Key, set[Key]] = {}

    # ---- reading ------------------------------------------------------------------

    def get(self, kind: type[R], name: str) -> R | None:
        """The object of that name."""
        return cast("R | None", self._records[kind.kind].get(name))

    def need(self, kind: type[R], name: str) -> R:
        """The object of that name, which is there since another needs it."""
        return cast(R, self._records[kind.kind][name])

    def all(self, kind: type[R]) -> Iterator[R]:
        """All objects of a kind, in no order."""
        return cast("Iterator[R]", iter(self._records[kind.kind].values()))

    def source(self, key: Key) -> Source | None:
        """Where an object came from."""
        return self._sources.get(key)

    def keys(self, source: Source | None = None) -> list[Key]:
        """Keys of all objects, or of those from `source`."""
        return [key for key, one in self._sources.items() if source in (None, one)]

    def owner(self, *claim: Any) -> Key | None:
        """Who has what only one may have: owner("mac", network, mac)."""
        return self._claims.get(claim)

    def needed_by(self, key: Key) -> set[Key]:
        """Who needs that object."""
        return self._needed_by.get(key, set())

    def record(self, key: Key) -> Record | None:
        """The object of that key."""
        return self._records.get(key[0], {}).get(key[1])

    # ---- changing ------------------------------------------------------------------

    def change(
        self, puts: Iterable[Record], deletes: Iterable[Key], source: Source, *, dry: bool = False
    ) -> Change:
        """Make the change, or raise Rejected with everything that is wrong; dry: check only."""
        problems: list[Problem] = []
        wanted, paths = self._canonical(puts, problems)
        gone = [key for key in dict.fromkeys(deletes) if key not in wanted and self.record(key)]
        if problems:
            raise Rejected(problems)
        change = Change()
        for key, record in wanted.items():
            if self.record(key) != record or self._sources.get(key) != source:
                self._note(change, key, record, source)
        for key in gone:
            self._note(change, key, None, source)
        self._apply(change.after, change.sources, problems, paths)
        problems += self._check(change, paths)
        if problems or dry:
            self.undo(change)
        if problems:
            raise Rejected(problems)
        return change

    def undo(self, change: Change) -> None:
        """Take a change back."""
        self._apply(change.before, change.old_sources, [], {})

    def load(self, records: Iterable[tuple[Record, Source]]) -> list[Problem]:
        """Take what was stored; what is wrong with it (a release with other rules wrote it)."""
        problems: list[Problem] = []
        for record, source in records:
            self._apply({key_of(record): record}, {key_of(record): source}, problems, {})
        for kind in KINDS:
            for name in self._records[kind]:
                self._check_one((kind, name), f"{kind} {name}", problems)
        return problems

    def _canonical(
        self, puts: Iterable[Record], problems: list[Problem]
    ) -> tuple[dict[Key, Record], dict[Key, str]]:
        wanted: dict[Key, Record] = {}
        paths: dict[Key, str] = {}
        counts: dict[str, int] = {}
        for record in puts:
            at = counts.get(record.kind, 0)
            counts[record.kind] = at + 1
            path = f"{record.kind}[{at}]"
            key = key_of(record)
            if key in wanted:
                why = f"{record.name!r} is the name of {paths[key]} too"
                problems.append(Problem(f"{path}.name", why))
            wanted[key] = canonical(record, path, problems)
            paths[key] = path
        return wanted, paths

    def _note(self, change: Change, key: Key, record: Record | None, source: Source) -> None:
        change.before[key] = self.record(key)
        change.after[key] = record
        if record is not None:
            change.sources[key] = source
        old = self._sources.get(key)
        if old is not None:
            change.old_sources[key] = old

    def _apply(
        self,
        records: Mapping[Key, Record | None],
        sources: Mapping[Key, Source],
        problems: list[Problem],
        paths: Mapping[Key, str],
    ) -> None:
        for key in records:
            old = self._records[key[0]].pop(key[1], None)
            self._sources.pop(key, None)
            if old is not None:
                self._forget(key, old)
        for key, record in records.items():
            if record is None:
                continue
            self._records[key[0]][key[1]] = record
            self._sources[key] = sources[key]
            for claim, where, what in claims(record):
                owner = self._claims.setdefault(claim, key)
                if owner != key:
                    path = paths.get(key, f"{key[0]} {key[1]}")
                    why = f"{what} is {owner[0]} {owner[1]}'s already"
                    problems.append(Problem(f"{path}.{where}", why))
            for other, _ in needs(record):
                self._needed_by.setdefault(other, set()).add(key)

    def _forget(self, key: Key, old: Record) -> None:
        for claim, _, _ in claims(old):
            if self._claims.get(claim) == key:
                del self._claims[claim]
        for other, _ in needs(old):
            users = self._needed_by.get(other)
            if users is not None:
                users.discard(key)
                if not users:
                    del self._needed_by[other]

    # ---- rules between objects --------------------------------------------------------

    def _check(self, change: Change, paths: Mapping[Key, str]) -> list[Problem]:
        problems: list[Problem] = []
        todo = dict.fromkeys(change.after)
        for key in change.after:
            todo |= dict.fromkeys(sorted(self.needed_by(key)))
            before = change.before[key]
            if isinstance(before, Interface | Endpoint):
                # a static route may lead to an address that it had
                users = self.needed_by((Network.kind, before.network))
                todo |= dict.fromkeys(one for one in users if one[0] == StaticRoute.kind)
        for key in todo:
            self._check_one(key, paths.get(key, f"{key[0]} {key[1]}"), problems)
        return problems

    def _check_one(self, key: Key, path: str, problems: list[Problem]) -> None:
        record = self.record(key)
        if record is None:
            return
        missing = False
        for (kind, name), where in needs(record):
            if name not in self._records[kind]:
                missing = True
                problems.append(Problem(f"{path}.{where}", f"there is no {kind} {name}"))
        if missing:
            return
        if isinstance(record, Network) and record.flood_label > MAX_FLOOD_LABEL:
            why = f"{record.flood_label} is not 16 to {MAX_FLOOD_LABEL}"
            problems.append(Problem(f"{path}.flood_label", why))
        if isinstance(record, Interface | Endpoint):
            self._check_addresses(record, path, problems)
        if isinstance(record, Interface) and record.parent:
            parent = self.need(Interface, record.parent)
            if parent.parent:
                why = f"{record.parent} is a sub-interface itself"
                problems.append(Problem(f"{path}.parent", why))
        if isinstance(record, Bfd):
            self._check_peer(record, path, problems)
        if isinstance(record, StaticRoute) and record.next_hop not in ("", DISCARD):
            owner = self.owner("route", record.network, _alone(record.next_hop))
            if owner is None or owner[0] not in (Interface.kind, Endpoint.kind):
                why = f"{record.next_hop} is no interface's or endpoint's in {record.network}"
                problems.append(Problem(f"{path}.next_hop", why))

    def _check_peer(self, record: Bfd, path: str, problems: list[Problem]) -> None:
        """It is on the link, and there is a gateway to speak from."""
        network = self.need(Network, self.need(Interface, record.interface).network)
        peer = ip_address(record.peer)
        inside = [one for one in network.subnets if peer in ip_network(one.prefix)]
        if not any(one.gateway for one in inside):
            what = "without gateway" if inside else "of no subnet"
            why = f"{record.peer} is {what} of network {network.name}"
            problems.append(Problem(f"{path}.peer", why))

    def _check_addresses(
        self, record: Interface | Endpoint, path: str, problems: list[Problem]
    ) -> None:
        network = self.need(Network, record.network)
        subnets = [ip_network(one.prefix) for one in network.subnets]
        for at, text in enumerate(record.addresses):
            address = ip_address(text)
            inside = next((one for one in subnets if address in one), None)
            where = f"{path}.addresses[{at}]"
            if inside is None:
                there = ", ".join(map(str, subnets)) or "none"
                why = f"{text} is in no subnet of network {network.name} (there are: {there})"
                problems.append(Problem(where, why))
            elif isinstance(inside, IPv4Network) and inside.prefixlen < 31:
                if address in (inside.network_address, inside.broadcast_address):
                    problems.append(Problem(where, f"{text} is no host's address of {inside}"))


def claims(record: Record) -> Iterator[tuple[Claim, str, str]]:
    """What only this object may have: (claim, its key in the object, in words)."""
    uuid = getattr(record, "uuid", "")
    if uuid:
        yield ("uuid", record.kind, uuid), "uuid", uuid
    match record:
        case Network():
            yield from _network_claims(record)
        case Interface() | Endpoint():
            yield from _station_claims(record)
        case Host():
            yield ("host", record.address), "address", record.address
        case Membership():
            pair = f"{record.host} in {record.network}"
            yield ("membership", record.network, record.host), "host", pair
        case StaticRoute():
            yield ("route", record.network, record.prefix), "prefix", record.prefix
        case Bfd():
            yield ("bfd", record.interface, record.peer), "peer", f"{record.peer} by BFD"
        case LinkLocal():
            service = f"{record.address}:{record.port}"
            yield ("link-local", record.address, record.port), "address", service
        case Gateway():
            yield from _gateway_claims(record)


def _network_claims(record: Network) -> Iterator[tuple[Claim, str, str]]:
    if record.vni:
        yield ("vni", record.vni), "vni", f"VNI {record.vni}"
    if record.flood_label:
        yield ("label", record.flood_label), "flood_label", f"label {record.flood_label}"
    for at, subnet in enumerate(record.subnets):
        yield ("route", record.name, subnet.prefix), f"subnets[{at}].prefix", subnet.prefix
        for name in ("gateway", "dns"):
            address = getattr(subnet, name)
            if address:
                yield ("route", record.name, _alone(address)), f"subnets[{at}].{name}", address


def _station_claims(record: Interface | Endpoint) -> Iterator[tuple[Claim, str, str]]:
    yield ("mac", record.network, record.mac), "mac", f"{record.mac} in {record.network}"
    for at, address in enumerate(record.addresses):
        what = f"{address} in {record.network}"
        yield ("route", record.network, _alone(address)), f"addresses[{at}]", what
    if isinstance(record, Endpoint):
        return
    for name in ("label", "l2_label"):
        label = getattr(record, name)
        if label:
            yield ("label", label), name, f"label {label}"
    if record.device:
        yield ("device", record.device), "device", f"device {record.device}"
    if record.parent:
        what = f"VLAN {record.vlan} of {record.parent}"
        yield ("vlan", record.parent, record.vlan), "vlan", what


def _gateway_claims(record: Gateway) -> Iterator[tuple[Claim, str, str]]:
    for device in (record.device, inner_end(record.device)):
        yield ("device", device), "device", f"device {device}"
    for at, prefix in enumerate(record.subnets):
        # the host has one table, whatever the network
        yield ("host route", prefix), f"subnets[{at}]", f"the host's route to {prefix}"
    for at, prefix in enumerate(record.routes):
        yield ("route", record.network, prefix), f"routes[{at}]", prefix
    if record.label:
        yield ("label", record.label), "label", f"label {record.label}"


def needs(record: Record) -> Iterator[tuple[Key, str]]:
    """Which objects must be there for this one, and the key in it that says so."""
    network = getattr(record, "network", "")
    if network:
        yield (Network.kind, network), "network"
    if isinstance(record, Endpoint | Membership) or (
        isinstance(record, StaticRoute) and record.host
    ):
        yield (Host.kind, record.host), "host"
    if isinstance(record, Interface) and record.parent:
        yield (Interface.kind, record.parent), "parent"
    if isinstance(record, Bfd):
        yield (Interface.kind, record.interface), "interface"


def _alone(address: str) -> str:
    """The prefix of one address, /32 or /128."""
    return str(ip_network(address))
