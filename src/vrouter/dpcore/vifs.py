# SPDX-License-Identifier: Apache-2.0
"""Table `vif`: the ports of dp-core, and the tcx links that tie them to netdevices.

A vif lives in a slot behind an index; `vif_by_ifindex` leads from the netdevice
to it. The rules of cross-connect and of the data plane's own flags are upstream's.
"""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace

from . import link, netdev, settle
from .bypass import Bypass
from .config import ConfigTable
from .errors import NoSuchEntry, Refused
from .home import Home, one_cpu
from .names import VifFeature, VifFlag, VifType
from .records import Source, Vif, VifStats
from .renumber import renumber
from .slots import SlotAllocator
from .sources import SourceTable
from .subvifs import SubVifs
from .ties import Ties
from .vif_checks import (
    FIRST_FIXED,
    check_change,
    check_childless,
    check_device,
    check_partner,
    check_unused,
    check_vif,
    children_of,
    physicals_of,
    stored_flags,
)
from .vif_codec import crossed, pack_vif, u32, unpack_vif

# Those that follow from what else is stored, not from a request.
OWN_FEATURES = VifFeature.SOURCES | VifFeature.SUBVIFS
VM_TYPES = (VifType.VIRTUAL, VifType.VIRTUAL_VLAN)
_LONGER_THAN_A_PACKET = 0.01  # seconds
_UPLINKS = (VifType.HOST, VifType.PHYSICAL)


