# SPDX-License-Identifier: Apache-2.0
"""Every seeded bug is noticed by the test that its patch names.

A patch's header has a line `Caught-by: TEST` (a test of this folder). The unpatched object
passes that test, the patched one must not; a patch that no longer applies fails.
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

ROOT = Path(__file__).parents[2]
PATCHES = sorted((Path(__file__).parent / "seeded").glob("*.patch"))
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


def test_there_are_twenty() -> None:
    assert len(PATCHES) >= 20


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
