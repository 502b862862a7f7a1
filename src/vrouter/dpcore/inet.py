# SPDX-License-Identifier: Apache-2.0
"""Table `inet`: IPv4 routes of all VRFs in one longest-prefix-match trie.

The kernel replaces a route as a whole (RCU), so it stands in the trie itself.
The VRF is always matched in full: a key's prefix length is 32 + that of the route.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from ipaddress import IPv4Network
from itertools import islice
from typing import Any

from .changes import Operation, write_noted
from .errors import NoSuchEntry
from .home import Home, check_label
from .names import LABEL_NONE, RouteFlag
from .packing import packer, struct_of
from .records import IPAddress, IPNetwork, Route
from .route_checks import KNOWN, LABEL_VALID, check_route, stored

_VRF_BITS = 32
_ROW_HEAD = 5
_PART = 2048  # routes that are removed between two looks at the log


class InetTable:
    """The IPv4 routes of an instance. Keys are (vrf, prefix)."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._trie = home.lpm("inet")
        self._key = home.layout("vr_inet_key")
        self._value = home.layout("vr_route")
        self._pack_key = packer(self._key, ("prefixlen", "vrf", "addr"))
        self._pack_value = packer(self._value, ("nh", "label", "bridge", "flags", "plen"))
        self._route_of = struct_of(self._value, ("nh", "label", "bridge", "flags"))
        self.size = self._trie.max_entries

    def get(self, vrf: int, network: IPNetwork) -> Route | None:
        """The route of exactly this prefix."""
        found = self._find(vrf, int(network.network_address), network.prefixlen)
        return found if found is not None and found.prefix == network else None

    def lookup(self, vrf: int, address: IPAddress) -> Route | None:
        """The route that a packet to `address` takes: that of the longest prefix."""
        return self._find(vrf, int(address), 32)

    def covering(self, vrf: int, network: IPNetwork) -> Route | None:
        """The route that packets to all of `network` take: the longest prefix that holds it."""
        return self._find(vrf, int(network.network_address), network.prefixlen)

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
        vrfs, nexthops, bridge = self._limits
        items: list[tuple[bytes, bytes]] = []
        rows = list(routes)
        for route in rows:
            flags, label, prefix = int(route.flags), route.label, route.prefix
            fits = 0 <= route.vrf < vrfs and 0 <= route.nh < nexthops and flags & ~KNOWN == 0
            if not fits or not 0 <= route.bridge < bridge or type(prefix) is not IPv4Network:
                check_route(self._home, route, IPv4Network)
            check_label(label)
            flags &= ~LABEL_VALID
            if label is not None:
                flags |= LABEL_VALID
            plen = prefix.prefixlen
            key = self._pack_key(_VRF_BITS + plen, route.vrf, int(prefix.network_address))
            value = self._pack_value(
                route.nh, LABEL_NONE if label is None else label, route.bridge, flags, plen
            )
            items.append((key, value))
        log = self._home.changes
        with self._home.lock():
            notes = [log.route(Operation.ADD, route) for route in rows]
            write_noted(log, items, notes, self._write, lambda key: self._trie.get(key))
        return len(items)

    def delete(self, vrf: int, network: IPNetwork) -> None:
        """Removes the route of exactly this prefix; NoSuchEntry if there is none.

        Packets then take the next shorter prefix.
        """
        self._home.check_vrf(vrf)
        key = self._pack_key(_VRF_BITS + network.prefixlen, vrf, int(network.network_address))
        log = self._home.changes
        with self._home.lock():
            route = self.get(vrf, network)
            if route is None:
                raise NoSuchEntry(f"VRF {vrf} has no route {network}")
            with log.noted([log.route(Operation.DELETE, route)]):
                self._trie.delete(key)

    def delete_many(self, prefixes: Iterable[tuple[int, IPNetwork]]) -> int:
        """Removes the routes of these (vrf, prefix); how many there were."""
        log = self._home.changes
        with self._home.lock():
            found = [self.get(vrf, network) for vrf, network in prefixes]
            there = [route for route in found if route is not None]
            keys = [
                self._pack_key(
                    _VRF_BITS + one.prefix.prefixlen, one.vrf, int(one.prefix.network_address)
                )
                for one in there
            ]
            with log.noted([log.route(Operation.DELETE, route) for route in there]):
                return self._trie.delete_many(keys)

    def items(self, vrf: int | None = None) -> Iterator[Route]:
        """All routes, or those of `vrf`; by VRF, address, prefix length."""
        rows: list[tuple[int, int, int, bytes]] = []
        for key, value in self._trie.items():
            field = self._key.unpack(key)
            if vrf is None or field["vrf"] == vrf:
                rows.append((field["vrf"], field["addr"], field["prefixlen"] - _VRF_BITS, value))
        rows.sort(key=lambda row: row[:3])
        for row_vrf, address, plen, value in rows:
            yield self._route(row_vrf, IPv4Network((address, plen)), self._value.unpack(value))

    def rows(self, vrf: int) -> list[bytes]:
        """The routes of `vrf` packed, by address and prefix length: address (4 bytes, network
        order), prefix length (1), then struct vr_route. For who reads very many."""
        key, value = self._key, self._value
        at, size = key.fields["addr"].offset, value.size
        plen = value.fields["plen"].offset
        vrf_at = key.fields["vrf"].offset
        wanted = self._pack_key(0, vrf, 0)[vrf_at : vrf_at + 4]
        found = [
            k[at : at + 4] + v[plen : plen + 1] + v[:size]
            for k, v in self._trie.items()
            if k[vrf_at : vrf_at + 4] == wanted
        ]
        found.sort()
        return found

    def unpack_row(self, row: bytes) -> tuple[int, int, int, int]:
        """(nexthop, label or LABEL_NONE, bridge index or 0, flags) of one of `rows`."""
        nh, label, bridge, flags = self._route_of.unpack_from(row, _ROW_HEAD)
        return nh, label, bridge, flags & KNOWN

    def clear(self) -> int:
        """Removes all routes; how many."""
        log = self._home.changes
        done = 0
        with self._home.lock():
            routes = self.items()
            while part := list(islice(routes, _PART)):
                keys = [
                    self._pack_key(
                        _VRF_BITS + one.prefix.prefixlen, one.vrf, int(one.prefix.network_address)
                    )
                    for one in part
                ]
                with log.noted([log.route(Operation.DELETE, route) for route in part]):
                    done += self._trie.delete_many(keys)
        return done

    @cached_property
    def _limits(self) -> tuple[int, int, int]:
        """How many VRFs, nexthops and bridge entries a route can name."""
        home = self._home
        nexthops = min(home.words("nexthop_index").size, 1 << 24)
        return home.percpu("vrf_stats").max_entries, nexthops, home.array("bridge").max_entries

    def _write(self, items: list[tuple[bytes, bytes]]) -> None:
        if len(items) == 1:
            self._trie.set(*items[0])
        else:
            self._trie.set_many(items)

    def _find(self, vrf: int, address: int, plen: int) -> Route | None:
        if not 0 <= vrf < 1 << 32:
            return None
        value = self._trie.get(self._pack_key(_VRF_BITS + plen, vrf, address))
        if value is None:
            return None
        fields = self._value.unpack(value)
        network = IPv4Network((address, fields["plen"]), strict=False)
        return self._route(vrf, network, fields)

    @staticmethod
    def _route(vrf: int, network: IPv4Network, fields: dict[str, Any]) -> Route:
        label = fields["label"]
        return Route(
            vrf=vrf,
            prefix=network,
            nh=fields["nh"],
            label=None if label == LABEL_NONE else label,
            flags=RouteFlag(fields["flags"] & KNOWN),
            bridge=fields["bridge"],
        )
