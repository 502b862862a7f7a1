# SPDX-License-Identifier: Apache-2.0
"""Tables for another dp-core, made beside those in use: what may stay, what is copied.

The caller holds the instance's lock, so nobody but dp-core itself changes a
table meanwhile, and dp-core only counts (a table whose entries dp-core makes
itself would need a rule of its own here). A table that stays the same is used
by both. Any other is made anew and filled here, but for its counters: those
are moved once the old dp-core counts no more (exchange.py). Nothing in use is
changed: a migration that cannot be done is refused, and forgotten.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from .btf import Btf
from .convert import Converter, words
from .errors import Refused, TableFull
from .layout import Layout
from .maps import ArrayMap, BpfMap, HashMap, LpmMap, PercpuArrayMap
from .object import CONFIG, BpfObject, ObjectMap
from .sizes import Sizes

SWITCH: Final = "vr_switch"
AGAIN: Final = "again_slots"
# what a dp-core keeps for less time than a packet takes: each has its own
_PRIVATE: Final = frozenset({AGAIN})
# ring buffers, and the struct of their records
_RINGS: Final = {"events": "vr_event", "test_copies": "vr_test_copy"}
# counters of dp-core in tables that are not per CPU (those are counters all through)
_COUNTERS: Final[dict[str, tuple[str, ...]]] = {
    "vif_drops": ("count",),
    "bridge": ("packets", "heard"),
}
# slot tables, and where it stands which slots are in use
_RETIRE: Final = {
    "vif_slots": "vif_retire",
    "nexthop_slots": "nexthop_retire",
    "member_slots": "member_retire",
    "bridge": "bridge_retire",
    "vxlan": "vxlan_retire",
    "inet6_slots": "inet6_retire",
    "mirror_slots": "mirror_retire",
}
_IN_USE: Final = 1
_FIXED: Final = {"vif_by_ifindex": "ifindexes"}


@dataclass(frozen=True, slots=True)
class Copy:
    """A table to be made anew: key is None where keys stay as they are."""

    old: BpfMap
    key: Converter | None
    value: Converter | None
    counters: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What a load does with the tables: which stay, which are copied; notes for the person."""

    keep: tuple[str, ...]
    copies: Mapping[str, Copy]
    notes: tuple[str, ...]


def layouts(table: BpfMap) -> tuple[Layout | None, Layout | None]:
    """The layouts of a loaded map's keys and values, where it has some."""
    types = Btf.from_kernel(table.btf_id) if table.btf_id else None
    return _layouts(types, table.name, (table.key_type, table.value_type))


def counters(table: BpfMap) -> Layout | None:
    """The layout of the counters in a value of that table; None if dp-core counts nothing there."""
    value = layouts(table)[1]
    if value is None or isinstance(table, PercpuArrayMap):
        return value
    names = _COUNTERS.get(table.name, ())
    if not names:
        return None
    return Layout(value.name, value.size, {name: value.fields[name] for name in names})


def _layouts(
    types: Btf | None, name: str, ids: tuple[int, int]
) -> tuple[Layout | None, Layout | None]:
    if types is None:
        return None, None
    if name == CONFIG:
        return None, types.layout("vr_config")
    key, value = ids
    return (types.layout_of(key) if key else None, types.layout_of(value) if value else None)


# ---- plan ---------------------------------------------------------------------------------


