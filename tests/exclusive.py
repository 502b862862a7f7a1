# SPDX-License-Identifier: Apache-2.0
"""Tests run beside each other, but one that is marked `alone` has the machine for itself.

Every test holds a lock shared by all processes of this tree; a test marked `alone` holds it
exclusively. What else takes time beside the tests (`make lint`) takes it shared, by flock(1).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = Path(__file__).parents[1] / "build/tests.lock"
MARK = "alone"
# this pytest was started by a test, which holds the lock; it forgets that with its first own
INSIDE_A_TEST = "PYTEST_CURRENT_TEST" in os.environ


@contextmanager
def turn(alone: bool, lock: Path = LOCK) -> Iterator[None]:
    """Waits until this test may run, and keeps others away as far as it must.

    Who waits for the machine is the next to have it: those who come later wait behind it.
    """
    lock.parent.mkdir(exist_ok=True)
    with open(lock, "a") as held, open(lock.with_suffix(".queue"), "a") as queue:
        fcntl.flock(queue, fcntl.LOCK_EX)
        fcntl.flock(held, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(queue, fcntl.LOCK_UN)
        yield
