# SPDX-License-Identifier: Apache-2.0
"""Gateways: upstream's /gateway and the desired state's, between VMs and the host's own stack."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.system import agents as helper
from tests.system.helpers import unique, wait_until
from vrouter.agent import gateways
from vrouter.api import client
from vrouter.dpcore.instance import Instance
from vrouter.host import netns
from vrouter.host.netlink import Netlink
from vrouter.lab import agents, build, node, proof, topology
from vrouter.lab.topology import Lab

HOST, HOST6 = "172.30.0.1", "2001:db8:1::1"
LOOPBACK = "192.0.2.1"  # an address of the host that is none of its link's
BODY: dict[str, Any] = {
    "interface": "vgw0",
    "routing-instance": "default-domain:admin:blue:blue",
    "subnets": [{"ip-address": "10.1.1.0", "prefix-len": 24}],
    "routes": [{"ip-address": "0.0.0.0", "prefix-len": 0}],
}
DUAL = {
    "network": "blue",
    "device": "vgw0",
    "subnets": ["10.1.1.0/24", "fd00:10:1:1::/64"],
    "routes": ["0.0.0.0/0", "::/0"],
    "label": 1700,
}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = build.up(topology.plan("two-hosts", unique("w"), encap="mplsoudp"), lambda line: None)
    try:
        run(lab, "ip addr add 192.0.2.1/32 dev lo")
        wait_until(lambda: any(str(one[1]) == f"{LOOPBACK}/32" for one in routes(lab)))
        helper.resolved(lab, "h1")
        yield lab
        for host in ("h1", "h2"):
            assert "Traceback" not in (agents.folder(lab, host) / "agent.log").read_text()
    finally:
        build.down(lab.id, lambda line: None)


def run(lab: Lab, command: str, where: str = "h1") -> str:
    done = node.call(lab, where, command.split())
    assert done.returncode == 0, done.stdout
    return done.stdout


def ask(lab: Lab, method: str, path: str, body: Any = None, host: str = "h1") -> tuple[int, Any]:
    socket = Instance(lab.instance(host)).run_dir / "api.sock"
    return client.call(str(socket), method, path, body)


def add(lab: Lab) -> None:
    assert ask(lab, "POST", "/gateway", [BODY]) == (200, {})


def remove(lab: Lab) -> None:
    assert ask(lab, "DELETE", "/gateway", [{"interface": "vgw0"}]) == (200, {})


def left(lab: Lab) -> list[str]:
    """What there is of gateways on h1: devices, routes of the host, vifs."""
    links = [one["ifname"] for one in json.loads(run(lab, "ip -j link"))]
    routes = [one["dst"] for one in json.loads(run(lab, "ip -j route"))]
    vifs = [vif.name for vif in helper.tables(lab, "h1").vif.values()]
    found = [one for one in (*links, *vifs) if one.startswith("vgw")]
    return found + [one for one in routes if one.startswith("10.1.1.")]


def routes(lab: Lab) -> list[tuple[int, Any]]:
    """The host's own, as the agent knows them."""
    return [key for key in helper.tables(lab, "h1").route if key[0] == 0]


def assert_they_talk(lab: Lab) -> None:
    for source, address in (("h1", "10.1.1.1"), ("h1", "10.1.1.2"), ("vm1", HOST),
                            ("vm2", LOOPBACK)):  # fmt: skip
        assert helper.answered(lab, source, address) == 5, (source, address)


def test_upstreams_gateway_comes_and_goes(lab: Lab) -> None:
    before = helper.tables(lab, "h1")
    assert left(lab) == []
    assert proof.ping(lab, "vm1", LOOPBACK, 1, wait=1).answered == 0
    add(lab)
    assert_they_talk(lab)
    assert sorted(left(lab)) == ["10.1.1.0/24", "vgw0", "vgw0", "vgw0i"]
    # nobody else's: red has the same addresses
    assert proof.ping(lab, "vm4", LOOPBACK, 1, wait=1).answered == 0
    assert helper.differences(lab, "h1") == []
    add(lab)
    assert_they_talk(lab)
    remove(lab)
    assert left(lab) == []
    wait_until(lambda: helper.tables(lab, "h1") == before)
    remove(lab)


