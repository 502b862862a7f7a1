# SPDX-License-Identifier: Apache-2.0
"""Valid and spoiled packets at random: dp-core and the model agree on every one.

$VR_SEED repeats a run, $VR_RANDOM says how many packets each state gets. The long run
(`make soak`) takes $VR_SOAK_PACKETS, and goes on where $VR_SOAK_DIR says that it stopped.
"""

from __future__ import annotations

import itertools
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from .agree import CHUNK, cases, difference, first_difference, line_of, seed
from .rig import Rig, rig
from .states import STATES

FOUND = Path(__file__).with_name("found.txt")
COUNT = int(os.environ.get("VR_RANDOM", "20000"))
SOAK_COUNT = int(os.environ.get("VR_SOAK_PACKETS", "1000000"))
SOAK_DIR = Path(os.environ.get("VR_SOAK_DIR", "build/soak"))


@pytest.fixture(scope="module", params=sorted(STATES))
def loaded(request: pytest.FixtureRequest) -> Iterator[Rig]:
    with rig(STATES[request.param]) as one:
        yield one


def run(one: Rig, number: int, count: int) -> None:
    """Fails with the packet, as a line for found.txt, and how the two differ on it."""
    packets = cases(random.Random(number), one, count)
    while chunk := list(itertools.islice(packets, CHUNK)):
        found = first_difference(one, chunk)
        if found is not None:
            case, text = found
            pytest.fail(f"seed {number}; {line_of(one, case)}\n{text}")


def test_random_packets(loaded: Rig) -> None:
    number = seed()
    print(f"VR_SEED={number}")
    run(loaded, number, COUNT)


def test_what_was_found_once(loaded: Rig) -> None:
    lines = [line.split() for line in FOUND.read_text().splitlines() if line[:1] not in ("#", "")]
    mine = [
        (int(vif), bytes.fromhex(data)) for name, vif, data in lines if name == loaded.state.name
    ]
    assert mine
    for case in mine:
        assert difference(loaded, case) is None, line_of(loaded, case)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_a_million_packets(loaded: Rig) -> None:
    SOAK_DIR.mkdir(parents=True, exist_ok=True)
    progress = SOAK_DIR / f"random-{loaded.state.name}.json"
    state = (
        json.loads(progress.read_text())
        if progress.exists()
        else {"seed": seed(soak=True), "done": 0}
    )
    print(f"VR_SEED={state['seed']}, {state['done']} of {SOAK_COUNT} done before")
    part = 20000
    while state["done"] < SOAK_COUNT:
        run(loaded, state["seed"] + state["done"] // part, part)
        state["done"] += part
        progress.write_text(json.dumps(state))
