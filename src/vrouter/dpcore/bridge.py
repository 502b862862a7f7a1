# SPDX-License-Identifier: Apache-2.0
"""Table `bridge`: where a MAC address of a VRF is.

A hash gives the index of an entry. All that may change of an entry stands in
one 8-byte word, written by one aligned store, so a reader never sees half of a
change and the packet counter beside it survives. Adding writes the entry
before the hash names it; deleting clears the word first.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import islice

from .changes import Operation
from .errors import BadValue, NoSuchEntry, Refused, TableFull, VrouterError
from .home import Home, check_label, check_mac
from .names import BridgeFlag
from .records import BridgeEntry
from .slots import SlotAllocator

_NH_BITS = 24
_LABEL_BITS = 24
_LONGER_THAN_A_PACKET = 0.01  # seconds; no packet takes a thousandth of it
_KNOWN = int(sum(BridgeFlag))
_PART = 2048  # entries that are removed between two looks at the log


def pack_word(nh: int, label: int | None, flags: int) -> int:
    """The word of a valid entry: nexthop bits 0-23, label 24-47, flags 48-63."""
    flags = int(flags) & ~int(BridgeFlag.LABEL_VALID) | BridgeFlag.VALID
    if label is not None:
        flags |= BridgeFlag.LABEL_VALID
    return nh | (label or 0) << _NH_BITS | int(flags) << (_NH_BITS + _LABEL_BITS)


class BridgeTable:
    """The bridge table of an instance. Keys are (vrf, mac)."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._hash = home.hash("bridge_hash")
        self._key = home.layout("vr_bridge_key")
        entry = home.layout("vr_bridge_entry")
        array = home.array("bridge")
        self.size = array.max_entries
        self._bytes = array.mmap()
        self._words = self._bytes.cast("Q")
        self._step = array.stride // 8
        self._word_at = _aligned(entry.fields["word"].offset)
        self._key_at = _aligned(entry.fields["key"].offset)
        self._packets_at = _aligned(entry.fields["packets"].offset)
        self._heard_at = _aligned(entry.fields["heard"].offset)
        self._spare = home.words("bridge_spare")

    def get(self, vrf: int, mac: bytes) -> BridgeEntry | None:
        """The entry of `mac` in `vrf`."""
        check_mac(mac)
        found = self._hash.get(self._key.pack(mac=mac, vrf=vrf))
        return None if found is None else self.by_index(_index(found))

    def by_index(self, index: int) -> BridgeEntry | None:
        """The entry at `index` (what routes and traps name), None if it is free."""
        if not 0 < index < self.size:
            return None
        at = index * self._step
        word = self._words[at + self._word_at]
        if not word >> (_NH_BITS + _LABEL_BITS) & BridgeFlag.VALID:
            return None
        start = (at + self._key_at) * 8
        entry = self._entry(bytes(self._bytes[start : start + 8]), word, index)
        return replace(
            entry,
            packets=self._words[at + self._packets_at],
            heard=self._words[at + self._heard_at],
        )

    def put(
        self, vrf: int, mac: bytes, nh: int, label: int | None = None, flags: int = 0
    ) -> BridgeEntry:
        """Adds the entry of (vrf, mac), or changes it in place (`packets` goes on).

        VALID and LABEL_VALID follow from the call. Raises BadValue, Refused, TableFull.
        """
        entry = BridgeEntry(vrf=vrf, mac=mac, nh=nh, label=label, flags=BridgeFlag(flags))
        with self._home.lock():
            self._check(entry)
            key = self._key.pack(mac=mac, vrf=vrf)
            word = pack_word(nh, label, flags)
            found = self._hash.get(key)
            index = self._change(_index(found), key, word) if found else self._add(key, word)
            self._refill()
            stored = self.by_index(index)
        if stored is None:
            raise VrouterError(f"bridge entry {index} vanished while it was written")
        return stored

    def put_many(self, entries: Iterable[BridgeEntry]) -> int:
        """put() of many entries (their index and packets do not count); how many there were.

        All are checked before the first is written. On TableFull none of the new
        ones of the last batch is in the table.
        """
        with self._home.lock():
            wanted: dict[bytes, int] = {}
            done = 0
            for entry in entries:
                self._check(entry)
                key = self._key.pack(mac=entry.mac, vrf=entry.vrf)
                wanted[key] = pack_word(entry.nh, entry.label, entry.flags)
                done += 1
            have = dict(self._hash.items()) if len(wanted) > 64 else {}
            fresh: dict[bytes, int] = {}
            for key, word in wanted.items():
                found = have.get(key) if len(wanted) > 64 else self._hash.get(key)
                if found is not None:
                    self._change(_index(found), key, word)
                else:
                    fresh[key] = word
            self._add_many(fresh)
            self._refill()
        return done

    def delete(self, vrf: int, mac: bytes) -> None:
        """Removes the entry; NoSuchEntry if there is none."""
        check_mac(mac)
        key = self._key.pack(mac=mac, vrf=vrf)
        with self._home.lock():
            found = self._hash.get(key)
            if found is None:
                raise NoSuchEntry(f"VRF {vrf} has no bridge entry for {mac.hex(':')}")
            index = _index(found)
            with self._noted(Operation.DELETE, [self.by_index(index)]):
                self._words[index * self._step + self._word_at] = 0
                self._hash.delete(key)
            self._slots.retire(index)
            self._refill()

    def clear(self) -> int:
        """Removes all entries; how many."""
        done = 0
        with self._home.lock():
            found = self._hash.items()
            while part := list(islice(found, _PART)):
                indexes = [_index(value) for _, value in part]
                with self._noted(Operation.DELETE, [self.by_index(one) for one in indexes]):
                    for index in indexes:
                        self._words[index * self._step + self._word_at] = 0
                    self._hash.delete_many(key for key, _ in part)
                for index in indexes:
                    self._slots.retire(index)
                done += len(part)
            self._refill()
        return done

    def refill(self) -> int:
        """Makes indexes ready for MACs that dp-core learns, in the place of those it has used;
        how many. Whoever hears of a learnt MAC calls it; each writing call does it too."""
        with self._home.lock():
            return self._refill()

    def items(self, vrf: int | None = None) -> Iterator[BridgeEntry]:
        """All entries, or those of `vrf`; by VRF, then MAC."""
        found = [self.by_index(_index(value)) for _, value in self._hash.items()]
        entries = [entry for entry in found if entry and vrf in (None, entry.vrf)]
        yield from sorted(entries, key=lambda entry: (entry.vrf, entry.mac))

    def marked(self) -> list[BridgeEntry]:
        """Entries that dp-core has marked as new or moved, which nobody has written since."""
        marks = int(BridgeFlag.MAC_NEW | BridgeFlag.MAC_MOVED) << (_NH_BITS + _LABEL_BITS)
        words = self._words[self._word_at :: self._step]
        found = [index for index, word in enumerate(words) if word & marks]
        entries = [self.by_index(index) for index in found]
        return [entry for entry in entries if entry is not None]

    @property
    def limit(self) -> int:
        """How many entries fit."""
        return self._hash.max_entries

    def count(self) -> int:
        """How many there are."""
        return sum(1 for _ in self._hash.items())

    def collect(self) -> int:
        """Frees indexes that a writer took and died before it used them; how many."""
        with self._home.lock():
            # What dp-core has taken by now is in the hash long before that is read.
            ready = {index for _, index in self._spare.nonzero()}
            time.sleep(_LONGER_THAN_A_PACKET)
            named = ready | {_index(value) for _, value in self._hash.items()}
            lost = self._home.lost_slots("bridge_retire", named)
            for index in lost:
                self._words[index * self._step + self._word_at] = 0
                self._slots.retire(index)
        return len(lost)

    def close(self) -> None:
        """Lets go of the mapping."""
        self._words.release()
        self._bytes.release()

    @property
    def _slots(self) -> SlotAllocator:
        return self._home.slots("bridge_retire", "bridge")

    def _check(self, entry: BridgeEntry) -> None:
        check_mac(entry.mac)
        self._home.check_vrf(entry.vrf)
        self._home.check_nexthop(entry.nh)
        check_label(entry.label)
        if int(entry.flags) & ~_KNOWN:
            raise BadValue("flags", hex(entry.flags), "bridge entries have no such flag")
        if entry.flags & BridgeFlag.L2_CONTROL_WORD:
            raise Refused(
                "bridge entries with an L2 control word come later: MPLS and VXLAN without one work"
            )

    def _change(self, index: int, key: bytes, word: int) -> int:
        at = index * self._step
        if self._words[at + self._word_at] == 0:
            # A writer died while it deleted: the entry is taken up again.
            self._fill(index, key, 0)
        with self._noted(Operation.ADD, [self._entry(key, word, index)]):
            self._words[at + self._word_at] = word
        return index

    def _entry(self, key: bytes, word: int, index: int) -> BridgeEntry:
        """What a key and a word say; its packets are not counted here."""
        fields = self._key.unpack(key)
        flags = BridgeFlag(word >> (_NH_BITS + _LABEL_BITS) & _KNOWN)
        label = word >> _NH_BITS & (1 << _LABEL_BITS) - 1
        return BridgeEntry(
            vrf=fields["vrf"],
            mac=fields["mac"],
            nh=word & (1 << _NH_BITS) - 1,
            label=label if flags & BridgeFlag.LABEL_VALID else None,
            flags=flags,
            index=index,
        )

    def _noted(
        self, operation: Operation, entries: Iterable[BridgeEntry | None]
    ) -> AbstractContextManager[None]:
        log = self._home.changes
        return log.noted([log.bridge(operation, entry) for entry in entries if entry is not None])

    def _add(self, key: bytes, word: int) -> int:
        index = self._slots.allocate()
        self._fill(index, key, word)
        try:
            with self._noted(Operation.ADD, [self._entry(key, word, index)]):
                self._hash.set(key, index.to_bytes(4, sys.byteorder), create_only=True)
        except Refused:
            # dp-core has learnt that very MAC meanwhile
            self._give_up(index)
            found = self._hash.get(key)
            return self._add(key, word) if found is None else self._change(_index(found), key, word)
        except TableFull:
            self._give_up(index)
            raise
        return index

    def _give_up(self, index: int) -> None:
        self._words[index * self._step + self._word_at] = 0
        self._slots.retire(index)

    def _refill(self) -> int:
        """As `refill`; a table that is full leaves them as they are."""
        done = 0
        for slot in self._spare.zeros():
            try:
                index = self._slots.allocate()
            except TableFull:
                break
            self._words[index * self._step + self._word_at] = 0
            self._spare.set(slot, index)
            done += 1
        return done

    def _add_many(self, fresh: dict[bytes, int]) -> None:
        items: list[tuple[bytes, bytes]] = []
        try:
            for key, word in fresh.items():
                index = self._slots.allocate()
                items.append((key, index.to_bytes(4, sys.byteorder)))
                self._fill(index, key, word)
            entries = (
                self._entry(key, word, _index(value))
                for (key, value), word in zip(items, fresh.values(), strict=True)
            )
            with self._noted(Operation.ADD, entries):
                self._hash.set_many(items)
        except TableFull:
            self._withdraw(items)
            raise

    def _withdraw(self, items: list[tuple[bytes, bytes]]) -> None:
        for _, value in items:
            self._words[_index(value) * self._step + self._word_at] = 0
        self._hash.delete_many(key for key, _ in items)
        for _, value in items:
            self._slots.retire(_index(value))

    def _fill(self, index: int, key: bytes, word: int) -> None:
        at = index * self._step
        self._words[at + self._word_at] = 0
        self._words[at + self._key_at] = int.from_bytes(key, sys.byteorder)
        self._words[at + self._packets_at] = 0
        self._words[at + self._heard_at] = 0
        self._words[at + self._word_at] = word


def _index(value: bytes) -> int:
    return int.from_bytes(value, sys.byteorder)


def _aligned(offset: int) -> int:
    if offset % 8:
        raise VrouterError("the loaded dp-core lays out bridge entries in a way that is not known")
    return offset // 8
