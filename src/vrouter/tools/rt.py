# SPDX-License-Identifier: Apache-2.0
"""`rt`: the routing and bridge tables of a VRF."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from vrouter.dpcore.errors import UsageError
from vrouter.tools import argtypes
from vrouter.tools.common import ToolParser, refuse_with, run_tool
from vrouter.tools.rt_show import dump, get, monitor
from vrouter.tools.rt_write import create, delete

EXAMPLES = """\
  rt --dump 1                  the IPv4 routes of VRF 1
  rt --dump 1 --family inet6   its IPv6 routes
  rt --dump 1 --family bridge  the MACs of VRF 1
  rt --get 10.1.1.3/32 --vrf 1 the route that a packet to 10.1.1.3 takes
  rt -c -v 1 -p 10.1.1.2 -l 32 -n 10 -P
                               10.1.1.2/32 leads to nexthop 10, ARP for it is answered
  rt -c -v 1 -p 10.1.1.3 -l 32 -n 20 -t 100 -P -e 02:00:00:00:00:03
                               behind a tunnel, with label 100; ARP is answered with that MAC
  rt -c -v 1 -f 1 -e 02:00:00:00:00:03 -n 20 -t 100
                               a MAC of the bridge table
  rt -c -v 1 -p 2001:db8::2 -l 128 -n 10 -P
                               an IPv6 route; neighbour solicitations for it are answered
  rt -d -v 1 -p 10.1.1.2 -l 32 remove a route
  rt -d -v 1 -f 1 -e 02:00:00:00:00:03
                               remove a MAC
  rt --monitor                 each change of a route or a MAC as it happens
"""

FAMILY_WORDS = {"0": "inet", "1": "bridge", "2": "inet6"}
FAMILIES = ("inet", "bridge", "inet6")


def _family(text: str) -> str:
    word = FAMILY_WORDS.get(text, text)
    if word not in FAMILIES:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not a family; 0 or inet, 1 or bridge, 2 or inet6"
        )
    return word


def build_parser() -> ToolParser:
    """The parser of `rt`."""
    parser = ToolParser(
        "rt",
        "Show and change routes (IPv4 or IPv6 prefix to nexthop) and bridge entries (MAC to "
        "nexthop) of a VRF. The table is dumped prefix by prefix: PPL is the length of the prefix.",
        EXAMPLES,
    )
    actions = parser.add_argument_group("actions").add_mutually_exclusive_group(required=True)
    actions.add_argument("--dump", type=argtypes.vrf, metavar="VRF", help="show a table")
    actions.add_argument(
        "--get",
        metavar="PREFIX|MAC",
        help="show the entry that a packet to that address takes; needs --vrf",
    )
    actions.add_argument("-c", dest="create", action="store_true", help="create or change")
    actions.add_argument("-d", dest="delete", action="store_true", help="delete")
    actions.add_argument("-b", dest="show", action="store_true", help="dump; needs -v")
    actions.add_argument(
        "--monitor",
        action="store_true",
        help="print each change of a route or a MAC, of all VRFs: a JSON object a line, for ever",
    )
    _add_fields(parser)
    parser.add_common()
    parser.set_defaults(prog="rt")
    return parser


def _add_fields(parser: ToolParser) -> None:
    add = parser.add_argument_group("fields").add_argument
    add("-v", "--vrf", type=argtypes.vrf, metavar="VRF", help="VRF of the table")
    add(
        "-f",
        "--family",
        type=_family,
        metavar="FAMILY",
        help="0 or inet, 1 or bridge, 2 or inet6 (default: that of the address, else inet)",
    )
    add(
        "-p",
        dest="prefix",
        type=argtypes.route_address,
        metavar="IP",
        help="address of the prefix",
    )
    add("-l", dest="plen", type=argtypes.plen, metavar="LEN", help="length of the prefix")
    add(
        "-e",
        dest="mac",
        type=argtypes.mac,
        metavar="MAC",
        help="MAC; of a route: the one "
        "that ARP and ND for it are answered with, which must be in the VRF's bridge table",
    )
    add(
        "-n",
        dest="nh",
        type=argtypes.nexthop,
        metavar="ID",
        help="nexthop; with -d the one that remains for the addresses",
    )
    add("-t", dest="label", type=argtypes.label_or_vni, metavar="LABEL", help="label or VNID")
    add(
        "-r",
        dest="replace",
        type=argtypes.plen,
        metavar="LEN",
        help="with -d: length of the "
        "prefix that remains for the addresses; checked, the table finds it by itself",
    )
    add(
        "-x",
        dest="flags",
        type=argtypes.hex_flags,
        metavar="HEX",
        help="flags. Routes: 1 label "
        "valid, 2 proxy ARP, 4 trap ARP, 8 flood ARP, 10 MAC-IP learnt. Bridge: 1 valid, 2 label "
        "valid, 4 flood DHCP, 8 MAC moved, 10 control word, 20 new, 40 EVPN control",
    )
    add("-P", dest="proxy", action="store_true", help="answer ARP and ND for it (proxy)")
    add("-T", dest="trap", action="store_true", help="trap ARP for it to the agent")
    add("-F", dest="flood", action="store_true", help="flood ARP and ND for it")
    add("-M", dest="learnt", action="store_true", help="learnt from a VM's ARP (MAC-IP)")


WRITE_FIELDS = (
    *("prefix", "plen", "mac", "nh", "label", "replace", "flags"),
    *("proxy", "trap", "flood", "learnt"),
)
SHORT = {
    "vrf": "--vrf",
    "family": "--family",
    "prefix": "-p",
    "plen": "-l",
    "mac": "-e",
    "nh": "-n",
    "label": "-t",
    "replace": "-r",
    "flags": "-x",
    "proxy": "-P",
    "trap": "-T",
    "flood": "-F",
    "learnt": "-M",
}


def handle(args: argparse.Namespace) -> None:
    """Do what the arguments say."""
    if args.monitor:
        refuse_with(args, "--monitor", ("vrf", "family", *WRITE_FIELDS), SHORT)
        monitor(args)
        return
    if args.family is None:
        args.family = _family_of(args)
    if args.dump is None and args.vrf is None:
        raise UsageError("no VRF given; add -v VRF (or --vrf VRF)")
    if args.dump is not None and args.vrf not in (None, args.dump):
        raise UsageError(f"--dump {args.dump} names the VRF; leave --vrf {args.vrf} out")
    if args.create:
        refuse_with(args, "-c", ["replace"], SHORT)
        create(args)
    elif args.delete:
        refuse_with(args, "-d", ["label", "flags", "proxy", "trap", "flood", "learnt"], SHORT)
        delete(args)
    else:
        refuse_with(args, "--dump, --get and -b", WRITE_FIELDS, SHORT)
        if args.get is not None:
            get(args)
        else:
            dump(args, args.vrf if args.dump is None else args.dump)


def _family_of(args: argparse.Namespace) -> str:
    """The family of the address that was given; inet without one."""
    if args.prefix is not None:
        return "inet6" if args.prefix.version == 6 else "inet"
    is_mac = args.get is not None and args.get.count(":") == 5 and "::" not in args.get
    return "inet6" if args.get is not None and ":" in args.get and not is_mac else "inet"


def main(argv: Sequence[str] | None = None) -> int:
    """Run `rt`; returns the exit code."""
    return run_tool(build_parser, handle, argv)
