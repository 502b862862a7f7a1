# SPDX-License-Identifier: Apache-2.0
"""Pieces of what a UDP tunnel brought whole, as they come out of the exception pair.

A test cannot say of what kind a GSO packet is, so that none can be sent there: what the pair makes
of real ones is seen in tests/system/test_replication.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.model.const import Drop, Verdict
from vrouter.dpcore.names import DropReason
from vrouter.dpcore.testrun import test_run as run_program

from . import states as s
from .cases_decap import BARE, FRAME, TAGGED
from .frames import eth, ip6, mplsoudp, vxlan
from .rig import Rig, rig

UDP6 = eth(s.VM1_MAC, s.REMOTE_MAC, ip6())
PIECES = {
    "VXLAN": vxlan(5001, FRAME),
    "VXLAN, a tag inside": vxlan(5001, TAGGED),
    "VXLAN, IPv6 inside": vxlan(5001, UDP6),
    "MPLSoUDP, a packet inside": mplsoudp(1000, BARE),
}


@pytest.fixture(scope="module")
def loaded() -> Iterator[Rig]:
    with rig(s.HEADLESS) as one:
        yield one


def run(one: Rig, frame: bytes, device: int, mark: int) -> tuple[Verdict, int]:
    """What became of it, and why."""
    result = run_program(one.program, frame, device, mark=mark)
    return Verdict(result.cb[0]), result.cb[2]


@pytest.mark.parametrize("kind", PIECES)
def test_a_piece_is_as_a_packet_that_came_by_itself(loaded: Rig, kind: str) -> None:
    frame = PIECES[kind]
    counts: list[Counter[tuple[str | int, ...]]] = []
    outputs = []
    for device, mark in ((loaded.ifindex(s.FABRIC), 0), (loaded.pair, 0x57000000 | s.FABRIC)):
        before = loaded.counters()
        outputs.append(run_program(loaded.program, frame, device, mark=mark).packet_out)
        counts.append(loaded.counters() - before)
    received = Counter({("rx_packets", s.FABRIC): 1, ("rx_bytes", s.FABRIC): len(frame)})
    assert outputs[0] == outputs[1]
    assert counts[0] == counts[1] + received


def test_a_piece_of_no_fabric_is_dropped(loaded: Rig) -> None:
    for vif in (s.VM1, 4000):
        ended = run(loaded, PIECES["VXLAN"], loaded.pair, 0x57000000 | vif)
        assert ended == (Verdict.DROP, Drop.INVALID_IF)


def test_what_nobody_sent_into_the_pair_is_dropped(loaded: Rig) -> None:
    assert run(loaded, FRAME, loaded.pair, 0) == (Verdict.DROP, Drop.INTERFACE_RX_DISCARD)
    assert run(loaded, FRAME, loaded.pair, 0x56000001) == (Verdict.DROP, DropReason.RECIRCULATION)
