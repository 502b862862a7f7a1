# SPDX-License-Identifier: Apache-2.0
"""Every seeded bug is noticed by the test that its patch names.

A patch's header has a line `Caught-by: TEST` (a test of this folder). The unpatched object
passes that test, the patched one must be built and loaded and not pass it; a patch that no
longer applies fails. The bugs made at random are those of the first seeds (seeded/mutator.py);
what seed makes no bug, or one that no test can notice, stands in seeded/survivors.txt.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from .seeded.mutator import patch as patch_of

ROOT = Path(__file__).parents[2]
PATCHES = sorted((Path(__file__).parent / "seeded").glob("*.patch"))
SURVIVORS = Path(__file__).parent / "seeded/survivors.txt"
SEED = re.compile(r"-random-(\d+)$")
NOT_LOADED = "the kernel does not take dp-core"
CAUGHT_BY = re.compile(r"^Caught-by: (\S.*)$", re.MULTILINE)

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]


def build(folder: Path) -> Path:
    """The object of the patched sources in `folder`, built by the Makefile's own rule."""
    target = folder / "src/vrouter/dpcore/vrouter.bpf.o"
    target.parent.mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    command = [
        "make",
        "-C",
        str(folder),
        "--no-print-directory",
        "src/vrouter/dpcore/vrouter.bpf.o",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


def passes(test: str, bpf_object: Path | None) -> tuple[bool, str]:
    """Whether the test passes on that object (None: the one that is built)."""
    environment = {**os.environ, "VR_RANDOM": "6000", "VR_SEED": "4711"}
    if bpf_object is not None:
        environment["VR_OBJECT"] = str(bpf_object)
    command = [sys.executable, "-m", "pytest", "-q", "-x", f"tests/datapath/{test}"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.returncode == 0, done.stdout


@cache
def passes_unpatched(test: str) -> bool:
    """The same on the object that is built, once per test."""
    return passes(test, None)[0]


def kept_seeds() -> dict[int, Path]:
    """The patches made at random, by seed."""
    found = ((SEED.search(path.stem), path) for path in PATCHES)
    return {int(match[1]): path for match, path in found if match}


def listed_seeds() -> list[int]:
    """The seeds in survivors.txt."""
    lines = SURVIVORS.read_text().splitlines()
    return [int(line.split()[0]) for line in lines if line and not line.startswith("#")]


def test_there_are_thirty() -> None:
    """Ten at least are made at random: nobody chose them to be found."""
    assert len(PATCHES) >= 30
    assert len(kept_seeds()) >= 10


def test_no_seed_is_passed_over() -> None:
    seeds = sorted([*kept_seeds(), *listed_seeds()])
    assert seeds == list(range(1, len(seeds) + 1))


@pytest.mark.parametrize("number", sorted(kept_seeds()))
def test_the_operator_makes_it_again(number: int) -> None:
    """The bug is what the seed gives; else the sources have a line that it would rather spoil."""
    assert _changes(kept_seeds()[number].read_text()) == _changes(patch_of(number)), number


def _changes(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(("+", "-"))]


@pytest.mark.parametrize("patch", PATCHES, ids=lambda path: path.stem)
def test_the_bug_is_noticed(patch: Path, tmp_path: Path) -> None:
    named = CAUGHT_BY.search(patch.read_text())
    assert named, f"{patch.name} names no test"
    shutil.copytree(ROOT / "bpf", tmp_path / "bpf")
    applied = subprocess.run(
        ["git", "apply", "--unsafe-paths", f"--directory={tmp_path}", str(patch)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert applied.returncode == 0, f"{patch.name} no longer applies: {applied.stderr}"
    assert passes_unpatched(named[1]), f"{named[1]} fails without any bug"
    survived, output = passes(named[1], build(tmp_path))
    assert not survived, f"survivor: {patch.name}\n{output}"
    assert NOT_LOADED not in output, f"{patch.name} is not even loaded\n{output}"
