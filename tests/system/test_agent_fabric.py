# SPDX-License-Identifier: Apache-2.0
"""VRF 0 follows the kernel's routes, tunnels follow its neighbours, the agent follows dp-core."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from tests.system import agents as helper
from tests.system.helpers import unique
from tests.system.test_agent_ports import until
from vrouter.agent.plan.numbers import NH_RESOLVE, NH_VHOST
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.instance import find_instance
from vrouter.dpcore.names import NhFlag, NhType
from vrouter.dpcore.records import Nexthop
from vrouter.lab import build, node, topology
from vrouter.lab.topology import Lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    made = topology.plan("two-hosts", unique("a"), encap="mplsoudp", control="agent")
    yield build.up(made, lambda line: None)
    build.down(made.id, lambda line: None)


def run(lab: Lab, where: str, command: str) -> None:
    done = node.call(lab, where, command.split())
    assert done.returncode == 0, f"{command}: {done.stdout}"


def nexthop_of(lab: Lab, prefix: str) -> Nexthop | None:
    with DpCore.open(find_instance(lab.instance("h1"))) as core:
        route = core.inet.get(0, ip_network(prefix))
        return None if route is None else core.nexthops.get(route.nh)


def leads(lab: Lab, prefix: str, nexthop: int | None) -> None:
    """Wait until a prefix of VRF 0 has that nexthop."""

    def found() -> int | None:
        there = nexthop_of(lab, prefix)
        return None if there is None else there.id

    until(lambda: found() == nexthop, found)


def test_a_second_address_is_received(lab: Lab) -> None:
    run(lab, "h1", "ip address add 172.30.0.77/24 dev vhost0")
    leads(lab, "172.30.0.77/32", NH_VHOST)
    assert helper.answered(lab, "h2", "172.30.0.77") == 5
    run(lab, "h1", "ip address del 172.30.0.77/24 dev vhost0")
    leads(lab, "172.30.0.77/32", None)


def test_what_is_behind_the_host_goes_up_to_it(lab: Lab) -> None:
    run(lab, "h1", "ip link add cni0 type veth peer name cni1")
    run(lab, "h1", "ip address add 10.88.0.1/24 dev cni0")
    run(lab, "h1", "ip link set cni0 up")
    run(lab, "h1", "ip link set cni1 up")
    leads(lab, "10.88.0.0/24", NH_VHOST)
    run(lab, "h2", "ip route add 10.88.0.0/24 via 172.30.0.1")
    assert helper.answered(lab, "h2", "10.88.0.1") == 5
    run(lab, "h1", "ip link del cni0")
    run(lab, "h2", "ip route del 10.88.0.0/24")
    leads(lab, "10.88.0.0/24", None)


def test_another_gateway_is_a_route_by_its_neighbour(lab: Lab) -> None:
    run(lab, "h1", "ip route add 10.99.0.0/16 via 172.30.0.2")
    run(lab, "h2", "ip address add 10.99.0.1/32 dev lo")
    try:
        until(lambda: nexthop_of(lab, "10.99.0.0/16") is not None, lambda: "no route")
        assert helper.answered(lab, "h1", "10.99.0.1") == 5
        found = nexthop_of(lab, "10.99.0.0/16")
        assert found is not None and found.type == NhType.ENCAP
        assert found.rewrite[:6] == topology.mac_bytes(lab.host("h2").mac)
    finally:
        run(lab, "h1", "ip route del 10.99.0.0/16")
        run(lab, "h2", "ip address del 10.99.0.1/32 dev lo")
    leads(lab, "10.99.0.0/16", None)


def tunnels(lab: Lab) -> list[Nexthop]:
    with DpCore.open(find_instance(lab.instance("h1"))) as core:
        return [one for one in core.nexthops.items() if one.type == NhType.TUNNEL]


def test_a_dead_neighbour_takes_its_tunnels_valid(lab: Lab) -> None:
    assert tunnels(lab) and all(one.flags & NhFlag.VALID for one in tunnels(lab))
    run(lab, "h1", "ip link set eth0 down")
    run(lab, "h1", "ip neigh flush dev vhost0")
    until(lambda: not any(one.flags & NhFlag.VALID for one in tunnels(lab)), lambda: tunnels(lab))
    run(lab, "h1", "ip link set eth0 up")
    until(lambda: all(one.flags & NhFlag.VALID for one in tunnels(lab)), lambda: tunnels(lab), 40)
    assert helper.answered(lab, "vm1", "10.1.1.3") == 5
    assert helper.differences(lab, "h1") == []


def carry(lab: Lab, mac: str) -> None:
    """Wait until all tunnels lead to that MAC."""
    wanted = {topology.mac_bytes(mac)}
    until(lambda: {one.rewrite[:6] for one in tunnels(lab)} == wanted, lambda: tunnels(lab), 40)


def test_a_flush_of_the_neighbours_is_mended_at_once(lab: Lab) -> None:
    """The kernel forgets even what it was told to keep: it is told anew in that moment."""
    pinging = ["ping", "-nq", "-i", "0.05", "-c", "40", "-W", "1", "10.1.1.3"]
    with node.popen(lab, "vm1", pinging) as ping:
        run(lab, "h1", "ip neigh flush dev vhost0")
        said = ping.communicate(timeout=30)[0]
    got = int(said.split(" received")[0].split()[-1])
    assert got >= 30, said  # the clock looks after them, too, but every three seconds only
    carry(lab, lab.host("h2").mac)


def test_a_neighbour_with_a_new_mac(lab: Lab) -> None:
    """The other host's NIC is replaced: tunnels carry the new MAC as soon as the kernel knows."""
    other = "02:00:00:00:00:fe"
    for device in ("eth0", "vhost0"):
        run(lab, "h2", f"ip link set {device} address {other}")
    try:
        run(lab, "h1", "ip neigh flush dev vhost0")
        carry(lab, other)
        assert helper.answered(lab, "vm1", "10.1.1.3") == 5
    finally:
        for device in ("eth0", "vhost0"):
            run(lab, "h2", f"ip link set {device} address {lab.host('h2').mac}")
        run(lab, "h1", "ip neigh flush dev vhost0")
    carry(lab, lab.host("h2").mac)
    assert helper.answered(lab, "vm1", "10.1.1.3") == 5


_VROUTER = "import sys; from vrouter.tools.vrouter import main; sys.exit(main())"


def test_tables_that_take_the_place_of_others(lab: Lab) -> None:
    """A load with other sizes while the agent runs: it goes on with the new tables."""
    name = lab.instance("h1")
    load = [sys.executable, "-c", _VROUTER, "load", "--name", name, "--size", "nexthops=9000"]
    done = node.call(lab, "h1", load)
    assert done.returncode == 0, done.stdout
    with DpCore.open(find_instance(name)) as core:
        assert core.nexthops.size == 9000
    run(lab, "h1", "ip address add 172.30.0.78/24 dev vhost0")
    leads(lab, "172.30.0.78/32", NH_VHOST)
    run(lab, "h1", "ip address del 172.30.0.78/24 dev vhost0")
    leads(lab, "172.30.0.78/32", None)
    assert helper.differences(lab, "h1") == []
    assert helper.answered(lab, "vm1", "10.1.1.3") == 5
    leads(lab, "172.30.0.0/24", NH_RESOLVE)
