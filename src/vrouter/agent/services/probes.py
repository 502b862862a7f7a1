# SPDX-License-Identifier: Apache-2.0
"""Which single addresses of allowed address pairs a port is asked about, and when."""

from __future__ import annotations

from collections.abc import Iterator

from . import facts
from .addresses import PROBE_AFTER, Addresses
from .base import Port, World

# of a port, one version: a pair that is wider than one address is not asked about
PER_PORT = 64


def hosts(port: Port, version: int) -> list[facts.Address]:
    """The single addresses of the port's pairs."""
    pairs = facts.of_interface(port.interface).pairs
    single = (
        one.prefix.network_address
        for one in pairs
        if one.prefix.version == version and one.prefix.prefixlen == one.prefix.max_prefixlen
    )
    return list(dict.fromkeys(single))[:PER_PORT]


class Probes:
    """Ports with pairs of one version; those whose addresses nobody holds are asked again."""

    def __init__(self, world: World, table: Addresses, version: int) -> None:
        self._world = world
        self._table = table
        self._version = version
        self._next: dict[int, float] = {}

    def port_up(self, port: Port, now: float) -> list[facts.Address]:
        """What a new port is asked about."""
        wanted = hosts(port, self._version)
        if wanted:
            self._next[port.vif] = now + PROBE_AFTER
        return wanted

    def due(self, now: float) -> Iterator[tuple[Port, facts.Address]]:
        """What is to be asked now."""
        for vif, when in list(self._next.items()):
            if when > now:
                continue
            port = self._world.port(vif)
            wanted = hosts(port, self._version) if port is not None else []
            if port is None or not wanted:
                del self._next[vif]
                continue
            self._next[vif] = now + PROBE_AFTER
            for address in wanted:
                if self._table.get(port.vrf, address) is None:
                    yield port, address
