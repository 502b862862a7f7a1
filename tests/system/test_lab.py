# SPDX-License-Identifier: Apache-2.0
"""The lab: its nodes talk, `exec` and `show` work, and `down` leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.system.agents import agent_pid, kill
from tests.system.helpers import SOURCE, MakeLab, Vrouter, unique
from vrouter.dpcore import bpffs
from vrouter.dpcore.errors import Busy, Refused
from vrouter.dpcore.instance import find_instance
from vrouter.host import netns
from vrouter.lab import build, node, proof, state, topology
from vrouter.lab.topology import ENCAPS, FORWARDINGS, Lab

KINDS = [(encap, forwarding) for forwarding in FORWARDINGS for encap in ENCAPS]


@pytest.fixture(scope="module")
def lab(make_lab: MakeLab) -> Lab:
    return make_lab()


@pytest.fixture(scope="module", params=KINDS, ids=["-".join(kind) for kind in KINDS])
def any_lab(request: pytest.FixtureRequest, shared_lab: MakeLab) -> Lab:
    return shared_lab(*request.param)


def left_of(lab_id: str) -> list[str]:
    """Everything on this machine that bears the lab's name."""
    found = [name for name in netns.names() if name.startswith(f"{lab_id}-")]
    found += [str(file) for file in Path("/run/vrouter").glob(f"{lab_id}-*")]
    found += [str(file) for file in state.LABS_DIR.glob(f"{lab_id}.*")]
    found += [str(file) for file in bpffs.root().glob(f"*{lab_id}*")]
    found += [line for line in Path("/proc/mounts").read_text().splitlines() if lab_id in line]
    return found


class TestEveryEncapsulation:
    @pytest.mark.parametrize(
        ("source", "target"), [("vm1", "vm2"), ("vm1", "vm3"), ("vm4", "vm5"), ("vm3", "vm2")]
    )
    def test_vms_talk(self, any_lab: Lab, source: str, target: str) -> None:
        result = proof.ping(any_lab, source, any_lab.vm(target).ip, 3)
        assert result.answered == 3

    def test_hosts_talk(self, any_lab: Lab) -> None:
        assert proof.ping(any_lab, "h1", any_lab.host("h2").ip, 3).answered == 3

    def test_packets_of_full_length_pass(self, any_lab: Lab) -> None:
        size = str(topology.VM_MTU - 28)
        command = ["ping", "-n", "-M", "do", "-s", size, "-c", "2", "-W", "2", any_lab.vm("vm3").ip]
        assert node.call(any_lab, "vm1", command).returncode == 0

    def test_counters_rise_by_exactly_the_packets(self, any_lab: Lab) -> None:
        target = any_lab.vm("vm3").ip
        proof.forget_neighbours(any_lab)
        assert proof.ping(any_lab, "vm1", target, 1).answered == 1
        before = proof.counters(any_lab)
        assert proof.ping(any_lab, "vm1", target, 10).answered == 10
        change = proof.risen(before, proof.counters(any_lab))
        through = [("h1", "tap-vm1"), ("h1", "eth0"), ("h2", "eth0"), ("h2", "tap-vm3")]
        assert change == {key: proof.Counters(10, 10, 0) for key in through}

    def test_equal_addresses_stay_apart(self, any_lab: Lab) -> None:
        """vm2's address exists in blue only: red must not reach it."""
        assert proof.ping(any_lab, "vm4", any_lab.vm("vm2").ip, 2, wait=1).answered == 0

    def test_the_answering_mac_tells_the_forwarding(self, any_lab: Lab) -> None:
        proof.ping(any_lab, "vm1", any_lab.vm("vm3").ip, 1)
        shown = node.call(any_lab, "vm1", ["ip", "neigh", "show", any_lab.vm("vm3").ip]).stdout
        router = topology.ROUTER_MAC.hex(":")
        wanted = any_lab.vm("vm3").mac if any_lab.forwarding == "l2" else router
        assert wanted in shown


