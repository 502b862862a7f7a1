# SPDX-License-Identifier: Apache-2.0
"""TCP throughput between two VMs by iperf3: one connection, both ends on a CPU of their own."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vrouter.dpcore.errors import VrouterError
from vrouter.host import netns

from .paths import End, Route

_GRACE = 15  # seconds for the connection and the exchange of results


def measure(route: Route, seconds: float, cpus: tuple[int, int]) -> float:
    """Gbit/s of payload that arrived. VrouterError, with iperf3's reason, if it failed."""
    whole = max(1, math.ceil(seconds))
    with _server(route.target):
        command = ["iperf3", "-J", "-c", route.target.ip, "-t", str(whole), "-i", "0"]
        command += ["--connect-timeout", "3000"]
        if cpus[0] != cpus[1]:
            command += ["-A", f"{cpus[0]},{cpus[1]}"]
        with netns.enter(route.source.netns):
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        with process:
            try:
                output, _ = process.communicate(timeout=whole + _GRACE)
            except BaseException:
                process.kill()
                raise
    return _gigabits(output, route)


def _gigabits(output: str, route: Route) -> float:
    try:
        report: dict[str, Any] = json.loads(output)
        if "error" not in report:
            return float(report["end"]["sum_received"]["bits_per_second"]) / 1e9
        why = report["error"]
    except (ValueError, KeyError):
        why = "it printed no result"
    where = f"{route.source.netns} to {route.target.netns}"
    raise VrouterError(f"iperf3 from {where} failed: {why}")


@contextmanager
def _server(end: End) -> Iterator[None]:
    """An iperf3 server for one connection; it listens when the block begins."""
    command = ["iperf3", "-s", "-1", "-B", end.ip, "--forceflush"]
    with netns.enter(end.netns):
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    with process:
        try:
            assert process.stdout is not None
            said = ""
            for line in process.stdout:
                said = line.strip() or said
                if "listening" in line:
                    break
            else:
                raise VrouterError(f"the iperf3 server in {end.netns} ended at once: {said}")
            yield
        finally:
            process.kill()
