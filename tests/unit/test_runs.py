# SPDX-License-Identifier: Apache-2.0
"""How tests run beside each other, and what fails a run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tests.exclusive import turn

ROOT = Path(__file__).parents[2]


def run(folder: Path, text: str, *options: str, **environment: str) -> tuple[int, str]:
    """Exit code and output of pytest, with this tree's hooks, on a file of tests."""
    (folder / "test_it.py").write_text("import os, pytest\n" + text)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = alone: by itself\n")
    whole = {**os.environ, "PYTHONPATH": f"{ROOT}/src:{ROOT}", "CI": "", **environment}
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", *options, str(folder)]
    done = subprocess.run(
        command, env=whole, cwd=folder, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout + done.stderr


SKIP = "def test_one(): pass\ndef test_two(): pytest.skip('no such tool')\n"


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_skip_fails_a_run_in_ci(tmp_path: Path, workers: str) -> None:
    code, told = run(tmp_path, SKIP, "-n", workers, CI="true")
    assert code == 1 and "a test was skipped in CI" in told


def test_a_skip_elsewhere_does_not(tmp_path: Path) -> None:
    assert run(tmp_path, SKIP)[0] == 0


def test_a_failure_fails_a_run_and_a_line_is_told(tmp_path: Path) -> None:
    text = (
        "def test_one(record_property): record_property('summary', 'twelve of them')\n"
        "def test_two(): assert False, 'so it is'\n"
    )
    code, told = run(tmp_path, text, "-n", "2")
    assert code == 1 and "so it is" in told and "\ntwelve of them\n" in told


def test_those_alone_come_last(tmp_path: Path) -> None:
    text = "@pytest.mark.alone\ndef test_one(): pass\ndef test_two(): pass\n"
    code, told = run(tmp_path, text, "-v")
    assert code == 0 and told.index("test_two") < told.index("test_one")


@pytest.mark.parametrize(
    ("together", "alone", "lint", "code", "told"),
    [
        (0, 0, "true", 0, []),
        (1, 0, "true", 1, ["tests that run beside each other: FAILED"]),
        (0, 2, "true", 1, ["tests that run alone: FAILED"]),
        (0, 0, "echo badly spelt; false", 1, ["badly spelt", "lint: FAILED"]),
        (0, 5, "true", 0, []),  # 5: no such tests
        (5, 0, "true", 0, []),
        (5, 5, "true", 5, []),
    ],
)
def test_all_that_was_run_has_passed(
    tmp_path: Path, together: int, alone: int, lint: str, code: int, told: list[str]
) -> None:
    fake = tmp_path / ".venv/bin/pytest"
    fake.parent.mkdir(parents=True)
    fake.write_text(f'#!/bin/sh\n[ "$1" = -n ] && exit {together}\nexit {alone}\n')
    fake.chmod(0o755)
    (tmp_path / "tests").mkdir()
    script = shutil.copy(ROOT / "tests/run.sh", tmp_path / "tests")
    done = subprocess.run([script, "4", lint, "tests"], capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done
    assert [line for line in told if line not in done.stdout] == []
    assert ("FAILED" in done.stdout) == bool(told)


def test_who_is_alone_waits_and_keeps_others_out(tmp_path: Path) -> None:
    lock = tmp_path / "tests.lock"
    told: list[str] = []
    inside, done = threading.Event(), threading.Event()

    def shared(name: str, until: threading.Event | None = None) -> None:
        with turn(False, lock):
            told.append(name)
            inside.set()
            if until is not None:
                until.wait(30)

    def alone() -> None:
        with turn(True, lock):
            told.append("alone")
            time.sleep(0.2)
            told.append("alone no more")

    first = threading.Thread(target=shared, args=("first", done))
    first.start()
    inside.wait(30)
    shared("beside it")
    second = threading.Thread(target=alone)
    second.start()
    time.sleep(0.2)  # it waits, and who comes now waits behind it
    third = threading.Thread(target=shared, args=("after it",))
    third.start()
    time.sleep(0.2)
    assert told == ["first", "beside it"]
    done.set()
    for thread in (first, second, third):
        thread.join(30)
    assert told == ["first", "beside it", "alone", "alone no more", "after it"]