def test_the_path_of_a_packet_is_told_by_both_hosts(lab: Lab) -> None:
    passes = proof.path(lab, "vm1", lab.vm("vm3").ip)
    assert [host for host, _ in passes] == ["h1", "h2"]


def test_without_the_programs_nothing_passes(lab: Lab) -> None:
    target = lab.vm("vm3").ip
    with proof.detached(find_instance(lab.instance("h2"))):
        assert proof.ping(lab, "vm1", target, 2, wait=1).answered == 0
    assert proof.ping(lab, "vm1", target, 2).answered == 2


def test_the_wire_shows_the_outer_header(lab: Lab) -> None:
    text = proof.capture(lab, "vm1", lab.vm("vm3").ip)
    assert "VXLAN" in text
    assert lab.host("h2").ip in text
    assert lab.vm("vm3").ip in text


def test_show_names_every_node(lab: Lab, vrouter: Vrouter) -> None:
    result = vrouter("lab", "show", "--json", "--id", lab.id)
    nodes = json.loads(result.stdout)["nodes"]
    assert sorted(nodes) == ["h1", "h2", "vm1", "vm2", "vm3", "vm4", "vm5"]
    assert nodes["h1"]["kind"] == "host"
    assert nodes["h1"]["netns"] == f"{lab.id}-h1"
    same = ("kind", "ip", "mac")
    assert [nodes["vm1"][key] for key in same] == [nodes["vm4"][key] for key in same]
    assert [nodes["vm3"][key] for key in same] == [nodes["vm5"][key] for key in same]
    assert (nodes["vm4"]["host"], nodes["vm4"]["network"]) == ("h1", "red")
    assert "namespace behind a veth" in vrouter("lab", "show", "--id", lab.id).stdout


