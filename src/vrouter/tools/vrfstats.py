# SPDX-License-Identifier: Apache-2.0
"""`vrfstats`: what kinds of nexthops the packets of a VRF took."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from vrouter.tools import argtypes
from vrouter.tools.common import ToolParser, emit_json, emit_lines, open_core, run_tool
from vrouter.tools.render_stats import vrf_json, vrf_lines

EXAMPLES = """\
  vrfstats --get 1             the counters of VRF 1
  vrfstats --dump              every VRF that has seen a packet
"""


def build_parser() -> ToolParser:
    """The parser of `vrfstats`."""
    parser = ToolParser(
        "vrfstats",
        "Show the counters of a VRF: how many of its packets were received by the host, "
        "encapsulated to a VM, sent into a tunnel, copied, answered as ARP.",
        EXAMPLES,
    )
    actions = parser.add_argument_group("actions").add_mutually_exclusive_group(required=True)
    actions.add_argument("--get", type=argtypes.vrf, metavar="VRF", help="show one VRF")
    actions.add_argument(
        "--dump", action="store_true", help="show every VRF that has seen a packet"
    )
    parser.add_common()
    parser.set_defaults(prog="vrfstats")
    return parser


def handle(args: argparse.Namespace) -> None:
    """Do what the arguments say."""
    with open_core(args) as core:
        if args.dump:
            found = list(core.stats.vrfs())
        else:
            found = [(args.get, core.stats.vrf(args.get))]
    if args.json:
        objects = [vrf_json(vrf, stats) for vrf, stats in found]
        emit_json(objects if args.dump else objects[0])
        return
    if not found:
        emit_lines(["No VRF has seen a packet yet."])
    for vrf, stats in found:
        emit_lines([*vrf_lines(vrf, stats), ""])


def main(argv: Sequence[str] | None = None) -> int:
    """Run `vrfstats`; returns the exit code."""
    return run_tool(build_parser, handle, argv)
