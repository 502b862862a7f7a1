# SPDX-License-Identifier: Apache-2.0
"""The sysctls of a device: net.{ipv4,ipv6}.{conf,neigh}.DEVICE.*"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

_ROOT = Path("/proc/sys/net")  # shows the namespace of the task that looks, here the thread
_FOLDERS = ("ipv4/conf", "ipv4/neigh", "ipv6/conf", "ipv6/neigh")


def read(name: str) -> dict[str, str]:
    """All that can be read, as "ipv4/conf/rp_filter" to its text."""
    found = {}
    for folder in _FOLDERS:
        for file in sorted((_ROOT / folder / name).glob("*")):
            # a stable_secret that was never set cannot be read
            with contextlib.suppress(OSError):
                found[f"{folder}/{file.name}"] = file.read_text().strip()
    return found


def write(name: str, wanted: Mapping[str, str]) -> list[str]:
    """Make those that differ as `wanted` says; returns the keys that the kernel would not set."""
    now = read(name)
    refused = []
    for key, value in wanted.items():
        if now.get(key) == value:
            continue
        folder, _, last = key.rpartition("/")
        try:
            (_ROOT / folder / name / last).write_text(value)
        except OSError:
            refused.append(key)
    return refused
