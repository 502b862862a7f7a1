# SPDX-License-Identifier: Apache-2.0
"""`make coverage` sees what a packet reaches, and what none has."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.coverage.instrument import build
from tests.coverage.page import reasons
from tests.coverage.report import NEVER, TRUE, evaluate
from tests.coverage.watch import Watch
from tests.model.const import Drop, Verdict

from . import states as s
from .frames import eth, ip
from .rig import rig

BPF = Path(__file__).parents[2] / "bpf"


@pytest.mark.timeout(400)  # it compiles twice
def test_what_one_packet_reaches(tmp_path: Path) -> None:
    clang = os.environ.get("CLANG", "clang-19")
    made = build(clang, BPF / "vrouter.bpf.c", tmp_path)
    watch = Watch(made.size)
    with rig(s.HEADLESS, made.object) as one:
        watch.look()
        routed = one.outcome(s.VM1, eth(s.VM2_MAC, s.VM1_MAC, ip("10.1.1.2")))
        unknown = one.outcome(s.VM1, eth(b"\2\0\0\0\0\x99", s.VM1_MAC, ip("10.1.1.2")))
    assert (routed.verdict, unknown.reason) == (Verdict.TX, Drop.L2_NO_ROUTE)
    assert watch.held == 1
    seen = evaluate(made, watch.sums(), BPF, clang.removeprefix("clang"))
    assert 0 < seen.functions_hit < seen.functions
    assert 0 < seen.branches_hit < seen.branches
    gaps = {(gap.file, gap.what, gap.text) for gap in seen.gaps}
    reached = {text for _, what, text in gaps if what == NEVER}
    assert "vr_entry()" in reached and not {"vr_dpcore()", "vr_drop()", "vr_output()"} & reached
    assert ("vrouter.bpf.c", TRUE, "__builtin_expect(!vif, 0)") in gaps
    for gap in seen.gaps:
        line = (BPF / gap.file).read_text().splitlines()[gap.line - 1]
        assert gap.text.split("(")[0].split(" ")[0] in line, gap


def test_reasons_are_of_files_that_there_are() -> None:
    names = [one.name for one in BPF.glob("*.[hc]")]
    assert reasons()
    for one in reasons():
        assert any(re.fullmatch(one.file, name) for name in names), one
