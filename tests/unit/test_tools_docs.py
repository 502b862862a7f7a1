# SPDX-License-Identifier: Apache-2.0
"""The reference pages say what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from vrouter.dpcore.labels import DROP_LABELS
from vrouter.dpcore.names import DropReason
from vrouter.dpcore.sizes import DEFAULT, SMALL

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs/reference"


def _rows(page: str, heading: str) -> list[list[str]]:
    """The cells of every row of the table under that heading."""
    _, _, text = (REFERENCE / page).read_text().partition(f"# {heading}\n")
    lines = text.partition("\n## ")[0].splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]
    return cells[2:]


def test_every_drop_reason_that_can_be_counted_is_documented() -> None:
    sources = [one for one in (ROOT / "bpf").glob("*.[hc]") if not one.name.startswith("abi")]
    names = set(re.findall(r"\bVR_DROP_(\w+)", "".join(one.read_text() for one in sources)))
    counted = sorted(one for one in DropReason if one.name in names and one in DROP_LABELS)
    documented = [row[:3] for row in _rows("drop-reasons.md", "Drop reasons")]
    assert documented == [[str(int(one)), one.name, DROP_LABELS[one]] for one in counted]


def test_the_sizes_of_the_tables_are_documented() -> None:
    documented = {row[0]: (int(row[1]), int(row[2])) for row in _rows("tables.md", "Sizes")}
    small = SMALL.as_dict()
    assert documented == {name: (size, small[name]) for name, size in DEFAULT.as_dict().items()}


def test_what_the_tables_cost_is_documented() -> None:
    costs = DEFAULT.memory(cpus=2), SMALL.memory(cpus=2)
    left = set(costs[0])
    *rows, total = _rows("tables.md", "What they cost in memory")
    for row in rows:
        maps = set(re.findall(r"\w+", row[0].replace("(per CPU)", "")))
        maps = left if maps == {"others"} else maps
        written = [int(cell.replace(",", "")) for cell in row[1:3]]
        assert written == [sum(cost[one] for one in maps) for cost in costs], row[0]
        left = left - maps
    assert not left
    assert total[1:3] == [f"**{sum(cost.values()) / 2**20:.1f} MiB**" for cost in costs]