def plan(
    opened: BpfObject,
    tables: Mapping[str, BpfMap],
    running: Btf,
    sizes: Sizes,
    *,
    test_mode: bool,
    same_abi: bool,
) -> Plan:
    """Says what becomes of each table of `opened`, and gives it its size; before it is loaded.

    tables: those in use, by name; running: the types of the dp-core that uses them.
    Raises Refused if a table cannot be carried over.
    """
    wanted = sizes.entries(test_mode=test_mode)
    keep: list[str] = []
    copies: dict[str, Copy] = {}
    notes = [
        f"table {name} is not known to it, and is gone" for name in tables.keys() - opened.maps
    ]
    for name, one in opened.maps.items():
        if name in wanted:
            one.set_entries(wanted[name])
        old = tables.get(name)
        if old is None or name in _PRIVATE:
            continue
        _check_type(one, old)
        if _stays(opened, one, old, running, same_abi=same_abi):
            keep.append(name)
        elif name not in _RINGS:
            copies[name] = _copy(opened, one, old)
    if copies and CONFIG in keep:
        # it says how many spare slots there are
        keep.remove(CONFIG)
        copies[CONFIG] = _copy(opened, opened.maps[CONFIG], tables[CONFIG])
    for name, copy in copies.items():
        dropped = copy.value.dropped if copy.value is not None else ()
        notes += [f"field {field} of {name} is not known to it, and is gone" for field in dropped]
    return Plan(tuple(keep), copies, tuple(sorted(notes)))


def _check_type(one: ObjectMap, old: BpfMap) -> None:
    """A type that maps.py has no class for is one that nobody here knows how to copy."""
    if one.type != old.type or type(old) is BpfMap:
        raise Refused(
            f"table {one.name} is of a type that cannot be carried over to the dp-core to be "
            "loaded: run `vrouter unload` first"
        )


def _stays(opened: BpfObject, one: ObjectMap, old: BpfMap, running: Btf, *, same_abi: bool) -> bool:
    """Whether both can use the table; Refused if that cannot be but must."""
    shape = one.shape
    entries = shape.max_entries == old.max_entries
    if one.name in _RINGS:
        struct = _RINGS[one.name]
        return entries and running.layout(struct).shape == opened.types.layout(struct).shape
    sizes = (shape.key_size, shape.value_size) == (old.key_size, old.value_size)
    if one.name == SWITCH:
        if not (entries and sizes):
            raise Refused(
                f"{opened.path.name} exchanges programs in another way than the loaded dp-core: "
                "run `vrouter unload` first"
            )
        return True
    if not entries and one.name in _FIXED:
        raise Refused(
            f"the number of {_FIXED[one.name]} changes by unloading only: it is {old.max_entries}"
        )
    new_shapes = [part and part.shape for part in _object_layouts(opened, one)]
    same = sizes and new_shapes == [part and part.shape for part in layouts(old)]
    if not same and same_abi:
        raise Refused(
            f"table {one.name} has another layout in {opened.path.name}, which says the same "
            "version of the tables: raise VR_ABI_VERSION and build it again"
        )
    return same and entries and (same_abi or one.name != CONFIG)


def _object_layouts(opened: BpfObject, one: ObjectMap) -> tuple[Layout | None, Layout | None]:
    return _layouts(opened.types, one.name, one.type_ids)


def _copy(opened: BpfObject, one: ObjectMap, old: BpfMap) -> Copy:
    old_key, old_value = layouts(old)
    new_key, new_value = _object_layouts(opened, one)
    counted = counters(old)
    if counted is not None and new_value is not None:
        words(counted, new_value)  # refuses what cannot be moved later
    if isinstance(old, PercpuArrayMap):
        return Copy(old, None, None, counters=True)
    key = value = None
    if isinstance(old, HashMap) and old_key and new_key and old_key.shape != new_key.shape:
        if isinstance(old, LpmMap):
            raise Refused(
                f"the keys of table {one.name} are others in the dp-core to be loaded, and a "
                "prefix counts their bits: run `vrouter unload` first"
            )
        key = Converter(one.name, old_key, new_key)
    template = bytes(one.initial()) if one.name == CONFIG else None
    if old_value is not None and new_value is not None:
        without = ("abi_version",) if one.name == CONFIG else _COUNTERS.get(one.name, ())
        value = Converter(one.name, old_value, new_value, template=template, without=without)
    return Copy(old, key, value, counted is not None)


# ---- copy ---------------------------------------------------------------------------------


