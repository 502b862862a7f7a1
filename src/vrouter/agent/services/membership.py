# SPDX-License-Identifier: Apache-2.0
"""Which multicast groups are wanted at which port, by what hosts report: the router's side of
RFC 3376, section 6, for IGMP and MLD alike.

A group is wanted from all sources (some host excludes) or from listed ones. A filter "all but
these" is taken as "all": a sender too many does no harm, and state for it would be the guest's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .facts import Address
from .wire import ethernet, igmp
from .wire.igmp import Record

# RFC 3376, section 8, in seconds
ROBUSTNESS = 2
QUERY_INTERVAL = 125
RESPONSE = 10
MEMBERSHIP = ROBUSTNESS * QUERY_INTERVAL + RESPONSE
STARTUP_INTERVAL = QUERY_INTERVAL / 4
STARTUP_COUNT = ROBUSTNESS
LAST_MEMBER_RESPONSE = 1
LAST_MEMBER = ROBUSTNESS * LAST_MEMBER_RESPONSE

GROUPS_PER_PORT = 256
# MACs of 224.0.0.0/24, of the groups of RFC 4291 and RFC 8415 and other well-known ones, of
# solicited nodes; wider groups have them, too
_OF_THE_LINK = tuple(map(bytes.fromhex, ("01005e0000", "3333000000", "3333000100", "3333ff")))
SOURCES_PER_GROUP = 64


@dataclass(slots=True)
class Group:
    """A group that is wanted at a port. everything: until when from all sources (0 never);
    sources: until when from each. version: the oldest that reported it; old_until: till when
    that host is taken to be there (RFC 3376, section 7.3.1)."""

    everything: float = 0.0
    sources: dict[Address, float] = field(default_factory=dict)
    version: int = 3
    old_until: float = 0.0

    @property
    def until(self) -> float:
        """How long some of it is wanted."""
        return max(self.everything, *self.sources.values(), 0.0)

    def wanted(self, now: float) -> bool:
        """Whether any of it is."""
        return self.until > now


class Members:
    """The groups of all ports, by vif."""

    def __init__(self) -> None:
        self.ports: dict[int, dict[Address, Group]] = {}

    def report(
        self, vif: int, records: Iterable[Record], now: float
    ) -> tuple[list[Address], list[str]]:
        """Takes a report. Groups to be asked about (somebody wants less), and how each record
        ended: `joined`, `refreshed`, `narrowed`, `left`, `ignored`, `too many groups`."""
        asked, results = [], []
        for record in records:
            if _local(record.group):
                results.append("ignored")
                continue
            result = self._record(vif, record, now)
            results.append(result)
            if result in ("left", "narrowed"):
                asked.append(record.group)
        return asked, results

    def _record(self, vif: int, record: Record, now: float) -> str:
        groups = self.ports.get(vif, {})
        group = groups.get(record.group)
        leaves = record.kind == igmp.BLOCK or (record.kind == igmp.TO_IN and not record.sources)
        if group is None:
            if leaves or (record.kind == igmp.IS_IN and not record.sources):
                return "ignored"
            if len(groups) >= GROUPS_PER_PORT:
                return "too many groups"
            group = Group(version=record.version)
            self.ports.setdefault(vif, groups)[record.group] = group
            self._wants(group, record, now)
            return "joined"
        if leaves:
            return self._leaves(group, record, now)
        narrows = record.kind == igmp.TO_IN and group.everything > now
        self._wants(group, record, now)
        return "narrowed" if narrows else "refreshed"

    def _wants(self, group: Group, record: Record, now: float) -> None:
        if record.version <= group.version or now >= group.old_until:
            group.version = record.version
            group.old_until = now + MEMBERSHIP
        if record.kind in (igmp.IS_EX, igmp.TO_EX):
            group.everything = now + MEMBERSHIP
            return
        for source in record.sources:
            if source in group.sources or len(group.sources) < SOURCES_PER_GROUP:
                group.sources[source] = now + MEMBERSHIP
            else:
                # more than is kept: from all, then
                group.everything = now + MEMBERSHIP
        if record.kind == igmp.TO_IN and group.everything:
            group.everything = min(group.everything, now + LAST_MEMBER)

    def _leaves(self, group: Group, record: Record, now: float) -> str:
        """What is not asked for again soon is not wanted any more."""
        if record.group.version == 4 and group.version == 1 and now < group.old_until:
            # a host of IGMPv1 among them does not answer in time (RFC 3376, section 7.3.2)
            return "ignored"
        soon = now + LAST_MEMBER
        if record.kind == igmp.BLOCK:
            for source in record.sources:
                if source in group.sources:
                    group.sources[source] = min(group.sources[source], soon)
            return "left" if not group.everything else "refreshed"
        group.everything = min(group.everything, soon)
        for source, until in group.sources.items():
            group.sources[source] = min(until, soon)
        return "left"

    def expire(self, now: float) -> None:
        """Forgets what has not been asked for in time."""
        for vif, groups in list(self.ports.items()):
            for address, group in list(groups.items()):
                for source, until in list(group.sources.items()):
                    if until <= now:
                        del group.sources[source]
                if not group.wanted(now):
                    del groups[address]
            if not groups:
                del self.ports[vif]

    def macs(self, vif: int) -> frozenset[bytes]:
        """The MACs of the groups that are wanted at a port and may be sent to members only: none
        that a group has, too, which everybody hears (RFC 4541, section 2.1.2 (3))."""
        found = map(_mac_of, self.ports.get(vif, {}))
        return frozenset(mac for mac in found if not mac.startswith(_OF_THE_LINK))

    def forget(self, vif: int) -> None:
        """The port is gone."""
        self.ports.pop(vif, None)


def _mac_of(group: Address) -> bytes:
    make = ethernet.group4 if group.version == 4 else ethernet.group6
    return make(group.packed)


def _local(group: Address) -> bool:
    """Groups of the link itself, which are always wanted and never reported (224.0.0.0/24 by
    RFC 3376's hosts; ff02::1 and narrower scopes by RFC 3810)."""
    if group.version == 4:
        return group.packed[:3] == b"\xe0\x00\x00"
    return group.packed[1] & 0x0F < 2 or group.packed == b"\xff\x02" + bytes(13) + b"\1"
