# SPDX-License-Identifier: Apache-2.0
"""Addresses that are learnt from who uses them: of allowed pairs, and by MAC-IP learning.

One table for ARP, neighbour discovery and learning, so that an address has one place. It is kept
alive by what its user sends, and asked after (`due`) before it is forgotten.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from . import facts
from .base import Action, ForgetAddress, LearnAddress, Port, World
from .facts import Address
from .wire import ethernet

PROBE_AFTER = 30.0  # seconds of silence
PROBE_EVERY = 10.0
FORGET_AFTER = 60.0
PER_PORT = 256


@dataclass(slots=True)
class Entry:
    """Who uses an address. seen: when it was last heard of; probed: when it was last asked."""

    vif: int
    mac: bytes
    seen: float
    probed: float


class Addresses:
    """By (vrf, address); at most PER_PORT of a port."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._entries: dict[tuple[int, Address], Entry] = {}
        self._held: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, vrf: int, address: Address) -> Entry | None:
        """Who uses an address."""
        return self._entries.get((vrf, address))

    def seen(self, port: Port, address: Address, mac: bytes, now: float) -> Iterable[Action] | None:
        """`mac` behind `port` uses the address. Actions when that is news; None when the port
        has as many addresses as it may."""
        key = (port.vrf, address)
        entry = self._entries.get(key)
        if entry is not None and (entry.vif, entry.mac) == (port.vif, mac):
            entry.seen = entry.probed = now
            return ()
        if self._held[port.vif] >= PER_PORT:
            return None
        if entry is not None:
            self._drop(key)
        self._entries[key] = Entry(port.vif, mac, now, now)
        self._held[port.vif] += 1
        return (LearnAddress(port.vrf, address, mac, port.vif),)

    def hear(
        self, port: Port, address: Address, mac: bytes, now: float
    ) -> tuple[Iterable[Action], str]:
        """`mac` behind `port` says that it has the address: it is learnt if a pair of the port
        allows it, and kept if it was learnt. Actions, and how that ended, for a counter."""
        entry = self.get(port.vrf, address)
        same = entry is not None and (entry.vif, entry.mac) == (port.vif, mac)
        if not same and not facts.of_interface(port.interface).may_use(address, mac):
            return (), "heard"
        news = self.seen(port, address, mac, now)
        if news is None:
            return (), "too many addresses"
        return news, "learnt" if news else "refreshed"

    def due(self, now: float, version: int) -> Iterator[tuple[Port, Address, bytes]]:
        """Whom to ask whether it still uses an address: port, address, MAC."""
        for (vrf, address), entry in self._entries.items():
            quiet = now - entry.seen >= PROBE_AFTER and now - entry.probed >= PROBE_EVERY
            if address.version != version or not quiet:
                continue
            port = self._world.port(entry.vif)
            if port is not None and port.vrf == vrf:
                entry.probed = now
                yield port, address, entry.mac

    def expire(self, now: float) -> list[Action]:
        """Forgets what nobody uses any more, and what was behind a port that is gone."""
        gone = []
        for (vrf, address), entry in self._entries.items():
            port = self._world.port(entry.vif)
            if now - entry.seen >= FORGET_AFTER or port is None or port.vrf != vrf:
                gone.append((vrf, address))
        for key in gone:
            self._drop(key)
        return [ForgetAddress(vrf, address) for vrf, address in gone]

    def rows(self, now: float) -> Iterator[Mapping[str, str | int | float]]:
        """All of them, for people."""
        for (vrf, address), entry in self._entries.items():
            yield {
                "vrf": vrf,
                "address": str(address),
                "mac": ethernet.text(entry.mac),
                "vif": entry.vif,
                "seconds_ago": round(now - entry.seen, 1),
            }

    def _drop(self, key: tuple[int, Address]) -> None:
        entry = self._entries.pop(key)
        self._held[entry.vif] -= 1
        if not self._held[entry.vif]:
            del self._held[entry.vif]
