# SPDX-License-Identifier: Apache-2.0
"""The reading half of `rt`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from vrouter.dpcore.errors import UsageError
from vrouter.tools import argtypes, render_rt
from vrouter.tools.common import emit_json, emit_lines, open_core
from vrouter.tools.words import short_mac_text

if TYPE_CHECKING:
    from vrouter.dpcore.core import DpCore
    from vrouter.dpcore.records import IPNetwork, Route


T = TypeVar("T")


def stitch_of(core: DpCore) -> render_rt.Stitch:
    """A look-up of the MAC of a bridge index, for rendering."""

    def find(index: int) -> bytes | None:
        entry = core.bridge.by_index(index)
        return None if entry is None else entry.mac

    return find


def dump(args: argparse.Namespace, vrf: int) -> None:
    """`rt --dump VRF`."""
    with _opened(args, vrf) as core:
        if args.family == "bridge":
            entries = list(core.bridge.items(vrf))
            if args.json:
                emit_json([render_rt.bridge_json(entry) for entry in entries])
            else:
                lines = (render_rt.bridge_line(entry) for entry in entries)
                emit_lines([*render_rt.bridge_heading(vrf), *lines])
            return
        table = core.inet6 if args.family == "inet6" else core.inet
        routes = sorted(
            table.items(vrf),
            key=lambda route: (int(route.prefix.network_address), route.prefix.prefixlen),
        )
        stitch = stitch_of(core)
        if args.json:
            emit_json([render_rt.inet_json(route, stitch) for route in routes])
        else:
            lines = (render_rt.inet_line(route, stitch) for route in routes)
            version = 6 if args.family == "inet6" else 4
            emit_lines([*render_rt.inet_heading(vrf, version), *lines])


def get(args: argparse.Namespace) -> None:
    """`rt --get ADDRESS --vrf VRF`: what the look-up of a packet finds."""
    if args.family == "bridge":
        _get_bridge(args)
    else:
        _get_inet(args)


def _get_bridge(args: argparse.Namespace) -> None:
    mac = _parsed(argtypes.mac, args.get)
    with _opened(args, args.vrf) as core:
        entry = core.bridge.get(args.vrf, mac)
    if args.json:
        emit_json({"match": None if entry is None else render_rt.bridge_json(entry)})
        return
    title = f"Match {short_mac_text(mac)} in vRouter bridge table 0/{args.vrf}"
    lines = [] if entry is None else [render_rt.bridge_line(entry)]
    emit_lines([title, "", *render_rt.bridge_heading(args.vrf), *lines, ""])


def _get_inet(args: argparse.Namespace) -> None:
    asked = _parsed(_prefix, args.get)
    if asked.version != (6 if args.family == "inet6" else 4):
        raise UsageError(f"--get: {asked} is not of family {args.family}")
    with _opened(args, args.vrf) as core:
        route = covering(core, args.vrf, asked)
        stitch = stitch_of(core)
        if args.json:
            emit_json({"match": None if route is None else render_rt.inet_json(route, stitch)})
            return
        line = (
            render_rt.no_route_line(asked)
            if route is None
            else render_rt.inet_line(route, stitch, asked)
        )
    title = f"Match {asked} in vRouter inet{asked.version} table 0/{args.vrf}/unicast"
    emit_lines([title, "", *render_rt.inet_heading(args.vrf, asked.version), line, ""])


def covering(core: DpCore, vrf: int, prefix: IPNetwork, longest: int | None = None) -> Route | None:
    """The route of the longest prefix, of at most `longest` bits, that covers all of `prefix`."""
    table = core.routes_of(prefix)
    for length in range(prefix.prefixlen if longest is None else longest, -1, -1):
        route = table.get(vrf, prefix.supernet(new_prefix=length))
        if route is not None:
            return route
    return None


def monitor(args: argparse.Namespace) -> None:
    """`rt --monitor`: each change of a route or a MAC from now on, a JSON object a line."""
    import json  # noqa: PLC0415 - 15 ms that only this pays

    with open_core(args) as core:
        for change in core.changes.follow():
            print(json.dumps(render_rt.change_json(change)), flush=True)


@contextmanager
def _opened(args: argparse.Namespace, vrf: int) -> Iterator[DpCore]:
    """The tables; BadValue when they have no such VRF, instead of an empty answer."""
    with open_core(args) as core:
        core.stats.vrf(vrf)
        yield core


def _prefix(text: str) -> IPNetwork:
    if text.count(":") == 5 and "::" not in text and "/" not in text:
        raise argparse.ArgumentTypeError(f"{text} is a MAC address; add --family bridge")
    return argtypes.ip_prefix(text)


def _parsed(parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"--get: {error}") from None
