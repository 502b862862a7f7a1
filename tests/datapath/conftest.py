# SPDX-License-Identifier: Apache-2.0
"""One loaded dp-core for all cases of a module that are about the same state."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .rig import Rig, rig
from .states import STATES
from .table import Case


@pytest.fixture(scope="module")
def at(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """The state that the test names by indirect parametrisation, loaded."""
    with rig(STATES[request.param]) as one:
        yield one


def pytest_make_parametrize_id(val: object) -> str | None:
    """Cases are called by their names."""
    return val.name if isinstance(val, Case) else None
