# SPDX-License-Identifier: Apache-2.0
"""`vrouter status`: what is loaded, since when, where it is attached, what the kernel offers."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from vrouter import __version__
from vrouter.dpcore.errors import NotLoaded
from vrouter.tools.common import emit_json, emit_lines, open_core, open_instance
from vrouter.tools.instance_info import registered
from vrouter.tools.usage import table_usage

if TYPE_CHECKING:
    from vrouter.dpcore.core import DpCore

WIDTH = 12


def show(args: argparse.Namespace) -> None:
    """Print the status; when nothing is loaded, say so and raise NotLoaded for the exit code."""
    instance = open_instance(args)
    if not instance.is_loaded():
        if args.json:
            emit_json({"instance": instance.name, "loaded": False, "kernel": kernel()})
        raise NotLoaded(instance.name)
    with open_core(args) as core:
        status = collect(core)
    if args.json:
        emit_json(status)
    else:
        emit_lines(status_lines(status))


def collect(core: DpCore) -> dict[str, Any]:
    """The status as JSON; documented in vrouter(1)."""
    record = registered(core.instance)
    agent = core.config.get().agent_vif
    return {
        "instance": core.instance.name,
        "loaded": True,
        "loaded_at": record["loaded_at"],
        "version": record["version"],
        "tools_version": __version__,
        "object_sha256": record["object_sha256"],
        "profile": record["profile"],
        "netns_inode": record["netns_inode"],
        "netns": netns_state(core),
        "agent": None if agent is None else f"vif0/{agent}",
        "attached": attached(core),
        "tables": {
            one.table: {"used": one.used, "limit": one.limit, "bytes": one.bytes}
            for one in table_usage(core, record["sizes"])
        },
        "kernel": kernel(),
    }


def netns_state(core: DpCore) -> str:
    """`here`, `elsewhere`, or `gone`: where the instance's network namespace is."""
    if core.instance.is_here():
        return "here"
    fd = core.instance.open_netns()
    if fd is None:
        return "gone"
    os.close(fd)
    return "elsewhere"


def attached(core: DpCore) -> list[dict[str, Any]]:
    """Every vif with its device, and whether dp-core sees the device's packets."""
    return [
        {
            "vif": f"vif0/{vif.idx}",
            "device": vif.name,
            "ifindex": vif.ifindex,
            "alive": core.vifs.is_attached(vif.idx),
        }
        for vif in core.vifs.items()
    ]


def kernel() -> dict[str, Any]:
    """The kernel's release, and what it lacks."""
    from vrouter.dpcore import loader  # noqa: PLC0415 - only status and load need it

    return {
        "release": platform.release(),
        "lacks": [{"what": lack.what, "remedy": lack.remedy} for lack in loader.probe()],
    }


def status_lines(status: dict[str, Any]) -> Iterator[str]:
    """The text of `vrouter status`."""
    yield _line("instance", status["instance"])
    digest = status["object_sha256"][:12]
    yield _line("dp-core", f"loaded since {status['loaded_at']}")
    yield _line("version", f"{status['version']} (object {digest})")
    yield _line("profile", status["profile"])
    yield _line("namespace", f"{status['netns']} (inode {status['netns_inode']})")
    yield _line("agent", status["agent"] or "none")
    kernel_state = status["kernel"]
    lacks = kernel_state["lacks"]
    yield _line("kernel", f"{kernel_state['release']}, {'lacks' if lacks else 'has all it takes'}")
    for lack in lacks:
        yield f"  {lack['what']}: {lack['remedy']}"
    yield ""
    yield "attached"
    for one in status["attached"]:
        state = "attached" if one["alive"] else "not attached"
        yield f"  {one['vif']:<12}{one['device']:<18}{state}"
    yield ""
    yield "tables (used/limit, kernel memory)"
    for name, fill in status["tables"].items():
        used = f"{fill['used']}/{fill['limit']}"
        yield f"  {name:<12}{used:<18}{fill['bytes']:>12,} bytes"


def _line(label: str, value: object) -> str:
    return f"{label:<{WIDTH}}{value}"
