# SPDX-License-Identifier: Apache-2.0
"""Counters of the whole instance: drops by reason, and what each VRF did.

They are kept per CPU; `core` picks one CPU, None adds all of them up.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from .home import Home, one_cpu
from .records import VrfStats


class Stats:
    """Drop and VRF counters. Those of vifs are with the vifs."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def drops(self, core: int | None = None) -> dict[int, int]:
        """Dropped packets by reason; every reason is in it. BadValue: no such CPU."""
        table = self._home.percpu("drop_stats")
        return {
            reason: sum(int.from_bytes(row, sys.byteorder) for row in one_cpu(rows, core))
            for reason, rows in table.items()
        }

    def clear_drops(self) -> None:
        """Sets the drop counters of the instance to zero (not those of the vifs)."""
        table = self._home.percpu("drop_stats")
        with self._home.lock():
            for reason in range(table.max_entries):
                table.set_zero(reason)

    @property
    def vrf_limit(self) -> int:
        """How many VRFs there are."""
        return self._home.percpu("vrf_stats").max_entries

    def vrf(self, vrf: int, core: int | None = None) -> VrfStats:
        """The counters of a VRF. BadValue: no such VRF or CPU."""
        self._home.check_vrf(vrf)
        rows = self._home.percpu("vrf_stats").get(vrf)
        layout = self._home.layout("vr_vrf_stats")
        return VrfStats.total([layout.unpack(row) for row in one_cpu(rows, core)])

    def vrfs(self) -> Iterator[tuple[int, VrfStats]]:
        """(vrf, counters) of every VRF that has counted something, ascending."""
        layout = self._home.layout("vr_vrf_stats")
        for vrf, rows in self._home.percpu("vrf_stats").items():
            if any(map(any, rows)):
                yield vrf, VrfStats.total([layout.unpack(row) for row in rows])

    def clear_vrf(self, vrf: int) -> None:
        """Sets the counters of a VRF to zero."""
        self._home.check_vrf(vrf)
        with self._home.lock():
            self._home.percpu("vrf_stats").set_zero(vrf)