class VifTable:
    """The vifs of an instance. Keys are idx, 0 to 4351."""

    def __init__(self, home: Home, config: ConfigTable, sources: SourceTable) -> None:
        self._home = home
        self._sources = sources
        self._subvifs = SubVifs(home)
        self._bypass = Bypass(home)
        self._config = config
        self._index = home.words("vif_index")
        self._array = home.array("vif_slots")
        self._layout = home.layout("vr_vif")
        self._by_ifindex = home.words("vif_by_ifindex")
        self._big = home.hash("vif_by_ifindex_big")
        self.size = self._index.size
        self.ties = Ties(home)
        self._pin = self.ties.pin

    # ---- reading ------------------------------------------------------------------

    def get(self, idx: int) -> Vif | None:
        """The vif of that idx."""
        slot = self._index.get(idx)
        return unpack_vif(self._layout, self._array.get(slot)) if slot else None

    def by_name(self, name: str) -> Vif | None:
        """The vif whose netdevice has that name (as it was when the vif was added)."""
        return next((vif for vif in self.items() if vif.name == name), None)

    def by_ifindex(self, ifindex: int) -> Vif | None:
        """The vif that receives on netdevice `ifindex`."""
        word = self._by_ifindex.get(ifindex)
        if not word and self._by_ifindex.size <= ifindex < 1 << 32:
            word = int.from_bytes(self._big.get(u32(ifindex)) or b"", sys.byteorder)
        return self.get(word - 1) if word else None

    def items(self) -> Iterator[Vif]:
        """All vifs, by idx."""
        for _, slot in self._index.nonzero():
            yield unpack_vif(self._layout, self._array.get(slot))

    def free_idx(self, ifindex: int) -> int:
        """The idx for a netdevice for which none was asked: `ifindex` itself if it is
        free and below 4350 (upstream's numbering), else the lowest free one.

        Raises Refused if all are in use.
        """
        used = {idx for idx, _ in self._index.nonzero()}
        if 0 <= ifindex < FIRST_FIXED and ifindex not in used:
            return ifindex
        for idx in range(FIRST_FIXED):
            if idx not in used:
                return idx
        raise Refused(f"all {FIRST_FIXED} vifs are in use: delete one first")

    def is_attached(self, idx: int) -> bool:
        """Whether dp-core sees the packets of this vif's netdevice, or of its parent's."""
        vif = self.get(idx)
        if vif is not None and vif.parent is not None:
            idx = vif.parent
        try:
            with link.open_link(self._pin(idx)) as opened:
                return opened.info().ifindex != 0
        except NoSuchEntry:
            return False

    def stats(self, idx: int, core: int | None = None) -> VifStats:
        """Packets and bytes of a vif. NoSuchEntry; BadValue: no such CPU."""
        self._require(idx)
        layout = self._home.layout("vr_vif_stats")
        rows = one_cpu(self._home.percpu("vif_stats").get(idx), core)
        return VifStats.total([layout.unpack(row) for row in rows])

    def drops(self, idx: int) -> dict[int, int]:
        """Packets that came in by this vif and were dropped, by reason; all reasons."""
        self._require(idx)
        counts = self._home.array("vif_drops").get(idx)
        return dict(enumerate(memoryview(counts).cast("Q").tolist()))

    def clear_stats(self, idx: int, core: int | None = None) -> None:
        """Sets the counters of a vif to zero; with a CPU, what that one counted (drops are
        counted by all of them together, and stay). NoSuchEntry; BadValue: no such CPU;
        Refused: it is offline."""
        self._require(idx)
        with self._home.lock():
            if core is None:
                self._zero(idx)
                return
            table = self._home.percpu("vif_stats")
            one_cpu(table.get(idx), core)
            settle.clear(table, [idx], core)

    # ---- writing ------------------------------------------------------------------

    def add(self, vif: Vif) -> Vif:
        """Adds the vif with zero counters and attaches dp-core to its netdevice.

        A vif of that idx on the same netdevice is changed instead; on a netdevice
        that is gone, replaced. A Physical vif with VHOST_PHYS is attached only
        when a Host vif names it in `xconnect`: alone it would take the host's
        packets away. Adding that Host vif sets X on both unless an agent is there.
        Adding the Agent vif takes X off all Host and Physical vifs.
        Call it in the instance's network namespace. Raises BadValue, Refused,
        TableFull, DeviceError; then nothing has changed.
        """
        if not self._home.instance.is_here():
            raise Refused(
                f"{vif.name} is in another network namespace than vRouter "
                f"{self._home.instance.name!r}"
            )
        with self._home.lock():
            old = self.get(vif.idx)
            if old is not None and (old.ifindex, old.parent) == (vif.ifindex, vif.parent):
                vif = self.change(vif)
                # Whoever added it may have died before it was tied to everything.
                self._tie(vif, ExitStack())
                return self._require(vif.idx)
            features = vif.features & ~OWN_FEATURES
            vif = replace(vif, flags=stored_flags(vif, 0), features=features)
            check_vif(self._home, vif)
            device = check_device(vif)
            self._check_others(vif, old)
            if vif.type in (VifType.PHYSICAL, VifType.VIRTUAL) and self.ties.offloads(device):
                vif = replace(vif, flags=vif.flags | VifFlag.TX_CSUM)
            if old is not None:
                self.delete(old.idx)
            with ExitStack() as undo:
                vif = self._add(vif, undo)
                undo.pop_all()
        return vif

    def change(self, vif: Vif) -> Vif:
        """Replaces what is stored of the vif; as it is stored then.

        Flags are replaced as a whole, except Tc, Vof, GRO and mergeable buffers, which
        are the data plane's, and so is the feature SOURCES (set_sources). name, type
        and netdevice cannot change; the partner of a cross-connect stays. Raises NoSuchEntry,
        BadValue, Refused.
        """
        with self._home.lock():
            old = self._require(vif.idx)
            check_change(old, vif)
            vif = replace(
                vif,
                flags=stored_flags(vif, old.flags),
                xconnect=old.xconnect,
                features=vif.features & ~OWN_FEATURES | old.features & OWN_FEATURES,
            )
            check_vif(self._home, vif)
            if vif.type == VifType.VIRTUAL_VLAN:
                self._check_parent(vif)
            if vif != old:
                self._write(vif)
            if vif.type == VifType.VIRTUAL_VLAN:
                self._subvifs.map(vif, old)
        return vif

    def sources(self, idx: int) -> tuple[Source, ...] | None:
        """Who may speak on this vif, each MAC alone and with its prefixes; None: it is not
        checked. Raises NoSuchEntry."""
        vif = self._require(idx)
        return self._sources.of(idx) if vif.features & VifFeature.SOURCES else None

    def set_sources(
        self, idx: int, sources: Iterable[Source] | None, known: Iterable[Source] | None = None
    ) -> bool:
        """Makes `sources` all that may speak on this vif; None: it is not checked any more.

        known: what it has now, if the caller knows: else the table of all vifs is read through.
        Whether anything changed. Raises NoSuchEntry, Refused (no vif of a VM), BadValue,
        TableFull; then nothing has changed.
        """
        with self._home.lock():
            vif = self._require(idx)
            if sources is not None and vif.type not in VM_TYPES:
                raise Refused(
                    f"vif0/{idx} ({vif.name}) is no vif of a VM: only those are checked for who "
                    "speaks"
                )
            features = vif.features & ~VifFeature.SOURCES
            if sources is None:
                # the check goes before what it needs, and comes after it
                self._set_features(vif, features)
                self._sources.replace(idx, (), known)
                return features != vif.features
            changed = self._sources.replace(idx, sources, known)
            return self._set_features(vif, features | VifFeature.SOURCES) or changed

    def _set_features(self, vif: Vif, features: VifFeature) -> bool:
        if features == vif.features:
            return False
        self._write(replace(vif, features=features))
        return True

    def renumber(self, mapping: Mapping[int, int]) -> None:
        """Vifs of idx `old` get idx `new`, with their counters at zero; no packet is lost.

        Whatever names them in vifs and nexthops follows. old idx that are not there, and new
        ones that are the same, are passed over. Raises Refused: the new idx is another vif's
        that does not get another one, or the vif has parts or is one.
        """
        with self._home.lock():
            renumber(self._home, self, mapping)

    def delete(self, idx: int, known: Iterable[Source] | None = None) -> None:
        """Detaches dp-core from the netdevice and removes the vif.

        known: who may speak on it now, if the caller knows, as set_sources has it.

        Deleting the Host vif detaches its physicals too: dp-core would send what
        they receive to a vif that is gone. Nexthops that name the vif stay
        (dp-core counts INVALID_IF). Raises NoSuchEntry, Refused.
        """
        with self._home.lock():
            vif = self._require(idx)
            if vif.type == VifType.PHYSICAL:
                check_unused(vif, self.items())
            if vif.features & VifFeature.SUBVIFS:
                check_childless(vif, children_of(self.items(), vif.idx))
            if vif.type == VifType.HOST:
                for physical in physicals_of(self.items(), vif):
                    link.detach(self._pin(physical.idx))
                    flags = physical.flags & ~VifFlag.XCONNECT
                    self._write(replace(physical, flags=flags, xconnect=None))
            if self._config.get().agent_vif == idx:
                self._config.set(agent_vif=None)
            self._remove(vif, known)

    def reset(self, without: Collection[int] = ()) -> list[Vif]:
        """Removes every vif but those of type Stats, and says which.

        A NIC and its Host vif stay joined until they are added again, or `end_bypass`; but for
        the vifs `without`, whose netdevices go too.
        """
        with self._home.lock():
            gone = [vif for vif in self.items() if vif.type != VifType.STATS]
            joined: list[Vif] = []
            for host in gone:
                if host.type == VifType.HOST and host.idx not in without:
                    for physical in physicals_of(self.items(), host):
                        if physical.idx not in without and self.is_attached(physical.idx):
                            self._bypass.join(host, physical, self._pin)
                            joined += (host, physical)
            for vif in joined:
                self._unmap(vif)
            if joined:
                # a packet of one may be on its way to the other, which must be there till then
                time.sleep(_LONGER_THAN_A_PACKET)
            self._config.set(agent_vif=None)
            # parts before their parents, so that these are not written once more for each
            for vif in sorted(gone, key=lambda one: one.parent is None):
                self._remove(vif)
        return gone

    def end_bypass(self) -> bool:
        """Parts a NIC and its vhost0 that stayed joined after a reset; whether there were any."""
        with self._home.lock():
            return self._bypass.end_all()

    def collect(self) -> int:
        """Frees slots that a writer took and died before it used them; how many."""
        with self._home.lock():
            named = {slot for _, slot in self._index.nonzero()}
            lost = self._home.lost_slots("vif_retire", named)
            for slot in lost:
                self._slots.retire(slot)
        return len(lost)

    # ---- how ------------------------------------------------------------------------

    @property
    def _slots(self) -> SlotAllocator:
        return self._home.slots("vif_retire", "vif", "spare_vifs")

    def _require(self, idx: int) -> Vif:
        vif = self.get(idx)
        if vif is None:
            raise NoSuchEntry(f"there is no vif0/{idx}: see `vif --list`")
        return vif

    def _check_others(self, vif: Vif, old: Vif | None) -> None:
        """What `vif` may not do to other vifs, or to the one it replaces."""
        if old is not None and (netdev.exists(old.ifindex) or old.parent != vif.parent):
            raise Refused(
                f"vif0/{vif.idx} is {old.name}: delete it first, or take another idx for "
                f"{vif.name}",
                errno=errno.EEXIST,
            )
        if vif.type == VifType.VIRTUAL_VLAN:
            self._check_parent(vif)
            return
        same = self._of_device(vif.ifindex)
        if same is not None:
            raise Refused(f"netdevice {vif.name} is vif0/{same.idx} already", errno=errno.EEXIST)
        if vif.type == VifType.AGENT:
            agent = self._config.get().agent_vif
            if agent is not None and agent != vif.idx and self._index.get(agent):
                raise Refused(
                    f"vif0/{agent} is the Agent vif: there is only one, delete it first",
                    errno=errno.EEXIST,
                )
        if vif.type == VifType.HOST and vif.xconnect is not None:
            check_partner(vif, self.get)

    def _of_device(self, ifindex: int) -> Vif | None:
        if not self._bypass.leads(ifindex):
            return self.by_ifindex(ifindex)
        return next((vif for vif in self.items() if vif.ifindex == ifindex), None)

    def _check_parent(self, vif: Vif) -> None:
        parent = None if vif.parent is None else self.get(vif.parent)
        self._subvifs.check(vif, parent, children_of(self.items(), vif.parent))

    def _add(self, vif: Vif, undo: ExitStack) -> Vif:
        agent = self._config.get().agent_vif is not None
        if vif.type == VifType.HOST:
            vif = replace(vif, flags=crossed(vif.flags, on=not agent))
        self._zero(vif.idx)
        undo.callback(self._remove, vif)
        self._write(vif)
        self._tie(vif, undo)
        return vif

    def _tie(self, vif: Vif, undo: ExitStack) -> None:
        """Ties a stored vif to its netdevice, its partner and the configuration,
        as far as it is not yet."""
        if vif.parent is not None:
            parent = self._require(vif.parent)
            self._subvifs.map(vif)
            self._set_features(parent, parent.features | VifFeature.SUBVIFS)
            return
        waits = vif.flags & VifFlag.VHOST_PHYS and vif.xconnect is None
        if vif.type == VifType.PHYSICAL and waits:
            if not self._bypass.leads(vif.ifindex):
                self._map(vif)
            return
        self._map(vif)
        if not self.is_attached(vif.idx):
            self._attach(vif)
        if vif.type == VifType.HOST and vif.xconnect is not None:
            self._tie_physical(vif, self._require(vif.xconnect), undo)
        if vif.type == VifType.AGENT and self._config.get().agent_vif != vif.idx:
            undo.callback(self._config.set, agent_vif=None)
            self._config.set(agent_vif=vif.idx)
            for other in list(self.items()):
                if other.type in _UPLINKS and other.flags & VifFlag.XCONNECT:
                    undo.callback(self._write, other)
                    self._write(replace(other, flags=crossed(other.flags, on=False)))

    def _tie_physical(self, host: Vif, physical: Vif, undo: ExitStack) -> None:
        if physical.xconnect != host.idx:
            undo.callback(self._write, physical)
            flags = crossed(physical.flags, on=bool(host.flags & VifFlag.XCONNECT))
            self._write(replace(physical, flags=flags, xconnect=host.idx))
        self._map(physical)
        if not self.is_attached(physical.idx):
            undo.callback(link.detach, self._pin(physical.idx))
            self._attach(physical)
        self._bypass.end(physical.ifindex)
        self._bypass.end(host.ifindex)

    def _write(self, vif: Vif) -> None:
        old = self._index.get(vif.idx)
        fresh = self._slots.allocate()
        try:
            self._array.set(fresh, pack_vif(self._layout, vif))
            self._index.set(vif.idx, fresh)
        except BaseException:
            self._slots.release(fresh)
            raise
        if old:
            self._slots.retire(old)

    def _map(self, vif: Vif) -> None:
        if vif.ifindex < self._by_ifindex.size:
            self._by_ifindex.set(vif.ifindex, vif.idx + 1)
        else:
            self._big.set(u32(vif.ifindex), u32(vif.idx + 1))

    def _unmap(self, vif: Vif) -> None:
        if vif.ifindex < self._by_ifindex.size:
            if self._by_ifindex.get(vif.ifindex) == vif.idx + 1:
                self._by_ifindex.set(vif.ifindex, 0)
        elif self._big.get(u32(vif.ifindex)) == u32(vif.idx + 1):
            self._big.delete(u32(vif.ifindex))

    def _attach(self, vif: Vif) -> None:
        self._bypass.take_over(vif.ifindex, self._pin(vif.idx))
        self.ties.attach(vif)

    # ---- for renumber.py ------------------------------------------------------------

    def put_copy(self, vif: Vif) -> None:
        """Stores the vif, with zero counters, and lets its netdevice lead to it."""
        self._zero(vif.idx)
        known = self.by_ifindex(vif.ifindex)
        if known is not None and known.features & VifFeature.SOURCES:
            self._sources.replace(vif.idx, self._sources.of(known.idx))
        self._write(vif)
        self._map(vif)

    def store(self, vif: Vif) -> None:
        """Stores the vif as it is, unchecked."""
        self._write(vif)

    def move_agent(self, old: int, new: int) -> None:
        """The Agent vif has another idx."""
        if self._config.get().agent_vif == old:
            self._config.set(agent_vif=new)

    def forget(self, vif: Vif) -> None:
        """Removes the vif, not its netdevice's link."""
        self._free(vif)

    def _remove(self, vif: Vif, known: Iterable[Source] | None = None) -> None:
        if vif.parent is None:
            self.ties.detach(vif)
            self._unmap(vif)
        else:
            self._leave(vif)
        self._free(vif, known)

    def _free(self, vif: Vif, known: Iterable[Source] | None = None) -> None:
        slot = self._index.get(vif.idx)
        if slot:
            self._index.set(vif.idx, 0)
            self._slots.retire(slot)
            if vif.features & VifFeature.SOURCES:
                self._sources.replace(vif.idx, (), known)
        self._zero(vif.idx)

    def _leave(self, vif: Vif) -> None:
        """A Virtual VLAN vif gives its frames back to its parent."""
        self._subvifs.unmap(vif)
        parent = None if vif.parent is None else self.get(vif.parent)
        others = [one for one in children_of(self.items(), vif.parent) if one.idx != vif.idx]
        if parent is not None and not others:
            self._set_features(parent, parent.features & ~VifFeature.SUBVIFS)

    def _zero(self, idx: int) -> None:
        self._home.percpu("vif_stats").set_zero(idx)
        drops = self._home.array("vif_drops")
        drops.set(idx, bytes(drops.value_size))
