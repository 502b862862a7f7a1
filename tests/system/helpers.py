# SPDX-License-Identifier: Apache-2.0
"""What the system tests share beside their fixtures."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from vrouter.host import netns, offload
from vrouter.lab.topology import NIC, Lab

SOURCE = Path(__file__).parents[2] / "src"
MakeLab = Callable[..., Lab]
MakeNs = Callable[[], str]
Vrouter = Callable[..., subprocess.CompletedProcess[str]]
_numbers = itertools.count(1)


def unique(prefix: str) -> str:
    """A name that no other test process uses."""
    return f"{prefix}{os.getpid()}-{next(_numbers)}"


@contextlib.contextmanager
def plain_wire(*spaces: str) -> Iterator[None]:
    """The NICs of these namespaces have no offload inside the block."""
    before = {}
    try:
        for name in spaces:
            with netns.enter(name):
                before[name] = offload.get(NIC)
                offload.make_plain(NIC)
        yield
    finally:
        for name, features in before.items():
            with netns.enter(name):
                offload.put(NIC, features)


def hosts(lab: Lab) -> list[str]:
    """The namespaces of a lab's hosts."""
    return [lab.netns(host.name) for host in lab.hosts]
