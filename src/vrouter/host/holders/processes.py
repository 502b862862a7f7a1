# SPDX-License-Identifier: Apache-2.0
"""Processes of the thread's network namespace, by what they were started as."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A running program; `argv` as it was started, `exe` the file that runs."""

    pid: int
    exe: str
    argv: list[str]
    environ: dict[str, str]


def called(*names: str) -> list[Process]:
    """The processes of this network namespace whose command has one of these names, by pid."""
    here = os.stat("/proc/thread-self/ns/net").st_ino
    found = []
    for pid in sorted(int(entry) for entry in os.listdir("/proc") if entry.isdigit()):
        folder = Path("/proc", str(pid))
        with contextlib.suppress(OSError):
            if (folder / "comm").read_text(encoding="utf-8").strip() not in names:
                continue
            if os.stat(folder / "ns/net").st_ino == here and _is_alive(folder):
                exe = os.readlink(folder / "exe").removesuffix(" (deleted)")
                variables = [one.partition("=") for one in _strings(folder / "environ")]
                environ = {name: value for name, _, value in variables}
                found.append(Process(pid, exe, _strings(folder / "cmdline"), environ))
    return found


def _is_alive(folder: Path) -> bool:
    # the name in parentheses may hold anything, so count from its end
    state = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    return state not in "ZX"


def _strings(file: Path) -> list[str]:
    return file.read_bytes().decode(errors="surrogateescape").split("\0")[:-1]
