# SPDX-License-Identifier: Apache-2.0
"""Makes a bug at random: one operator or constant of one line of bpf/ is exchanged.

python -m tests.datapath.seeded.mutator SEED prints the patch that the seed gives. Ten of
them are kept beside this file, with their seeds in the header.
"""

from __future__ import annotations

import difflib
import random
import re
import sys
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


def mutation(seed: int) -> tuple[str, str, str]:
    """(file, its text, its text with the bug)."""
    r = random.Random(seed)
    while True:
        name = r.choice(FILES)
        lines = (BPF / name).read_text().splitlines(keepends=True)
        number = r.randrange(len(lines))
        pattern, new = r.choice(EXCHANGES)
        code = lines[number]
        if code.lstrip().startswith(("*", "/*", "#", "//")) or not re.search(pattern, code):
            continue
        changed = lines.copy()
        changed[number] = re.sub(pattern, new, code, count=1)
        return name, "".join(lines), "".join(changed)


def patch(seed: int) -> str:
    """The bug as a patch, with one line of context."""
    name, before, after = mutation(seed)
    path = f"bpf/{name}"
    rows = difflib.unified_diff(
        before.splitlines(keepends=True),
        after.splitlines(keepends=True),
        f"a/{path}",
        f"b/{path}",
        n=2,
    )
    return f"Made at random, seed {seed}.\n\n" + "".join(rows)


if __name__ == "__main__":
    sys.stdout.write(patch(int(sys.argv[1])))
