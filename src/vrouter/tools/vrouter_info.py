# SPDX-License-Identifier: Apache-2.0
"""`vrouter --info`: versions, sizes the tables were loaded with, and how full they are."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from typing import Any

from vrouter import __version__
from vrouter.tools.common import emit_json, emit_lines, open_core
from vrouter.tools.instance_info import registered
from vrouter.tools.usage import Usage, table_usage
from vrouter.tools.vrouter_settings import word

LABELS = {
    "vifs": "Interfaces",
    "nexthops": "Nexthops",
    "spare_nexthops": "Nexthops, spare",
    "spare_vifs": "Interfaces, spare",
    "members": "Composite members",
    "labels": "MPLS labels",
    "vnis": "VNIDs",
    "vrfs": "VRF tables",
    "routes": "Inet routes",
    "bridge": "Bridge entries",
    "sources": "Allowed sources",
    "ifindexes": "Interface indexes",
    "events": "Event buffer (bytes)",
}
WIDTH = 28


def show(args: argparse.Namespace) -> None:
    """Print it as text or JSON."""
    with open_core(args) as core:
        record = registered(core.instance)
        usage = table_usage(core, record["sizes"])
        config = core.config.get()
    runtime: dict[str, str | int | None] = {
        "instance": record["name"],
        "agent_vif": config.agent_vif,
        "abi_version": config.abi_version,
        "trap_rate": config.trap_rate,
        "icmp_errors": word("icmp_errors", config.icmp_errors),
        "icmp_rate": config.icmp_rate,
        "mss_clamp": word("mss_clamp", config.mss_clamp),
        "cpus": os.cpu_count(),
    }
    if args.json:
        emit_json(
            {
                "version": record["version"],
                "tools_version": __version__,
                "object_sha256": record["object_sha256"],
                "startup": {"profile": record["profile"], **record["sizes"]},
                "runtime": runtime,
                "tables": {one.table: {"used": one.used, "limit": one.limit} for one in usage},
            }
        )
    else:
        emit_lines(info_lines(record, runtime, usage))


def info_lines(
    record: dict[str, Any], runtime: dict[str, str | int | None], usage: list[Usage]
) -> Iterator[str]:
    """The text of `vrouter --info`."""
    yield _line("vRouter dp-core version", f"{record['version']} ({record['object_sha256'][:12]})")
    yield _line("Tools version", __version__)
    yield ""
    yield "Startup parameters:"
    yield _line("Profile", record["profile"])
    for name, value in record["sizes"].items():
        yield _line(LABELS.get(name, name), value)
    yield ""
    yield "Runtime parameters:"
    yield _line("Instance", runtime["instance"])
    agent = runtime["agent_vif"]
    yield _line("Agent", "none" if agent is None else f"vif0/{agent}")
    yield _line("ABI version", runtime["abi_version"])
    yield _line("Traps a second of a vif", runtime["trap_rate"] or "any number")
    yield _line("ICMP errors", runtime["icmp_errors"])
    yield _line("ICMP errors a second", runtime["icmp_rate"])
    yield _line("MSS clamp", runtime["mss_clamp"])
    yield _line("CPUs", runtime["cpus"])
    yield ""
    yield "Used/limit:"
    for one in usage:
        yield _line(LABELS[one.table], f"{one.used}/{one.limit}")


def _line(label: str, value: object) -> str:
    return f"{label:<{WIDTH}}{value}"
