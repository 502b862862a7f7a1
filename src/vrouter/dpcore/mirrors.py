# SPDX-License-Identifier: Apache-2.0
"""Table `mirror`: where copies of packets go. Slots behind an index, as nexthops."""

from __future__ import annotations

from collections.abc import Iterator

from .errors import BadValue, NoSuchEntry
from .home import Home, check_label
from .names import LABEL_NONE, METADATA_MAX, MirrorFlag
from .records import Mirror
from .slots import SlotAllocator

METADATA_MIN = 2  # dp-core writes a field of fixed length under the frame's header


class MirrorTable:
    """The mirrors of an instance: indexes 0 to 254."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._index = home.words("mirror_index")
        self._array = home.array("mirror_slots")
        self._layout = home.layout("vr_mirror")
        self.size = self._index.size

    @property
    def _slots(self) -> SlotAllocator:
        return self._home.slots("mirror_retire", "mirror")

    def get(self, index: int) -> Mirror | None:
        """The mirror of that index."""
        slot = self._index.get(index)
        if not slot:
            return None
        fields = self._layout.unpack(self._array.get(slot))
        return Mirror(
            index=index,
            nh=fields["nh"],
            vni=None if fields["vni"] == LABEL_NONE else fields["vni"],
            dynamic=bool(fields["flags"] & MirrorFlag.DYNAMIC),
            metadata=fields["metadata"][: fields["metadata_len"]],
        )

    def put(self, mirror: Mirror) -> None:
        """Adds or changes a mirror; the nexthop need not exist yet. BadValue, TableFull."""
        self._check(mirror)
        with self._home.lock():
            if self.get(mirror.index) == mirror:
                return
            old = self._index.get(mirror.index)
            slot = self._slots.allocate()
            value = self._layout.pack(
                nh=mirror.nh,
                vni=LABEL_NONE if mirror.vni is None else mirror.vni,
                flags=int(MirrorFlag.DYNAMIC) if mirror.dynamic else 0,
                metadata_len=len(mirror.metadata),
                metadata=mirror.metadata.ljust(METADATA_MAX, b"\0"),
            )
            self._array.set(slot, value)
            self._index.set(mirror.index, slot)
            if old:
                self._slots.retire(old)

    def delete(self, index: int) -> None:
        """Removes a mirror; NoSuchEntry if there is none. Vifs that name it count INVALID_NH."""
        with self._home.lock():
            slot = self._index.get(index)
            if not slot:
                raise NoSuchEntry(f"there is no mirror {index}")
            self._index.set(index, 0)
            self._slots.retire(slot)

    def items(self) -> Iterator[Mirror]:
        """All mirrors, by index."""
        for index, _ in self._index.nonzero():
            found = self.get(index)
            if found is not None:
                yield found

    def collect(self) -> int:
        """Frees slots that a writer took and died before it used them; how many."""
        with self._home.lock():
            lost = self._home.lost_slots(
                "mirror_retire", {slot for _, slot in self._index.nonzero()}
            )
            for slot in lost:
                self._slots.retire(slot)
        return len(lost)

    def _check(self, mirror: Mirror) -> None:
        if not 0 <= mirror.index < self.size:
            raise BadValue("index", mirror.index, f"mirrors are 0 to {self.size - 1}")
        self._home.check_nexthop(mirror.nh)
        check_label(mirror.vni, "vni")
        if mirror.dynamic and mirror.vni is not None:
            raise BadValue("vni", mirror.vni, "a dynamic mirror has metadata, not a VNI")
        length = len(mirror.metadata)
        if mirror.dynamic and not METADATA_MIN <= length <= METADATA_MAX:
            why = f"{METADATA_MIN} to {METADATA_MAX} bytes"
            raise BadValue("metadata", mirror.metadata.hex(), why)
        if not mirror.dynamic and length:
            raise BadValue("metadata", mirror.metadata.hex(), "only a dynamic mirror has some")
