# SPDX-License-Identifier: Apache-2.0
"""A VM that floods the agent makes it slow for nobody else."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread

import pytest
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from tests.conftest import SUMMARY
from tests.system import agents as helper
from tests.system.helpers import unique
from tests.system.service_clients import Wire
from vrouter.api import client
from vrouter.dpcore.instance import find_instance
from vrouter.lab import build, node, topology
from vrouter.lab.topology import Lab

ROUTER, GATEWAY = "00:00:5e:00:01:00", "10.1.1.254"
SECONDS = 4.0
# what is flooded a second: twice what dp-core lets through, ten times what the agent answers
FLOOD = 2000
_TIMES = re.compile(r"time=([\d.]+) ms")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    plan = topology.plan("two-hosts", unique("f"), encap="vxlan", control="agent")
    try:
        yield build.up(plan, lambda line: None)
    finally:
        build.down(plan.id, lambda line: None)


@contextlib.contextmanager
def flooding(lab: Lab, vm: str) -> Iterator[None]:
    """DNS queries of a VM's, as long as the block lasts."""
    query = IP(src="10.1.1.2", dst=GATEWAY) / UDP(sport=5353, dport=53)
    query /= DNS(rd=1, qd=DNSQR(qname="vm1.blue"))
    frame = bytes(Ether(src="02:00:0a:01:01:02", dst=ROUTER) / query)
    over = Event()

    def send() -> None:
        with Wire(lab, vm) as wire:
            while not over.wait(0.01):
                for _ in range(FLOOD // 100):
                    wire.send(frame)

    thread = Thread(target=send)
    thread.start()
    try:
        time.sleep(0.5)  # what is allowed at once is used up
        yield
    finally:
        over.set()
        thread.join()


def cpu_seconds(pid: int) -> float:
    """What a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def served(lab: Lab, vm: str) -> tuple[list[float], float]:
    """Milliseconds until the gateway answered a VM's pings, each by the agent, and the part of a
    CPU that the agent took meanwhile."""
    pid = helper.agent_pid(lab, "h1")
    before, since = cpu_seconds(pid), time.monotonic()
    command = f"ping -i 0.1 -c {int(SECONDS * 10)} -W 2 {GATEWAY}"
    said = node.call(lab, vm, command.split()).stdout
    used = (cpu_seconds(pid) - before) / (time.monotonic() - since)
    return sorted(float(one) for one in _TIMES.findall(said)), used


def limited(lab: Lab) -> int:
    """DNS queries that h1's agent has not looked at."""
    socket = str(find_instance(lab.instance("h1")).run_dir / "api.sock")
    status, answer = client.call(socket, "GET", "/v1/status")
    assert status == 200, answer
    return int(answer["services"].get("dns", {}).get("rate-limited", 0))


def test_the_gateway_answers_while_another_vm_floods(
    lab: Lab, record_property: Callable[[str, object], None]
) -> None:
    quiet, idle = served(lab, "vm1")
    before = limited(lab)
    with flooding(lab, "vm2"):
        busy, used = served(lab, "vm1")
    dropped = limited(lab) - before
    told = (
        f"ping of the agent {quiet[len(quiet) // 2]:.1f} ms, {quiet[-1]:.1f} at most, CPU {idle:.0%}; "
        f"while another VM floods {busy[len(busy) // 2]:.1f} ms, {busy[-1]:.1f} at most, CPU {used:.0%}, "
        f"{dropped / SECONDS:.0f} packets a second over the rate"
    )
    record_property(SUMMARY, told)
    print(told)
    assert len(quiet) == len(busy) == SECONDS * 10, "each is answered"
    assert dropped > SECONDS * 100, "the flood is above the rate"
    assert busy[len(busy) // 2] < quiet[len(quiet) // 2] + 20, told
    assert used < 0.5, told
