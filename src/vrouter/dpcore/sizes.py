# SPDX-License-Identifier: Apache-2.0
"""How large the tables are: parameters of a load, and what they cost."""

from __future__ import annotations

import difflib
import mmap
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Final

from .errors import BadValue, UsageError
from .names import SPARES

VIFS: Final = 4352  # in every profile: upstream's default

_MAX: Final[dict[str, int]] = {
    "nexthops": 1 << 24,  # an id has 24 bits in the word of a bridge entry
    "vnis": 1 << 24,
    "labels": 1 << 20,  # RFC 3032
    "vrfs": 65535,  # 0xffff means none
}
_MAX_ENTRIES: Final = 1 << 26
_TEST_COPIES: Final = 1 << 20

# Bytes of one element besides its key and value, as /proc/PID/fdinfo shows them.
_HASH_ELEMENT: Final = 48
_HASH_BUCKET: Final = 16
_LPM_NODE: Final = 64
_GROWING: Final = {"inet6_hash"}  # its elements are made when they are needed


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Entries of each table whose size may be chosen; upstream's by default.

    `spare_*`: slots beyond the table, for entries that were replaced less than a
    second ago. `routes` are IPv4's, `routes6` IPv6's. `changes`: how many changes of routes and
    MACs a reader of them may lag behind. `members`: chunks of 31 members of composites.
    `ifindexes`: an ifindex below it is found fastest. `events`: bytes of the ring buffer, a
    power of two of at least 4096.
    """

    nexthops: int = 524288
    spare_nexthops: int = 65536
    spare_vifs: int = 1024
    members: int = 65536
    labels: int = 5120
    vnis: int = 16384
    vrfs: int = 4096
    routes: int = 1048576
    routes6: int = 262144
    changes: int = 65536
    bridge: int = 315392
    sources: int = 65536
    qos_maps: int = 4096
    ifindexes: int = 65536
    events: int = 262144

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            most = _MAX.get(name, _MAX_ENTRIES)
            if not 2 <= value <= most:
                raise BadValue(f"size {name}", value, f"2 to {most} is possible")
        if self.events < 4096 or self.events & (self.events - 1):
            raise BadValue("size events", self.events, "a power of two of at least 4096 is needed")

    @classmethod
    def from_maps(cls, entries: Mapping[str, int], base: Sizes | None = None) -> Sizes:
        """The sizes of loaded maps, of which `entries` gives max_entries by name.

        base: the sizes of tables that the loaded dp-core does not have.
        """
        found = {**(base or cls()).entries(), **entries}
        return cls(
            nexthops=found["nexthop_index"],
            spare_nexthops=found["nexthop_slots"] - found["nexthop_index"],
            spare_vifs=found["vif_slots"] - VIFS,
            members=found["member_slots"],
            labels=found["mpls"],
            vnis=found["vxlan_hash"],
            vrfs=found["vrf_stats"],
            routes=found["inet"],
            routes6=found["inet6_hash"],
            changes=found["route_changes"],
            bridge=found["bridge_hash"],
            sources=found["sources"],
            qos_maps=found["qos_map"],
            ifindexes=found["vif_by_ifindex"],
            events=found["events"],
        )

    @property
    def profile(self) -> str:
        """`default`, `small`, or `custom`."""
        return next((name for name, sizes in PROFILES.items() if sizes == self), "custom")

    @classmethod
    def from_args(
        cls, profile: str, overrides: Iterable[str] = (), loaded: Sizes | None = None
    ) -> Sizes:
        """The sizes of `profile`, or those that are `loaded`, changed by `NAME=N` words.

        Raises UsageError for an unknown profile or name, BadValue for a number out of range.
        """
        if profile not in PROFILES:
            raise UsageError(f"there is no size profile {profile!r}: {' or '.join(PROFILES)}")
        sizes = loaded or PROFILES[profile]
        for word in overrides:
            name, equals, number = word.partition("=")
            names = [field.name for field in fields(cls)]
            if name not in names:
                near = difflib.get_close_matches(name, names, 1)
                hint = f"did you mean {near[0]}" if near else "one of " + " ".join(names)
                raise UsageError(f"there is no size {name!r}: {hint}")
            if not equals or not number.isdecimal():
                raise UsageError(f"{word!r} is not NAME=NUMBER")
            sizes = replace(sizes, **{name: int(number)})
        return sizes

    def as_dict(self) -> dict[str, int]:
        """All sizes by name."""
        return asdict(self)

    def entries(self, *, test_mode: bool = False) -> dict[str, int]:
        """max_entries of each map whose size follows from these, by map name."""
        vif_slots, nh_slots = VIFS + self.spare_vifs, self.nexthops + self.spare_nexthops
        return {
            "vif_by_ifindex": self.ifindexes,
            "vif_slots": vif_slots,
            "vif_retire": vif_slots,
            "nexthop_index": self.nexthops,
            "nexthop_slots": nh_slots,
            "nexthop_retire": nh_slots,
            "member_slots": self.members,
            "member_retire": self.members,
            "mpls": self.labels,
            "vxlan_hash": self.vnis,
            # index 0 of a slot array is never used
            "vxlan": self.vnis + 1,
            "vxlan_retire": self.vnis + 1,
            "vrf_stats": self.vrfs,
            "inet": self.routes,
            "inet6_hash": self.routes6,
            # a quarter more, for those replaced or deleted less than a second ago
            "inet6_slots": self.routes6 + self.routes6 // 4 + 1,
            "inet6_retire": self.routes6 + self.routes6 // 4 + 1,
            "inet6_lengths": self.vrfs,
            "inet6_counts": self.vrfs,
            "route_changes": self.changes,
            "bridge_hash": self.bridge,
            # indexes that are kept ready hold no entry yet
            "bridge": self.bridge + 1 + SPARES,
            "bridge_retire": self.bridge + 1 + SPARES,
            "sources": self.sources,
            "qos_map": self.qos_maps,
            "events": self.events,
            "test_copies": _TEST_COPIES if test_mode else mmap.PAGESIZE,
        }

    def memory(self, cpus: int, object_path: Path | None = None) -> dict[str, int]:
        """Bytes of kernel memory by map once loaded, empty; IPv4 routes cost `route_bytes()` each
        more, IPv6 ones `_HASH_ELEMENT` and key and value.

        cpus: the CPUs that the kernel may ever have (per-CPU maps). The sizes of
        the values are read from the object, as load() finds it.
        """
        from .object import map_shapes  # noqa: PLC0415 - only this needs libbpf

        entries = self.entries()
        return {
            one.name: _bytes(
                "empty_hash" if one.name in _GROWING else one.kind,
                entries.get(one.name, one.max_entries),
                one.key_size,
                one.value_size,
                cpus,
            )
            for one in map_shapes(object_path)
        }

    @staticmethod
    def route_bytes() -> int:
        """Bytes that a route costs; a node that only branches costs the same."""
        return _LPM_NODE


def _bytes(kind: str, entries: int, key: int, value: int, cpus: int) -> int:
    """The kernel's own arithmetic (kernel/bpf/arraymap.c, hashtab.c, ringbuf.c)."""
    key, value = key + 7 & ~7, value + 7 & ~7
    if kind == "percpu_array":
        return entries * (8 + value * cpus)
    if kind == "hash":
        buckets = 1 << (entries - 1).bit_length()
        return buckets * _HASH_BUCKET + (entries + cpus) * (_HASH_ELEMENT + key + value)
    if kind == "empty_hash":
        return (1 << (entries - 1).bit_length()) * _HASH_BUCKET
    if kind == "lpm_trie":
        return 0
    if kind == "ringbuf":
        return entries + 3 * mmap.PAGESIZE
    return entries * value


DEFAULT: Final = Sizes()
SMALL: Final = Sizes(
    nexthops=4096,
    spare_nexthops=1024,
    spare_vifs=256,
    members=512,
    labels=2048,
    vnis=256,
    vrfs=64,
    routes=16384,
    routes6=4096,
    changes=4096,
    bridge=4096,
    sources=4096,
    qos_maps=64,
    ifindexes=4096,
    events=65536,
)
PROFILES: Final = {"default": DEFAULT, "small": SMALL}
