# SPDX-License-Identifier: Apache-2.0
"""The benchmark runs, its JSON has the shape that programs rely on, and nothing is left."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.system.compile import ROOT
from vrouter.host import netns
from vrouter.lab import state

CASES = ("same-host", "vxlan", "mplsoudp", "mplsogre", "vhost")
KEYS = ["case", "metric", "unit", "ours", "peers", "ratios"]


@dataclass(frozen=True)
class Done:
    pid: int
    returncode: int
    stdout: str
    stderr: str


def bench(*arguments: str) -> Done:
    command = [sys.executable, str(ROOT / "bench/run.py"), *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            out, err = process.communicate(timeout=100)
        except BaseException:
            process.terminate()  # it removes what it made
            raise
    return Done(process.pid, process.returncode, out, err)


def test_it_lists_its_cases() -> None:
    done = bench("--list")
    assert (done.returncode, done.stderr) == (0, "")
    assert tuple(line.split()[0] for line in done.stdout.splitlines()) == CASES
    for line in done.stdout.splitlines():
        assert "tcp" in line
        assert ("rtt" if line.startswith("vhost") else "pps") in line


def test_a_wrong_case_is_answered_with_the_right_ones() -> None:
    done = bench("vxlam")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert all(case in done.stderr for case in CASES)


def test_figures_side_by_side(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    arguments = ("--rounds", "1", "--seconds", "0.3", "--json", str(file))
    done = bench("same-host", "vxlan", *arguments)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    rows = {(row["case"], row["metric"]): row for row in json.loads(file.read_text())}
    tunnel = ("tcp tso", "tcp plain", "tcp plain gro", "pps", "pps plain")
    assert list(rows) == [
        *(("same-host", metric) for metric in ("tcp", "pps")),
        *(("vxlan", metric) for metric in tunnel),
    ]
    for (case, metric), row in rows.items():
        assert list(row) == KEYS
        peer = "kernel bridge" if case == "same-host" else "kernel bridge+vxlan"
        assert list(row["peers"]) == list(row["ratios"]) == [peer]
        assert row["unit"] == ("packets/s" if metric.startswith("pps") else "Gbit/s")
        assert row["ours"] > 0
        assert abs(row["ratios"][peer] - row["ours"] / row["peers"][peer]) < 0.02
    # of one round, beside whatever else this machine does
    assert rows["vxlan", "pps"]["ratios"]["kernel bridge+vxlan"] > 1
    assert done.stdout.count("generator alone: makes") == 3
    assert done.stdout.count("iperf3 alone: over a plain veth pair") == 4
    left = [*netns.names(), *state.ids()]
    assert not [name for name in left if name.startswith(f"bench-{done.pid}-")]


def test_cni_side_by_side(tmp_path: Path) -> None:
    file = tmp_path / "cni.json"
    command = [sys.executable, str(ROOT / "bench/cni.py"), "--rounds", "1", "--containers", "3"]
    done = subprocess.run(
        [*command, "--json", str(file)], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text())
    for what in ("one at a time", "3 at once"):
        assert all(found[what][name] > 0 for name in ("vrouter-cni", "bridge"))
    assert not [one for one in netns.names() if one.startswith("cni")]
