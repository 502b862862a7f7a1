# SPDX-License-Identifier: Apache-2.0
"""`vxlan`: see `vrouter.tools.label_table`."""

from __future__ import annotations

from collections.abc import Sequence

from vrouter.tools.common import ToolParser
from vrouter.tools.label_table import VXLAN, build, main_of


def build_parser() -> ToolParser:
    """The parser of `vxlan`."""
    return build(VXLAN)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `vxlan`; returns the exit code."""
    return main_of(VXLAN, argv)
