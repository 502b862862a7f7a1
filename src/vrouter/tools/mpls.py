# SPDX-License-Identifier: Apache-2.0
"""`mpls`: see `vrouter.tools.label_table`."""

from __future__ import annotations

from collections.abc import Sequence

from vrouter.tools.common import ToolParser
from vrouter.tools.label_table import MPLS, build, main_of


def build_parser() -> ToolParser:
    """The parser of `mpls`."""
    return build(MPLS)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `mpls`; returns the exit code."""
    return main_of(MPLS, argv)
