# SPDX-License-Identifier: Apache-2.0
"""Makes a bug at random: one operator or constant of one line of bpf/ is exchanged.

python -m tests.datapath.seeded.mutator SEED prints the patch that the seed gives. A seed picks
by the text of the lines, not by their place: what is changed elsewhere leaves its bug as it is.
The first seeds are kept beside this file, each as a patch, or in survivors.txt if no test can
notice it.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

BPF = Path(__file__).parents[3] / "bpf"
FILES = ("arp.h", "bridge.h", "decap.h", "encap.h", "flood.h", "forward.h", "inet.h", "input.h")
EXCHANGES = [
    (r"==", "!="),
    (r"!=", "=="),
    (r" < ", " <= "),
    (r" <= ", " < "),
    (r" > ", " >= "),
    (r" && ", " || "),
    (r" \|\| ", " && "),
    (r"\breturn -1\b", "return 0"),
    (r"if \(!(?=[a-z])", "if ("),
    (r"\b1\b", "2"),
    (r"\b4\b", "8"),
    (r"saddr", "daddr"),
    (r"vrf\b", "vif"),
    (r"->label\b", "->nh"),
]


def _code(name: str) -> Iterator[tuple[int, str, int]]:
    """Lines of code: number, text, and how many equal ones came before."""
    before: Counter[str] = Counter()
    for number, line in enumerate((BPF / name).read_text().splitlines(keepends=True)):
        if not line.lstrip().startswith(("*", "/*", "#", "//")):
            yield number, line, before[line]
            before[line] += 1


def mutation(seed: int) -> tuple[str, int, str]:
    """(file, number of the line, the line with the bug)."""
    drawn = []
    for name in FILES:
        for number, line, before in _code(name):
            for pattern, new in EXCHANGES:
                if re.search(pattern, line):
                    text = f"{seed} {name} {before} {pattern} {line.strip()}"
                    lot = hashlib.sha256(text.encode()).hexdigest()
                    drawn.append((lot, name, number, re.sub(pattern, new, line, count=1)))
    return min(drawn)[1:]


def patch(seed: int) -> str:
    """The bug as a patch, with two lines of context."""
    name, number, line = mutation(seed)
    before = (BPF / name).read_text().splitlines(keepends=True)
    after = [*before[:number], line, *before[number + 1 :]]
    rows = difflib.unified_diff(before, after, f"a/bpf/{name}", f"b/bpf/{name}", n=2)
    return f"Made at random, seed {seed}.\n\nCaught-by: test_tables.py\n\n" + "".join(rows)


if __name__ == "__main__":
    sys.stdout.write(patch(int(sys.argv[1])))
