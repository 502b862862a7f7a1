# SPDX-License-Identifier: Apache-2.0
"""The tutorial's commands, run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).parents[2] / "docs/tutorial/overlay-by-hand.md"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMES = re.compile(r"\bt-(h1|h2|vm1|vm2)\b")


def commands(prefix: str) -> list[str]:
    """The lines behind `$`, with namespaces and instances of our own names."""
    text = "".join(BLOCK.findall(TUTORIAL.read_text()))
    lines = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
    return [NAMES.sub(rf"{prefix}-\1", line) for line in lines]


@pytest.fixture
def prefix() -> Iterator[str]:
    name = f"tut{os.getpid()}"
    yield name
    for host in ("h1", "h2"):
        subprocess.run(_tool("vrouter", "unload", "--name", f"{name}-{host}"), check=False)
    for node in ("h1", "h2", "vm1", "vm2"):
        space = f"{name}-{node}"
        if Path("/run/netns", space).exists():
            subprocess.run(["ip", "netns", "del", space], check=True)


def _tool(name: str, *arguments: str) -> list[str]:
    return [str(Path(sys.executable).with_name(name)), *arguments]


def test_every_command_works_and_the_vms_talk(prefix: str) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    script = "\n".join(["set -ex", *commands(prefix)])
    done = subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 received, 0% packet loss" in done.stdout
    assert "no answer" in done.stdout
    assert re.search(r"^Invalid VNID +[1-9]", done.stdout, re.MULTILINE)
