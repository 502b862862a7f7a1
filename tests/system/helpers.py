# SPDX-License-Identifier: Apache-2.0
"""What the system tests share beside their fixtures."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from vrouter.lab.topology import Lab

SOURCE = Path(__file__).parents[2] / "src"
MakeLab = Callable[..., Lab]
MakeNs = Callable[[], str]
Vrouter = Callable[..., subprocess.CompletedProcess[str]]
_numbers = itertools.count(1)


def unique(prefix: str) -> str:
    """A name that no other test process uses."""
    return f"{prefix}{os.getpid()}-{next(_numbers)}"
