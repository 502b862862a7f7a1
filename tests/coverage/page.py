# SPDX-License-Identifier: Apache-2.0
"""docs/reference/coverage.md: the gaps, each with its reason."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

from .report import Coverage, Gap

PAGE: Final = Path(__file__).parents[2] / "docs/reference/coverage.md"
REASONS: Final = Path(__file__).with_name("reasons.txt")
NONE: Final = "no test yet"
HEAD: Final = """\
# What no test reaches

The branches of `bpf/` that no test takes, and why. `make coverage` runs the tests that send packets on a dp-core that counts,
and writes this page. The reasons stand in `tests/coverage/reasons.txt`.

Reached: {functions_hit} of {functions} functions, {branches_hit} of {branches} branches (two for each condition). A condition
that is itself never reached is told by the one before it.

Tests of this run: {runs}.
"""


@dataclass(frozen=True)
class Reason:
    """why: of all gaps in the files `file` (a pattern) that `text` and `what` match."""

    file: str
    what: str
    text: str
    why: str

    def fits(self, gap: Gap) -> bool:
        """Whether it is a reason for that gap."""
        pairs = (self.file, gap.file), (self.what, gap.what), (self.text, gap.text)
        return all(re.fullmatch(pattern, found) for pattern, found in pairs)


def reasons() -> list[Reason]:
    """Those of reasons.txt: paragraphs of `= why` and lines `file; what; text` (patterns)."""
    found, why = [], ""
    for line in REASONS.read_text().splitlines():
        if line.startswith("= "):
            why = line[2:]
        elif line and not line.startswith("#"):
            file, what, text = line.split("; ", 2)
            found.append(Reason(file, what, text, why))
    return found


def write(coverage: Coverage, runs: list[str]) -> None:
    """Writes the page; gaps without a reason stand last, as NONE."""
    known = reasons()
    told = [(gap, next((one.why for one in known if one.fits(gap)), NONE)) for gap in coverage.gaps]
    lines = [HEAD.format(**vars(coverage), runs="; ".join(f"`{run}`" for run in runs))]
    order = [one.why for one in known] + [NONE]
    for why, group in groupby(sorted(told, key=lambda pair: order.index(pair[1])), lambda p: p[1]):
        lines.append(f"\n## {why[0].upper()}{why[1:]}\n\n")
        lines += _table([gap for gap, _ in group], full=why == NONE)
    PAGE.write_text("".join(lines))


def _table(gaps: list[Gap], *, full: bool) -> list[str]:
    """The rows of gaps of one reason; not full: only lines, by file."""
    if full:
        rows = [
            f"| `{gap.file}:{gap.line}` | `{gap.text.replace('|', chr(92) + '|')}` {gap.what} |\n"
            for gap in gaps
        ]
        return ["| where | what |\n|---|---|\n", *rows]
    rows = []
    for file, group in groupby(gaps, lambda gap: gap.file):
        numbers = ", ".join(str(line) for line in sorted({gap.line for gap in group}))
        rows.append(f"| `{file}` | {numbers} |\n")
    return ["| file | lines |\n|---|---|\n", *rows]
