# SPDX-License-Identifier: Apache-2.0
"""Table `inet`: IPv4 routes of all VRFs in one longest-prefix-match trie.

The kernel replaces a route as a whole (RCU), so it stands in the trie itself.
The VRF is always matched in full: a key's prefix length is 32 + that of the route.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from .errors import BadValue, NoSuchEntry, Refused
from .home import Home, check_label
from .layout import Layout
from .names import LABEL_NONE, RouteFlag
from .records import Route

_VRF_BITS = 32
_KNOWN = int(sum(RouteFlag))
_LABEL_VALID = int(RouteFlag.LABEL_VALID)


class InetTable:
    """The IPv4 routes of an instance. Keys are (vrf, prefix)."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._trie = home.lpm("inet")
        self._key = home.layout("vr_inet_key")
        self._value = home.layout("vr_route")
        self._pack_key = _packer(self._key, ("prefixlen", "vrf", "addr"))
        self._pack_value = _packer(self._value, ("nh", "label", "bridge", "flags", "plen"))
        self.size = self._trie.max_entries

    def get(self, vrf: int, network: IPv4Network) -> Route | None:
        """The route of exactly this prefix."""
        found = self._find(vrf, int(network.network_address), network.prefixlen)
        return found if found is not None and found.prefix == network else None

    def lookup(self, vrf: int, address: IPv4Address) -> Route | None:
        """The route that a packet to `address` takes: that of the longest prefix."""
        return self._find(vrf, int(address), 32)

    def put(self, route: Route) -> Route:
        """Adds the route, or replaces that of the same prefix; as it is stored.

        LABEL_VALID follows from `label`. Raises BadValue, Refused, TableFull.
        """
        self.put_many((route,))
        flags = route.flags & ~RouteFlag.LABEL_VALID
        if route.label is not None:
            flags |= RouteFlag.LABEL_VALID
        return Route(
            vrf=route.vrf,
            prefix=route.prefix,
            nh=route.nh,
            label=route.label,
            flags=flags,
            bridge=route.bridge,
        )

    def put_many(self, routes: Iterable[Route]) -> int:
        """put() of many routes; how many there were.

        All are checked before the first is written. On TableFull the first ones are in.
        """
        vrfs = self._home.percpu("vrf_stats").max_entries
        nexthops = min(self._home.words("nexthop_index").size, 1 << 24)
        bridge = self._home.array("bridge").max_entries
        items: list[tuple[bytes, bytes]] = []
        for route in routes:
            flags, label, prefix = int(route.flags), route.label, route.prefix
            fits = 0 <= route.vrf < vrfs and 0 <= route.nh < nexthops and flags & ~_KNOWN == 0
            if not fits or not 0 <= route.bridge < bridge or type(prefix) is not IPv4Network:
                self._complain(route, bridge)
            check_label(label)
            flags &= ~_LABEL_VALID
            if label is not None:
                flags |= _LABEL_VALID
            plen = prefix.prefixlen
            key = self._pack_key(_VRF_BITS + plen, route.vrf, int(prefix.network_address))
            value = self._pack_value(
                route.nh, LABEL_NONE if label is None else label, route.bridge, flags, plen
            )
            items.append((key, value))
        with self._home.lock():
            if len(items) == 1:
                self._trie.set(*items[0])
            else:
                self._trie.set_many(items)
        return len(items)

    def delete(self, vrf: int, network: IPv4Network) -> None:
        """Removes the route of exactly this prefix; NoSuchEntry if there is none.

        Packets then take the next shorter prefix.
        """
        self._home.check_vrf(vrf)
        key = self._pack_key(_VRF_BITS + network.prefixlen, vrf, int(network.network_address))
        with self._home.lock():
            if not self._trie.delete(key):
                raise NoSuchEntry(f"VRF {vrf} has no route {network}")

    def delete_many(self, prefixes: Iterable[tuple[int, IPv4Network]]) -> int:
        """Removes the routes of these (vrf, prefix); how many there were."""
        keys = [
            self._pack_key(_VRF_BITS + net.prefixlen, vrf, int(net.network_address))
            for vrf, net in prefixes
        ]
        with self._home.lock():
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
            flags=RouteFlag(fields["flags"] & _KNOWN),
            bridge=fields["bridge"],
        )

    def _complain(self, route: Route, bridge: int) -> None:
        self._home.check_vrf(route.vrf)
        self._home.check_nexthop(route.nh)
        if type(route.prefix) is not IPv4Network:
            raise Refused(f"IPv6 routes come later: {route.prefix} is none of IPv4")
        if int(route.flags) & ~_KNOWN:
            raise BadValue("flags", hex(route.flags), "inet routes have no such flag")
        raise BadValue("bridge", route.bridge, f"bridge entries are 1 to {bridge - 1}, 0 is none")


def _packer(layout: Layout, names: tuple[str, ...]) -> Callable[..., bytes]:
    """A faster `layout.pack` for these fields (all integers) given by position.

    A table of 100,000 routes is packed twice per route: what Layout.pack does by
    name, and for every field of the struct, is done once here.
    """
    order = sorted(names, key=lambda name: layout.fields[name].offset)
    if order != list(names):
        return lambda *values: layout.pack(**dict(zip(names, values, strict=True)))
    big = [layout.fields[name].kind == "be" for name in names]
    runs: list[str] = []
    at = 0
    for name in names:
        field = layout.fields[name]
        runs.append(f"{field.offset - at}x{ {1: 'B', 2: 'H', 4: 'I', 8: 'Q'}[field.size] }")
        at = field.offset + field.size
    packed = struct.Struct("=" + "".join(runs) + f"{layout.size - at}x")
    if not any(big) or sys.byteorder == "big":
        return packed.pack
    swap = [
        _swap(layout.fields[name].size) if flag else None
        for name, flag in zip(names, big, strict=True)
    ]
    return lambda *values: packed.pack(
        *[change(value) if change else value for change, value in zip(swap, values, strict=True)]
    )


def _swap(size: int) -> Callable[[int], int]:
    return lambda value: int.from_bytes(value.to_bytes(size, "little"), "big")
