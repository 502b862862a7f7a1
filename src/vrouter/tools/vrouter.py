# SPDX-License-Identifier: Apache-2.0
"""`vrouter`: load and unload dp-core, see how it is, follow packets, run labs."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vrouter.dpcore.errors import KernelLacks, Refused, UsageError, VrouterError
from vrouter.lab import cli as lab_cli
from vrouter.tools import (
    argtypes,
    vrouter_desired,
    vrouter_sandesh,
    vrouter_settings,
    vrouter_vhost,
)
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
    from vrouter.dpcore.sizes import Sizes

EXAMPLES = """\
  vrouter load                 load dp-core, make pkt1, pkt2, pkt3
  vrouter load --profile small --size routes=50000
                               small tables, but 50000 routes
  vrouter load --size nexthops=1000000
                               more nexthops, while packets flow
  vrouter status               what is loaded and attached, what hurts and what mends it
  vrouter vhost up --physical eth1
                               put vhost0 in the place of eth1
  vrouter vhost up --physical eth1 --dry-run
                               say what that would do, and who holds eth1
  vrouter vhost up --physical eth0 --confirm 60
                               the same for the NIC that you are logged in by
  vrouter vhost confirm        keep it
  vrouter vhost down           give eth0 back what it had
  vrouter apply networks.toml --dry-run
                               what that file would change of the agent's desired state
  vrouter get interface        the ports that are wanted, and how far they are real
  vrouter trace --drops        every dropped packet, live
  vrouter sandesh --sock-dir /run/vrouter/sockets
                               let upstream's tools and agents in
  vrouter lab up two-hosts     a whole overlay network to play with
  vrouter lab up one-host --stage 1
                               a host whose vRouter is loaded, before vhost0
  vrouter --info               versions and table sizes
  vrouter --trap-rate 5000     let each vif cause 5000 traps a second
  vrouter --icmp-errors trap   the agent tells guests of packets that went too far
  vrouter --mss-clamp off      TCP of guests is not kept to what fits the fabric
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
    vrouter_settings.add_arguments(parser)
    parser.add_common()
    commands = parser.add_subparsers(dest="subcommand", metavar="COMMAND", title="commands")
    _add_load(commands)
    _command(commands, "unload", "detach dp-core, remove its tables and pkt1-3", _unload)
    _command(commands, "status", "show what is loaded, attached and used", _status)
    vrouter_vhost.add_arguments(commands, _command)
    vrouter_desired.add_arguments(commands, _command)
    _add_trace(commands)
    vrouter_sandesh.add_arguments(commands, _command)
    text = "networks in namespaces, for learning and tests"
    lab = commands.add_parser("lab", help=text, description=text)
    lab.set_defaults(handler=lab_cli.run)
    lab_cli.add_arguments(lab)
    parser.set_defaults(prog="vrouter", handler=None)
    return parser


def _command(
    commands: Commands,
    name: str,
    text: str,
    handler: Callable[[Any], int | None],
    *,
    sock_dir: bool = False,
) -> ToolParser:
    command: ToolParser = commands.add_parser(name, help=text, description=text)
    command.add_common(sub=True, sock_dir=sock_dir)
    command.set_defaults(handler=handler)
    return command


def _add_load(commands: Commands) -> None:
    text = (
        "load dp-core and make pkt1, pkt2, pkt3; exchange the one that is loaded, without losing "
        "a packet, an entry or a count; loading twice changes nothing"
    )
    load = _command(commands, "load", text, _load)
    load.add_argument(
        "--profile",
        choices=["default", "small"],
        help="sizes of the tables: default (upstream's) or small (for labs); without it those of "
        "the loaded dp-core",
    )
    load.add_argument(
        "--size",
        action="append",
        default=[],
        metavar="TABLE=N",
        help="entries of one table; may be repeated; of a loaded dp-core it changes that size",
    )
    load.add_argument(
        "--object", type=Path, metavar="FILE", help="dp-core object (default: the one shipped)"
    )
    load.add_argument(
        "--here",
        action="store_true",
        help="load for the network namespace that you are in, also if the instance was loaded "
        "for another one that is gone",
    )


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
    add("--host", type=argtypes.ip, metavar="IP", help="only packets from or to that address")
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
    if vrouter_settings.given(args):
        if args.handler is not None:
            raise UsageError("settings stand alone; leave the command out")
        vrouter_settings.write(args)
        return None
    if args.handler is None:
        raise UsageError(
            "no command; give load, unload, status, vhost, apply, get, delete, trace, sandesh, "
            "lab, --info or a setting"
        )
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

    lacks = loader.probe()
    if lacks:
        raise KernelLacks(lacks[0].what, lacks[0].remedy)
    instance = open_instance(args)
    _check_alone(instance)
    # a name that nobody gave stands for whatever is loaded here
    here = args.here or not (args.name or os.environ.get("VROUTER_NAME"))
    result = loader.load(instance, _sizes(args, instance), object_path=args.object, here=here)
    lines = _make_devices(args, instance, created=result.created)
    if result.created:
        lines.insert(0, f"loaded dp-core as instance {instance.name}")
    elif result.swapped:
        lines.insert(0, f"exchanged the dp-core of instance {instance.name}")
    if result.migrated:
        lines.append(f"tables carried over: {', '.join(result.migrated)}")
    lines += result.notes
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


def _sizes(args: argparse.Namespace, instance: Instance) -> Sizes | None:
    """What the arguments ask for; None: as it is loaded, or the default."""
    from vrouter.dpcore import loader  # noqa: PLC0415
    from vrouter.dpcore.sizes import Sizes  # noqa: PLC0415

    if args.profile is None and not args.size:
        return None
    loaded = None
    if args.profile is None and instance.is_loaded():
        loaded = loader.loaded_sizes(instance)
    return Sizes.from_args(args.profile or "default", args.size, loaded)


def _make_devices(args: argparse.Namespace, instance: Instance, *, created: bool) -> list[str]:
    """pkt1-3; a load that cannot make them is undone, so that it can be tried again."""
    from vrouter.dpcore import loader  # noqa: PLC0415
    from vrouter.host import devices  # noqa: PLC0415 - pyroute2 takes 240 ms

    try:
        with open_core(args, any_abi=True) as core:
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
    from vrouter.host import devices, vhost  # noqa: PLC0415 - pyroute2 takes 240 ms

    fd = instance.open_netns()
    if fd is None:
        vhost.forget(instance)
        return [f"the network namespace of {instance.name} is gone, and its devices with it"]
    from os import close  # noqa: PLC0415

    close(fd)
    lines = [line for line in vhost.down(instance) if not line.endswith("nothing to do")]
    vhost.forget(instance)
    with open_core(args, any_abi=True) as core:
        return [*lines, *devices.remove_packet_devices(core)]


def _status(args: argparse.Namespace) -> None:
    from vrouter.tools import vrouter_status  # noqa: PLC0415

    vrouter_status.show(args)


def _trace(args: argparse.Namespace) -> None:
    from vrouter.tools import vrouter_trace  # noqa: PLC0415

    vrouter_trace.run(args)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `vrouter`; returns the exit code."""
    return run_tool(build_parser, handle, argv)
