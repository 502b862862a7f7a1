# SPDX-License-Identifier: Apache-2.0
"""Table `nexthop`: what happens to a packet next.

A nexthop lives in a slot behind an index. A change fills a free slot, flips
the index and retires the old slot; the member chain of a composite is written
before and retired after.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from .errors import NoSuchEntry, Refused, VrouterError
from .home import Home
from .names import (
    ENTRY_VALID,
    LABEL_NONE,
    MEMBERS_PER_CHUNK,
    NH_DISCARD,
    VIF_NONE,
    Family,
    HashField,
    NhFlag,
    NhType,
)
from .nexthop_checks import check_nexthop
from .packing import struct_of
from .records import IPAddress, Member, Nexthop, member
from .slots import SlotAllocator

_REWRITERS = (NhType.ENCAP, NhType.TUNNEL)


class NexthopTable:
    """The nexthops of an instance. Nexthop 0 is Discard and stays so."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._index = home.words("nexthop_index")
        self._array = home.array("nexthop_slots")
        self._layout = home.layout("vr_nexthop")
        self._type_at = self._layout.fields["type"].offset
        self.size = self._index.size
        # lists may have thousands of members, and are read and written at each change of one
        self._chunk = home.layout("vr_nh_members")
        field = self._chunk.fields["member"]
        parts = {} if field.layout is None else field.layout.fields
        if field.layout is None or parts["nh"].offset > parts["label"].offset:
            raise VrouterError("the loaded dp-core lays out members in a way that is not known")
        self._member = struct_of(field.layout, ("nh", "label"))
        self._members_at, self._members_size = field.offset, field.total

    def get(self, id: int) -> Nexthop | None:
        """The nexthop of that id."""
        slot = self._index.get(id)
        return self._read(slot) if slot else None

    def kind(self, id: int) -> NhType | None:
        """The type of the nexthop of that id; None: there is none. Cheaper than `get`."""
        slot = self._index.get(id)
        return NhType(self._array.get(slot)[self._type_at]) if slot else None

    def put(self, nexthop: Nexthop) -> Nexthop:
        """Adds the nexthop, or replaces the one of the same id; as it is stored.

        Without rewrite bytes over an Encap or Tunnel of the same type, the old
        ones stay. Raises BadValue, Refused (what comes later), TableFull.
        """
        with self._home.lock():
            slot = self._index.get(nexthop.id) if 0 <= nexthop.id < self.size else 0
            old = self._old(slot, len(nexthop.members)) if slot else None
            if old and not nexthop.rewrite and old.type == nexthop.type in _REWRITERS:
                nexthop = replace(nexthop, rewrite=old.rewrite)
            check_nexthop(self._home, nexthop)
            if old == nexthop:
                return nexthop
            chain = self._write_members(nexthop.members)
            try:
                fresh = self._slots.allocate()
            except Refused:
                for chunk in chain:
                    self._chunks.release(chunk)
                raise
            self._array.set(fresh, self._pack(nexthop, chain[0] if chain else 0))
            self._index.set(nexthop.id, fresh)
            if slot:
                self._retire(slot)
        return nexthop

    def delete(self, id: int) -> None:
        """Removes the nexthop; NoSuchEntry if there is none, Refused for 0.

        What names it stays: dp-core counts its packets as INVALID_NH.
        """
        if id == NH_DISCARD:
            raise Refused("nexthop 0 is Discard and always exists")
        with self._home.lock():
            slot = self._index.get(id)
            if not slot:
                raise NoSuchEntry(f"there is no nexthop {id}")
            self._index.set(id, 0)
            self._retire(slot)

    def items(self) -> Iterator[Nexthop]:
        """All nexthops, by id."""
        for _, slot in self._index.nonzero():
            yield self._read(slot)

    def ids(self) -> Iterator[int]:
        """The ids of all nexthops, ascending."""
        for id, _ in self._index.nonzero():
            yield id

    def count(self) -> int:
        """How many there are."""
        return sum(1 for _ in self._index.nonzero())

    def free_id(self) -> int:
        """The lowest id that is not in use, above 0. Raises Refused if there is none."""
        used = {id for id, _ in self._index.nonzero()}
        for id in range(1, self.size):
            if id not in used:
                return id
        raise Refused(f"all {self.size} nexthops are in use: load with --size nexthops=N for more")

    def ref_counts(self) -> Counter[int]:
        """How many entries name each nexthop, itself included; for display.

        Counts routes, MACs, labels, VNIs, members and vifs: reads every table.
        """
        counts: Counter[int] = Counter()
        for nexthop in self.items():
            counts[nexthop.id] += 1
            counts.update(member.nh for member in nexthop.members)
        home = self._home
        nh_at = home.layout("vr_route").fields["nh"].offset
        for _, value in home.lpm("inet").items():
            counts[_word(value, nh_at)] += 1
        nh_at += home.layout("vr_inet6_entry").fields["route"].offset
        routes6 = home.array("inet6_slots")
        for _, value in home.hash("inet6_hash").items():
            counts[_word(routes6.get(_word(value, 0)), nh_at)] += 1
        counts.update(word & ~ENTRY_VALID for _, word in home.words("mpls").nonzero())
        counts.update(word & ENTRY_VALID - 1 for _, word in home.words("vxlan").nonzero())
        bridge = home.array("bridge")
        for _, index in home.hash("bridge_hash").items():
            entry = bridge.get(_word(index, 0))
            counts[int.from_bytes(entry[:8], sys.byteorder) & 0xFFFFFF] += 1
        vif_slots = home.array("vif_slots")
        vif_nh_at = home.layout("vr_vif").fields["nh_id"].offset
        for _, slot in home.words("vif_index").nonzero():
            nh = _word(vif_slots.get(slot), vif_nh_at)
            if nh:
                counts[nh] += 1
        return counts

    def collect(self) -> int:
        """Frees slots that a writer took and died before it used them; how many."""
        with self._home.lock():
            live = {slot for _, slot in self._index.nonzero()}
            chunks = {chunk for slot in live for chunk in self._chain(slot)}
            lost = self._home.lost_slots("nexthop_retire", live)
            lost_chunks = self._home.lost_slots("member_retire", chunks)
            for slot in lost:
                self._slots.retire(slot)
            for chunk in lost_chunks:
                self._chunks.retire(chunk)
        return len(lost) + len(lost_chunks)

    # ---- slots and chains ---------------------------------------------------------

    @property
    def _slots(self) -> SlotAllocator:
        return self._home.slots("nexthop_retire", "nexthop", "spare_nexthops")

    @property
    def _chunks(self) -> SlotAllocator:
        return self._home.slots("member_retire", "nexthop members", "members")

    def _retire(self, slot: int) -> None:
        chain = self._chain(slot)
        self._slots.retire(slot)
        for chunk in chain:
            self._chunks.retire(chunk)

    def _chain(self, slot: int) -> list[int]:
        """The slots of the member chunks of the nexthop in `slot`."""
        first = self._layout.unpack(self._array.get(slot))["members"]
        return [chunk for chunk, _ in self._walk(first)]

    def _walk(self, chunk: int) -> Iterator[tuple[int, bytes]]:
        """The chunks of a chain, from slot `chunk` on."""
        if not chunk:
            return
        table = self._home.array("member_slots")
        next_at = self._chunk.fields["next"].offset
        for _ in range(table.max_entries):
            raw = table.get(chunk)
            yield chunk, raw
            chunk = _word(raw, next_at)
            if not chunk:
                return

    def _members(self, raw: bytes) -> list[Member]:
        """The members in a chunk."""
        count = _word(raw, self._chunk.fields["count"].offset)
        start = self._members_at
        rows = self._member.iter_unpack(raw[start : start + count * self._member.size])
        return [member(nh, None if label == LABEL_NONE else label) for nh, label in rows]

    def _write_members(self, members: tuple[Member, ...]) -> list[int]:
        """Writes the chain, last chunk first; its slots in order."""
        table = self._home.array("member_slots") if members else None
        chain: list[int] = []
        pack = self._member.pack
        try:
            starts = range(0, len(members), MEMBERS_PER_CHUNK)
            for start in reversed(starts):
                part = members[start : start + MEMBERS_PER_CHUNK]
                slot = self._chunks.allocate()
                value = self._chunk.pack(
                    next=chain[0] if chain else 0,
                    count=len(part),
                    member=b"".join(
                        pack(one.nh, LABEL_NONE if one.label is None else one.label) for one in part
                    ).ljust(self._members_size, b"\0"),
                )
                chain.insert(0, slot)
                if table is not None:
                    table.set(slot, value)
        except Refused:
            for slot in chain:
                self._chunks.release(slot)
            raise
        return chain

    # ---- struct vr_nexthop ------------------------------------------------------------

    def _pack(self, nexthop: Nexthop, chain: int) -> bytes:
        rewrite = nexthop.rewrite
        room = self._layout.fields["rewrite"].total
        return self._layout.pack(
            id=nexthop.id,
            flags=int(nexthop.flags),
            members=chain,
            member_count=len(nexthop.members),
            sip=_of(IPv4Address, nexthop.sip),
            dip=_of(IPv4Address, nexthop.dip),
            sip6=_of(IPv6Address, nexthop.sip).to_bytes(16),
            dip6=_of(IPv6Address, nexthop.dip).to_bytes(16),
            sport=nexthop.sport,
            dport=nexthop.dport,
            vrf=nexthop.vrf,
            oif=VIF_NONE if nexthop.oif is None else nexthop.oif,
            encap_family=nexthop.encap_family,
            type=int(nexthop.type),
            family=int(nexthop.family),
            rewrite_len=len(rewrite),
            hash_fields=int(nexthop.hash_fields),
            rw_dst_mac=nexthop.rw_dst_mac or bytes(6),
            rewrite=rewrite.ljust(room, b"\0"),
        )

    def _old(self, slot: int, members: int) -> Nexthop:
        """What is in `slot`; its list is read only as far as it may be one of `members` members."""
        fields = self._layout.unpack(self._array.get(slot))
        if members and fields["member_count"] != members:
            fields["members"] = 0  # differs anyway
        return self._of_fields(fields)

    def _read(self, slot: int) -> Nexthop:
        return self._of_fields(self._layout.unpack(self._array.get(slot)))

    def _of_fields(self, fields: dict[str, Any]) -> Nexthop:
        members: list[Member] = []
        for _, raw in self._walk(fields["members"]):
            members += self._members(raw)
        mac = fields["rw_dst_mac"]
        addresses = {}
        for name in ("sip", "dip"):
            value, value6 = IPv4Address(fields[name]), IPv6Address(fields[f"{name}6"])
            addresses[name] = value if int(value) else value6 if int(value6) else None
        return Nexthop(
            id=fields["id"],
            type=NhType(fields["type"]),
            family=Family(fields["family"]),
            flags=NhFlag(fields["flags"]),
            vrf=fields["vrf"],
            oif=None if fields["oif"] == VIF_NONE else fields["oif"],
            sip=addresses["sip"],
            dip=addresses["dip"],
            sport=fields["sport"],
            dport=fields["dport"],
            encap_family=fields["encap_family"],
            rewrite=fields["rewrite"][: fields["rewrite_len"]],
            rw_dst_mac=mac if any(mac) else None,
            members=tuple(members),
            hash_fields=HashField(fields["hash_fields"]),
        )


def _of(kind: type[IPAddress], address: IPAddress | None) -> int:
    """The address as a number if it is of that version, else 0."""
    return int(address) if isinstance(address, kind) else 0


def _word(value: bytes, offset: int) -> int:
    return int.from_bytes(value[offset : offset + 4], sys.byteorder)
