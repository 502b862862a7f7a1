# SPDX-License-Identifier: Apache-2.0
"""The reading half of `rt`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, TypeVar

from vrouter.dpcore.errors import UsageError
from vrouter.tools import argtypes, render_rt
from vrouter.tools.common import emit_json, emit_lines, open_core
from vrouter.tools.words import short_mac_text

if TYPE_CHECKING:
    from vrouter.dpcore.core import DpCore


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
        routes = sorted(core.inet.items(vrf), key=lambda route: route.prefix)
        stitch = stitch_of(core)
        if args.json:
            emit_json([render_rt.inet_json(route, stitch) for route in routes])
        else:
            lines = (render_rt.inet_line(route, stitch) for route in routes)
            emit_lines([*render_rt.inet_heading(vrf), *lines])


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
    with _opened(args, args.vrf) as core:
        # An exact prefix first: its own entry, not one that lies inside it.
        route = core.inet.get(args.vrf, asked)
        if route is None:
            route = core.inet.lookup(args.vrf, asked.network_address)
        stitch = stitch_of(core)
        if args.json:
            emit_json({"match": None if route is None else render_rt.inet_json(route, stitch)})
            return
        line = (
            render_rt.no_route_line(asked) if route is None else render_rt.inet_line(route, stitch)
        )
    title = f"Match {asked} in vRouter inet4 table 0/{args.vrf}/unicast"
    emit_lines([title, "", *render_rt.inet_heading(args.vrf), line, ""])


@contextmanager
def _opened(args: argparse.Namespace, vrf: int) -> Iterator[DpCore]:
    """The tables; BadValue when they have no such VRF, instead of an empty answer."""
    with open_core(args) as core:
        core.stats.vrf(vrf)
        yield core


def _prefix(text: str) -> IPv4Network:
    if text.count(":") == 5:
        raise argparse.ArgumentTypeError(f"{text} is a MAC address; add --family bridge")
    return argtypes.ipv4_prefix(text)


def _parsed(parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"--get: {error}") from None
