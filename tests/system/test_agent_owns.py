# SPDX-License-Identifier: Apache-2.0
"""What `vif --set`, `mirror` and `qosmap` put on a port of the agent's stays, whatever the agent
does; what the agent decides is as it has decided."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.system import agents as helper
from tests.system.helpers import unique, wait_until
from vrouter.api import client
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.instance import find_instance
from vrouter.dpcore.names import VifFeature, VifFlag
from vrouter.dpcore.records import Vif
from vrouter.host import netns
from vrouter.lab import agents, build, node, topology
from vrouter.lab.topology import Lab

NEXTHOP, PORT = 4000, 8099
KEPT = VifFlag.MIRROR_RX | VifFlag.MIRROR_TX | VifFlag.NATIVE_VLAN


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    made = build.up(
        topology.plan("two-hosts", unique("o"), encap="vxlan", control="agent"), lambda line: None
    )
    try:
        helper.resolved(made, "h1")
        far, near = made.host("h2").ip, made.host("h1").ip
        for command in (
            f"nh --create {NEXTHOP} --type 3 --udp --sip {near} --dip {far}"
            f" --sport 8097 --dport {PORT}",
            f"mirror --create 1 --nh {NEXTHOP} --dyn",
            "qosmap --set-fc 1 --dscp 46",
            "qosmap --set-qos 2 --dscp 26 --fc 1",
            f"vif --set {made.vm('vm1').tap} --mirror 1 --qos 2 --flags +Vnt",
            f"vif --set {made.vm('vm1').tap} --trust bridge",
            "vif --set eth0 --qos 2",
        ):
            done = node.call(made, "h1", command.split())
            assert done.returncode == 0, (command, done.stdout, done.stderr)
        yield made
    finally:
        build.down(made.id, lambda line: None)


def vif(lab: Lab, name: str) -> Vif:
    with DpCore.open(find_instance(lab.instance("h1"))) as core:
        return next(one for one in core.vifs.items() if one.name == name)


def check(lab: Lab, decided: VifFlag) -> None:
    """All that was set by hand is there, and reaches the analyzer; the agent finds all as it
    wants it."""
    port = vif(lab, lab.vm("vm1").tap)
    assert (port.mirror, port.qos) == (1, 2)
    assert port.flags & KEPT == KEPT and port.flags & decided == decided
    assert port.features & VifFeature.BRIDGE
    assert vif(lab, "eth0").qos == 2
    assert helper.differences(lab, "h1") == []
    with netns.enter(lab.netns("h2")):
        analyzer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with analyzer:
        analyzer.bind(("", PORT))
        analyzer.settimeout(5)
        assert helper.answered(lab, "vm1", "10.1.1.2", 1) == 1
        assert analyzer.recv(2000)[:2] == b"\xff\0"


def test_it_is_there(lab: Lab) -> None:
    check(lab, VifFlag.DHCP)


def test_the_port_changes(lab: Lab) -> None:
    put_network(lab, igmp=True)
    check(lab, VifFlag.IGMP)
    put_network(lab, igmp=False)
    check(lab, VifFlag.DHCP)
    assert not vif(lab, lab.vm("vm1").tap).flags & VifFlag.IGMP


def put_network(lab: Lab, *, igmp: bool) -> None:
    path = str(find_instance(lab.instance("h1")).run_dir / "api.sock")
    status, record = client.call(path, "GET", "/v1/network/blue")
    assert status == 200
    record["igmp"] = igmp
    name = record.pop("name")
    status, answer = client.call(path, "PUT", f"/v1/network/{name}", record)
    assert status == 200, answer


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_another_agent_comes(lab: Lab, number: int) -> None:
    helper.kill(lab, "h1", number)
    agents.start(lab, lab.host("h1"))
    check(lab, VifFlag.DHCP)


def test_what_the_agent_decides_is_set_right(lab: Lab) -> None:
    """By hand against it: until the agent compares the next time."""
    port = vif(lab, lab.vm("vm1").tap)
    with DpCore.open(find_instance(lab.instance("h1"))) as core:
        with netns.enter(lab.netns("h1")):
            core.vifs.change(replace(port, flags=port.flags & ~VifFlag.DHCP, vrf=0))
    helper.kill(lab, "h1")
    agents.start(lab, lab.host("h1"))
    check(lab, VifFlag.DHCP)
    assert vif(lab, lab.vm("vm1").tap).vrf == port.vrf


def test_a_port_that_was_gone_has_forgotten_it(lab: Lab) -> None:
    path = str(find_instance(lab.instance("h1")).run_dir / "api.sock")
    record = client.call(path, "GET", "/v1/interface/vm1")[1]
    name = record.pop("name")
    for enabled in (False, True):
        record["enabled"] = enabled
        assert client.call(path, "PUT", f"/v1/interface/{name}", record)[0] == 200
        wait_until(lambda: helper.differences(lab, "h1", 0) == [])
    port = vif(lab, lab.vm("vm1").tap)
    assert (port.mirror, port.qos) == (None, -1) and not port.flags & KEPT
