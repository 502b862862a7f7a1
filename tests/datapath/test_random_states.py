# SPDX-License-Identifier: Apache-2.0
"""Random tables, random packets: dp-core and the model agree, whatever the tables hold.

$VR_SEED repeats a run. A line of found.txt whose state is random-N is run here.
"""

from __future__ import annotations

import itertools
import os
import random

import pytest

from .agree import CHUNK, cases, difference, first_difference, line_of, seed
from .random_states import PREFIX, random_state
from .rig import rig
from .test_random import FOUND

STATES = int(os.environ.get("VR_RANDOM_STATES", "6"))
SOAK_STATES = int(os.environ.get("VR_SOAK_STATES", "300"))
PACKETS = 1000


def run(number: int) -> None:
    """Fails with the packet, and how the two differ on it in the state of that number."""
    with rig(random_state(number)) as one:
        packets = cases(random.Random(number), one, PACKETS)
        while chunk := list(itertools.islice(packets, CHUNK)):
            found = first_difference(one, chunk)
            if found is not None:
                pytest.fail(f"{line_of(one, found[0])}\n{found[1]}")


def run_many(count: int, *, soak: bool = False) -> None:
    first = seed(soak=soak)
    print(f"VR_SEED={first}")
    for number in range(first, first + count):
        run(number)


def test_random_states() -> None:
    run_many(STATES)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_many_random_states() -> None:
    run_many(SOAK_STATES, soak=True)


def test_what_was_found_once() -> None:
    lines = [line.split() for line in FOUND.read_text().splitlines() if line.startswith(PREFIX)]
    for name, vif, data in lines:
        with rig(random_state(int(name.removeprefix(PREFIX)))) as one:
            case = int(vif), bytes.fromhex(data)
            assert difference(one, case) is None, line_of(one, case)
