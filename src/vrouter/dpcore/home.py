# SPDX-License-Identifier: Apache-2.0
"""What the tables of one instance share: its open maps, layouts and lock."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import compress, count
from typing import Final, TypeVar

from . import libbpf
from .btf import Btf
from .changes import ChangeLog
from .errors import BadValue, Reloaded, VrouterError
from .instance import Instance
from .layout import Layout
from .libbpf import F_MMAPABLE
from .maps import ArrayMap, BpfMap, HashMap, LpmMap, PercpuArrayMap, open_map
from .slots import SlotAllocator

M = TypeVar("M", bound=BpfMap)

_CHUNK: Final = 65536


class Words:
    """An array of one unsigned word (4 or 8 bytes) per entry, as integers.

    A word is written by one aligned store when the map can be mapped into
    memory, by the kernel's copy of 4 or 8 bytes otherwise.
    """

    def __init__(self, array: ArrayMap) -> None:
        self.array = array
        self.size = array.max_entries
        self._width = array.value_size
        self._step = array.stride // self._width
        self._view: memoryview[int] | None = None
        if array.flags & F_MMAPABLE:
            self._view = self._cast(array.mmap())

    def get(self, index: int) -> int:
        """The word at `index`; 0 beyond the end."""
        if not 0 <= index < self.size:
            return 0
        if self._view is not None:
            return int(self._view[index * self._step])
        return int.from_bytes(self.array.get(index), sys.byteorder)

    def set(self, index: int, word: int) -> None:
        """Writes the word at `index` (which must be in the table)."""
        if self._view is not None and 0 <= index < self.size:
            self._view[index * self._step] = word
        else:
            self.array.set(index, word.to_bytes(self._width, sys.byteorder))

    def nonzero(self) -> Iterator[tuple[int, int]]:
        """(index, word) of every word that is not 0, ascending."""
        for start in range(0, self.size, _CHUNK):
            words = self._range(start, min(_CHUNK, self.size - start))
            yield from zip(compress(count(start), words), filter(None, words), strict=True)

    def zeros(self) -> list[int]:
        """The indexes of the words that are 0, ascending; one look when there are none."""
        words = self._range(0, self.size)
        return [index for index, word in enumerate(words) if not word] if 0 in words else []

    def _range(self, start: int, length: int) -> list[int]:
        if self._view is not None:
            end = (start + length) * self._step
            return self._view[start * self._step : end : self._step].tolist()
        raw = b"".join(self.array.get_range(start, length))
        return self._cast(memoryview(raw)).tolist()

    def _cast(self, memory: memoryview) -> memoryview[int]:
        return memory.cast("I") if self._width == 4 else memory.cast("Q")

    def close(self) -> None:
        """Lets go of the mapping."""
        if self._view is not None:
            self._view.release()
            self._view = None


class Home:
    """Opens the pinned maps of `instance` when they are first used, and keeps them."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self._maps: dict[str, BpfMap] = {}
        self._words: dict[str, Words] = {}
        self._slots: dict[str, SlotAllocator] = {}
        self._btf: Btf | None = None
        # as text: they are looked at for each change of an entry
        self._pins, self._staging = str(instance.pin_dir), str(instance.staging_dir)
        self._made = _inode(self._pins)
        self._lock = instance.lock_path
        self._holder: tuple[int, int] | None = None
        self._changes: ChangeLog | None = None

    def close(self) -> None:
        """Closes every map that was opened."""
        if self._changes is not None:
            self._changes.close()
            self._changes = None
        for words in self._words.values():
            words.close()
        for opened in self._maps.values():
            opened.close()
        self._words, self._maps, self._slots = {}, {}, {}

    @contextmanager
    def lock(self) -> Iterator[None]:
        """The writers' lock of the instance (re-entrant). Raises Busy, Reloaded."""
        me = os.getpid(), threading.get_ident()
        if self._holder == me:
            yield
            return
        with self.instance.lock(path=self._lock):
            if os.path.exists(self._staging):
                # a load was killed: which tables are in use must be clear before one is written
                from .exchange import recover  # noqa: PLC0415 - as rare as it is large

                recover(self.instance)
            if not self.is_current():
                raise Reloaded(self.instance.name)
            self._holder = me
            try:
                yield
            finally:
                self._holder = None

    def is_current(self) -> bool:
        """Whether the maps that are open are still those of the instance."""
        made = _inode(self._pins)
        if made == self._made:
            return True
        for name, opened in self._maps.items():
            with open_map(self.instance.map_path(name)) as pinned:
                if pinned.id != opened.id:
                    return False
        self._made, self._btf = made, None
        return True

    @property
    def changes(self) -> ChangeLog:
        """Where writers of routes and MACs note what they do."""
        if self._changes is None:
            self._changes = ChangeLog(self)
        return self._changes

    @property
    def btf(self) -> Btf:
        """The types of the dp-core that runs."""
        if self._btf is None:
            program = libbpf.pinned_program(self.instance.prog_dir / "vr_dpcore")
            self._btf = Btf.from_kernel(program.btf_id)
        return self._btf

    def layout(self, struct: str) -> Layout:
        """The layout of `struct struct` in the loaded object."""
        return self.btf.layout(struct)

    def array(self, name: str) -> ArrayMap:
        """The array map `name`."""
        return self._open(name, ArrayMap)

    def percpu(self, name: str) -> PercpuArrayMap:
        """The per-CPU array map `name`."""
        return self._open(name, PercpuArrayMap)

    def hash(self, name: str) -> HashMap:
        """The hash map `name`."""
        return self._open(name, HashMap)

    def lpm(self, name: str) -> LpmMap:
        """The longest-prefix-match map `name`."""
        return self._open(name, LpmMap)

    def words(self, name: str) -> Words:
        """The array map `name`, of one word per entry."""
        if name not in self._words:
            self._words[name] = Words(self.array(name))
        return self._words[name]

    def slots(self, retire: str, table: str, spare: str | None = None) -> SlotAllocator:
        """The allocator whose state is in map `retire`; errors call it `table`, and
        name the size `spare` that gives it more slots."""
        if retire not in self._slots:
            self._slots[retire] = SlotAllocator(self.array(retire), table, spare=spare)
        return self._slots[retire]

    def lost_slots(self, retire: str, named: set[int]) -> list[int]:
        """The slots that are in use by `retire` but are not among those `named`.

        Slot 0 is not: it is taken from the load on, so that nobody gets it.
        """
        states = self.words(retire).nonzero()
        return [slot for slot, state in states if slot and state == 1 and slot not in named]

    def _open(self, name: str, kind: type[M]) -> M:
        found = self._maps.get(name)
        if found is None:
            found = self._maps[name] = open_map(self.instance.map_path(name))
        if not isinstance(found, kind):
            raise VrouterError(
                f"table {name} of vRouter {self.instance.name!r} is not what this program "
                "knows: unload and load the vRouter again"
            )
        return found

    # ---- checks that several tables need --------------------------------------------

    def check_vrf(self, vrf: int, field: str = "vrf") -> None:
        """BadValue unless `vrf` is in the table of VRFs."""
        size = self.percpu("vrf_stats").max_entries
        if not 0 <= vrf < size:
            raise BadValue(
                field, vrf, f"VRFs are 0 to {size - 1} (load with --size vrfs=N for more)"
            )

    def check_nexthop(self, nh: int, field: str = "nh") -> None:
        """BadValue unless `nh` can be the id of a nexthop; it need not exist yet."""
        size = min(self.words("nexthop_index").size, 1 << 24)
        if not 0 <= nh < size:
            raise BadValue(
                field, nh, f"nexthops are 0 to {size - 1} (load with --size nexthops=N for more)"
            )


def _inode(folder: str) -> int:
    """What tells a folder of pins from the one that takes its place; 0: there is none."""
    try:
        return os.stat(folder).st_ino
    except FileNotFoundError:
        return 0


def check_mac(mac: bytes, field: str = "mac") -> None:
    """BadValue unless `mac` is 6 bytes."""
    if len(mac) != 6:
        raise BadValue(field, mac.hex(":"), "a MAC address has 6 bytes")


def check_label(label: int | None, field: str = "label") -> None:
    """BadValue unless `label` is None, an MPLS label or a VNI."""
    if label is not None and not 0 <= label < 1 << 24:
        raise BadValue(field, label, "labels are 0 to 1048575, VNIs to 16777215")


def one_cpu(rows: list[bytes], core: int | None) -> list[bytes]:
    """All `rows` of a per-CPU value, or that of CPU `core` only (BadValue: no such CPU)."""
    if core is None:
        return rows
    if not 0 <= core < len(rows):
        raise BadValue("core", core, f"this machine has CPUs 0 to {len(rows) - 1}")
    return [rows[core]]