def test_it_outlives_the_agent_and_is_found_again(lab: Lab) -> None:
    add(lab)
    before = run(lab, "ip -j link show vgw0")
    helper.kill(lab, "h1")
    assert_they_talk(lab)
    agents.start(lab, lab.host("h1"))
    assert run(lab, "ip -j link show vgw0") == before
    assert_they_talk(lab)
    assert helper.differences(lab, "h1") == []
    # what somebody removes meanwhile is there again: the route, the pair
    run(lab, "ip route del 10.1.1.0/24 dev vgw0")
    wait_until(lambda: "10.1.1.0/24" in left(lab))
    run(lab, "ip link del vgw0")
    wait_until(lambda: sorted(left(lab)) == ["10.1.1.0/24", "vgw0", "vgw0", "vgw0i"])
    assert_they_talk(lab)
    # an agent that was killed between making a pair and storing its gateway leaves it to the next
    helper.kill(lab, "h1", signal.SIGTERM)
    with netns.enter(lab.netns("h1")), Netlink() as links:
        links.set(links.add_veth("vgw9", "vgw9i"), ifalias=gateways.ALIAS)
    agents.start(lab, lab.host("h1"))
    assert sorted(left(lab)) == ["10.1.1.0/24", "vgw0", "vgw0", "vgw0i"]
    assert_they_talk(lab)
    remove(lab)
    assert left(lab) == []


def test_other_hosts_lead_out_by_it_and_ipv6(lab: Lab) -> None:
    """By the VNI or by its label, as the network is reached; the desired state by name."""
    with netns.enter(lab.netns("h1")):
        netns.sysctl("net/ipv6/conf/lo/disable_ipv6", 0)
    run(lab, f"ip addr add {HOST6}/128 dev lo")
    status, answer = ask(lab, "PUT", "/v1/gateway/out", DUAL)
    assert status == 200, answer
    way = {"network": "blue", "prefix": "0.0.0.0/0", "host": "h1", "label": 1700}
    assert ask(lab, "PUT", "/v1/route/out", way, "h2")[0] == 200
    assert_they_talk(lab)
    for source, address in (("vm3", HOST), ("vm3", LOOPBACK), ("h1", "10.1.1.3"),
                            ("h1", "fd00:10:1:1::1"), ("vm2", HOST6)):  # fmt: skip
        assert helper.answered(lab, source, address) == 5, (source, address)
    vxlan = {"address": HOST, "encapsulations": ["vxlan"]}
    assert ask(lab, "PUT", "/v1/host/h1", vxlan, "h2")[0] == 200
    for source, address in (("vm3", LOOPBACK), ("h1", "10.1.1.3")):
        assert helper.answered(lab, source, address) == 5, (source, address)
    shown = run(lab, "vrouter get gateway")
    assert "out   blue     vgw0    10.1.1.0/24,fd00:10:1:1::/64  0.0.0.0/0,::/0" in shown
    assert ask(lab, "DELETE", "/v1/route/out", host="h2")[0] == 200
    assert ask(lab, "DELETE", "/v1/gateway/out")[0] == 200
    assert left(lab) == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"routing-instance": "green"}, "[0].routing-instance: there is no network 'green'"),
        ({"subnets": [{"ip-address": "172.30.0.0", "prefix-len": 24}]}, "the host needs 172.30.0."),
        ({"subnets": [{"ip-address": "0.0.0.0", "prefix-len": 0}]}, "own default route"),
        ({"subnets": [], "routes": []}, "nothing would lead through it"),
        ({"interface": "tap-vm1"}, "device tap-vm1 is interface vm1's already"),
        ({"interface": "eth0"}, "netdevice eth0 is there, and no pair eth0/eth0i"),
        ({"routes": [{"ip-address": "10.1.1.2", "prefix-len": 32}]}, "10.1.1.2/32 is interface"),
    ],
)
def test_what_is_wrong_is_told_and_leaves_nothing(
    lab: Lab, change: dict[str, Any], why: str
) -> None:
    other = {**BODY, "interface": "vgw1", "routes": []}
    other["subnets"] = [{"ip-address": "10.7.0.0", "prefix-len": 24}]
    before = helper.tables(lab, "h1")
    status, answer = ask(lab, "POST", "/gateway", [other, {**BODY, **change}])
    assert (status in (400, 409), why in answer.replace("[1]", "[0]")) == (True, True), answer
    assert left(lab) == []
    assert helper.tables(lab, "h1") == before


def test_a_subnet_that_the_host_reaches_otherwise_is_not_taken(lab: Lab) -> None:
    run(lab, "ip route add 10.1.1.0/24 dev vhost0")
    try:
        wait_until(lambda: any(str(prefix) == "10.1.1.0/24" for vrf, prefix in routes(lab)))
        status, answer = ask(lab, "POST", "/gateway", [BODY])
        assert status == 400 and "the host has a route to 10.1.1.0/24 already" in answer
    finally:
        run(lab, "ip route del 10.1.1.0/24 dev vhost0")
    assert left(lab) == []
