# SPDX-License-Identifier: Apache-2.0
"""`nh`: the nexthop table."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from vrouter.dpcore.labels import NH_TYPE_LABELS
from vrouter.dpcore.names import NhFlag, NhType
from vrouter.dpcore.records import Nexthop
from vrouter.tools import argtypes
from vrouter.tools.common import (
    Later,
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
from vrouter.tools.nh_make import (
    HASH_WORDS,
    MemberLabel,
    MemberNexthop,
    hash_fields,
    nexthop_of,
)
from vrouter.tools.render_nh import entry_json, entry_lines
from vrouter.tools.words import NH_TYPE_WORDS

EXAMPLES = """\
  nh --list                    every nexthop
  nh --get 12                  one nexthop
  nh --create 10 --type 2 --oif 5 --smac 00:00:5e:00:01:00 --dmac 02:00:00:00:00:01 --vrf 1
                               deliver routed packets to the VM behind vif 5
  nh --create 11 --type 2 --oif 5 --l2 --vrf 1
                               deliver bridged frames to the VM behind vif 5
  nh --create 20 --type 3 --oif 2 --smac 02:00:00:00:01:01 --dmac 02:00:00:00:01:02
     --sip 192.0.2.1 --dip 192.0.2.2 --vxlan
                               a VXLAN tunnel; --udp makes it MPLSoUDP, neither MPLSoGRE
  nh --create 25 --type 3 --udp --sip 192.0.2.1 --dip 192.0.2.9 --sport 8097 --dport 8099
                               plain UDP to an analyzer, for mirror(1); routed in --vrf
  nh --create 21 --type 7 --vrf 1 --vxlan
                               where a VNID of VRF 1 leads to
  nh --create 30 --type 6 --l2 --cen --vrf 1 --cni 11 --cni 12
  nh --create 31 --type 6 --l2 --cevpn --vrf 1 --cni 20 --lbl 100
  nh --create 32 --type 6 --l2 --cmc --vrf 1 --cni 30 --cni 31
                               copy broadcasts to two VMs here and to one other host
  nh --create 40 --type 6 --ecmp --vrf 1 --cni 10 --cni 22 --lbl 30
                               share the flows between a VM here and another host
  nh --delete 12               remove a nexthop
