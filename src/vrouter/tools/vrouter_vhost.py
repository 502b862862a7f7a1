# SPDX-License-Identifier: Apache-2.0
"""`vrouter vhost up|confirm|down`: vhost0 in the place of a NIC, and back."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from vrouter.tools import argtypes
from vrouter.tools.common import ToolParser, emit_json, emit_lines, open_instance

_DRY = "print every step and who holds the NIC; change nothing"


def add_arguments(commands: Any, command: Any) -> None:
    """`vhost` and its actions; `command` makes one sub-command (see vrouter.py)."""
    text = "put vhost0 in the place of a NIC, and give everything back"
    vhost: ToolParser = commands.add_parser("vhost", help=text, description=text)
    actions = vhost.add_subparsers(dest="action", metavar="ACTION", required=True)
    up = command(actions, "up", "make vhost0, move all that the NIC has to it", _up)
    up.add_argument(
        "--physical",
        type=argtypes.device_name,
        metavar="DEV",
        required=True,
        help="the NIC that vhost0 stands for",
    )
    up.add_argument(
        "--confirm",
        type=argtypes.seconds,
        metavar="S",
        help="take it back after S seconds unless `vrouter vhost confirm` is run",
    )
    up.add_argument(
        "--force",
        action="store_true",
        help="also when firewall rules, programs or managers hold the NIC",
    )
    up.add_argument("--dry-run", action="store_true", help=_DRY)
    command(actions, "confirm", "keep a take-over that was made with --confirm", _confirm)
    down = command(actions, "down", "give the NIC back what it had, remove vhost0", _down)
    down.add_argument("--dry-run", action="store_true", help="print every step; change nothing")
    down.add_argument(
        "--forget",
        action="store_true",
        help="drop what was saved and change nothing: the NIC is gone for ever",
    )


def _up(args: argparse.Namespace) -> None:
    from vrouter.host import vhost  # noqa: PLC0415 - pyroute2 takes 240 ms

    instance = open_instance(args)
    if args.dry_run:
        _show_plan(args, vhost.plan_up(instance, args.physical))
        return
    lines = vhost.up(
        instance,
        args.physical,
        confirm_within=args.confirm,
        force=args.force,
        say=lambda line: _wait(args, line),
    )
    _done(args, lines, changed=not lines[-1].endswith("already"))


def _confirm(args: argparse.Namespace) -> None:
    from vrouter.host import vhost  # noqa: PLC0415

    lines = vhost.confirm(open_instance(args), say=lambda line: _wait(args, line))
    _done(args, lines, changed=not lines[-1].endswith("nothing changed"))


def _down(args: argparse.Namespace) -> None:
    from vrouter.host import vhost  # noqa: PLC0415

    instance = open_instance(args)
    if args.forget:
        vhost.forget(instance)
        _done(args, ["forgot what was saved of the NIC"], changed=True)
    elif args.dry_run:
        _show_plan(args, vhost.plan_down(instance))
    else:
        lines = vhost.down(instance, say=lambda line: _wait(args, line))
        _done(args, lines, changed=not lines[-1].endswith("nothing to do"))


def _show_plan(args: argparse.Namespace, plan: Any) -> None:
    if args.json:
        findings = [vars(one) for one in plan.findings]
        emit_json({"changed": False, "would": plan.lines, "findings": findings})
        return
    lines = [f"{args.prog}: would {line}" for line in plan.lines]
    for one in plan.findings:
        lines.append(f"{args.prog}: {'BLOCKS: ' if one.blocks else 'note: '}{one}")
    emit_lines(lines)


def _done(args: argparse.Namespace, lines: list[str], *, changed: bool) -> None:
    if args.json:
        emit_json({"changed": changed, "done": lines})
    else:
        emit_lines(f"{args.prog}: {line}" for line in lines)


def _wait(args: argparse.Namespace, line: str) -> None:
    print(f"{args.prog}: {line}", file=sys.stderr, flush=True)
