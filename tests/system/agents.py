# SPDX-License-Identifier: Apache-2.0
"""What the tests of the agent share."""

from __future__ import annotations

import os
import re
import signal
import time

from vrouter.agent import audit
from vrouter.agent.apply import Applier
from vrouter.agent.plan.entries import Entries
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.instance import find_instance
from vrouter.dpcore.names import NhFlag, NhType
from vrouter.host import netns
from vrouter.lab import agents, node
from vrouter.lab.topology import Host, Lab

_COUNTS = re.compile(r"(\d+) packets transmitted, (\d+) received")


def tables(lab: Lab, host: str) -> Entries:
    """All entries of a host's tables."""
    with DpCore.open(find_instance(lab.instance(host))) as core:
        return Applier(core).have()


def differences(lab: Lab, host: str, patience: float = 5.0) -> list[str]:
    """What differs from a plan made from scratch; waits, since events take their time."""
    instance = find_instance(lab.instance(host))
    end = time.monotonic() + patience
    while True:
        found = netns.run(lab.netns(host), lambda: list(audit.difference(instance).lines()))
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.2)


def agent_pid(lab: Lab, host: str) -> int:
    """The process that holds the agent's lock."""
    path = find_instance(lab.instance(host)).run_dir / "agent.lock"
    return int(path.read_text())


def kill(lab: Lab, host: str, number: int = signal.SIGKILL) -> None:
    """End a host's agent and wait until it is gone."""
    os.kill(agent_pid(lab, host), number)
    end = time.monotonic() + 10
    while agents.runs(lab, lab.host(host)):
        assert time.monotonic() < end, "the agent does not go"
        time.sleep(0.01)


def start(lab: Lab, host: Host) -> None:
    """Start it again, with the same store."""
    agents.start(lab, host)


def resolved(lab: Lab, host: str, patience: float = 20.0) -> None:
    """Wait until all tunnels of a host are valid."""
    end = time.monotonic() + patience
    while True:
        found = [one for one in tables(lab, host).nexthop.values() if one.type == NhType.TUNNEL]
        if found and all(one.flags & NhFlag.VALID for one in found):
            return
        assert time.monotonic() < end, found
        time.sleep(0.1)


def answered(lab: Lab, source: str, address: str, count: int = 5) -> int:
    """How many of `count` pings are answered."""
    command = ["ping", "-q", "-c", str(count), "-i", "0.05", "-W", "2", address]
    found = _COUNTS.search(node.call(lab, source, command).stdout)
    assert found is not None
    return int(found.group(2))
