# SPDX-License-Identifier: Apache-2.0
"""`vrouter status`: what is loaded, since when, where it is attached; what the machine lacks, what
hurts and what is stale, with the commands that mend it."""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from vrouter import __version__
from vrouter.dpcore.errors import KernelLacks, NotLoaded
from vrouter.dpcore.object import known_abi
from vrouter.tools.common import emit_json, emit_lines, open_core, open_instance
from vrouter.tools.instance_info import registered
from vrouter.tools.usage import table_usage
from vrouter.tools.vrouter_limits import limits

if TYPE_CHECKING:
    from vrouter.dpcore.core import DpCore
    from vrouter.dpcore.records import Config

WIDTH = 12
HEARTBEAT_MAX = 3.0  # seconds: VR_HEARTBEAT_MAX of bpf/vif.h


def show(args: argparse.Namespace) -> None:
    """Print the status; when nothing is loaded, say so and raise NotLoaded for the exit code."""
    instance = open_instance(args)
    if not instance.is_loaded():
        if args.json:
            emit_json({"instance": instance.name, "loaded": False, "kernel": kernel()})
        raise NotLoaded(instance.name)
    with open_core(args, any_abi=True) as core:
        status = collect(core)
    if args.json:
        emit_json(status)
    else:
        emit_lines(status_lines(status))


def collect(core: DpCore) -> dict[str, Any]:
    """The status as JSON; documented in vrouter(1)."""
    record = registered(core.instance)
    config = core.config.get()
    agent = config.agent_vif
    return {
        "instance": core.instance.name,
        "loaded": True,
        "loaded_at": record["loaded_at"],
        "exchanged_at": record.get("exchanged_at", record["loaded_at"]),
        "version": record["version"],
        "tools_version": __version__,
        "abi_version": config.abi_version,
        "tools_abi_version": known_abi(),
        "object_sha256": record["object_sha256"],
        "profile": record["profile"],
        "netns_inode": record["netns_inode"],
        "netns": netns_state(core),
        "agent": None if agent is None else f"vif0/{agent}",
        **heartbeat(config),
        "attached": attached(core),
        "tables": {
            one.table: {"used": one.used, "limit": one.limit, "bytes": one.bytes}
            for one in table_usage(core, record["sizes"])
        },
        "kernel": kernel(),
        "limits": [vars(limit) for limit in limits(core)],
        "stale": stale(core),
    }


def heartbeat(config: Config) -> dict[str, str | None]:
    """Whether the agent lives, and when it was last seen to (UTC); "unknown": it gives no sign."""
    if config.agent_vif is None:
        return {"agent_state": None, "agent_seen_at": None}
    if not config.heartbeat:
        return {"agent_state": "unknown", "agent_seen_at": None}
    ago = (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - config.heartbeat) / 1e9
    state = "alive" if ago <= HEARTBEAT_MAX else "headless"
    seen = datetime.fromtimestamp(time.time() - ago, UTC)
    return {"agent_state": state, "agent_seen_at": seen.isoformat(timespec="seconds")}


def agent_text(status: dict[str, Any]) -> str:
    """`vif0/2, alive`."""
    if status["agent"] is None:
        return "none"
    if status["agent_state"] == "headless":
        return f"{status['agent']}, headless since {status['agent_seen_at']}: packets go on"
    if status["agent_state"] == "unknown":
        return str(status["agent"])
    return f"{status['agent']}, {status['agent_state']}"


def stale(core: DpCore) -> list[dict[str, str]]:
    """What netdevices and namespaces that are gone left, and the command that removes it."""
    from vrouter.dpcore.stale import dead_instances, dead_links  # noqa: PLC0415

    name = core.instance.name
    found = [
        {
            "what": f"link of {pin}: its netdevice is gone",
            "command": f"vif --name {name} --delete {pin.removeprefix('vif')}",
        }
        for pin in dead_links(core.instance)
    ]
    if core.instance.staging_dir.exists():
        what = "a load that was interrupted, if none is under way"
        found.append({"what": what, "command": f"vrouter load --name {name}"})
    return found + [
        {
            "what": f"vRouter {one.name}: its network namespace is gone",
            "command": f"vrouter unload --name {one.name}",
        }
        for one in dead_instances()
    ]


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
    """The kernel's release, what dp-core uses of it, and what it lacks."""
    from vrouter.dpcore import probe  # noqa: PLC0415 - only status and load need it

    lacks = probe.probe()
    used: list[str] = []
    with suppress(KernelLacks):
        used = [name for name, lack in probe.features().items() if lack is None]
    return {
        "release": platform.release(),
        "features": used,
        "lacks": [{"what": lack.what, "remedy": lack.remedy} for lack in lacks],
    }


def status_lines(status: dict[str, Any]) -> Iterator[str]:
    """The text of `vrouter status`."""
    yield _line("instance", status["instance"])
    digest = status["object_sha256"][:12]
    yield _line("dp-core", f"loaded since {status['loaded_at']}")
    if status["exchanged_at"] != status["loaded_at"]:
        yield _line("", f"this one since {status['exchanged_at']}")
    abi = status["abi_version"]
    yield _line("version", f"{status['version']} (object {digest}), tables of version {abi}")
    yield from _other_release(status)
    yield _line("profile", status["profile"])
    yield _line("namespace", f"{status['netns']} (inode {status['netns_inode']})")
    yield _line("agent", agent_text(status))
    kernel_state = status["kernel"]
    lacks = kernel_state["lacks"]
    yield _line("kernel", f"{kernel_state['release']}, {'lacks' if lacks else 'has all it takes'}")
    for lack in lacks:
        yield f"  {lack['what']}: {lack['remedy']}"
    if kernel_state["features"]:
        yield _line("in use", ", ".join(kernel_state["features"]))
    if status["limits"]:
        yield ""
        yield "what hurts, and what mends it"
        for one in status["limits"]:
            yield f"  {one['name']} is {one['value']}: {one['why']}"
            yield f"    {one['command']}"
    if status["stale"]:
        yield ""
        yield "what is stale, and what removes it (so does `vrouter load`)"
        for one in status["stale"]:
            yield f"  {one['what']}"
            yield f"    {one['command']}"
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


def _other_release(status: dict[str, Any]) -> Iterator[str]:
    ours, known = status["tools_version"], status["tools_abi_version"]
    if known is not None and known != status["abi_version"]:
        yield _line("tools", f"{ours}, for tables of version {known}: they refuse these tables;")
        yield _line("", "use the tools of that release, or run `vrouter load` to put the dp-core")
        yield _line("", "of this one in its place")
    elif ours != status["version"]:
        yield _line("tools", f"{ours}: another release, which knows these tables")


def _line(label: str, value: object) -> str:
    return f"{label:<{WIDTH}}{value}"
