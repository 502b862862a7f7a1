# SPDX-License-Identifier: Apache-2.0
"""These tests make namespaces: only root can."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    mark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(mark)
