# SPDX-License-Identifier: Apache-2.0
"""Multicast in the networks of a running agent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from tests.system import agents as helper
from tests.system.helpers import unique
from tests.system.service_clients import Wire
from vrouter.lab import agents, build, topology
from vrouter.lab.topology import Lab

ROUTER = "00:00:5e:00:01:00"
VM1, VM2 = "02:00:0a:01:01:01", "02:00:0a:01:01:02"
GROUP, GROUP_MAC = "239.7.7.7", "01:00:5e:07:07:07"
GROUP6, GROUP6_MAC = "ff15::7:7:7", "33:33:00:07:00:07"
MARK = b"to whom it may concern"


def wanted(lab: Lab) -> dict[str, Any]:
    """h1's desired state, with a default route of the tenant's, to vm2."""
    state = agents.desired(lab, lab.host("h1"))
    state["route"] = [
        {"name": "default", "network": "blue", "prefix": "0.0.0.0/0", "next_hop": "10.1.1.2"},
        {"name": "default6", "network": "blue", "prefix": "::/0", "next_hop": "fd00:10:1:1::2"},
    ]
    return state


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    plan = topology.plan("two-hosts", unique("m"), encap="vxlan", control="agent")
    lab = build.up(plan, lambda line: None)
    try:
        helper.kill(lab, "h1")
        (agents.folder(lab, "h1") / "state.toml").write_text(agents.toml(wanted(lab)))
        agents.start(lab, lab.host("h1"), fresh=False)
        yield lab
        log = (agents.folder(lab, "h1") / "agent.log").read_text()
        assert "Traceback" not in log, log
    finally:
        build.down(lab.id, lambda line: None)


def heard(wire: Wire) -> list[tuple[str, int]]:
    """Destination and TTL of each of our packets that came in."""
    frames = [Ether(one) for one in wire.received(1.0) if MARK in one]
    return [(one.dst, one[IP].ttl if IP in one else one[IPv6].hlim) for one in frames]


@pytest.mark.parametrize(
    ("packet", "mac"),
    [
        (IP(src="10.1.1.1", dst=GROUP, ttl=9), GROUP_MAC),
        (IPv6(src="fd00:10:1:1::1", dst=GROUP6, hlim=9), GROUP6_MAC),
    ],
    ids=["inet", "inet6"],
)
def test_to_a_group_by_the_gateway(lab: Lab, packet: Any, mac: str) -> None:
    """It is for the group, not for whoever the default route leads to, and not for the sender."""
    payload = packet / UDP(sport=7, dport=7) / Raw(MARK)
    with Wire(lab, "vm1") as vm1, Wire(lab, "vm2") as vm2, Wire(lab, "vm4") as other:
        vm1.send(bytes(Ether(src=VM1, dst=ROUTER) / payload))
        assert heard(vm2) == [(mac, 8)]
        assert not heard(vm1) and not heard(other), "vm4 is of another network"


def test_to_a_group_bridged(lab: Lab) -> None:
    payload = IP(src="10.1.1.1", dst=GROUP, ttl=1) / UDP(sport=7, dport=7) / Raw(MARK)
    with Wire(lab, "vm1") as vm1, Wire(lab, "vm2") as vm2, Wire(lab, "vm3") as far:
        vm1.send(bytes(Ether(src=VM1, dst=GROUP_MAC) / payload))
        assert heard(vm2) == heard(far) == [(GROUP_MAC, 1)]


def test_the_tables_are_those_of_a_plan_from_scratch(lab: Lab) -> None:
    assert not helper.differences(lab, "h1")
