# SPDX-License-Identifier: Apache-2.0
"""Ports come and go while the agent runs; what VMs tell about themselves is learnt, and kept."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.system import agents as helper
from tests.system.helpers import Vrouter, unique
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.instance import find_instance
from vrouter.dpcore.names import DropReason, RouteFlag
from vrouter.host import netns
from vrouter.host.netlink import Netlink
from vrouter.host.ports import Port, make_veth
from vrouter.lab import agents, build, node, topology
from vrouter.lab.topology import Lab, mac_bytes

NEW_VM = "02:00:0a:01:01:09"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    made = topology.plan("two-hosts", unique("a"), encap="vxlan", control="agent")
    yield build.up(made, lambda line: None)
    build.down(made.id, lambda line: None)


def apply(lab: Lab, change: Callable[[dict[str, list[dict[str, Any]]]], None]) -> None:
    """Change the file of h1's agent, and let it read it again."""
    data = agents.desired(lab, lab.host("h1"))
    change(data)
    place = agents.folder(lab, "h1")
    (place / "state.toml").write_text(agents.toml(data))
    log = place / "agent.log"
    before = log.read_text().count("state.toml:")
    os.kill(helper.agent_pid(lab, "h1"), signal.SIGHUP)
    until(lambda: log.read_text().count("state.toml:") > before, log.read_text)


def until(holds: Callable[[], bool], why: Callable[[], object], patience: float = 10.0) -> None:
    end = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < end, why()
        time.sleep(0.05)


def vif_names(lab: Lab) -> set[str]:
    with DpCore.open(find_instance(lab.instance("h1"))) as core:
        return {vif.name for vif in core.vifs.items()}


def test_a_port_waits_for_its_device_and_follows_it(lab: Lab) -> None:
    space = f"{lab.id}-vm9"
    port = {
        "name": "vm9",
        "network": "blue",
        "device": "tap-vm9",
        "mac": NEW_VM,
        "addresses": ["10.1.1.9"],
    }
    before = helper.tables(lab, "h1")
    apply(lab, lambda data: data["interface"].append(port))
    assert "tap-vm9" not in vif_names(lab)
    netns.create(space)
    try:
        for _ in range(2):  # and once more, when it comes again
            with netns.enter(lab.netns("h1")):
                make_veth(
                    "tap-vm9",
                    Port(space, "eth0", mac_bytes(NEW_VM), "10.1.1.9", 24, "10.1.1.254", 1400),
                )
            until(lambda: "tap-vm9" in vif_names(lab), lambda: vif_names(lab))
            command = ["ping", "-q", "-c", "3", "-i", "0.1", "-W", "2", "10.1.1.1"]
            done = subprocess.run(["ip", "netns", "exec", space, *command], capture_output=True)
            assert b"3 received" in done.stdout, done.stdout
            with netns.enter(lab.netns("h1")), Netlink() as links:
                links.delete("tap-vm9")
            until(lambda: "tap-vm9" not in vif_names(lab), lambda: vif_names(lab))
            assert helper.differences(lab, "h1") == []
    finally:
        netns.delete(space)
    apply(lab, lambda data: None)
    assert helper.tables(lab, "h1") == before


def test_a_bad_file_changes_nothing(lab: Lab) -> None:
    before = helper.tables(lab, "h1")

    def spoil(data: dict[str, list[dict[str, Any]]]) -> None:
        data["interface"][0]["addresses"] = ["10.77.1.1"]
        data["network"][1]["vni"] = data["network"][0]["vni"]

    apply(lab, spoil)
    said = (agents.folder(lab, "h1") / "agent.log").read_text()
    assert "interface[0].addresses[0]: 10.77.1.1 is in no subnet" in said
    assert "network[1].vni: VNI 5001 is network blue's already" in said
    assert helper.tables(lab, "h1") == before


def test_an_address_pair_is_learnt_and_kept(lab: Lab) -> None:
    """VM 2 takes an address that it may use besides, with a MAC of its own for it."""

    def allow(data: dict[str, list[dict[str, Any]]]) -> None:
        vm2 = next(one for one in data["interface"] if one["name"] == "vm2")
        vm2["allowed_address_pairs"] = [{"prefix": "10.1.1.100/32"}]

    apply(lab, allow)
    assert helper.answered(lab, "vm1", "10.1.1.100", 1) == 0
    node.call(lab, "vm2", ["ip", "address", "add", "10.1.1.100/32", "dev", "eth0"])
    try:
        node.call(lab, "vm2", ["ping", "-c", "2", "-W", "1", "-I", "10.1.1.100", "10.1.1.250"])
        until(lambda: helper.answered(lab, "vm1", "10.1.1.100", 1) == 1, lambda: learnt(lab))
        assert learnt(lab) == ["10.1.1.100/32"]
        helper.kill(lab, "h1")
        agents.start(lab, lab.host("h1"), fresh=False)
        assert learnt(lab) == ["10.1.1.100/32"] and helper.differences(lab, "h1") == []
        assert helper.answered(lab, "vm1", "10.1.1.100", 3) == 3
        helper.kill(lab, "h1")
        agents.start(lab, lab.host("h1"))  # the pair is not allowed any more
        helper.kill(lab, "h1")
        agents.start(lab, lab.host("h1"))
        assert learnt(lab) == [] and helper.differences(lab, "h1") == []
    finally:
        node.call(lab, "vm2", ["ip", "address", "del", "10.1.1.100/32", "dev", "eth0"])


def learnt(lab: Lab) -> list[str]:
    with DpCore.open(find_instance(lab.instance("h1"))) as core:
        found = [one for one in core.inet.items() if one.flags & RouteFlag.MAC_IP_LEARNT]
    return [str(one.prefix) for one in found]


def test_headless_is_seen_and_counted(lab: Lab, vrouter: Vrouter) -> None:
    name = lab.instance("h1")

    def state() -> dict[str, Any]:
        done = vrouter("status", "--json", "--name", name)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def lost() -> int:
        with DpCore.open(find_instance(name)) as core:
            return core.stats.drops()[DropReason.TRAP_NO_IF]

    assert state()["agent_state"] == "alive"
    assert helper.answered(lab, "vm1", "10.1.1.254", 2) == 2
    helper.kill(lab, "h1")
    until(lambda: state()["agent_state"] == "headless", state)
    before = lost()
    assert helper.answered(lab, "vm1", "10.1.1.254", 2) == 0
    assert lost() >= before + 2
    assert helper.answered(lab, "vm1", "10.1.1.3", 3) == 3
    text = vrouter("status", "--name", name).stdout
    assert "vif0/2, headless since 20" in text
    agents.start(lab, lab.host("h1"))
    assert state()["agent_state"] == "alive"
    assert helper.answered(lab, "vm1", "10.1.1.254", 2) == 2


def test_the_hosts_own_packets_leave_as_it_made_them(lab: Lab) -> None:
    """TTL 1 reaches the next host: its stack has counted it."""
    done = node.call(
        lab, "h1", ["ping", "-q", "-t", "1", "-c", "2", "-i", "0.1", "-W", "2", "172.30.0.2"]
    )
    assert "2 received" in done.stdout, done.stdout
