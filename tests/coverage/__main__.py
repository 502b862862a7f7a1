# SPDX-License-Identifier: Apache-2.0
"""Runs tests on a dp-core that counts, and says which branches none of them reached.

usage: python -m tests.coverage [--add] [PYTEST ARGUMENTS]

Without arguments: all tests that send packets; then docs/reference/coverage.md is written. With
arguments: those tests, and the gaps are only printed. --add: to what the run before has counted;
the page is written. The tests run in a copy of this tree (build/coverage/tree) whose object counts.
Exit code: pytest's; the page is written all the same.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from vrouter.dpcore.object import digest

from . import page
from .instrument import Instrumented, build
from .report import Coverage, evaluate
from .watch import PAUSE, Watch

ROOT = Path(__file__).parents[2]
WORK = ROOT / "build/coverage"
PARTS = (
    "src",
    "bpf",
    "tests",
    "bench",
    "docs",
    "packaging",
    "pyproject.toml",
    "Makefile",
    "README.md",
)
# those that measure, compile dp-cores of their own, or make packages, reach nothing more
_PACKAGES = ("test_package.py", "test_systemd.py", "test_image.py")
TESTS = (
    *("tests/datapath", "tests/system", "tests/interop", "-m", "not soak and not alone"),
    *(f"--ignore=tests/system/{name}" for name in _PACKAGES),
    *("-n", "2", "--dist", "loadfile"),
)
ALONE = ("tests/system/test_copies.py", "tests/system/test_gso.py", "-m", "not soak")


def main(arguments: list[str]) -> int:
    """What pytest says."""
    add = arguments[:1] == ["--add"]
    tests = arguments[1:] if add else arguments
    clang = os.environ.get("CLANG", "clang-19")
    made = build(clang, ROOT / "bpf/vrouter.bpf.c", WORK)
    tree = _copy(made)
    watch = Watch(made.size)
    codes = [_run(tree, run, watch) for run in ([tuple(tests)] if tests else [TESTS, ALONE])]
    print(f"coverage: {watch.held} dp-cores counted")
    counts, runs = _counts(made, watch, " ".join(tests) or "all", add)
    coverage = evaluate(made, counts, ROOT / "bpf", clang.removeprefix("clang"))
    _tell(coverage)
    if add or not tests:
        page.write(coverage, runs)
    return max(codes)


def _counts(made: Instrumented, watch: Watch, run: str, add: bool) -> tuple[list[int], list[str]]:
    """What was counted now, and before if the sources are the same; the runs that counted."""
    kept, key = WORK / "counts.json", digest(made.object)
    counts, runs = watch.sums(), [run]
    if add and kept.exists() and (before := json.loads(kept.read_text()))["of"] == key:
        counts = [one + more for one, more in zip(counts, before["counts"], strict=True)]
        runs = [*before["runs"], run]
    kept.write_text(json.dumps({"of": key, "runs": runs, "counts": counts}))
    return counts, runs


def _copy(made: Instrumented) -> Path:
    tree = WORK / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    for part in PARTS:
        one = ROOT / part
        (shutil.copytree if one.is_dir() else shutil.copy)(one, tree / part)
    shutil.copy(made.object, tree / "src/vrouter/dpcore/vrouter.bpf.o")
    return tree


def _run(tree: Path, arguments: tuple[str, ...], watch: Watch) -> int:
    # commands that the tests start must find the copy, not what is installed
    environment = {**os.environ, "PYTHONPATH": str(tree / "src")}
    command = [sys.executable, "-m", "pytest", *arguments]
    with subprocess.Popen(command, cwd=tree, env=environment) as process:
        while process.poll() is None:
            watch.look()
            time.sleep(PAUSE)
    return process.returncode


def _tell(coverage: Coverage) -> None:
    for gap in coverage.gaps:
        print(f"bpf/{gap.file}:{gap.line}: {gap.what}: {gap.text}")
    print(
        f"functions {coverage.functions_hit} of {coverage.functions}, "
        f"branches {coverage.branches_hit} of {coverage.branches}"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
