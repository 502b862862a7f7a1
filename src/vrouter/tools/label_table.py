# SPDX-License-Identifier: Apache-2.0
"""`mpls` and `vxlan`: the two tables that map a number of a packet to a nexthop."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vrouter.dpcore.errors import NoSuchEntry, UsageError
from vrouter.tools import argtypes
from vrouter.tools.common import (
    ToolParser,
    delete_entry,
    emit_json,
    emit_lines,
    missing_nexthop,
    open_core,
    refuse_with,
    report,
    run_tool,
)


@dataclass(frozen=True, kw_only=True)
class LabelTool:
    """What differs between the two commands."""

    prog: str
    table: str  # attribute of DpCore
    key: str  # key of the JSON, word of the messages
    metavar: str
    parse: Callable[[str], int]
    heading: tuple[str, ...]
    width: tuple[int, int]
    description: str
    examples: str


MPLS = LabelTool(
    prog="mpls",
    table="mpls",
    key="label",
    metavar="LABEL",
    parse=argtypes.label,
    heading=("MPLS Input Label Map", "", "   Label    NextHop", "-" * 19),
    width=(8, 10),
    description="Show and change the MPLS input label map: which nexthop the label of a packet "
    "from the fabric leads to.",
    examples="""\
  mpls --dump                  all labels
  mpls --get 16                one label
  mpls --create 16 --nh 12     label 16 leads to nexthop 12
  mpls --delete 16             forget label 16
""",
)
VXLAN = LabelTool(
    prog="vxlan",
    table="vxlan",
    key="vnid",
    metavar="VNID",
    parse=argtypes.vni,
    heading=("VXLAN Table", "", " VNID    NextHop", "-" * 16),
    width=(5, 11),
    description="Show and change the VXLAN table: which nexthop the VNID of a packet from the "
    "fabric leads to, usually one that names the VRF (VRF translate).",
    examples="""\
  vxlan --dump                 all VNIDs
  vxlan --get 100              one VNID
  vxlan --create 100 --nh 20   VNID 100 leads to nexthop 20
  vxlan --delete 100           forget VNID 100
""",
)


def build(tool: LabelTool) -> ToolParser:
    """The parser of one of the two commands."""
    parser = ToolParser(tool.prog, tool.description, tool.examples)
    actions = parser.add_argument_group("actions").add_mutually_exclusive_group(required=True)
    actions.add_argument("--dump", action="store_true", help=f"show every {tool.key}")
    for verb, text in (
        ("get", "show one entry"),
        ("create", "make an entry, or point it at another nexthop; needs --nh"),
        ("delete", "remove an entry"),
    ):
        actions.add_argument(f"--{verb}", type=tool.parse, metavar=tool.metavar, help=text)
    parser.add_argument(
        "--nh", type=argtypes.nexthop, metavar="ID", help="nexthop that the entry leads to"
    )
    parser.add_common()
    parser.set_defaults(prog=tool.prog)
    return parser


def handle(tool: LabelTool, args: argparse.Namespace) -> None:
    """Do what the arguments say."""
    if args.create is not None:
        if args.nh is None:
            raise UsageError("--create needs a nexthop; add --nh ID")
        _create(tool, args)
        return
    refuse_with(args, "--dump, --get and --delete", ["nh"])
    if args.delete is not None:
        delete_entry(args, tool.table, args.delete, f"{tool.key} {args.delete}")
    else:
        _show(tool, args)


def _create(tool: LabelTool, args: argparse.Namespace) -> None:
    with open_core(args) as core:
        table: Any = getattr(core, tool.table)
        with core.lock():
            before = table.get(args.create)
            if before == args.nh:
                text = f"{tool.key} {args.create} leads to nexthop {args.nh} already"
                report(args, f"{text}; nothing changed", changed=False)
                return
            table.put(args.create, args.nh)
            lost = missing_nexthop(core, args.nh)
    did = "created" if before is None else "changed"
    report(args, f"{did} {tool.key} {args.create} -> nexthop {args.nh}{lost}", changed=True)


def _show(tool: LabelTool, args: argparse.Namespace) -> None:
    with open_core(args) as core:
        table: Any = getattr(core, tool.table)
        if args.dump:
            entries = list(table.items())
        else:
            nexthop = table.get(args.get)
            if nexthop is None:
                raise NoSuchEntry(f"no {tool.key} {args.get}; `{tool.prog} --dump` shows all")
            entries = [(args.get, nexthop)]
    if args.json:
        found = [{tool.key: number, "nh": nexthop} for number, nexthop in entries]
        emit_json(found if args.dump else found[0])
    else:
        emit_lines([*tool.heading, *(line(tool, *entry) for entry in entries)])


def line(tool: LabelTool, number: int, nexthop: int) -> str:
    """One entry in the columns of the heading."""
    left, right = tool.width
    return f"{number:>{left}}{nexthop:>{right}}"


def main_of(tool: LabelTool, argv: Sequence[str] | None) -> int:
    """Run one of the two commands."""
    return run_tool(lambda: build(tool), lambda args: handle(tool, args), argv)
