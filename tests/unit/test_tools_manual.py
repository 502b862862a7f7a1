# SPDX-License-Identifier: Apache-2.0
"""Man pages and completion: as fresh as the parsers, and without warnings."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from vrouter.tools import manpages


def test_generated_files_are_fresh(capsys: pytest.CaptureFixture[str]) -> None:
    stale = manpages.main(["--check"])
    assert not stale, f"run python -m vrouter.tools.manpages: {capsys.readouterr().out}"


@pytest.mark.skipif(shutil.which("man") is None, reason="man is not installed")
@pytest.mark.parametrize("command", manpages.COMMANDS)
def test_man_page_has_no_warnings(command: str) -> None:
    page = manpages.DATA / "man" / f"{command}.1"
    done = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(page)],
        capture_output=True,
        text=True,
        check=False,
        env={"LC_ALL": "C.UTF-8", "MANROFFSEQ": "", "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0 and done.stderr == ""


@pytest.mark.parametrize(
    ("words", "want"),
    [
        (["vif", "--ty"], {"--type"}),
        (["vif", "--type", "ph"], {"physical"}),
        (["vrouter", "sta"], {"status"}),
        (["vrouter", "load", "--profile", ""], {"default", "small"}),
        (["vrouter", "lab", "u"], {"up"}),
    ],
)
def test_completion(words: list[str], want: set[str]) -> None:
    quoted = " ".join(f"'{word}'" for word in words)
    script = (
        f"source {manpages.COMPLETION}; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; "
        '_vrouter_complete; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == want
