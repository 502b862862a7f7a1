# SPDX-License-Identifier: Apache-2.0
"""The tables of packets: dp-core and the model both do what each row says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.model import packet as model

from . import cases_fabric, cases_overlay
from .agree import first_difference
from .case import Case
from .packets import fit
from .rig import Rig, expected, rig
from .states import STATES

TABLES = {
    "bridge": cases_overlay.BRIDGE,
    "route": cases_overlay.ROUTE,
    "arp": cases_overlay.ARP_CASES,
    "flood": cases_overlay.FLOOD,
    "decap": cases_fabric.DECAP,
    "fabric-arp": cases_fabric.ARP_CASES,
    "host": cases_fabric.HOST,
    "agent": cases_fabric.AGENT,
}
_UDP_TUNNELS = (4789, 6635)


@pytest.fixture(scope="module", params=sorted(STATES))
def loaded(request: pytest.FixtureRequest) -> Iterator[Rig]:
    with rig(STATES[request.param]) as one:
        yield one


def without_entropy(frame: bytes) -> bytes:
    """The frame with an outer UDP source port of zero, after its range was checked."""
    if (
        len(frame) < 42
        or frame[23] != 17
        or int.from_bytes(frame[36:38], "big") not in _UDP_TUNNELS
    ):
        return frame
    port = int.from_bytes(frame[34:36], "big")
    assert 49152 <= port <= 65534 or port in (51000, 52000, 50001), port
    return frame[:34] + bytes(2) + frame[36:]


def check(case: Case, outcome: model.Outcome, whose: str) -> None:
    """The outcome is what the row says."""
    where = f"{whose}: {case.name}"
    assert (outcome.verdict, outcome.out_vif, int(outcome.reason)) == (
        case.verdict,
        case.out_vif,
        int(case.reason),
    ), where
    assert without_entropy(outcome.frame).hex() == without_entropy(case.out).hex(), where
    copies = sorted((copy.vif, without_entropy(copy.frame).hex()) for copy in outcome.copies)
    assert copies == sorted((vif, without_entropy(frame).hex()) for vif, frame in case.copies), (
        where
    )


@pytest.mark.parametrize("table", sorted(TABLES))
def test_table(loaded: Rig, table: str) -> None:
    rows = [case for case in TABLES[table] if loaded.state.name in case.states]
    for case in rows:
        wanted = expected(loaded.state, case.vif, case.frame)
        check(case, wanted, "model")
        assert not Counter(case.counts) - wanted.counters, (case.name, wanted.counters)
        before = loaded.counters()
        check(case, loaded.outcome(case.vif, case.frame), "dp-core")
        assert loaded.counters() - before == +wanted.counters, case.name


def test_every_row_cut_short_at_every_byte(loaded: Rig) -> None:
    """No header of any row can be cut such that dp-core and the model differ."""
    rows = [case for table in TABLES.values() for case in table if case.vif in loaded.state.vifs]
    frames = sorted({(case.vif, case.frame) for case in rows})
    for vif, frame in frames:
        short = [(vif, fit(frame[:length])) for length in range(14, min(len(frame), 130))]
        found = first_difference(loaded, short)
        assert found is None, found


def test_there_are_rows_enough() -> None:
    assert sum(len(case.states) for table in TABLES.values() for case in table) >= 120
