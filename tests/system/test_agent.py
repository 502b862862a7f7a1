# SPDX-License-Identifier: Apache-2.0
"""The agent takes a host over, and goes, and comes back: no packet is lost, and the tables are the
same whatever happened before."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.system import agents as helper
from tests.system.helpers import unique
from tests.system.pings import pinging
from tests.system.test_stages import MAC, STATS, links, run, vifs
from vrouter.agent.plan.entries import PlannedMac
from vrouter.agent.plan.numbers import NH_L2_RECEIVE
from vrouter.dpcore.errors import Refused, VrouterError
from vrouter.dpcore.instance import find_instance
from vrouter.host import netns, vhost
from vrouter.host.holders import Holders
from vrouter.lab import agents, build, topology
from vrouter.lab.topology import Lab

# the listing of a host at stage 3, as upstream's agent leaves it
STAGE_3 = {
    "vif0/0": {
        "os": "eth0 (Speed 10000, Duplex 1) NH: 4",
        "Type": "Physical",
        "HWaddr": MAC,
        "IPaddr": "0.0.0.0",
        "Vrf": "0",
        "Mcast Vrf": "65535",
        "Flags": "TcL3L2VpEr",
        "QOS": "-1",
    },
    "vif0/1": {
        "os": "vhost0 NH: 5",
        "Type": "Host",
        "HWaddr": MAC,
        "IPaddr": "172.30.0.1",
        "Vrf": "0",
        "Mcast Vrf": "65535",
        "Flags": "PL3DEr",
        "QOS": "-1",
    },
    "vif0/2": {
        "os": "pkt0",
        "Type": "Agent",
        "HWaddr": "00:00:5e:00:01:00",
        "IPaddr": "0.0.0.0",
        "Vrf": "65535",
        "Mcast Vrf": "65535",
        "Flags": "L3Er",
        "QOS": "-1",
    },
}


def stage_three(lab: Lab) -> None:
    """What stage 3 shows, whichever way it was reached."""
    found = vifs(lab)
    for vif in found.values():
        if vif["Type"] != "Stats":
            del vif["Ref"]  # how many entries name a nexthop is our own
    assert found == {**STAGE_3, **STATS}
    nic = (0, bytes(int(part, 16) for part in MAC.split(":")))
    assert helper.tables(lab, "h1").bridge == {nic: PlannedMac(NH_L2_RECEIVE)}
    pkt0 = links(lab)["pkt0"]
    assert (pkt0["mtu"], pkt0["txqlen"], pkt0["link_type"]) == (1500, 1000, "ether")
    assert "UP" in pkt0["flags"]
    assert "inet6" not in run(lab, "ip address show dev pkt0")
    run(lab, "ping -c 3 -i 0.05 -W 2 172.30.0.2")
    run(lab, "ping -c 2 -i 0.05 -W 2 -M do -s 8972 172.30.0.2")
    run(lab, "ping -c 2 -i 0.05 -W 2 172.30.0.1", where="gw")
    assert helper.differences(lab, "h1") == []


@pytest.fixture
def one_host() -> Iterator[Lab]:
    lab = topology.plan("one-host", unique("a"), stage=2)
    yield build.up(lab, lambda line: None)
    build.down(lab.id, lambda line: None)


@pytest.fixture(scope="module", params=["vxlan", "mplsoudp"])
def two_hosts(request: pytest.FixtureRequest) -> Iterator[Lab]:
    lab = topology.plan("two-hosts", unique("a"), encap=request.param, control="agent")
    yield build.up(lab, lambda line: None)
    build.down(lab.id, lambda line: None)


def test_stage_two_to_three_loses_no_packet(one_host: Lab) -> None:
    with pinging(one_host.netns("h1"), "172.30.0.2") as out:
        with pinging(one_host.netns("gw"), "172.30.0.1") as back:
            lab = build.up(topology.plan("one-host", one_host.id, stage=3), lambda line: None)
    assert out.sent == out.answered and out.sent > 100
    assert back.sent == back.answered and back.sent > 100
    stage_three(lab)


def test_a_stopped_agent_leaves_everything(one_host: Lab) -> None:
    lab = build.up(topology.plan("one-host", one_host.id, stage=3), lambda line: None)
    stage_three(lab)  # from here on the gateway is resolved
    before = helper.tables(lab, "h1")
    helper.kill(lab, "h1", signal.SIGTERM)
    assert helper.tables(lab, "h1") == before
    stage_three(lab)


def test_vhost_down_and_up_again_after_an_agent(one_host: Lab) -> None:
    """Refused while it runs; then nothing that it wrote stands in the way of the next vhost0."""
    lab = build.up(topology.plan("one-host", one_host.id, stage=3), lambda line: None)
    stage_three(lab)
    instance = find_instance(lab.instance("h1"))
    with netns.enter(lab.netns("h1")), pytest.raises(Refused, match="stop it first"):
        vhost.down(instance)
    stage_three(lab)
    helper.kill(lab, "h1", signal.SIGTERM)
    with netns.enter(lab.netns("h1")):
        vhost.down(instance)
        assert "pkt0" not in links(lab)
        run(lab, "ping -c 2 -i 0.05 -W 2 172.30.0.2")
        vhost.up(instance, "eth0", holders=Holders([], []))
    assert {vif["Flags"] for vif in vifs(lab).values()} == {"XTcL3L2Vp", "XL3L2", "L3L2"}
    run(lab, "ping -c 2 -i 0.05 -W 2 172.30.0.2")
    run(lab, "ping -c 2 -i 0.05 -W 2 172.30.0.1", where="gw")
    agents.start(lab, lab.host("h1"))
    stage_three(lab)


def test_a_second_agent_is_refused(one_host: Lab) -> None:
    lab = build.up(topology.plan("one-host", one_host.id, stage=3), lambda line: None)
    pid = helper.agent_pid(lab, "h1")
    with pytest.raises(VrouterError, match=f"has an agent already, process {pid}"):
        agents.start(lab, lab.host("h1"))
    stage_three(lab)


def test_without_vhost0_it_says_what_to_do() -> None:
    lab = topology.plan("one-host", unique("a"), stage=1)
    build.up(lab, lambda line: None)
    try:
        with pytest.raises(VrouterError, match="vrouter vhost up --physical DEVICE"):
            agents.start(lab, lab.host("h1"))
    finally:
        build.down(lab.id, lambda line: None)


def test_vms_reach_each_other(two_hosts: Lab) -> None:
    helper.resolved(two_hosts, "h1")
    helper.resolved(two_hosts, "h2")
    for source, address in (
        ("vm1", "10.1.1.2"),
        ("vm1", "10.1.1.3"),
        ("vm3", "10.1.1.2"),
        ("vm4", "10.1.1.3"),
        ("vm1", "fd00:10:1:1::3"),
        ("h1", "172.30.0.2"),
    ):
        assert helper.answered(two_hosts, source, address) == 5, (source, address)
    for host in ("h1", "h2"):
        assert helper.differences(two_hosts, host) == []


@pytest.mark.parametrize(
    ("encap", "forwarding", "underlay"), [("mplsogre", "l3", "4"), ("vxlan", "l3", "6")]
)
def test_other_shapes(encap: str, forwarding: str, underlay: str) -> None:
    lab = topology.plan(
        "two-hosts",
        unique("a"),
        encap=encap,
        forwarding=forwarding,
        underlay=underlay,
        control="agent",
    )
    build.up(lab, lambda line: None)
    try:
        test_vms_reach_each_other(lab)
    finally:
        build.down(lab.id, lambda line: None)
