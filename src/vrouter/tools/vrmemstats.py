# SPDX-License-Identifier: Apache-2.0
"""`vrmemstats`: what dp-core's tables hold and occupy."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from vrouter.tools.common import ToolParser, emit_json, emit_lines, open_core, run_tool
from vrouter.tools.instance_info import registered
from vrouter.tools.usage import Usage, table_of, table_usage

EXAMPLES = """\
  vrmemstats                   kernel memory of every table
  vrmemstats --json            the same for a program
"""


def build_parser() -> ToolParser:
    """The parser of `vrmemstats`."""
    parser = ToolParser(
        "vrmemstats",
        "Show how much kernel memory the tables of dp-core take. Most are made whole when "
        "dp-core is loaded; those of routes and of allowed sources grow with their entries. "
        "Nothing is allocated for a packet.",
        EXAMPLES,
    )
    parser.add_common()
    parser.set_defaults(prog="vrmemstats")
    return parser


def handle(args: argparse.Namespace) -> None:
    """Show it."""
    with open_core(args) as core:
        maps = core.memory()
        usage = table_usage(core, registered(core.instance)["sizes"])
    if args.json:
        tables = {
            one.table: {"used": one.used, "limit": one.limit, "bytes": one.bytes} for one in usage
        }
        emit_json({"bytes": sum(maps.values()), "tables": tables, "maps": maps})
    else:
        emit_lines(_lines(maps, usage))


def _lines(maps: dict[str, int], usage: list[Usage]) -> Iterator[str]:
    yield "Vrouter Memory Statistics"
    yield _line("Allocated", sum(maps.values()))
    yield ""
    yield "Tables (used/limit)"
    for one in usage:
        yield f"{_line(one.table, one.bytes)}  {one.used}/{one.limit}"
    yield _line("others", sum(size for name, size in maps.items() if table_of(name) == "others"))
    yield ""
    yield "Maps"
    yield from (_line(name, size) for name, size in maps.items())


def _line(label: str, count: int) -> str:
    return f"{label:<24}{count:>12}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run `vrmemstats`; returns the exit code."""
    return run_tool(build_parser, handle, argv)
