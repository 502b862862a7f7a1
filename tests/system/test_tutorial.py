# SPDX-License-Identifier: Apache-2.0
"""The commands of the tutorial, and of what goes on from it, run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
TUTORIAL = DOCS / "tutorial/overlay-by-hand.md"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMES = re.compile(r"\bt-(h1|h2|vm1|vm2)\b")


def commands(text: str, prefix: str) -> list[str]:
    """The lines behind `$`, with namespaces and instances of our own names."""
    text = "".join(BLOCK.findall(text))
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


def _run(lines: list[str]) -> str:
    """What the lines print; each must succeed."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", "\n".join(["set -ex", *lines])],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_command_works_and_the_vms_talk(prefix: str) -> None:
    printed = _run(commands(TUTORIAL.read_text(), prefix))
    assert "2 received, 0% packet loss" in printed
    assert "no answer" in printed
    assert re.search(r"^Invalid VNID +[1-9]", printed, re.MULTILINE)


def test_the_how_tos_that_go_on_from_it(prefix: str) -> None:
    start = TUTORIAL.read_text().partition("\n## 8. ")[0]
    more = [
        (DOCS / "how-to" / f"{name}.md").read_text()
        for name in ("mirror-a-port", "mark-traffic", "share-load")
    ]
    printed = _run(commands("\n".join([start, *more]), prefix))
    assert len(re.findall(r"172.31.0.1.8097 > 172.31.0.2.8099: UDP", printed)) == 2
    assert "tos 0xb8" in printed and "tos 0x68" in printed
    found = re.findall(r"Udp Mpls Tunnels (\d+), Gre Mpls Tunnels (\d+)", printed)[-1]
    udp, gre = map(int, found)
    assert udp + gre == 100 and min(udp, gre) > 20
