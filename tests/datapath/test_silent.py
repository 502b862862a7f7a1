# SPDX-License-Identifier: Apache-2.0
"""An agent that has stopped to give signs of life: nothing is put on pkt0, all else goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.model.const import Drop, Verdict

from . import states as s
from .rig import Rig, rig
from .table import Case, check
from .test_tables import TABLES

SECOND = 1_000_000_000
ROWS = [case for table in TABLES.values() for case in table if s.WITH_AGENT.name in case.states]
TRAPS = [
    case
    for case in ROWS
    if case.verdict == Verdict.TRAP and not case.copies and case.vif != s.AGENT
]
PLAIN = [case for case in ROWS if case.verdict == Verdict.TX and not case.copies and not case.lost]


def silent(case: Case) -> Case:
    """What becomes of a trap that nobody hears."""
    return replace(case, verdict=Verdict.DROP, out=None, reason=Drop.TRAP_NO_IF, sent=b"")


@pytest.fixture(scope="module")
def loaded() -> Iterator[Rig]:
    state = s.WITH_AGENT.copy("agent-silent")
    with rig(state) as one:
        yield one


def beats(one: Rig, ago: float) -> None:
    """The last sign of life was so many seconds ago; -1: none is asked for."""
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    one.core.config.beat(0 if ago < 0 else now - int(ago * SECOND))
    one.state.agent_silent = ago > 3


def test_traps_are_counted_after_three_seconds(loaded: Rig) -> None:
    assert len(TRAPS) > 20
    for ago, heard in ((-1, True), (0, True), (1.0, True), (3.1, False), (1000, False)):
        for case in TRAPS:
            beats(loaded, ago)
            check(loaded, case if heard else silent(case))


def test_all_else_goes_on(loaded: Rig) -> None:
    beats(loaded, 1000)
    for case in PLAIN:
        # who is not known yet does not get known now
        known = tuple(one for one in case.heard if one in loaded.state.bridge)
        check(loaded, replace(case, heard=known))


def test_it_comes_back(loaded: Rig) -> None:
    beats(loaded, 1000)
    check(loaded, silent(TRAPS[0]))
    beats(loaded, 0)
    check(loaded, TRAPS[0])
