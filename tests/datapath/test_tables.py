# SPDX-License-Identifier: Apache-2.0
"""The tables of packets: dp-core and the model both do what each row says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import (
    cases_agent,
    cases_arp,
    cases_bridge,
    cases_composite,
    cases_decap,
    cases_ecmp,
    cases_encap,
    cases_icmp,
    cases_inet6,
    cases_l3,
    cases_learn,
    cases_malformed,
    cases_mirror,
    cases_mss,
    cases_nd,
    cases_over6,
    cases_qos,
    cases_size,
    cases_source,
    cases_traps,
    cases_tree,
    cases_underlay6,
    cases_vifs,
    cases_xconnect,
)
from .agree import CHUNK, first_difference
from .packets import fit
from .rig import Rig, rig
from .states import TABLE_STATES
from .table import check

TABLES = {
    "agent": cases_agent.CASES,
    "arp": cases_arp.CASES,
    "bridge": cases_bridge.CASES,
    "composite": cases_composite.CASES,
    "decap": cases_decap.CASES,
    "ecmp": cases_ecmp.CASES,
    "encap": cases_encap.CASES,
    "icmp": cases_icmp.CASES,
    "inet6": cases_inet6.CASES,
    "l3": cases_l3.CASES,
    "learn": cases_learn.CASES,
    "malformed": cases_malformed.CASES,
    "mss": cases_mss.CASES,
    "nd": cases_nd.CASES,
    "over6": cases_over6.CASES,
    "size": cases_size.CASES,
    "underlay6": cases_underlay6.CASES,
    "source": cases_source.CASES,
    "traps": cases_traps.CASES,
    "vifs": cases_vifs.CASES,
    "mirror": cases_mirror.CASES,
    "qos": cases_qos.CASES,
    "tree": cases_tree.CASES,
    "xconnect": cases_xconnect.CASES,
}
CUT_AT = range(14, 130)


@pytest.fixture(scope="module", params=sorted(TABLE_STATES))
def loaded(request: pytest.FixtureRequest) -> Iterator[Rig]:
    with rig(TABLE_STATES[request.param]) as one:
        yield one


@pytest.mark.parametrize("table", sorted(TABLES))
def test_table(loaded: Rig, table: str) -> None:
    wrong = []
    for case in TABLES[table]:
        if loaded.state.name not in case.states:
            continue
        try:
            check(loaded, case)
        except AssertionError as error:
            wrong.append(f"{case.name}: {error}")
    assert not wrong, "\n".join(wrong)


def test_every_row_cut_short_at_every_byte(loaded: Rig) -> None:
    """No header of any row can be cut such that dp-core and the model differ."""
    rows = [case for name in TABLES if name != "malformed" for case in TABLES[name]]
    frames = sorted({(case.vif, case.frame) for case in rows if case.vif in loaded.state.vifs})
    short = {
        (vif, fit(frame[:length]))
        for vif, frame in frames
        for length in CUT_AT
        if length < len(frame)
    }
    ordered = sorted(short)
    for at in range(0, len(ordered), CHUNK):
        found = first_difference(loaded, ordered[at : at + CHUNK])
        assert found is None, found


def test_there_are_rows_enough() -> None:
    assert sum(len(table) for table in TABLES.values()) >= 150