"""


def _type_number(text: str) -> NhType:
    if text in NH_TYPE_WORDS:
        return NH_TYPE_WORDS[text]
    try:
        return NhType(argtypes.number(1, 8, "a nexthop type")(text))
    except argparse.ArgumentTypeError:
        words = ", ".join(f"{kind:d} {word}" for word, kind in NH_TYPE_WORDS.items())
        raise argparse.ArgumentTypeError(
            f"'{text}' is not a nexthop type; types are {words}"
        ) from None


def build_parser() -> ToolParser:
    """The parser of `nh`."""
    parser = ToolParser(
        "nh",
        "Show and change nexthops: what is done with a packet once a table has said where it "
        "goes. Nexthop 0 always exists and discards.",
        EXAMPLES,
    )
    actions = parser.add_argument_group("actions").add_mutually_exclusive_group(required=True)
    actions.add_argument("--list", action="store_true", help="show every nexthop")
    for verb, text in (
        ("get", "show one nexthop"),
        ("create", "make a nexthop, or change the one with that id; needs --type"),
        ("delete", "remove a nexthop"),
    ):
        actions.add_argument(f"--{verb}", type=argtypes.nexthop, metavar="ID", help=text)
    _add_fields(parser)
    _add_kinds(parser)
    parser.add_common()
    parser.set_defaults(prog="nh", members=[])
    return parser


def _add_fields(parser: ToolParser) -> None:
    fields = parser.add_argument_group("fields of --create")
    add = fields.add_argument
    types = ", ".join(f"{kind:d} {word}" for word, kind in NH_TYPE_WORDS.items())
    add("--type", type=_type_number, metavar="TYPE", help=types)
    add("--vrf", type=argtypes.vrf, metavar="VRF", help="VRF (default 0)")
    add("--oif", type=argtypes.vif_id, metavar="VIF", help="vif that the packet leaves by")
    add(
        "--smac",
        type=argtypes.unicast_mac,
        metavar="MAC",
        help="source MAC of the Ethernet header",
    )
    add("--dmac", type=argtypes.mac, metavar="MAC", help="destination MAC of the header")
    add("--sip", type=argtypes.host_ip, metavar="IP", help="outer source of a tunnel, IPv4 or IPv6")
    add(
        "--dip", type=argtypes.host_ip, metavar="IP", help="outer destination of a tunnel, likewise"
    )
    add("--sport", type=argtypes.port, metavar="PORT", help="source port of a tunnel")
    add("--dport", type=argtypes.port, metavar="PORT", help="destination port of a tunnel")
    add(
        "--l3_vxlan",
        type=argtypes.unicast_mac,
        metavar="MAC",
        help="the VXLAN tunnel carries routed packets, to the router with that MAC",
    )
    add(
        "--cni",
        type=argtypes.nexthop,
        metavar="ID",
        action=MemberNexthop,
        help="member of a composite; may be repeated",
    )
    add(
        "--lbl",
        type=argtypes.label_or_vni,
        metavar="LABEL",
        action=MemberLabel,
        help="label or VNID of the --cni before it",
    )
    add(
        "--hash",
        type=hash_fields,
        metavar="FIELDS",
        help="with --ecmp: what of a packet picks the path (default all): " + ",".join(HASH_WORDS),
    )


def _add_kinds(parser: ToolParser) -> None:
    kinds = parser.add_argument_group("flags of --create")
    for option, text in (
        ("--l2", "the nexthop takes Ethernet frames (family AF_BRIDGE)"),
        ("--mc", "Encap of multicast packets"),
        ("--udp", "tunnel: MPLSoUDP; with --sport and --dport plain UDP"),
        ("--vxlan", "tunnel: VXLAN; VRF translate: the frames of a VNID"),
        ("--cmc", "composite: copies broadcast, unknown and multicast frames of a VRF"),
        ("--cen", "composite: the VMs of this host"),
        ("--cevpn", "composite: tunnels to other hosts, each with a label"),
        ("--cfa", "composite: the multicast tree of the fabric"),
        ("--tor", "composite: top-of-rack switches"),
        ("--ecmp", "composite: equal-cost paths, of which a flow takes one"),
        ("--lu-ecmp", "composite: the same, the label of the route stays (label-unicast)"),
        ("--validate-src", "with --cmc: only members of its trees may send to it"),
        ("--uucf", "flood frames to unknown MACs"),
        ("--pol", "policy is applied"),
        ("--rpol", "policy is applied, relaxed"),
        ("--rlkup", "look up the route of the destination"),
        ("--root", "root of an E-Tree"),
        ("--ml", "learn MACs"),
    ):
        kinds.add_argument(option, action="store_true", help=text)
    for option in ("--pbb", "--ind"):
        kinds.add_argument(option, action=Later, nargs=0, help=argparse.SUPPRESS)


FIELDS = (
    *("type", "vrf", "oif", "smac", "dmac", "sip", "dip", "sport", "dport", "l3_vxlan"),
    *("cni", "lbl", "l2", "mc", "udp", "vxlan", "cmc", "cen", "cevpn", "cfa", "tor", "ecmp"),
    *("lu_ecmp", "validate_src", "hash"),
    *("uucf", "pol", "rpol", "rlkup", "root", "ml"),
)


def handle(args: argparse.Namespace) -> None:
    """Do what the arguments say."""
    if args.create is not None:
        _create(args)
        return
    refuse_with(args, "--list, --get and --delete", FIELDS, {"l3_vxlan": "--l3_vxlan"})
    if args.delete is not None:
        delete_entry(args, "nexthops", args.delete, f"nexthop {args.delete}")
    else:
        _show(args)


def _create(args: argparse.Namespace) -> None:
    wanted = nexthop_of(args)
    kind = NH_TYPE_LABELS[wanted.type]
    with open_core(args) as core, core.lock():
        before = core.nexthops.get(wanted.id)
        if core.nexthops.put(wanted) == before:
            text = f"nexthop {wanted.id} ({kind}) is so already; nothing changed"
            report(args, text, changed=False)
            return
        lost = missing_nexthop(core, *(member.nh for member in wanted.members))
        lost += _unlabelled(wanted)
    did = "created" if before is None else "changed"
    report(args, f"{did} nexthop {wanted.id} ({kind}){lost}", changed=True)


def _unlabelled(wanted: Nexthop) -> str:
    """What to add to a report when copies for other hosts will carry no label."""
    remote = NhFlag.COMPOSITE_EVPN | NhFlag.COMPOSITE_FABRIC | NhFlag.COMPOSITE_TOR
    if not wanted.flags & remote:
        return ""
    bare = [str(member.nh) for member in wanted.members if member.label is None]
    return f" (no --lbl for {', '.join(bare)}: such copies are dropped)" if bare else ""


def _show(args: argparse.Namespace) -> None:
    with open_core(args) as core:
        found = all_or_one(core.nexthops.items, core.nexthops.get, args.get, "nexthop", "nh --list")
        refs = core.nexthops.ref_counts()
    if args.json:
        objects = [entry_json(nexthop, max(1, refs.get(nexthop.id, 0))) for nexthop in found]
        emit_json(objects if args.list else objects[0])
        return
    for nexthop in found:
        emit_lines([*entry_lines(nexthop, max(1, refs.get(nexthop.id, 0))), ""])


def main(argv: Sequence[str] | None = None) -> int:
    """Run `nh`; returns the exit code."""
    return run_tool(build_parser, handle, argv)
