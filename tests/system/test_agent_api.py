# SPDX-License-Identifier: Apache-2.0
"""The agent's doors on hosts of a lab: upstream's port client, CNI, and podman on two hosts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.system import agents as helper
from tests.system.containers import Podman
from tests.system.helpers import unique
from tests.system.pings import pinging
from vrouter.api import client
from vrouter.dpcore.instance import Instance
from vrouter.host import netns, ports
from vrouter.lab import agents, build, node, topology
from vrouter.lab.topology import Lab

UUID = "00000000-0000-0000-0000-00000000a001"


@pytest.fixture(scope="module", params=["vxlan", "mplsoudp"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    plan = topology.plan("two-hosts", unique("c"), encap=request.param, control="agent")
    yield build.up(plan, lambda line: None)
    build.down(plan.id, lambda line: None)


def api(lab: Lab, host: str, method: str, path: str, body: Any = None) -> Any:
    socket = Instance(lab.instance(host)).run_dir / "api.sock"
    status, answer = client.call(str(socket), method, path, body)
    assert status == 200, answer
    return answer


def told(lab: Lab, here: str, there: str, name: str) -> None:
    """What a control plane would: host `there` learns of an interface of host `here`."""
    one = api(lab, here, "GET", f"/v1/interface/{name}?state=1")
    record, state = one["record"], one["state"]
    endpoint = {
        "network": record["network"],
        "host": here,
        "mac": record["mac"],
        "addresses": record["addresses"],
        "label": state["label"],
        "l2_label": state["l2_label"],
    }
    api(lab, there, "PUT", f"/v1/endpoint/{here}.{name}", endpoint)


def test_upstreams_port_client(lab: Lab) -> None:
    space = unique("vm")
    netns.create(space)
    try:
        port = ports.Port(space, "eth0", bytes.fromhex("02000a010141"), "10.1.1.65", 24,
                          "10.1.1.254", 1400)  # fmt: skip
        with netns.enter(lab.netns("h1")):
            ports.make_veth("tapnova", port)
        options = [
            f"--uuid={UUID}", "--vn_uuid=blue", "--vm_name=nova", "--ip_address=10.1.1.65",
            "--mac=02:00:0a:01:01:41", "--tap_name=tapnova", "--port_type=NovaVMPort",
        ]  # fmt: skip
        done = node.call(lab, "h1", ["vrouter-port-control", "--oper=add", *options])
        assert done.returncode == 0, done.stdout
        shown = json.loads(
            node.call(lab, "h1", ["vrouter", "get", "interface", UUID, "--json"]).stdout
        )
        assert shown["state"]["active"], shown
        told(lab, "h1", "h2", UUID)

        def ping(address: str) -> int:
            command = ["ping", "-q", "-c", "3", "-i", "0.2", "-W", "2", address]
            with netns.enter(space):
                return subprocess.run(command, capture_output=True).returncode

        assert ping("10.1.1.1") == 0 and ping("10.1.1.3") == 0
        # the agent dies, and reads the port's file when it is back
        helper.kill(lab, "h1")
        assert ping("10.1.1.3") == 0
        helper.start(lab, lab.host("h1"))
        assert api(lab, "h1", "GET", f"/port/{UUID}")["active"]
        assert helper.differences(lab, "h1") == []
        gone = node.call(lab, "h1", ["vrouter-port-control", "--oper=delete", f"--uuid={UUID}"])
        assert gone.returncode == 0
        assert ping("10.1.1.1") != 0
    finally:
        api(lab, "h2", "PUT", f"/v1/endpoint/h1.{UUID}", {"network": "blue", "host": "h1",
            "mac": "02:00:0a:01:01:41", "addresses": ["10.1.1.65"]})  # fmt: skip
        api(lab, "h2", "DELETE", f"/v1/endpoint/h1.{UUID}")
        netns.delete(space)


def test_a_file_applied_again_takes_no_ports_device(lab: Lab) -> None:
    """The file says what the port is, the port brings its device; applying costs no packet."""
    space = unique("vm")
    netns.create(space)
    file = agents.folder(lab, "h1") / "state.toml"
    before = file.read_text()
    name = "00000000-0000-0000-0000-00000000b002"
    try:
        port = ports.Port(space, "eth0", bytes.fromhex("02000a010142"), "10.1.1.66", 24,
                          "10.1.1.254", 1400)  # fmt: skip
        with netns.enter(lab.netns("h1")):
            ports.make_veth("tapfile", port)
        file.write_text(f"""{before}
