# SPDX-License-Identifier: Apache-2.0
"""`vrouter lab`: its arguments and what they do."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable

from vrouter.dpcore.errors import NoSuchEntry, UsageError
from vrouter.lab import state, topology
from vrouter.lab.topology import Lab

_ENV = "VROUTER_LAB"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the actions up, show, exec, down (and demo, which `make demo` calls)."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    which = f"which lab (default: ${_ENV}, else the only one that is up)"

    up = actions.add_parser("up", help="build a lab in namespaces of its own")
    up.add_argument("lab", metavar="LAB", help=f"one of: {', '.join(topology.LABS)}")
    up.add_argument("--encap", choices=topology.ENCAPS, help="two-hosts: tunnel (vxlan)")
    up.add_argument(
        "--forwarding", choices=topology.FORWARDINGS,
        help="two-hosts: bridge inside a network, or route everything (l2)",
    )  # fmt: skip
    up.add_argument(
        "--stage", type=int, choices=topology.STAGES,
        help="one-host: 1 dp-core is loaded, 2 vhost0 has the place of the NIC, 3 its agent runs "
        "(2)",
    )  # fmt: skip
    up.add_argument(
        "--wire", choices=topology.WIRES, default="tso",
        help="a wire with segmentation offload, or without any offload (tso)",
    )  # fmt: skip
    up.add_argument(
        "--underlay", choices=topology.UNDERLAYS,
        help="IP version of the tunnels' outer headers (4)",
    )  # fmt: skip
    up.add_argument(
        "--control", choices=topology.CONTROLS,
        help="two-hosts: who fills the tables: the hosts' agents, or the lab itself (agent)",
    )  # fmt: skip
    up.add_argument("--id", help=f"prefix of all its names (default: ${_ENV}, else LAB)")

    show = actions.add_parser("show", help="name the nodes of a lab")
    show.add_argument("--json", action="store_true", help="for programs")
    show.add_argument("--id", help=which)

    execute = actions.add_parser("exec", help="run a command in a node; its exit code is ours")
    execute.add_argument("--id", help=which)
    execute.add_argument("node", metavar="NODE", help="h1, vm1, ...")
    execute.add_argument(
        "argv", metavar="-- CMD", nargs=argparse.REMAINDER, help="the command and its arguments"
    )

    down = actions.add_parser("down", help="remove a lab and everything in it")
    down.add_argument("--id", help=which)

    demo = actions.add_parser("demo", help="bring up a lab and prove that dp-core carries it")
    demo.add_argument("--id", default="demo", help="id of the demo's lab (demo)")
    demo.add_argument("--encap", choices=topology.ENCAPS, default="vxlan", help="tunnel (vxlan)")


def run(args: argparse.Namespace) -> int:
    """Carry out the action; returns the exit code. Raises VrouterError."""
    actions: dict[str, Callable[[argparse.Namespace], int]] = {
        "up": _up,
        "show": _show,
        "exec": _exec,
        "down": _down,
        "demo": _demo,
    }
    return actions[args.action](args)


def _say(line: str) -> None:
    print(line, flush=True)


def _up(args: argparse.Namespace) -> int:
    from vrouter.lab import build  # noqa: PLC0415 - netlink is slow to import

    lab_id = (os.environ.get(_ENV) or args.lab) if args.id is None else args.id
    wanted = topology.plan(
        args.lab,
        lab_id,
        encap=args.encap,
        forwarding=args.forwarding,
        wire=args.wire,
        stage=args.stage,
        underlay=args.underlay,
        control=args.control,
    )
    lab = build.up(wanted, _say)
    _print_lab(lab)
    return 0


def _show(args: argparse.Namespace) -> int:
    lab = _chosen(args.id)
    if args.json:
        print(json.dumps(lab.describe(), indent=2))
    else:
        _print_lab(lab)
    return 0


def _exec(args: argparse.Namespace) -> int:
    from vrouter.lab import node  # noqa: PLC0415 - only exec needs it

    lab_id, command = args.id, list(args.argv)
    if command[:1] == ["--id"] and "--" in command[2:]:  # exec NODE --id ID -- CMD
        lab_id, command = command[1], command[2:]
    if command[:1] == ["--"]:
        command = command[1:]
    if not command:
        raise UsageError("no command given: vrouter lab exec NODE -- CMD [ARG...]")
    node.execute(_chosen(lab_id), args.node, command)


def _down(args: argparse.Namespace) -> int:
    from vrouter.lab import build  # noqa: PLC0415 - netlink is slow to import

    named = (os.environ.get(_ENV) or None) if args.id is None else args.id
    if named is None and not state.ids():
        _say("no lab is up: nothing to do")
        return 0
    build.down(state.choose(None) if named is None else topology.check_id(named), _say)
    return 0


def _demo(args: argparse.Namespace) -> int:
    from vrouter.lab import demo  # noqa: PLC0415 - netlink is slow to import

    return demo.run(topology.check_id(args.id), args.encap)


def _chosen(wanted: str | None) -> Lab:
    lab_id = state.choose(wanted)
    lab = state.load(lab_id)
    if lab is None:
        raise NoSuchEntry(f"lab {lab_id} cannot be read: run `vrouter lab down --id {lab_id}`")
    return lab


def _print_lab(lab: Lab) -> None:
    tail = "" if lab.phase == "up" else f" - not finished ({lab.phase}): `vrouter lab down` it"
    how = f"stage {lab.stage}" if lab.gateways else f"{lab.encap}, {lab.forwarding}"
    print(f"lab {lab.id} ({lab.lab}, {how}, wire {lab.wire}){tail}")
    print(f"{'node':6} {'kind':8} {'on':4} {'network':8} {'ip':14} {'mac':18} namespace")
    for name, data in lab.describe()["nodes"].items():
        print(
            f"{name:6} {data['kind']:8} {data.get('host', '-'):4} {data.get('network', '-'):8} "
            f"{data['ip']:14} {data['mac']:18} {data['netns']}"
        )
    if lab.vms:
        print("a vm is a network namespace behind a veth, not a virtual machine")
    which = f" --id {lab.id}" if len(state.ids()) > 1 else ""
    what = f"vm1 -- ping -c 3 {lab.vm('vm3').ip}" if lab.vms else "h1 -- vif --list"
    print(f"try: vrouter lab exec{which} {what}")