def fill(
    plan: Plan, tables: Mapping[str, BpfMap], fresh: Mapping[str, BpfMap], sizes: Sizes
) -> None:
    """Fills the new tables `fresh` with what the old ones `tables` hold, counters left out.

    Raises Refused if something does not fit.
    """
    fixed = sizes.entries().keys()
    for name, copy in plan.copies.items():
        target = fresh[name]
        if isinstance(copy.old, PercpuArrayMap):
            if name in fixed:
                _check_counters_fit(copy.old, target)
        elif isinstance(copy.old, HashMap):
            _fill_hash(copy, target)
        else:
            retire = tables.get(_RETIRE.get(name, ""))
            _fill_array(copy, target, retire if isinstance(retire, ArrayMap) else None)
    config = fresh[CONFIG]
    if CONFIG in plan.copies and isinstance(config, ArrayMap):
        _configure(config, sizes, events="events" in plan.keep)


def _configure(config: ArrayMap, sizes: Sizes, *, events: bool) -> None:
    layout = layouts(config)[1]
    if layout is None:
        return
    fields = layout.unpack(config.get(0))
    fields.update(spare_vifs=sizes.spare_vifs, spare_nexthops=sizes.spare_nexthops)
    if not events:
        fields["events"] = 0  # whoever listens has the old ring buffer
    config.set(0, layout.pack(**fields))


def _fill_hash(copy: Copy, target: BpfMap) -> None:
    try:
        for count, keys, values in copy.old.batches():
            keys = copy.key.convert(keys, count) if copy.key else keys
            values = copy.value.convert(values, count) if copy.value else values
            target.write_batch(count, keys, values)
    except TableFull:
        raise Refused(
            f"table {copy.old.name} has more than {target.max_entries} entries in use: "
            "nothing was changed"
        ) from None


def _fill_array(copy: Copy, target: BpfMap, retire: ArrayMap | None) -> None:
    room, size = target.max_entries, copy.old.value_size
    for start, count, values in _filled_batches(copy.old, retire):
        fits = max(0, min(count, room - start))
        _check_rest(copy.old, start + fits, values[fits * size :], room)
        if not fits:
            continue
        part = values[: fits * size]
        part = copy.value.convert(part, fits) if copy.value else part
        keys = b"".join(number.to_bytes(4, sys.byteorder) for number in range(start, start + fits))
        target.write_batch(fits, keys, part)


def _filled_batches(old: BpfMap, retire: ArrayMap | None) -> Iterator[tuple[int, int, bytes]]:
    """(first index, count, values) of batches that hold something; slots not in use are zero."""
    start = 0
    for count, _, values in old.batches():
        if any(values):
            if retire is not None:
                values = _in_use(values, old.value_size, retire.get_range(start, count))
            yield start, count, values
        start += count


def _in_use(values: bytes, size: int, states: list[bytes]) -> bytes:
    """What is left of retired entries is nobody's, and need not fit anywhere."""
    used = _IN_USE.to_bytes(8, sys.byteorder)
    return b"".join(
        values[at * size : (at + 1) * size] if state == used else bytes(size)
        for at, state in enumerate(states)
    )


def _check_rest(old: BpfMap, start: int, rest: bytes, room: int) -> None:
    """Nothing may be in use beyond the end of a smaller table."""
    size = old.value_size
    for at in range(0, len(rest), size):
        value = rest[at : at + size]
        state = int.from_bytes(value[:8], sys.byteorder)
        if any(value) and (not old.name.endswith("_retire") or state == _IN_USE):
            raise Refused(
                f"entry {start + at // size} of table {old.name} is in use, so that it cannot have "
                f"{room} entries only: nothing was changed"
            )


def _check_counters_fit(old: PercpuArrayMap, target: BpfMap) -> None:
    for key, rows in old.items() if target.max_entries < old.max_entries else ():
        if key >= target.max_entries and any(map(any, rows)):
            raise Refused(
                f"entry {key} of table {old.name} is in use, so that it cannot have "
                f"{target.max_entries} entries only: nothing was changed"
            )
