# SPDX-License-Identifier: Apache-2.0
"""Round-trip time by ping: one packet under way at a time, answered in the kernel."""

from __future__ import annotations

import re
import subprocess

from vrouter.dpcore.errors import VrouterError
from vrouter.host import netns

from .paths import Route

_INTERVAL = 0.001  # seconds


def measure(route: Route, seconds: float) -> float:
    """The average in microseconds. VrouterError if a packet was lost."""
    count = max(1, int(seconds / _INTERVAL))
    command = ["ping", "-q", "-n", "-i", str(_INTERVAL), "-c", str(count), route.target.ip]
    with netns.enter(route.source.netns):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    average = re.search(r"= [\d.]+/([\d.]+)/", done.stdout)
    if average is None or done.returncode:
        said = (done.stdout or done.stderr).strip().splitlines()[-1:]
        raise VrouterError(f"ping from {route.source.netns} to {route.target.ip} failed: {said}")
    return float(average[1]) * 1000
