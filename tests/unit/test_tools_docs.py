# SPDX-License-Identifier: Apache-2.0
"""The reference pages say what the code says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from tests.datapath.test_tables import TABLES

from vrouter.dpcore.labels import DROP_LABELS
from vrouter.dpcore.sizes import DEFAULT, SMALL

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs/reference"
COUNTED, NEVER = "Drop reasons", "Never counted"
# reasons that no test can make happen; the page says why
UNTESTED = {"PULL"}


def _rows(page: str, heading: str) -> list[list[str]]:
    """The cells of every row of the table under that heading."""
    _, _, text = (REFERENCE / page).read_text().partition(f"# {heading}\n")
    lines = text.partition("\n## ")[0].splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]
    return cells[2:]


def _counted() -> set[str]:
    """The reasons that dp-core's source names, where it does not define them."""
    sources = [one for one in (ROOT / "bpf").glob("*.[hc]") if not one.name.startswith("abi")]
    return set(re.findall(r"\bVR_DROP_(\w+)", "".join(one.read_text() for one in sources)))


@pytest.mark.parametrize("heading", [COUNTED, NEVER])
def test_every_drop_reason_is_documented_where_it_belongs(heading: str) -> None:
    counted = _counted()
    wanted = [one for one in DROP_LABELS if (one.name in counted) == (heading == COUNTED)]
    documented = [row[:3] for row in _rows("drop-reasons.md", heading)]
    assert documented == [[str(int(one)), one.name, DROP_LABELS[one]] for one in sorted(wanted)]
    assert all(row[-1] for row in _rows("drop-reasons.md", heading))


@pytest.mark.parametrize("row", _rows("drop-reasons.md", COUNTED), ids=lambda row: str(row[1]))
def test_a_drop_reason_happens_in_the_test_that_is_named(row: list[str]) -> None:
    number, name, *_, made = row
    if made.startswith("no test: "):
        assert name in UNTESTED
    elif case := re.fullmatch(r"`cases_(\w+)`: (.+)", made):
        found = [one for one in TABLES[case[1]] if one.name == case[2]]
        assert len(found) == 1, f"{case[2]!r} is no case of cases_{case[1]}.py"
        assert found[0].counters()["drop", int(number)]
    else:
        test = re.fullmatch(r"`(\S+\.py)::(test_\w+)`", made)
        assert test is not None, made
        tree = ast.parse((ROOT / test[1]).read_text()).body
        body = [one for one in tree if isinstance(one, ast.FunctionDef) and one.name == test[2]]
        assert body, f"{test[1]} has no {test[2]}"
        assert re.search(rf"\bDrop(Reason)?\.{name}\b", ast.unparse(body[0]))


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
