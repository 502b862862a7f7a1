# SPDX-License-Identifier: Apache-2.0
"""What the kernel itself dropped of what dp-core gave to a netdevice."""

from __future__ import annotations

from pathlib import Path

_TX_DROP = 11  # column of /proc/net/dev behind the name


def tx_dropped() -> dict[str, int]:
    """Packets that each netdevice of the caller's network namespace refused to send since it was
    made: device down, queue full. dp-core does not hear of them after its verdict."""
    found = {}
    for line in Path("/proc/thread-self/net/dev").read_text().splitlines()[2:]:
        name, _, numbers = line.partition(":")
        found[name.strip()] = int(numbers.split()[_TX_DROP])
    return found
