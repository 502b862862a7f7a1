# SPDX-License-Identifier: Apache-2.0
"""Maps `route_changes` and `route_changes_at`: what was done to routes and MACs.

Every writer of the tables inet, inet6 and bridge notes what it is about to do in a ring, does
it, and then says that it is done; all under the instance's lock. Readers follow the number of
changes done. A reader that lags behind by more than the ring holds is told how many it missed.
A writer that dies in between leaves a note that is not done: the next one declares it done, so
that nothing that may be in the tables is kept from the readers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any, Final

from .errors import VrouterError
from .names import LABEL_NONE, Family
from .packing import packer
from .records import BridgeEntry, IPAddress, Route

if TYPE_CHECKING:
    from .home import Home

_POLL: Final = 0.02  # seconds between two looks for something new
_PART: Final = 2048  # changes that are made between two looks at the log
_NO_MAC: Final = bytes(6)
_INET, _INET6 = int(Family.INET), int(Family.INET6)
_FIELDS: Final = (
    *("addr", "nh", "label", "bridge", "vrf", "flags"),
    *("mac", "family", "plen", "operation"),
)


class Operation(IntEnum):
    """What was done (enum vr_route_operation)."""

    ADD = 1
    DELETE = 2


@dataclass(frozen=True, slots=True)
class Change:
    """One change. address, plen: None and 0 for family BRIDGE; mac: that of the bridge entry, or
    the one stitched to the route; mac_index: its index, 0 for none; label None: none; flags: of
    a route (RouteFlag) or a bridge entry (BridgeFlag)."""

    operation: Operation
    family: Family
    vrf: int
    address: IPAddress | None
    plen: int
    nh: int
    flags: int
    label: int | None
    mac: bytes | None
    mac_index: int


@dataclass(frozen=True, slots=True)
class Missed:
    """So many changes were overwritten before they were read."""

    count: int


class ChangeLog:
    """The changes of an instance."""

    def __init__(self, home: Home) -> None:
        ring, at = home.array("route_changes"), home.array("route_changes_at")
        self._layout = home.layout("vr_route_change")
        self.size = ring.max_entries
        self._stride = ring.stride
        self._bytes = ring.mmap()
        self._raw = at.mmap()
        self._at = self._raw.cast("Q")  # noted, done
        bridge = home.layout("vr_bridge_entry").fields["key"].offset
        self._mac_at = bridge + home.layout("vr_bridge_key").fields["mac"].offset
        self._bridge = home.array("bridge")
        self._pack = packer(self._layout, _FIELDS)

    @property
    def done(self) -> int:
        """How many changes there were since the load."""
        return self._at[1]

    def route(self, operation: Operation, route: Route) -> bytes:
        """The note of a change of a route."""
        prefix = route.prefix
        address = prefix.network_address.packed
        return self._pack(
            address.ljust(16, b"\0"),
            route.nh,
            LABEL_NONE if route.label is None else route.label,
            route.bridge,
            route.vrf,
            int(route.flags),
            (route.bridge and self.mac_of(route.bridge)) or _NO_MAC,
            _INET if prefix.version == 4 else _INET6,
            prefix.prefixlen,
            int(operation),
        )

    def bridge(self, operation: Operation, entry: BridgeEntry) -> bytes:
        """The note of a change of a MAC."""
        return self._pack(
            bytes(16),
            entry.nh,
            LABEL_NONE if entry.label is None else entry.label,
            entry.index,
            entry.vrf,
            int(entry.flags),
            entry.mac,
            int(Family.BRIDGE),
            0,
            int(operation),
        )

    @contextmanager
    def noted(self, notes: Sequence[bytes]) -> Iterator[None]:
        """The block makes the changes of these notes. The caller holds the lock.

        An exception of the block takes the notes back: then nothing was changed.
        """
        self._adopt()
        start = self._at[1]
        # readers must not believe what is overwritten now
        self._at[0] = start + len(notes)
        for number, note in enumerate(notes, start):
            at = number % self.size * self._stride
            self._bytes[at : at + len(note)] = note
        try:
            yield
        except Exception:
            self._at[0] = start
            raise
        self._at[1] = start + len(notes)

    def read(self, since: int) -> tuple[int, list[Change | Missed]]:
        """What was done after the first `since` changes, and the number of all."""
        done = self._at[1]
        found: list[Change | Missed] = []
        first = max(since, done - self.size)
        rows = [
            (number, self._layout.unpack(self._bytes, number % self.size * self._stride))
            for number in range(first, done)
        ]
        # What a writer has overwritten while it was read is not to be believed.
        valid = max(first, self._at[0] - self.size)
        if valid > since:
            found.append(Missed(valid - since))
        found += [_change(fields) for number, fields in rows if number >= valid]
        return done, found

    def follow(self, *, poll: float = _POLL) -> Iterator[Change | Missed]:
        """Everything that is done from now on, for ever; looks each `poll` seconds."""
        at = self.done
        while True:
            at, found = self.read(at)
            yield from found
            if not found:
                time.sleep(poll)

    def close(self) -> None:
        """Lets go of the mappings."""
        for view in (self._at, self._raw, self._bytes):
            view.release()

    def mac_of(self, index: int) -> bytes | None:
        """The MAC of a bridge index, None for 0."""
        if not 0 < index < self._bridge.max_entries:
            return None
        entry = self._bridge.get(index)
        return entry[self._mac_at : self._mac_at + 6]

    def _adopt(self) -> None:
        noted, done = self._at[0], self._at[1]
        if noted > done:
            self._at[1] = noted


def write_noted(
    log: ChangeLog,
    items: list[tuple[bytes, bytes]],
    notes: list[bytes],
    write: Callable[[list[tuple[bytes, bytes]]], None],
    stored: Callable[[bytes], bytes | None],
) -> None:
    """Writes (key, value) by `write`, a part at a time, each part noted.

    `stored` says what the table holds for a key: when `write` fails half-way, what is in the
    table is noted all the same.
    """
    for start in range(0, len(items), _PART):
        part, said = items[start : start + _PART], notes[start : start + _PART]
        try:
            with log.noted(said):
                write(part)
        except VrouterError:
            rows = zip(part, said, strict=True)
            done = [note for (key, value), note in rows if stored(key) == value]
            with log.noted(done):
                pass
            raise


def _change(fields: dict[str, Any]) -> Change:
    family = Family(fields["family"])
    address: IPAddress | None = None
    if family == Family.INET:
        address = IPv4Address(fields["addr"][:4])
    elif family == Family.INET6:
        address = IPv6Address(fields["addr"])
    return Change(
        operation=Operation(fields["operation"]),
        family=family,
        vrf=fields["vrf"],
        address=address,
        plen=fields["plen"],
        nh=fields["nh"],
        flags=fields["flags"],
        label=None if fields["label"] == LABEL_NONE else fields["label"],
        mac=fields["mac"] if any(fields["mac"]) else None,
        mac_index=fields["bridge"],
    )
