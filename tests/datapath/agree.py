# SPDX-License-Identifier: Apache-2.0
"""Runs packets on dp-core and on the model, and says where they differ."""

from __future__ import annotations

import os
import random
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.model import packet as model

from .packets import mutate, valid
from .rig import Rig, expected

CHUNK = 512
Case = tuple[int, bytes]

ROOT = Path(__file__).parents[2]


def seed(*, soak: bool = False) -> int:
    """$VR_SEED, or one that changes with what is compared, so that a tree always gives the same
    result; the long runs take a new one each time. Printed by whoever uses it."""
    if given := os.environ.get("VR_SEED"):
        return int(given)
    if soak:
        return random.SystemRandom().getrandbits(32)
    sources = [
        *(ROOT / "bpf").glob("*.[ch]"),
        *(ROOT / "tests/model").glob("*.py"),
        *(ROOT / "tests/datapath").glob("*.py"),
    ]
    return zlib.crc32(b"".join(one.read_bytes() for one in sorted(sources)))


def cases(r: random.Random, rig: Rig, count: int) -> Iterator[Case]:
    """Valid packets, and three times as many spoiled ones."""
    for _ in range(count):
        vif, frame = valid(r, rig.state)
        yield vif, frame if r.random() < 0.25 else mutate(r, frame)


def _plain(outcome: model.Outcome) -> tuple[object, ...]:
    # What comes in again is copied when the packet itself has ended: order is no promise.
    copies = sorted((copy.vif, copy.kind, copy.reason, copy.frame) for copy in outcome.copies)
    return outcome.verdict, outcome.out_vif, outcome.reason, outcome.frame, outcome.marks, copies


def difference(rig: Rig, case: Case) -> str | None:
    """How dp-core and the model differ on one packet, counters included; None if they agree."""
    before = rig.counters()
    found = rig.outcome(*case)
    moved = rig.counters() - before
    wanted = expected(rig.state, *case)
    if _plain(found) != _plain(wanted):
        return f"dp-core: {_plain(found)}\nmodel:   {_plain(wanted)}"
    if moved != +wanted.counters:
        return f"dp-core alone: {moved - wanted.counters}\nmodel alone: {wanted.counters - moved}"
    return None


def first_difference(rig: Rig, chunk: list[Case]) -> tuple[Case, str] | None:
    """The first packet on which they differ. Reading all counters takes as long as many packets:
    they are compared for all of them at once, and for halves only if the sums differ."""
    if len(chunk) == 1:
        text = difference(rig, chunk[0])
        return None if text is None else (chunk[0], text)
    before = rig.counters()
    sums: Counter[model.Key] = Counter()
    for case in chunk:
        found, wanted = rig.outcome(*case), expected(rig.state, *case)
        sums.update(wanted.counters)
        if _plain(found) != _plain(wanted):
            return case, f"dp-core: {_plain(found)}\nmodel:   {_plain(wanted)}"
    if rig.counters() - before == +sums:
        return None
    half = len(chunk) // 2
    for part in (chunk[:half], chunk[half:]):
        if (first := first_difference(rig, part)) is not None:
            return first
    return chunk[0], "the counters of a run differ, of its parts they do not"


def line_of(rig: Rig, case: Case) -> str:
    """A line for found.txt."""
    return f"{rig.state.name} {case[0]} {case[1].hex()}"
