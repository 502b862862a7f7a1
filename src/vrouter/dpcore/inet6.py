# SPDX-License-Identifier: Apache-2.0
"""Table `inet6`: IPv6 routes of all VRFs, a hash key for each prefix.

`inet6_hash` leads from a prefix to a slot, which holds the prefix again and the route: a change
fills a fresh slot, lets the hash name it and retires the old one. dp-core tries only the prefix
lengths that `inet6_lengths` says are in use in the VRF; `inet6_counts` says by how many routes.
A writer that dies leaves a length in use too many, which costs dp-core a look-up, never one too
few: a count goes up before its route comes, and down after it has gone.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from ipaddress import IPv6Network
from typing import Any, Final

from .changes import Operation, write_noted
from .errors import NoSuchEntry, Refused
from .home import Home
from .names import LABEL_NONE, RouteFlag
from .packing import packer, struct_of
from .records import IPAddress, IPNetwork, Route
from .route_checks import KNOWN, check_route, stored
from .slots import SlotAllocator

_BITS: Final = 128
_ROW_HEAD: Final = 17
_TRIES: Final = 3
_ALL: Final = (1 << _BITS) - 1


class Inet6Table:
    """The IPv6 routes of an instance. Keys are (vrf, prefix)."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._hash = home.hash("inet6_hash")
        self._array = home.array("inet6_slots")
        self._entry = home.layout("vr_inet6_entry")
        self._key = home.layout("vr_inet6_key")
        self._pack_key = packer(self._key, ("addr", "vrf", "plen"))
        route = home.layout("vr_route")
        self._pack_route = packer(route, ("nh", "label", "bridge", "flags", "plen"))
        self._route_of = struct_of(route, ("nh", "label", "bridge", "flags"))
        lengths, counts = home.array("inet6_lengths"), home.array("inet6_counts")
        self._views = [lengths.mmap(), counts.mmap()]
        self._lengths = self._views[0].cast("Q")
        self._counts = self._views[1].cast("I")
        self._lengths_step, self._counts_step = lengths.stride // 8, counts.stride // 4
        self.size = self._hash.max_entries

    def close(self) -> None:
        """Lets go of the mappings."""
        for view in (self._lengths, self._counts, *self._views):
            view.release()

    def get(self, vrf: int, network: IPNetwork) -> Route | None:
        """The route of exactly this prefix."""
        return self._find(vrf, int(network.network_address), network.prefixlen)

    def lookup(self, vrf: int, address: IPAddress) -> Route | None:
        """The route that a packet to `address` takes: that of the longest prefix."""
        if not 0 <= vrf < len(self._lengths) // self._lengths_step:
            return None
        for plen in self._in_use(vrf):
            route = self._find(vrf, int(address) & _mask(plen), plen)
            if route is not None:
                return route
        return None

    def covering(self, vrf: int, network: IPNetwork) -> Route | None:
        """The route that packets to all of `network` take: the longest prefix that holds it."""
        for plen in self._in_use(vrf):
            if plen <= network.prefixlen:
                route = self._find(vrf, int(network.network_address) & _mask(plen), plen)
                if route is not None:
                    return route
        return None

    def rows(self, vrf: int) -> list[bytes]:
        """The routes of `vrf` packed, by address and prefix length: address (16 bytes), prefix
        length (1), then struct vr_route. For who reads very many."""
        route = self._entry.fields["route"].offset
        key = self._key.fields
        at, plen, vrf_at = key["addr"].offset, key["plen"].offset, key["vrf"].offset
        wanted = vrf.to_bytes(2, sys.byteorder)
        found = []
        for one, _ in self._hash.items():
            if one[vrf_at : vrf_at + 2] == wanted:
                value = self._stored(one)
                if value is not None:
                    found.append(one[at : at + 16] + one[plen : plen + 1] + value[route:])
        found.sort()
        return found

    def unpack_row(self, row: bytes) -> tuple[int, int, int, int]:
        """(nexthop, label or LABEL_NONE, bridge index or 0, flags) of one of `rows`."""
        nh, label, bridge, flags = self._route_of.unpack_from(row, _ROW_HEAD)
        return nh, label, bridge, flags & KNOWN

    def clear(self) -> int:
        """Removes all routes; how many."""
        with self._home.lock():
            return self.delete_many([(one.vrf, one.prefix) for one in self.items()])

    def put(self, route: Route) -> Route:
        """Adds the route, or replaces that of the same prefix; as it is stored.

        LABEL_VALID follows from `label`. Raises BadValue, Refused, TableFull.
        """
        self.put_many((route,))
        return stored(route)

    def put_many(self, routes: Iterable[Route]) -> int:
        """put() of many routes; how many there were.

        All are checked before the first is written. On TableFull the first ones are in.
        """
        rows = list(routes)
        for route in rows:
            check_route(self._home, route, IPv6Network)
        # of two routes of one prefix the last one stays
        wanted = {self._key_of(route.vrf, route.prefix): stored(route) for route in rows}
        items = [(key, self._pack(key, route)) for key, route in wanted.items()]
        log = self._home.changes
        with self._home.lock():
            notes = [log.route(Operation.ADD, route) for route in wanted.values()]
            write_noted(log, items, notes, self._write, self._stored)
        return len(rows)

    def delete(self, vrf: int, network: IPNetwork) -> None:
        """Removes the route of exactly this prefix; NoSuchEntry if there is none.

        Packets then take the next shorter prefix.
        """
        self._home.check_vrf(vrf)
        with self._home.lock():
            if not self.delete_many([(vrf, network)]):
                raise NoSuchEntry(f"VRF {vrf} has no route {network}")

    def delete_many(self, prefixes: Iterable[tuple[int, IPNetwork]]) -> int:
        """Removes the routes of these (vrf, prefix); how many there were."""
        log = self._home.changes
        with self._home.lock():
            found = [self.get(vrf, network) for vrf, network in dict.fromkeys(prefixes)]
            there = [route for route in found if route is not None]
            for route in there:
                key = self._key_of(route.vrf, route.prefix)
                slot = self._slot(key)
                with log.noted([log.route(Operation.DELETE, route)]):
                    self._hash.delete(key)
                self._slots.retire(slot)
                self._count(route.vrf, route.prefix.prefixlen, -1)
        return len(there)

    def items(self, vrf: int | None = None) -> Iterator[Route]:
        """All routes, or those of `vrf`; by VRF, address, prefix length."""
        rows: list[tuple[int, int, int]] = []
        for key, _ in self._hash.items():
            fields = self._key.unpack(key)
            if vrf is None or fields["vrf"] == vrf:
                rows.append((fields["vrf"], int.from_bytes(fields["addr"]), fields["plen"]))
        for row in sorted(rows):
            route = self._find(*row)
            if route is not None:
                yield route

    def count(self) -> int:
        """How many there are."""
        return sum(1 for _ in self._hash.items())

    def collect(self) -> int:
        """Frees slots that a writer took and died before it used them; how many.

        Counts the routes of each length anew.
        """
        with self._home.lock():
            found = list(self._hash.items())
            lost = self._home.lost_slots("inet6_retire", {_number(slot) for _, slot in found})
            for slot in lost:
                self._slots.retire(slot)
            counts: Counter[tuple[int, int]] = Counter()
            for key, _ in found:
                fields = self._key.unpack(key)
                counts[fields["vrf"], fields["plen"]] += 1
            for vrf in range(len(self._lengths) // self._lengths_step):
                for plen in self._in_use(vrf):
                    self._set_count(vrf, plen, counts[vrf, plen])
        return len(lost)

    # ---- keys, slots and counts -----------------------------------------------------

    @property
    def _slots(self) -> SlotAllocator:
        return self._home.slots("inet6_retire", "inet6")

    def _key_of(self, vrf: int, network: IPNetwork) -> bytes:
        return self._pack_key(network.network_address.packed, vrf, network.prefixlen)

    def _pack(self, key: bytes, route: Route) -> bytes:
        label = LABEL_NONE if route.label is None else route.label
        plen = route.prefix.prefixlen
        return key + self._pack_route(route.nh, label, route.bridge, int(route.flags), plen)

    def _slot(self, key: bytes) -> int:
        """The slot that the hash names, 0 if none."""
        found = self._hash.get(key)
        return 0 if found is None else _number(found)

    def _stored(self, key: bytes) -> bytes | None:
        """What the table holds for the key: it again, and the route."""
        for _ in range(_TRIES):
            slot = self._slot(key)
            if not slot:
                return None
            value = self._array.get(slot)
            # else the hash's element was replaced while it was read
            if value[: len(key)] == key:
                return value
        return None

    def _find(self, vrf: int, address: int, plen: int) -> Route | None:
        if not 0 <= vrf < 1 << 16:
            return None
        key = self._pack_key(address.to_bytes(16), vrf, plen)
        value = self._stored(key)
        return None if value is None else self._route(self._entry.unpack(value))

    @staticmethod
    def _route(fields: dict[str, Any]) -> Route:
        key, route = fields["key"], fields["route"]
        label = route["label"]
        return Route(
            vrf=key["vrf"],
            prefix=IPv6Network((key["addr"], key["plen"])),
            nh=route["nh"],
            label=None if label == LABEL_NONE else label,
            flags=RouteFlag(route["flags"] & KNOWN),
            bridge=route["bridge"],
        )

    def _write(self, items: list[tuple[bytes, bytes]]) -> None:
        """Puts these (key, entry) into the table; on an error none of them is in."""
        old = [self._slot(key) for key, _ in items]
        fresh: list[int] = []
        try:
            fresh += [self._slots.allocate() for _ in items]
            self._array.set_many(
                (slot, value) for slot, (_, value) in zip(fresh, items, strict=True)
            )
            for (key, _), slot in zip(items, old, strict=True):
                if not slot:
                    self._count_key(key, 1)
            self._name(items, fresh)
        except Refused:
            self._withdraw(items, old, fresh)
            raise
        for slot in filter(None, old):
            self._slots.retire(slot)

    def _name(self, items: list[tuple[bytes, bytes]], slots: list[int]) -> None:
        words = [slot.to_bytes(4, sys.byteorder) for slot in slots]
        if len(items) == 1:
            self._hash.set(items[0][0], words[0])
        else:
            self._hash.set_many((key, word) for (key, _), word in zip(items, words, strict=True))

    def _withdraw(self, items: list[tuple[bytes, bytes]], old: list[int], fresh: list[int]) -> None:
        for (key, _), was, slot in zip(items, old, fresh, strict=False):
            if self._slot(key) == slot:
                if was:
                    self._hash.set(key, was.to_bytes(4, sys.byteorder))
                else:
                    self._hash.delete(key)
                self._slots.retire(slot)
            else:
                self._slots.release(slot)
        for (key, _), was in zip(items, old, strict=True):
            if not was and len(fresh) == len(items):
                self._count_key(key, -1)

    def _count_key(self, key: bytes, step: int) -> None:
        fields = self._key.unpack(key)
        self._count(fields["vrf"], fields["plen"], step)

    def _count(self, vrf: int, plen: int, step: int) -> None:
        at = vrf * self._counts_step + plen
        self._set_count(vrf, plen, max(0, self._counts[at] + step))

    def _set_count(self, vrf: int, plen: int, count: int) -> None:
        self._counts[vrf * self._counts_step + plen] = count
        open_bits = _BITS - plen
        at = vrf * self._lengths_step + open_bits // 64
        bit = 1 << open_bits % 64
        word = self._lengths[at]
        self._lengths[at] = word | bit if count else word & ~bit

    def _in_use(self, vrf: int) -> list[int]:
        """Prefix lengths that the VRF uses, longest first."""
        at = vrf * self._lengths_step
        words = [self._lengths[at + number] for number in range(3)]
        bits = words[0] | words[1] << 64 | words[2] << 128
        return [_BITS - number for number in range(_BITS + 1) if bits >> number & 1]


def _mask(plen: int) -> int:
    return _ALL >> plen ^ _ALL


def _number(value: bytes) -> int:
    return int.from_bytes(value, sys.byteorder)
