# SPDX-License-Identifier: Apache-2.0
"""`mirror`: where copies of packets go."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from vrouter.dpcore.errors import UsageError
from vrouter.tools import argtypes
from vrouter.tools.common import (
    ToolParser,
    all_or_one,
    delete_entry,
    emit_json,
    emit_lines,
    missing_nexthop,
    open_core,
    refuse_with,
    report,
    run_tool,
)

if TYPE_CHECKING:
    from vrouter.dpcore.records import Mirror

EXAMPLES = """\
  mirror --dump                every mirror
  mirror --get 1               one mirror
  mirror --create 1 --nh 40 --dyn
                               copies in plain UDP, metadata before each (nexthop 40: nh --udp
                               with --sport and --dport)
  mirror --create 2 --nh 20 --vni 7000
                               copies in VXLAN
  vif --set tap1 --mirror 1 --mirror-direction both
                               copy what the VM behind tap1 sends and receives
  mirror --delete 1            forget a mirror
"""
DEFAULT_METADATA = bytes((0xFF, 0))  # upstream's empty list
HEADING = ("Mirror Table", "", "Flags:D=Dynamic Mirroring, Hw=NIC Assisted Mirroring", "")
FIELDS = ("nh", "vni", "dyn", "metadata")


def _metadata(text: str) -> bytes:
    try:
        value = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        value = b""
    if not 2 <= len(value) <= 16:
        raise argparse.ArgumentTypeError(f"'{text}' is not 2 to 16 bytes; write them as ff00")
    return value


def build_parser() -> ToolParser:
    """The parser of `mirror`."""
    parser = ToolParser(
        "mirror",
        "Show and change mirrors: where the copies of what a vif receives or sends go. A vif "
        "names its mirror, see vif(1). A copy is never copied again.",
        EXAMPLES,
    )
    actions = parser.add_argument_group("actions").add_mutually_exclusive_group(required=True)
    actions.add_argument("--dump", action="store_true", help="show every mirror")
    for verb, text in (
        ("get", "show one mirror"),
        ("create", "make a mirror, or change the one with that index; needs --nh"),
        ("delete", "remove a mirror"),
    ):
        actions.add_argument(f"--{verb}", type=argtypes.mirror, metavar="INDEX", help=text)
    add = parser.add_argument_group("fields of --create").add_argument
    add("--nh", type=argtypes.nexthop, metavar="ID", help="nexthop that the copies take")
    add("--vni", type=argtypes.vni, metavar="VNI", help="static: VNID of a VXLAN tunnel")
    add("--dyn", action="store_true", help="dynamic: metadata before the frame, in plain UDP")
    add("--metadata", type=_metadata, metavar="HEX", help="with --dyn: other bytes than ff00")
    parser.add_common()
    parser.set_defaults(prog="mirror")
    return parser


def handle(args: argparse.Namespace) -> None:
    """Do what the arguments say."""
    if args.create is not None:
        _create(args)
        return
    refuse_with(args, "--dump, --get and --delete", FIELDS)
    if args.delete is not None:
        delete_entry(args, "mirrors", args.delete, f"mirror {args.delete}")
    else:
        _show(args)


def _mirror_of(args: argparse.Namespace) -> Mirror:
    from vrouter.dpcore.records import Mirror  # noqa: PLC0415 - keeps --help fast

    if args.nh is None:
        raise UsageError("--create needs a nexthop; add --nh ID")
    if args.dyn and args.vni is not None:
        raise UsageError("--dyn and --vni exclude each other; give one of them")
    if args.metadata is not None and not args.dyn:
        raise UsageError("--metadata goes with --dyn; add --dyn")
    metadata = (args.metadata or DEFAULT_METADATA) if args.dyn else b""
    return Mirror(index=args.create, nh=args.nh, vni=args.vni, dynamic=args.dyn, metadata=metadata)


def _create(args: argparse.Namespace) -> None:
    wanted = _mirror_of(args)
    with open_core(args) as core, core.lock():
        before = core.mirrors.get(wanted.index)
        if before == wanted:
            report(args, f"mirror {wanted.index} is so already; nothing changed", changed=False)
            return
        core.mirrors.put(wanted)
        lost = missing_nexthop(core, wanted.nh)
    did = "created" if before is None else "changed"
    report(args, f"{did} mirror {wanted.index} -> nexthop {wanted.nh}{lost}", changed=True)


def _show(args: argparse.Namespace) -> None:
    with open_core(args) as core:
        found = all_or_one(
            core.mirrors.items, core.mirrors.get, args.get, "mirror", "mirror --dump"
        )
    if args.json:
        objects = [entry_json(one) for one in found]
        emit_json(objects if args.dump else objects[0])
    else:
        emit_lines([*HEADING, *table_lines(found)])


def table_lines(found: Sequence[Mirror]) -> Iterator[str]:
    """The mirrors in upstream's columns; no VLAN is ever there, for lack of such NICs."""
    yield "Index    NextHop    Flags    VNI    Vlan"
    yield "-" * 40
    for one in found:
        vni = "0" if one.vni is None else str(one.vni)
        yield f"{one.index:>5}{one.nh:>11}    {'D' if one.dynamic else '':<5}{vni:>7}{0:>8}"


def entry_json(one: Mirror) -> dict[str, Any]:
    """One mirror as JSON; documented in mirror(1)."""
    return {
        "index": one.index,
        "nh": one.nh,
        "dynamic": one.dynamic,
        "vni": one.vni,
        "metadata": one.metadata.hex() or None,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run `mirror`; returns the exit code."""
    return run_tool(build_parser, handle, argv)
