# SPDX-License-Identifier: Apache-2.0
"""`dropstats`: why packets were dropped."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from vrouter.tools import argtypes
from vrouter.tools.common import (
    Later,
    ToolParser,
    emit_json,
    emit_lines,
    open_core,
    report,
    run_tool,
)
from vrouter.tools.render_stats import cloned_line, drop_json, drop_lines
from vrouter.tools.vif_show import refused_by_devices

EXAMPLES = """\
  dropstats                    every drop reason and its count
  dropstats --core 0           what CPU 0 dropped
  dropstats --json             the same for a program
  dropstats --clear            set all counters to 0
"""


def build_parser() -> ToolParser:
    """The parser of `dropstats`."""
    parser = ToolParser(
        "dropstats",
        "Show how many packets dp-core dropped, by reason. Every packet that does not go on is "
        "counted here. Cloned Original is no loss: copies of those packets went on. "
        "`vif --get ID --get-drop-stats` shows the same for one vif.",
        EXAMPLES,
    )
    actions = parser.add_argument_group("actions").add_mutually_exclusive_group()
    actions.add_argument(
        "--core", type=argtypes.cpu, metavar="N", help="show only what CPU N dropped"
    )
    actions.add_argument(
        "--debug", action="store_true", help="show only Cloned Original, the internal counter"
    )
    actions.add_argument("--clear", action="store_true", help="set all counters to 0")
    for option in ("--offload", "--clear-drop-log"):
        actions.add_argument(option, action=Later, nargs=0, help=argparse.SUPPRESS)
    for option in ("--log", "--show", "--drop-type", "--min-log"):
        actions.add_argument(option, action=Later, nargs=1, help=argparse.SUPPRESS)
    parser.add_common()
    parser.set_defaults(prog="dropstats")
    return parser


def handle(args: argparse.Namespace) -> None:
    """Do what the arguments say."""
    with open_core(args) as core:
        if args.clear:
            with core.lock():
                core.stats.clear_drops()
            report(args, "cleared all drop counters", changed=True)
            return
        drops = core.stats.drops(args.core)
        devices = refused_by_devices(core) if args.core is None else {}
    if args.json:
        found = {"core": args.core, "drops": drop_json(drops), "refused_by_devices": devices}
        emit_json(found)
    elif args.debug:
        emit_lines([cloned_line(drops)])
    else:
        head = [] if args.core is None else [f"Statistics for core {args.core}", ""]
        emit_lines([*head, *drop_lines(drops, devices)])


def main(argv: Sequence[str] | None = None) -> int:
    """Run `dropstats`; returns the exit code."""
    return run_tool(build_parser, handle, argv)