def test_exec_passes_exit_code_and_output(lab: Lab, vrouter: Vrouter) -> None:
    run = ("lab", "exec", "--id", lab.id)
    result = vrouter(*run, "vm1", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (result.returncode, result.stdout, result.stderr) == (7, "out\n", "err\n")
    assert vrouter("lab", "exec", "vm1", "--", "true", VROUTER_LAB=lab.id).returncode == 0
    missing = vrouter(*run, "vm1", "--", "no-such-command")
    assert missing.returncode == 127
    assert missing.stderr.count("\n") == 1


def test_exec_sees_the_nodes_network_and_sys(lab: Lab, vrouter: Vrouter) -> None:
    result = vrouter("lab", "exec", "--id", lab.id, "vm1", "--", "ls", "/sys/class/net")
    assert result.stdout.split() == ["eth0", "lo"]


def test_exec_in_a_host_finds_its_vrouter(lab: Lab, vrouter: Vrouter) -> None:
    code = (
        "from vrouter.dpcore.core import DpCore\n"
        "with DpCore.open() as core:\n"
        "    print(core.instance.name, *(vif.name for vif in core.vifs.items()))"
    )
    run = ("lab", "exec", "--id", lab.id)
    result = vrouter(*run, "h2", "--", sys.executable, "-c", code)
    assert result.stdout.split()[0] == f"{lab.id}-h2", result.stderr
    assert "tap-vm3" in result.stdout
    path = vrouter(*run, "h2", "--", "sh", "-c", "echo $PATH").stdout
    assert path.startswith(f"{Path(sys.executable).parent}:")


def test_exec_of_an_unknown_node_lists_the_nodes(lab: Lab, vrouter: Vrouter) -> None:
    result = vrouter("lab", "exec", "--id", lab.id, "vm9", "--", "true")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "h1, h2, vm1, vm2, vm3, vm4, vm5" in result.stderr


def test_a_signal_reaches_the_command(lab: Lab) -> None:
    code = "import sys; from vrouter.tools.vrouter import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "lab", "exec", "--id", lab.id, "vm1", "--"]
    process = subprocess.Popen(
        [*command, "sh", "-c", "trap 'exit 42' TERM; echo ready; sleep 10 & wait"],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=5) == 42


def test_up_twice_changes_nothing(lab: Lab) -> None:
    before = netns.inode(lab.netns("h1"))
    said: list[str] = []
    build.up(topology.plan(lab.lab, lab.id, control="tables"), said.append)
    assert said == [f"lab {lab.id} is up already"]
    assert netns.inode(lab.netns("h1")) == before
    for encap, control in (("mplsogre", "tables"), ("vxlan", "agent")):
        other = topology.plan(lab.lab, lab.id, encap=encap, control=control)
        with pytest.raises(Refused, match=r"--encap vxlan .*--control tables"):
            build.up(other, said.append)


def test_labs_stand_side_by_side_and_one_goes(lab: Lab, make_lab: MakeLab) -> None:
    second = make_lab(encap="mplsoudp", wire="plain")
    assert proof.ping(second, "vm1", second.vm("vm3").ip, 2).answered == 2
    build.down(second.id, lambda line: None)
    assert left_of(second.id) == []
    assert proof.ping(lab, "vm1", lab.vm("vm3").ip, 2).answered == 2


def test_down_ends_what_runs_inside_and_is_idempotent(make_lab: MakeLab) -> None:
    one = make_lab()
    process = node.popen(one, "vm1", ["sleep", "600"])
    said: list[str] = []
    build.down(one.id, said.append)
    assert process.wait(timeout=5) == -signal.SIGTERM
    assert left_of(one.id) == []
    said.clear()
    build.down(one.id, said.append)
    assert said == [f"lab {one.id} is not up: nothing to do"]


def test_by_itself_agents_make_its_networks(vrouter: Vrouter) -> None:
    """The first packet between hosts passes; an agent that is told to go, goes with the lab."""
    lab_id = unique("a")
    try:
        done = vrouter("lab", "up", "two-hosts", "--id", lab_id)
        assert (done.returncode, done.stderr) == (0, "")
        there = state.load(lab_id)
        assert there is not None and (there.control, there.stage) == ("agent", 3)
        for source, target in (("vm1", "vm3"), ("vm5", "vm4"), ("vm1", "vm2")):
            assert proof.ping(there, source, there.vm(target).ip, 1).answered == 1
            assert proof.ping(there, source, there.vm(target).ip6, 1).answered == 1
        pids = [agent_pid(there, host.name) for host in there.hosts]
        shown = node.call(there, "h1", ["vrouter", "get", "interface"]).stdout
        assert re.search(r"^vm1 +blue +tap-vm1 .* active", shown, re.MULTILINE)
        kill(there, "h1")
        assert proof.ping(there, "vm1", there.vm("vm3").ip, 1).answered == 1
        assert not build.is_whole(there)
    finally:
        done = vrouter("lab", "down", "--id", lab_id)
    assert done.returncode == 0
    assert left_of(lab_id) == []
    commands = [Path("/proc", str(pid), "cmdline") for pid in pids]
    assert not any(lab_id in one.read_text() for one in commands if one.exists())


@pytest.mark.parametrize("after", [0.1, 0.4, 0.8, 1.2, 1.8])
def test_down_cleans_up_a_lab_killed_half_way(after: float, vrouter: Vrouter) -> None:
    lab_id = unique("k")
    code = "import sys; from vrouter.tools.vrouter import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "lab", "up", "two-hosts", "--id", lab_id],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 10
        while state.load(lab_id) is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(after)
        process.kill()
        process.wait()
    finally:
        result = vrouter("lab", "down", "--id", lab_id)
    assert result.returncode == 0, result.stderr
    assert left_of(lab_id) == []


def test_a_lab_that_another_process_builds_is_left_alone() -> None:
    lab_id = unique("b")
    plan = topology.plan("two-hosts", lab_id)
    child = os.fork()
    if child == 0:
        state.claim(plan, "building")
        signal.pause()
    try:
        deadline = time.monotonic() + 5
        while state.load(lab_id) is None and time.monotonic() < deadline:
            time.sleep(0.01)
        with pytest.raises(Busy, match=str(child)):
            build.down(lab_id, lambda line: None)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        build.down(lab_id, lambda line: None)
    assert left_of(lab_id) == []
