# SPDX-License-Identifier: Apache-2.0
"""Vifs get other idx while their packets flow.

A copy is written at the new idx, then the one word that leads from the netdevice to its vif is
turned round: a packet is of the old vif or of the new one, which are the same but for their
counters. What names the old idx (partners, nexthops, the pin of the tcx link, which stays
attached) follows before the old one goes. A writer that dies in the middle leaves two vifs of
one netdevice; the next call finishes that.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from .errors import Refused
from .home import Home
from .names import MAX_VIFS, VifFeature
from .nexthops import NexthopTable
from .records import Vif

if TYPE_CHECKING:
    from .vifs import VifTable


def renumber(home: Home, vifs: VifTable, mapping: Mapping[int, int]) -> None:
    """What `VifTable.renumber` says; the caller holds the lock."""
    settle(home, vifs)
    moves = {old: new for old, new in mapping.items() if old != new and vifs.get(old)}
    _check(vifs, moves, mapping)
    if moves.keys() & set(moves.values()):
        # one stands where another is to go: by way of idx that nobody uses
        used = {vif.idx for vif in vifs.items()} | set(moves.values())
        free = [idx for idx in range(MAX_VIFS) if idx not in used]
        if len(free) < len(moves):
            raise Refused(f"no idx is free to exchange {len(moves)} vifs: delete one first")
        first = dict(zip(moves, free, strict=False))
        _move(home, vifs, first)
        moves = {first[old]: new for old, new in moves.items()}
    _move(home, vifs, moves)


def settle(home: Home, vifs: VifTable) -> None:
    """Finish what a writer that died has left."""
    for vif in list(vifs.items()):
        if vif.parent is not None:
            continue
        current = vifs.by_ifindex(vif.ifindex)
        if current is not None and current.idx != vif.idx:
            _follow(home, vifs, vif, current.idx)


def _check(vifs: VifTable, moves: Mapping[int, int], mapping: Mapping[int, int]) -> None:
    if len(set(moves.values())) < len(moves):
        raise Refused("two vifs cannot get the same idx")
    for old, new in moves.items():
        vif, there = vifs.get(old), vifs.get(new)
        if there is not None and mapping.get(new, new) == new:
            raise Refused(f"vif0/{new} is {there.name}: delete it first, or give it another idx")
        if vif is not None and (vif.parent is not None or vif.features & VifFeature.SUBVIFS):
            raise Refused(f"vif0/{old} ({vif.name}) has parts or is one: its idx stays")


def _move(home: Home, vifs: VifTable, moves: Mapping[int, int]) -> None:
    for old, new in moves.items():
        vif = vifs.get(old)
        if vif is not None:
            vifs.put_copy(replace(vif, idx=new))
            settle(home, vifs)


def _follow(home: Home, vifs: VifTable, old: Vif, new: int) -> None:
    """What names the vif `old` names vif `new`; then `old` goes."""
    folder = home.instance.link_dir
    pin = folder / f"vif{old.idx}"
    if pin.exists():
        os.rename(pin, folder / f"vif{new}")
    for vif in list(vifs.items()):
        if vif.xconnect == old.idx:
            vifs.store(replace(vif, xconnect=new))
    nexthops = NexthopTable(home)
    for nexthop in list(nexthops.items()):
        if nexthop.oif == old.idx:
            nexthops.put(replace(nexthop, oif=new))
    vifs.move_agent(old.idx, new)
    vifs.forget(old)
