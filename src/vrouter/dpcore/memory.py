# SPDX-License-Identifier: Apache-2.0
"""What the loaded tables occupy, as the kernel says it."""

from __future__ import annotations

from pathlib import Path

from .instance import Instance
from .maps import open_map


def occupied(instance: Instance) -> dict[str, int]:
    """Bytes of kernel memory of each map of the instance, by name.

    Of a table that grows (routes, sources) it is what its entries take now. NoSuchEntry if it
    is not loaded.
    """
    found = {}
    for pin in sorted((instance.pin_dir / "maps").iterdir()):
        with open_map(pin) as opened:
            found[pin.name] = _memlock(opened.fd)
    return found


def _memlock(fd: int) -> int:
    for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "memlock":
            return int(value)
    return 0
