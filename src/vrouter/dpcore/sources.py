# SPDX-License-Identifier: Apache-2.0
"""Table `sources`: the MACs, and the prefixes with each, that a vif may use.

A vif has such a table if its feature SOURCES is set; what is in here of a vif without it has no
effect. The kernel exchanges whole nodes of the trie, so no entry is seen half written.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from ipaddress import ip_network
from typing import Any, Final

from .home import Home, check_mac
from .names import SOURCE_BITS
from .records import Source

_PROTO: Final = {4: 0x0800, 6: 0x86DD}
_VERSION: Final = {proto: version for version, proto in _PROTO.items()}
_LENGTH: Final = {4: 4, 6: 16}


class SourceTable:
    """The sources of all vifs of an instance; `VifTable.set_sources` writes them."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._trie = home.lpm("sources")
        self._key = home.layout("vr_source_key")

    def of(self, idx: int) -> tuple[Source, ...]:
        """The sources of vif `idx`: each MAC alone, then with its prefixes."""
        return self._sorted(self._stored(idx).values())

    def all(self) -> dict[int, tuple[Source, ...]]:
        """The sources of every vif that has any."""
        found: dict[int, list[Source]] = {}
        for key, _ in self._trie.items():
            fields = self._key.unpack(key)
            found.setdefault(fields["vif"], []).append(_source(fields))
        return {idx: self._sorted(found[idx]) for idx in sorted(found)}

    def replace(
        self, idx: int, sources: Iterable[Source], known: Iterable[Source] | None = None
    ) -> bool:
        """Makes `sources` those of vif `idx`, with each MAC alone besides; whether it changed
        anything.

        known: what the vif has now. A writer that knows it spares the walk over the table of all
        vifs, which takes a thousand vifs some milliseconds.

        What is new is added before what is old goes: a packet that both allow passes
        meanwhile. Raises BadValue, TableFull (then nothing has changed).
        """
        wanted = self._packed(idx, sources)
        have = self._stored(idx) if known is None else self._packed(idx, known)
        fresh = [key for key in wanted if key not in have]
        added: list[bytes] = []
        try:
            for key in fresh:
                prefix = wanted[key].prefix
                length = 0 if prefix is None else prefix.prefixlen
                self._trie.set(key, length.to_bytes(4, sys.byteorder))
                added.append(key)
        except BaseException:
            self._delete(added)
            raise
        stale = [key for key in have if key not in wanted]
        self._delete(stale)
        return bool(fresh or stale)

    def _packed(self, idx: int, sources: Iterable[Source]) -> dict[bytes, Source]:
        """By key; each MAC alone besides."""
        found = {self._pack(idx, one): one for one in sources}
        return found | {self._pack(idx, one): one for one in map(_alone, [*found.values()])}

    def _delete(self, keys: Iterable[bytes]) -> None:
        for key in keys:
            self._trie.delete(key)

    def _stored(self, idx: int) -> dict[bytes, Source]:
        found = {}
        for key, _ in self._trie.items():
            fields = self._key.unpack(key)
            if fields["vif"] == idx:
                found[key] = _source(fields)
        return found

    def _pack(self, idx: int, source: Source) -> bytes:
        check_mac(source.mac)
        prefix = source.prefix
        packed = b"" if prefix is None else prefix.network_address.packed
        return self._key.pack(
            prefixlen=SOURCE_BITS + (0 if prefix is None else prefix.prefixlen),
            vif=idx,
            proto=0 if prefix is None else _PROTO[prefix.version],
            mac=source.mac,
            addr=packed.ljust(16, b"\0"),
        )

    @staticmethod
    def _sorted(sources: Iterable[Source]) -> tuple[Source, ...]:
        def order(one: Source) -> tuple[Any, ...]:
            prefix = one.prefix
            if prefix is None:
                return one.mac, 0, 0, 0
            return one.mac, prefix.version, int(prefix.network_address), prefix.prefixlen

        return tuple(sorted(sources, key=order))


def _alone(source: Source) -> Source:
    return Source(mac=source.mac)


def _source(fields: dict[str, Any]) -> Source:
    if not fields["proto"]:
        return Source(mac=fields["mac"])
    version = _VERSION[fields["proto"]]
    prefix = ip_network((fields["addr"][: _LENGTH[version]], fields["prefixlen"] - SOURCE_BITS))
    return Source(mac=fields["mac"], prefix=prefix)
