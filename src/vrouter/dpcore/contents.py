# SPDX-License-Identifier: Apache-2.0
"""What the tables hold right after a load."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from .btf import Btf
from .errors import Refused
from .maps import ArrayMap, BpfMap
from .object import CONFIG
from .sizes import Sizes

_NONE: Final = 0xFFFF
TRAP_RATE: Final = 1000  # traps a second of a vif
_AF_INET: Final = 2
_DISCARD_SLOT: Final = 1


def fill(maps: dict[str, BpfMap], sizes: Sizes, object_path: Path) -> None:
    """Writes what a fresh table must hold; a table in use is left as it is.

    Slot 0 of every slot table is taken, nexthop 0 is Discard, no agent, a
    random seed for the entropy port.
    """
    types = Btf.from_object(object_path)
    for name, one in maps.items():
        if name.endswith("_retire") and isinstance(one, ArrayMap) and not any(one.get(0)):
            one.set(0, _word(1))
    _make_discard(maps, types)
    _make_spares(maps)
    _configure(_array(maps, CONFIG), sizes, types)


def abi_version(maps: Mapping[str, BpfMap]) -> int:
    """The version of the tables that are loaded: the first word of the configuration in all
    versions; the rest may be another layout."""
    return int.from_bytes(_array(maps, CONFIG).get(0)[:4], sys.byteorder)


def _make_discard(maps: dict[str, BpfMap], types: Btf) -> None:
    index = _array(maps, "nexthop_index")
    if any(index.get(0)):
        return
    kind = types.enum("vr_nh_type")["NH_TYPE_DISCARD"]
    valid = types.enum("vr_nh_flag")["NH_FLAG_VALID"]
    record = types.layout("vr_nexthop").pack(
        id=0, type=kind, flags=valid, family=_AF_INET, oif=_NONE
    )
    _array(maps, "nexthop_retire").set(_DISCARD_SLOT, _word(1))
    _array(maps, "nexthop_slots").set(_DISCARD_SLOT, record)
    index.set(0, _DISCARD_SLOT.to_bytes(4, sys.byteorder))


def _make_spares(maps: dict[str, BpfMap]) -> None:
    """The first indexes of an empty bridge table are ready for MACs that dp-core learns."""
    spare, retire = _array(maps, "bridge_spare"), _array(maps, "bridge_retire")
    states = b"".join(retire.get_range(1, spare.max_entries))
    if any(states):
        return  # in use: the next writer fills them up
    numbers = range(1, spare.max_entries + 1)
    retire.set_many((number, _word(1)) for number in numbers)
    spare.set_many((number - 1, number.to_bytes(4, sys.byteorder)) for number in numbers)


def _configure(config: ArrayMap, sizes: Sizes, types: Btf) -> None:
    layout = types.layout("vr_config")
    fields = layout.unpack(config.get(0))
    if fields["loaded_ns"]:
        return
    fields["hash_seed"] = secrets.randbits(32)
    fields["agent_vif"] = _NONE
    fields["spare_vifs"] = sizes.spare_vifs
    fields["spare_nexthops"] = sizes.spare_nexthops
    fields["trap_rate"] = TRAP_RATE
    fields["loaded_ns"] = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    config.set(0, layout.pack(**fields))


def _array(maps: Mapping[str, BpfMap], name: str) -> ArrayMap:
    found = maps.get(name)
    if not isinstance(found, ArrayMap):
        raise Refused(f"this is not a dp-core of this version: it has no array {name}")
    return found


def _word(value: int) -> bytes:
    return value.to_bytes(8, sys.byteorder)
