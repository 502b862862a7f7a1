# SPDX-License-Identifier: Apache-2.0
"""`qosmap`: forwarding classes, and the maps that lead packets to them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from vrouter.dpcore.errors import UsageError
from vrouter.tools import argtypes
from vrouter.tools.common import (
    Later,
    ToolParser,
    all_or_one,
    delete_entry,
    emit_json,
    emit_lines,
    open_core,
    refuse_with,
    report,
    run_tool,
)

if TYPE_CHECKING:
    from vrouter.dpcore.core import DpCore
    from vrouter.dpcore.records import ForwardingClass, QosMap

EXAMPLES = """\
  qosmap --set-fc 1 --dscp 46 --mpls_qos 5 --dotonep 5 --queue 3
                               class 1: how its packets are marked, and their queue
  qosmap --set-qos 2 --dscp 46 --fc 1
                               map 2: packets with DSCP 46 are of class 1
  qosmap --set-qos 2 --dotonep 5 --fc 1
                               and so are frames with 802.1p 5 that are no IP packets
  vif --set tap1 --qos 2       what the VM behind tap1 sends is looked up in map 2
  qosmap --dump-fc             every class
  qosmap --get-qos 2           one map
"""
# what a class holds, and what a map looks up: option, field, how many values
MARKS = (("dscp", "dscp", 64), ("mpls_qos", "exp", 8), ("dotonep", "dot1p", 8))
FIELDS = ("dscp", "mpls_qos", "dotonep", "queue", "fc")
LABELS = {"dscp": "DSCP", "exp": "EXP", "dot1p": ".1p"}


def build_parser() -> ToolParser:
    """The parser of `qosmap`."""
    parser = ToolParser(
        "qosmap",
        "Show and change forwarding classes (how packets are marked, and which queue they take) "
        "and QoS maps (which class a packet is of, by its DSCP, MPLS EXP or 802.1p).",
        EXAMPLES,
    )
    actions = parser.add_argument_group("actions").add_mutually_exclusive_group(required=True)
    add = actions.add_argument
    for kind, what in (("fc", "forwarding class"), ("qos", "QoS map")):
        number = argtypes.forwarding_class if kind == "fc" else argtypes.qos_map
        add(f"--dump-{kind}", action="store_true", help=f"show every {what}")
        add(f"--get-{kind}", type=number, metavar="ID", help=f"show one {what}")
        add(f"--set-{kind}", type=number, metavar="ID", help=f"make or change a {what}")
    add("--delete-qos", type=argtypes.qos_map, metavar="ID", help="remove a QoS map")
    for option in ("--get-queue", "--set-queue"):
        add(option, action=Later, nargs=1, help=argparse.SUPPRESS)
    add = parser.add_argument_group("fields of --set-fc and --set-qos").add_argument
    add("--dscp", type=argtypes.number(0, 63, "a DSCP"), metavar="DSCP", help="0 to 63")
    add("--mpls_qos", type=argtypes.number(0, 7, "MPLS EXP"), metavar="EXP", help="0 to 7")
    add("--dotonep", type=argtypes.number(0, 7, "802.1p"), metavar="PCP", help="0 to 7")
    add(
        "--queue",
        type=argtypes.number(0, 255, "a queue"),
        metavar="QUEUE",
        help="with --set-fc: transmit queue of the NIC, from 0",
    )
    add(
        "--fc",
        type=argtypes.forwarding_class,
        metavar="ID",
        help="with --set-qos: the class that the given value leads to",
    )
    parser.add_common()
    parser.set_defaults(prog="qosmap")
    return parser


def handle(args: argparse.Namespace) -> None:
    """Do what the arguments say."""
    if args.set_fc is not None:
        refuse_with(args, "--set-fc", ["fc"])
        _set_class(args)
    elif args.set_qos is not None:
        refuse_with(args, "--set-qos", ["queue"])
        _set_map(args)
    else:
        options = {"mpls_qos": "--mpls_qos"}
        refuse_with(args, "this action", FIELDS, options)
        if args.delete_qos is not None:
            delete_entry(args, "qos", args.delete_qos, f"QoS map {args.delete_qos}")
        else:
            _show(args)


def _set_class(args: argparse.Namespace) -> None:
    from vrouter.dpcore.records import ForwardingClass  # noqa: PLC0415 - keeps --help fast

    given = {field: getattr(args, option) for option, field, _ in MARKS}
    given["queue"] = args.queue
    given = {field: value for field, value in given.items() if value is not None}
    if not given:
        raise UsageError("--set-fc needs a mark; add --dscp, --mpls_qos, --dotonep or --queue")
    with open_core(args) as core, core.lock():
        before = core.qos.get_class(args.set_fc)
        wanted = replace(before or ForwardingClass(id=args.set_fc), **given)
        what = f"forwarding class {wanted.id}"
        if before == wanted:
            report(args, f"{what} is so already; nothing changed", changed=False)
            return
        core.qos.put_class(wanted)
    report(args, f"{'created' if before is None else 'changed'} {what}", changed=True)


def _set_map(args: argparse.Namespace) -> None:
    from vrouter.dpcore.records import QosMap  # noqa: PLC0415 - keeps --help fast

    keys = [(field, getattr(args, option)) for option, field, _ in MARKS]
    keys = [(field, key) for field, key in keys if key is not None]
    if args.fc is None or not keys:
        raise UsageError("--set-qos needs a value and its class; add --dscp DSCP --fc ID, say")
    with open_core(args) as core, core.lock():
        before = core.qos.get(args.set_qos)
        wanted = before or QosMap(index=args.set_qos)
        for field, key in keys:
            values = list(getattr(wanted, field))
            values[key] = args.fc
            change: dict[str, Any] = {field: tuple(values)}
            wanted = replace(wanted, **change)
        what = f"QoS map {wanted.index}"
        if before == wanted:
            report(args, f"{what} is so already; nothing changed", changed=False)
            return
        core.qos.put(wanted)
        lost = _missing(core, args.fc)
    report(args, f"{'created' if before is None else 'changed'} {what}{lost}", changed=True)


def _missing(core: DpCore, fc: int) -> str:
    there = core.qos.get_class(fc) is not None
    return "" if there else f" (no forwarding class {fc} yet: such packets are left as they are)"


def _show(args: argparse.Namespace) -> None:
    with open_core(args) as core:
        if args.dump_fc or args.get_fc is not None:
            classes = all_or_one(
                core.qos.class_items,
                core.qos.get_class,
                args.get_fc,
                "forwarding class",
                "qosmap --dump-fc",
            )
            objects = [asdict(one) for one in classes]
            lines = list(class_lines(classes))
        else:
            maps = all_or_one(
                core.qos.items, core.qos.get, args.get_qos, "QoS map", "qosmap --dump-qos"
            )
            objects = [map_json(one) for one in maps]
            lines = [line for one in maps for line in map_lines(one)]
    if args.json:
        emit_json(objects if args.dump_fc or args.dump_qos else objects[0])
    else:
        emit_lines(lines)


def class_lines(classes: Sequence[ForwardingClass]) -> Iterator[str]:
    """The forwarding classes in upstream's columns."""
    yield "Forwarding Class Map"
    yield ""
    yield " FC        DSCP     EXP      .1p      Queue"
    for one in classes:
        yield f"{one.id:>3}{one.dscp:>11}{one.exp:>8}{one.dot1p:>9}{one.queue:>11}"


def map_lines(one: QosMap) -> Iterator[str]:
    """The three tables of a map; what leads to class 0 is left out of the DSCP table."""
    yield f"QoS Map {one.index}"
    for _, field, _ in MARKS:
        values = getattr(one, field)
        yield f"    {LABELS[field]:<10}FC"
        for key, fc in enumerate(values):
            if fc or field != "dscp":
                yield f"    {key:<10}{fc}"
    yield ""


def map_json(one: QosMap) -> dict[str, Any]:
    """One map as JSON; documented in qosmap(1)."""
    lists = {field: list(getattr(one, field)) for _, field, _ in MARKS}
    return {"index": one.index, **lists}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `qosmap`; returns the exit code."""
    return run_tool(build_parser, handle, argv)