[[interface]]
name = "web"
uuid = "{name}"
network = "blue"
mac = "02:00:0a:01:01:42"
addresses = ["10.1.1.66"]
""")
        assert node.call(lab, "h1", ["vrouter", "apply", str(file)]).returncode == 0
        added = ["vrouter-port-control", "--oper=add", f"--uuid={name}", "--vn_uuid=blue",
                 "--mac=02:00:0a:01:01:42", "--tap_name=tapfile"]  # fmt: skip
        assert node.call(lab, "h1", added).returncode == 0
        assert api(lab, "h1", "GET", f"/port/{name}")["active"]
        with pinging(lab.netns("vm1"), "10.1.1.66") as pings:
            for _ in range(5):
                done = node.call(lab, "h1", ["vrouter", "apply", str(file)])
                assert "nothing changed" in done.stdout
            os.kill(helper.agent_pid(lab, "h1"), signal.SIGHUP)
        assert pings.sent == pings.answered and pings.sent > 50
        helper.kill(lab, "h1")
        helper.start(lab, lab.host("h1"))  # which writes the lab's own file anew
        assert api(lab, "h1", "GET", f"/port/{name}")["why"].startswith("no address")
    finally:
        node.call(lab, "h1", ["vrouter-port-control", "--oper=delete", f"--uuid={name}"])
        file.write_text(before)
        node.call(lab, "h1", ["vrouter", "apply", str(file)])
        netns.delete(space)


def test_introspection_on_a_host(lab: Lab) -> None:
    code = (
        "import json, urllib.request as u; "
        "get = lambda p: json.load(u.urlopen('http://127.0.0.1:8085' + p)); "
        "print(json.dumps([get('/agent'), get('/interfaces'), get('/neighbours')]))"
    )
    agent, interfaces, neighbours = json.loads(node.call(lab, "h1", ["python3", "-c", code]).stdout)
    assert agent["ready"] and agent["instance"] == lab.instance("h1")
    found = {one["interface"]: one for one in interfaces["items"] if one["interface"]}
    assert {"vm1", "vm2", "vm4"} <= set(found) and found["vm1"]["links"]["vrf"]
    assert lab.host("h2").ip in [one["address"] for one in neighbours["items"] if one["mac"]]


def test_containers_of_two_hosts_reach_each_other(lab: Lab) -> None:
    assert subprocess.run(["which", "podman", "runc"], capture_output=True).returncode == 0
    first = Podman(lab, "h1", ["10.1.1.96-10.1.1.127", "fd00:10:1:1::1:0/112"])
    second = Podman(lab, "h2", ["10.1.1.128-10.1.1.159", "fd00:10:1:1::2:0/112"])
    try:
        for one in (first, second):
            subprocess.run(["vrouter-cni", "--install", one.place / "bin"], check=True,
                           env={"PATH": node.environment(lab, "h1")["PATH"]})  # fmt: skip
        a = first.run("a")
        b = first.run("b", "--ip", "10.1.1.120", "--mac-address", "02:00:00:00:00:77")
        c = second.run("c")
        assert (a["IPAddress"], b["IPAddress"], c["IPAddress"]) == (
            "10.1.1.96",
            "10.1.1.120",
            "10.1.1.128",
        )
        assert b["MacAddress"] == "02:00:00:00:00:77" and a["Gateway"] == "10.1.1.254"
        wanted = {host: [one["name"] for one in api(lab, host, "GET", "/v1/interface")
                         if one["name"].startswith("pods:")] for host in ("h1", "h2")}  # fmt: skip
        assert (len(wanted["h1"]), len(wanted["h2"])) == (2, 1)
        for here, there in (("h1", "h2"), ("h2", "h1")):
            for name in wanted[here]:
                told(lab, here, there, name)
        assert first.pings("a", "10.1.1.120") == 5  # the same host
        assert first.pings("a", "10.1.1.128") == 5  # across
        assert second.pings("c", "10.1.1.120") == 5
        assert second.pings("c", c["GlobalIPv6Address"].replace("::2:", "::1:")) == 5
        assert first.pings("a", "10.1.1.3") == 5  # a VM of the other host
        assert first.pings("a", "10.2.2.2") == 0
        helper.kill(lab, "h1")
        assert first.pings("a", "10.1.1.128") == 5  # no agent is needed for that
        helper.start(lab, lab.host("h1"))
        first("rm", "--force", "--time", "0", "a")
        left = [one["name"] for one in api(lab, "h1", "GET", "/v1/interface")]
        assert len(set(wanted["h1"]) & set(left)) == 1
        assert second.pings("c", "10.1.1.120") == 5
        assert helper.differences(lab, "h1") == []
        assert first.run("d")["IPAddress"] == "10.1.1.96"
    finally:
        first.close()
        second.close()
    for host in ("h1", "h2"):
        left = [one["name"] for one in api(lab, host, "GET", "/v1/interface")]
        assert not [name for name in left if name.startswith("pods:")]
