# SPDX-License-Identifier: Apache-2.0
"""Arguments, set-up and clean-up of the benchmark, and what it prints."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import median
from types import FrameType

from vrouter.dpcore.errors import Refused, UsageError, VrouterError
from vrouter.host import netns
from vrouter.lab import build, state
from vrouter.lab.topology import Lab, plan

from . import generator
from .cases import CASES, VHOST, Case, Effort, Result, Side, measure
from .kernel import peer
from .paths import Wire, lab_route
from .vhost import vhost

_PACKAGES = {"iperf3": "iperf3", "ping": "iputils-ping", "ip": "iproute2", "bridge": "iproute2"}
_ROW = "{:10} {:14} {:>10} {:>10} {:>7} {:>13}  {}"
_MARGIN = 2.0  # packets must be made this much faster than they are forwarded
_TCP_MARGIN = 1.2  # likewise bytes: below, most of the time is TCP's own
_Effort = tuple[int, float, tuple[int, int]]  # rounds, seconds, CPUs


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit code."""
    args = _arguments().parse_args(argv)
    if args.list:
        for case in CASES:
            print(f"{case.name:10} {case.about}: {', '.join(case.metrics)}")
        return 0
    signal.signal(signal.SIGTERM, _terminated)
    try:
        results = _run(_chosen(args.case), _effort(args))
        if args.json is not None:
            text = json.dumps([one.to_json() for one in results], indent=1)
            args.json.write_text(text + "\n", encoding="utf-8")
        return 0
    except VrouterError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted; everything it made is removed", file=sys.stderr)
        return 130


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench/run.py", description="Speed of dp-core beside the kernel's own forwarding."
    )
    parser.add_argument("case", metavar="CASE", nargs="*", help="which cases (default: all)")
    parser.add_argument("--list", action="store_true", help="say what cases there are")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the results for programs")
    parser.add_argument("--rounds", metavar="N", type=int, default=5, help="rounds (5)")
    parser.add_argument(
        "--seconds", metavar="S", type=float, default=2.0,
        help="length of one measurement; iperf3 takes whole seconds (2)",
    )  # fmt: skip
    return parser


def _terminated(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _chosen(names: list[str]) -> list[Case]:
    known = {case.name: case for case in CASES}
    for name in names:
        if name not in known:
            raise UsageError(f"there is no case {name!r}; there are: {', '.join(known)}")
    return [case for case in CASES if not names or case.name in names]


def _effort(args: argparse.Namespace) -> _Effort:
    if args.rounds < 1 or args.seconds <= 0:
        raise UsageError("--rounds must be at least 1 and --seconds more than 0")
    if args.json is not None and not args.json.absolute().parent.is_dir():
        raise UsageError(f"--json {args.json}: there is no such folder")
    usable = sorted(os.sched_getaffinity(0))
    return args.rounds, args.seconds, (usable[0], usable[1 % len(usable)])


def _check_machine() -> None:
    if os.geteuid() != 0:
        raise Refused("this makes network namespaces: run it as root")
    missing = [tool for tool in _PACKAGES if shutil.which(tool) is None]
    if missing:
        packages = " ".join(sorted({_PACKAGES[tool] for tool in missing}))
        raise Refused(f"{' and '.join(missing)} not found: run `apt install {packages}`")


def _run(cases: list[Case], wanted: _Effort) -> list[Result]:
    _check_machine()
    _sweep()
    prefix = f"bench-{os.getpid()}"
    with ExitStack() as stack:
        effort = Effort(*wanted, stack.enter_context(generator.sink(f"{prefix}-sink")))
        labs = {
            encap: stack.enter_context(_lab(f"{prefix}-{encap}", encap))
            for encap in dict.fromkeys(case.encap for case in cases if case.name != VHOST)
        }
        other = _plan(f"{prefix}-kernel", "vxlan")
        stack.enter_context(peer(other))
        wires = {lab.id: _wire(lab) for lab in (*labs.values(), other)}
        _print_head(effort)
        results: list[Result] = []
        for case in cases:
            if case.name == VHOST:
                pairs = stack.enter_context(vhost(prefix))
                sides = [Side(route, Wire(route.hosts)) for route in pairs]
            else:
                sides = [
                    Side(lab_route(lab, case.source, case.target), wires[lab.id])
                    for lab in (labs[case.encap], other)
                ]
            for metric in case.metrics:
                results.append(measure(case, metric, sides[0], sides[1], effort))
                _print_row(results[-1])
        return results


def _plan(lab_id: str, encap: str) -> Lab:
    return plan("two-hosts", lab_id, encap=encap, control="tables")


def _wire(lab: Lab) -> Wire:
    return Wire(tuple(lab.netns(host.name) for host in lab.hosts))


def _quiet(line: str) -> None:
    """Where the lab's progress goes: the table is what matters here."""


@contextmanager
def _lab(lab_id: str, encap: str) -> Iterator[Lab]:
    try:
        yield build.up(_plan(lab_id, encap), _quiet)
    finally:
        build.down(lab_id, _quiet)


def _sweep() -> None:
    """Remove what a benchmark that was killed has left: its process is gone."""
    for lab_id in state.ids():
        if _is_stale(lab_id):
            build.down(lab_id, _quiet)
    for name in netns.names():
        if _is_stale(name):
            for pid in netns.processes(name):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            netns.delete(name)


def _is_stale(name: str) -> bool:
    match = re.match(r"bench-([0-9]+)-", name)
    return match is not None and not Path(f"/proc/{match[1]}").exists()


def _figure(value: float, unit: str) -> str:
    if unit in ("Gbit/s", "us"):
        return f"{value:.2f}"
    return f"{value / 1e3:.0f} k"


def _print_head(effort: Effort) -> None:
    print(f"{effort.rounds} rounds of {effort.seconds:g} s, ours and the peer's in turn; medians.")
    print("pps: 64-byte packets per second, made and forwarded by one CPU.")
    print(_ROW.format("case", "metric", "ours", "peer", "ratio", "(min-max)", "peer is"))


def _print_row(result: Result) -> None:
    ratios = result.ratios
    unit = result.unit
    note = f"{result.peer}, {unit}"
    if result.lost > 0.01:
        note += f", up to {result.lost:.0%} of the packets lost"
    print(
        _ROW.format(
            result.case,
            result.metric,
            _figure(median(result.ours), unit),
            _figure(median(result.theirs), unit),
            f"{median(ratios):.2f}",
            f"({min(ratios):.2f}-{max(ratios):.2f})",
            note,
        ),
        flush=True,
    )
    _print_generator(result)


def _print_generator(result: Result) -> None:
    fastest = max(median(result.ours), median(result.theirs))
    sunk = median(result.sunk)
    veth = f"a plain veth pair {_figure(sunk, result.unit)} {result.unit}"
    if result.made:
        made = median(result.made)
        text = (
            f"generator alone: makes {_figure(made, result.unit)} "
            f"({made / fastest:.1f} times the faster side), into {veth}"
        )
        fast_enough = made >= _MARGIN * fastest
    else:
        text = f"iperf3 alone: over {veth} ({sunk / fastest:.1f} times the faster side)"
        fast_enough = sunk >= _TCP_MARGIN * fastest
    slow = "" if fast_enough else "; TOO SLOW: the ratio is nearer to 1 than it is"
    print(f"{'':10} {text}{slow}", flush=True)
