# SPDX-License-Identifier: Apache-2.0
"""Holds every map of counters that appears on the machine, until they are added up.

Instances come and go with their tests, and with a process whose counters nobody asked for. A
map lives as long as somebody has it open: who looks often enough misses none, as a load takes
far longer from its maps to its first packet than this from look to look.
"""

from __future__ import annotations

import ctypes
import os
from array import array
from typing import Final

from vrouter.dpcore import libbpf

PAUSE: Final = 0.005  # seconds from look to look
_SECTION: Final = b".data"


class Watch:
    """The maps of counters: those of section .data with `size` bytes."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._last = 0
        self._held: list[int] = []
        while self._next() is not None:
            pass  # what is there before has not to do with us

    def look(self) -> None:
        """Opens what has come since the last time."""
        while (number := self._next()) is not None:
            fd = libbpf.lib().bpf_map_get_fd_by_id(number)
            if fd < 0:
                continue  # gone already: none of a dp-core that was loaded
            info = libbpf.MapInfo()
            libbpf.object_info(fd, info)
            if info.name.endswith(_SECTION) and info.value_size == self._size:
                self._held.append(fd)
            else:
                os.close(fd)

    def _next(self) -> int | None:
        following = ctypes.c_uint32()
        if libbpf.lib().bpf_map_get_next_id(self._last, ctypes.byref(following)) < 0:
            return None
        self._last = following.value
        return self._last

    @property
    def held(self) -> int:
        """How many there were."""
        return len(self._held)

    def sums(self) -> list[int]:
        """Every counter of .data, added up over all maps, which are let go."""
        total = [0] * (self._size // 8)
        value, key = ctypes.create_string_buffer(self._size), ctypes.c_uint32(0)
        for fd in self._held:
            result = libbpf.lib().bpf_map_lookup_elem(fd, ctypes.byref(key), value)
            libbpf.check(result, "cannot read a map of counters")
            total = [one + more for one, more in zip(total, array("Q", value.raw), strict=True)]
            os.close(fd)
        self._held.clear()
        return total
