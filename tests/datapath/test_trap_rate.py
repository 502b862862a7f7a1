# SPDX-License-Identifier: Apache-2.0
"""A vif may cause so many traps a second and no more; what is above is counted, copies go on."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.model.const import Drop, Verdict

from . import states as s
from .cases_arp import TO_GW
from .frames import eth, ip, request
from .rig import Rig, rig

LIMITED = int(Drop.TRAP_LIMIT)


@pytest.fixture(scope="module")
def loaded() -> Iterator[Rig]:
    with rig(s.WITH_AGENT) as one:
        yield one


def trapped(one: Rig, vif: int, count: int) -> int:
    """How many of so many packets for the agent get through; the others are counted."""
    before = one.core.stats.drops()[LIMITED], one.core.vifs.drops(vif)[LIMITED]
    got = sum(one.outcome(vif, TO_GW).verdict == Verdict.TRAP for _ in range(count))
    after = one.core.stats.drops()[LIMITED], one.core.vifs.drops(vif)[LIMITED]
    assert [new - old for new, old in zip(after, before, strict=True)] == [count - got] * 2
    return got


def test_a_tenth_of_a_second_may_come_at_once(loaded: Rig) -> None:
    loaded.core.config.set(trap_rate=100)
    start = time.monotonic()
    got = trapped(loaded, s.VM1, 300)
    span = time.monotonic() - start
    assert 10 <= got <= 11 + 100 * span
    # another vif has a bucket of its own
    assert trapped(loaded, s.VM2, 10) == 10


def test_they_come_again_with_time(loaded: Rig) -> None:
    loaded.core.config.set(trap_rate=100)
    trapped(loaded, s.VM1, 100)
    time.sleep(0.1)
    assert 9 <= trapped(loaded, s.VM1, 10) <= 10


def test_one_a_second_is_one(loaded: Rig) -> None:
    loaded.core.config.set(trap_rate=1)
    before = loaded.core.stats.drops()[Drop.TRAP_LIMIT]
    assert trapped(loaded, s.UUF, 50) in (1, 2)
    assert loaded.core.stats.drops()[Drop.TRAP_LIMIT] - before in (48, 49)


def test_nought_is_no_limit(loaded: Rig) -> None:
    loaded.core.config.set(trap_rate=0)
    assert trapped(loaded, s.VM1, 2000) == 2000


def test_a_copy_for_the_agent_too(loaded: Rig) -> None:
    """The packet itself goes on: it is the copy that is lost."""
    loaded.core.config.set(trap_rate=1)
    ask = request("10.1.1.6", spa="10.1.1.6")
    before = loaded.core.vifs.drops(s.NO_PROXY)[LIMITED]
    outcomes = [loaded.outcome(s.NO_PROXY, ask) for _ in range(20)]
    copies = [copy for one in outcomes for copy in one.copies]
    assert sum(copy.kind == Verdict.TRAP for copy in copies) in (1, 2)
    assert all(any(copy.vif == s.VM1 for copy in one.copies) for one in outcomes)
    assert loaded.core.vifs.drops(s.NO_PROXY)[LIMITED] - before in (18, 19)


def test_forwarding_is_not_limited(loaded: Rig) -> None:
    loaded.core.config.set(trap_rate=1)
    frame = eth(s.VM2_MAC, s.VM1_MAC, ip("10.1.1.2"))
    assert all(loaded.outcome(s.VM1, frame).verdict == Verdict.TX for _ in range(100))
