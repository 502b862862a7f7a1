# SPDX-License-Identifier: Apache-2.0
"""Table `vxlan`: incoming VNI -> nexthop.

A hash gives the index of a word that holds VNI and nexthop; dp-core compares
the VNI, since a hash element may be reused while it is read.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from .errors import BadValue, NoSuchEntry, TableFull
from .home import Home
from .names import ENTRY_VALID
from .slots import SlotAllocator

_VNI_SHIFT = 32
_NH_MASK = ENTRY_VALID - 1


class VxlanTable:
    """The VNIs of an instance."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._hash = home.hash("vxlan_hash")
        self._words = home.words("vxlan")

    @property
    def _slots(self) -> SlotAllocator:
        return self._home.slots("vxlan_retire", "vxlan")

    def get(self, vni: int) -> int | None:
        """The nexthop id of `vni`."""
        if not 0 < vni < 1 << 24:
            return None
        word = self._words.get(_number(self._hash.get(_bytes(vni))))
        return word & _NH_MASK if word & ENTRY_VALID and word >> _VNI_SHIFT == vni else None

    def put(self, vni: int, nh: int) -> None:
        """Adds or changes `vni`; the nexthop need not exist yet. Raises BadValue, TableFull."""
        if not 0 < vni < 1 << 24:
            raise BadValue("vni", vni, "VNIs are 1 to 16777215")
        self._home.check_nexthop(nh)
        word = vni << _VNI_SHIFT | ENTRY_VALID | nh
        with self._home.lock():
            index = _number(self._hash.get(_bytes(vni)))
            if index:
                self._words.set(index, word)
                return
            index = self._slots.allocate()
            self._words.set(index, word)
            try:
                self._hash.set(_bytes(vni), _bytes(index))
            except TableFull:
                self._words.set(index, 0)
                self._slots.release(index)
                raise

    def delete(self, vni: int) -> None:
        """Removes `vni`; NoSuchEntry if it is not there."""
        with self._home.lock():
            index = _number(self._hash.get(_bytes(vni))) if 0 < vni < 1 << 24 else 0
            if not index:
                raise NoSuchEntry(f"there is no VNI {vni}")
            self._words.set(index, 0)
            self._hash.delete(_bytes(vni))
            self._slots.retire(index)

    def items(self) -> Iterator[tuple[int, int]]:
        """All (VNI, nexthop id), ascending."""
        for vni in sorted(_number(key) for key, _ in self._hash.items()):
            nh = self.get(vni)
            if nh is not None:
                yield vni, nh

    def collect(self) -> int:
        """Frees indexes that a writer took and died before it used them; how many."""
        with self._home.lock():
            named = {_number(value) for _, value in self._hash.items()}
            lost = self._home.lost_slots("vxlan_retire", named)
            for index in lost:
                self._words.set(index, 0)
                self._slots.retire(index)
        return len(lost)


def _bytes(number: int) -> bytes:
    return number.to_bytes(4, sys.byteorder)


def _number(value: bytes | None) -> int:
    return 0 if value is None else int.from_bytes(value, sys.byteorder)
