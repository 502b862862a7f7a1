# SPDX-License-Identifier: Apache-2.0
"""`vrinfo`: version and sizes of the loaded dp-core."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from vrouter import __version__
from vrouter.tools.common import Later, ToolParser, emit_json, open_instance, run_tool
from vrouter.tools.instance_info import registered

EXAMPLES = """\
  vrinfo --version             version of the tools and of the loaded dp-core
"""


def build_parser() -> ToolParser:
    """The parser of `vrinfo`. Its --version asks dp-core, as upstream's does."""
    parser = ToolParser(
        "vrinfo",
        "Show which version of dp-core is loaded.",
        EXAMPLES,
        conflict_handler="resolve",
    )
    parser.add_common()
    parser.add_argument(
        "--version", action="store_true", help="show the version of the loaded dp-core and exit"
    )
    parser.add_argument("--buffsz", action=Later, nargs=1, help=argparse.SUPPRESS)
    parser.set_defaults(prog="vrinfo")
    return parser


def handle(args: argparse.Namespace) -> None:
    """Print the version, whether or not --version was given: there is nothing else to show."""
    record = registered(open_instance(args))
    if args.json:
        emit_json(
            {
                "tools_version": __version__,
                "dpcore_version": record["version"],
                "object_sha256": record["object_sha256"],
                "instance": record["name"],
            }
        )
        return
    print(f"vRouter version: {record['version']} (dp-core object {record['object_sha256'][:12]})")
    if record["version"] != __version__:
        print(f"tools version: {__version__}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `vrinfo`; returns the exit code."""
    return run_tool(build_parser, handle, argv)
