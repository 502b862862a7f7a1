# SPDX-License-Identifier: Apache-2.0
"""`vrouter`: load and unload dp-core, see how it is, follow packets, run labs."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vrouter.dpcore.errors import KernelLacks, Refused, UsageError, VrouterError
from vrouter.lab import cli as lab_cli
from vrouter.tools import argtypes
from vrouter.tools.common import (
    ToolParser,
    emit_json,
    emit_lines,
    open_core,
    open_instance,
    report,
    run_tool,
)

if TYPE_CHECKING:
    from vrouter.dpcore.instance import Instance

EXAMPLES = """\
  vrouter load                 load dp-core, make pkt1, pkt2, pkt3
  vrouter load --profile small --size routes=50000
                               small tables, but 50000 routes
  vrouter status               what is loaded and attached
  vrouter vhost up --physical eth1
                               put vhost0 in the place of eth1
  vrouter trace --drops        every dropped packet, live
  vrouter lab up two-hosts     a whole overlay network to play with
  vrouter lab up one-host --stage 1
                               a host whose vRouter is loaded, before vhost0
  vrouter --info               versions and table sizes
  vrouter --trap-rate 5000     let each vif cause 5000 traps a second
"""

Commands = Any  # argparse's _SubParsersAction, which has no public name


def build_parser() -> ToolParser:
    """The parser of `vrouter`."""
    parser = ToolParser(
        "vrouter",
        "Load and unload dp-core, put vhost0 in the place of a NIC and back, see how things are, "
        "follow packets, run labs.",
        EXAMPLES,
    )
    parser.add_argument("--info", action="store_true", help="show versions and table sizes")
    parser.add_argument(
        "--trap-rate",
        type=argtypes.number(0, argtypes.MAX_RATE, "traps a second"),
        metavar="N",
        help="how many packets a second of each vif may go to the agent (default: 1000; 0: any "
        "number); those above it are counted as Traps over the limit",
    )
    parser.add_common()
    commands = parser.add_subparsers(dest="subcommand", metavar="COMMAND", title="commands")
    _add_load(commands)
    _command(commands, "unload", "detach dp-core, remove its tables and pkt1-3", _unload)
    _command(commands, "status", "show what is loaded, attached and used", _status)
    _add_vhost(commands)
    _add_trace(commands)
    text = "networks in namespaces, for learning and tests"
    lab = commands.add_parser("lab", help=text, description=text)
    lab.set_defaults(handler=lab_cli.run)
    lab_cli.add_arguments(lab)
    parser.set_defaults(prog="vrouter", handler=None)
    return parser


def _command(
    commands: Commands, name: str, text: str, handler: Callable[[Any], int | None]
) -> ToolParser:
    command: ToolParser = commands.add_parser(name, help=text, description=text)
    command.add_common(sub=True)
    command.set_defaults(handler=handler)
    return command


def _add_load(commands: Commands) -> None:
    text = "load dp-core and make pkt1, pkt2, pkt3; loading twice changes nothing"
    load = _command(commands, "load", text, _load)
    load.add_argument(
        "--profile",
        choices=["default", "small"],
        help="sizes of the tables: default (upstream's) or small (for labs)",
    )
    load.add_argument(
        "--size",
        action="append",
        default=[],
        metavar="TABLE=N",
        help="entries of one table; may be repeated",
    )
    load.add_argument(
        "--object", type=Path, metavar="FILE", help="dp-core object (default: the one shipped)"
    )


def _add_vhost(commands: Commands) -> None:
    text = "put vhost0 in the place of a NIC, and give everything back"
    vhost: ToolParser = commands.add_parser("vhost", help=text, description=text)
    actions = vhost.add_subparsers(dest="action", metavar="ACTION", required=True)
    up = _command(actions, "up", "make vhost0, move the NIC's addresses and routes to it", _up)
    up.add_argument(
        "--physical",
        type=argtypes.device_name,
        metavar="DEV",
        required=True,
        help="the NIC that vhost0 stands for",
    )
    _command(actions, "down", "give the NIC back what it had, remove vhost0", _down)


def _add_trace(commands: Commands) -> None:
    trace = _command(commands, "trace", "show packets as dp-core handles them, live", _trace)
    add = trace.add_argument
    add(
        "--count",
        type=argtypes.number(1, 10**9, "a count"),
        metavar="N",
        help="stop after N packets",
    )
    add("--seconds", type=argtypes.seconds, metavar="S", help="stop after S seconds")
    add("--drops", action="store_true", help="only dropped packets")
    add("--host", type=argtypes.ipv4, metavar="IP", help="only packets from or to that address")
    add(
        "--proto",
        type=argtypes.protocol,
        metavar="PROTO",
        help="only packets of that protocol: icmp, tcp, udp, gre or a number",
    )


def handle(args: argparse.Namespace) -> int | None:
    """Do what the arguments say."""
    alone = "--info" if args.info else "--trap-rate" if args.trap_rate is not None else None
    if alone and args.handler is not None:
        raise UsageError(f"{alone} stands alone; leave the command out")
    if args.trap_rate is not None:
        if args.info:
            raise UsageError("--trap-rate stands alone; leave --info out")
        _set_trap_rate(args)
        return None
    if args.info:
        from vrouter.tools import vrouter_info  # noqa: PLC0415

        vrouter_info.show(args)
        return None
    if args.handler is None:
        raise UsageError("no command; give load, unload, status, vhost, trace, lab or --info")
    handler: Callable[[Any], int | None] = args.handler
    return handler(args)


def _done(args: argparse.Namespace, lines: Sequence[str], *, changed: bool) -> None:
    if args.json:
        emit_json({"changed": changed, "done": list(lines)})
    else:
        emit_lines(f"{args.prog}: {line}" for line in lines)


def _set_trap_rate(args: argparse.Namespace) -> None:
    with open_core(args) as core, core.lock():
        before = core.config.get().trap_rate
        if before != args.trap_rate:
            core.config.set(trap_rate=args.trap_rate)
    rate = args.trap_rate
    text = f"{rate} traps a second of each vif" if rate else "any number of traps"
    if before == rate:
        report(args, f"{text} already; nothing changed", changed=False)
    else:
        report(args, f"{text} from now on (before: {before or 'any number'})", changed=True)


def _load(args: argparse.Namespace) -> None:
    from vrouter.dpcore import loader  # noqa: PLC0415
    from vrouter.dpcore.sizes import Sizes  # noqa: PLC0415

    asked = args.profile is not None or args.size
    sizes = Sizes.from_args(args.profile or "default", args.size) if asked else None
    lacks = loader.probe()
    if lacks:
        raise KernelLacks(lacks[0].what, lacks[0].remedy)
    instance = open_instance(args)
    _check_alone(instance)
    result = loader.load(instance, sizes, object_path=args.object)
    devices = _make_devices(args, instance, created=result.created)
    lines = devices
    if result.created:
        lines = [f"loaded dp-core as instance {instance.name}", *devices]
    elif result.swapped:
        lines = [f"exchanged the dp-core of instance {instance.name}", *devices]
    changed = bool(lines)
    if not changed:
        lines = [f"instance {instance.name} is loaded already; nothing changed"]
    _done(args, lines, changed=changed)


def _check_alone(instance: Instance) -> None:
    """A network namespace has one vRouter: two would fight for its devices."""
    from vrouter.dpcore.instance import all_instances  # noqa: PLC0415 - only load needs it

    for other in all_instances():
        there = other.registered() is not None and other.is_loaded() and other.is_here()
        if there and other.name != instance.name:
            raise Refused(
                f"this network namespace has vRouter {other.name!r} already; use that, or run "
                f"`vrouter unload --name {other.name}` first"
            )


def _make_devices(args: argparse.Namespace, instance: Instance, *, created: bool) -> list[str]:
    """pkt1-3; a load that cannot make them is undone, so that it can be tried again."""
    from vrouter.dpcore import loader  # noqa: PLC0415
    from vrouter.host import devices  # noqa: PLC0415 - pyroute2 takes 240 ms

    try:
        with open_core(args) as core:
            return devices.ensure_packet_devices(core)
    except VrouterError:
        if created:
            loader.unload(instance)
        raise


def _unload(args: argparse.Namespace) -> None:
    from vrouter.dpcore import loader  # noqa: PLC0415

    instance = open_instance(args)
    if not instance.is_loaded():
        loader.unload(instance)  # what a killed load or unload left
        text = f"instance {instance.name} is not loaded; nothing changed"
        _done(args, [text], changed=False)
        return
    lines = _remove_devices(args, instance)
    loader.unload(instance)
    _done(args, [*lines, f"unloaded instance {instance.name}"], changed=True)


def _remove_devices(args: argparse.Namespace, instance: Instance) -> list[str]:
    """vhost0 first gives the NIC back what it took; nothing to do where the namespace is gone."""
    fd = instance.open_netns()
    if fd is None:
        return [f"the network namespace of {instance.name} is gone, and its devices with it"]
    from os import close  # noqa: PLC0415

    close(fd)
    from vrouter.host import devices, vhost  # noqa: PLC0415 - pyroute2 takes 240 ms

    lines = vhost.down(instance) if vhost.physical_of(instance) is not None else []
    with open_core(args) as core:
        return [*lines, *devices.remove_packet_devices(core)]


def _status(args: argparse.Namespace) -> None:
    from vrouter.tools import vrouter_status  # noqa: PLC0415

    vrouter_status.show(args)


def _up(args: argparse.Namespace) -> None:
    from vrouter.host import vhost  # noqa: PLC0415 - pyroute2 takes 240 ms

    lines = vhost.up(open_instance(args), args.physical)
    _done(args, lines, changed=not lines[-1].endswith("already"))


def _down(args: argparse.Namespace) -> None:
    from vrouter.host import vhost  # noqa: PLC0415 - pyroute2 takes 240 ms

    lines = vhost.down(open_instance(args))
    _done(args, lines, changed=not lines[-1].endswith("nothing to do"))


def _trace(args: argparse.Namespace) -> None:
    from vrouter.tools import vrouter_trace  # noqa: PLC0415

    vrouter_trace.run(args)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `vrouter`; returns the exit code."""
    return run_tool(build_parser, handle, argv)
