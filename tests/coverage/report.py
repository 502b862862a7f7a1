# SPDX-License-Identifier: Apache-2.0
"""What llvm-cov makes of the counters: the places of dp-core that were never reached."""

from __future__ import annotations

import json
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .instrument import Instrumented

NEVER, TRUE, FALSE = "never reached", "never true", "never false"


@dataclass(frozen=True, order=True)
class Gap:
    """file: as in bpf/; line from 1; what: NEVER, TRUE or FALSE; text: of that place."""

    file: str
    line: int
    what: str
    text: str


@dataclass(frozen=True)
class Coverage:
    """Branches: two for each condition; those that were taken."""

    functions: int
    functions_hit: int
    branches: int
    branches_hit: int
    gaps: tuple[Gap, ...]


def evaluate(made: Instrumented, counts: list[int], sources: Path, llvm: str) -> Coverage:
    """The coverage that the counters tell. llvm: suffix of the LLVM tools, as "-19"."""
    profile = made.mapping.with_suffix(".proftext")
    profile.write_text("".join(_profile(made, counts)))
    merged = made.mapping.with_suffix(".profdata")
    subprocess.run([f"llvm-profdata{llvm}", "merge", profile, "-o", merged], check=True)
    command = [f"llvm-cov{llvm}", "export", f"-instr-profile={merged}", str(made.mapping)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return _coverage(json.loads(done.stdout)["data"][0], sources)


def _profile(made: Instrumented, counts: list[int]) -> Iterable[str]:
    for one in made.functions:
        first = one.offset // 8
        values = "\n".join(map(str, counts[first : first + one.count]))
        yield f"{one.name}\n{one.hash}\n{one.count}\n{values}\n\n"


def _coverage(data: dict[str, Any], sources: Path) -> Coverage:
    functions: dict[str, int] = {}
    taken: dict[tuple[str, int, int, int, int], list[int]] = defaultdict(lambda: [0, 0])
    for function in data["functions"]:
        files = [Path(one) for one in function["filenames"]]
        if files[0].parent != sources:
            continue
        functions[function["name"]] = function["count"]
        for line, column, end, last, yes, no, number, *_ in function["branches"]:
            if files[number].parent == sources:
                sums = taken[files[number].name, line, column, end, last]
                sums[0] += yes
                sums[1] += no
    gaps = set(_untaken(taken, sources)) | set(_unreached(data["functions"], functions, sources))
    hit = sum((yes > 0) + (no > 0) for yes, no in taken.values())
    called = sum(count > 0 for count in functions.values())
    return Coverage(len(functions), called, 2 * len(taken), hit, tuple(sorted(gaps)))


def _untaken(
    taken: dict[tuple[str, int, int, int, int], list[int]], sources: Path
) -> Iterable[Gap]:
    for (file, line, column, end, last), (yes, no) in taken.items():
        if bool(yes) == bool(no):
            continue  # a condition that is never reached lies behind another, or in a function
        text = _text(sources / file, line, column, end, last)
        yield Gap(file, line, TRUE if no else FALSE, text)


def _unreached(
    found: list[dict[str, Any]], functions: dict[str, int], sources: Path
) -> Iterable[Gap]:
    for function in found:
        if functions.get(function["name"]) == 0:
            path = sources / Path(function["filenames"][0]).name
            name = function["name"].rpartition(":")[2]
            line = _head(path, name, function["regions"][0][0])
            yield Gap(path.name, line, NEVER, f"{name}()")


def _head(path: Path, name: str, brace: int) -> int:
    """The line that names a function whose body begins in line `brace`."""
    lines = path.read_text().splitlines()
    return next(at for at in range(brace, 0, -1) if f"{name}(" in lines[at - 1])


def _text(path: Path, line: int, column: int, end: int, last: int) -> str:
    lines = path.read_text().splitlines()[line - 1 : end]
    lines[-1] = lines[-1][: last - 1]
    lines[0] = lines[0][column - 1 :]
    return re.sub(r"\s+", " ", " ".join(lines)).strip()
