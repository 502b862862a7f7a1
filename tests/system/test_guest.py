# SPDX-License-Identifier: Apache-2.0
"""A real VM behind a tap: it gets its address, talks across two hosts, and its virtio NIC's large
packets stay whole."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import pytest

from tests.system import agents as helper
from tests.system.guest import Guest
from tests.system.helpers import unique
from vrouter.host import netns, ports
from vrouter.lab import agents, build, proof, topology
from vrouter.lab.topology import Lab

TAP = "tap-guest"
DOMAIN = "blue.example"
PORT = 7000
SIZE = 20_000_000  # bytes
WHOLE = 5000  # bytes: the least that the mean packet may have


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two hosts with agents; vm2's port is a tap instead of its veth."""
    lab = build.up(
        topology.plan("two-hosts", unique("g"), encap="vxlan", control="agent"), lambda line: None
    )
    try:
        with netns.enter(lab.netns("h1")):
            ports.make_tap(TAP, mtu=1400)
        helper.kill(lab, "h1", signal.SIGTERM)
        _start_agent(lab)
        yield lab
    finally:
        build.down(lab.id, lambda line: None)


def _start_agent(lab: Lab) -> None:
    """h1's, with vm2 behind the tap and a domain for names."""
    state = agents.desired(lab, lab.host("h1"))
    for network in state["network"]:
        for subnet in network["subnets"]:
            subnet["domain"] = DOMAIN
    for interface in state["interface"]:
        if interface["name"] == "vm2":
            interface["device"] = TAP
    place = agents.folder(lab, "h1")
    (place / "state.toml").write_text(agents.toml(state))
    (place / "agent.toml").write_text(f'desired_state = "{place}/state.toml"\n')
    arguments = ["--name", lab.instance("h1"), "--config", str(place / "agent.toml")]
    agents.run(lab.netns("h1"), arguments, place / "agent.log")


@pytest.fixture(scope="module")
def guest(lab: Lab) -> Iterator[Guest]:
    """vm2, a real one, with what DHCP gave it."""
    with Guest(lab.netns("h1"), TAP, lab.vm("vm2").mac) as made:
        made.run("ip link set eth0 up && udhcpc -i eth0 -n -q -t 10 -T 1")
        yield made


def test_it_gets_its_address_and_resolves_names(lab: Lab, guest: Guest) -> None:
    vm = lab.vm("vm2")
    assert f"inet {vm.ip}/24" in guest.run("ip -4 addr show eth0")
    assert f"search {DOMAIN}" in guest.run("cat /etc/resolv.conf")
    assert lab.vm("vm3").ip in guest.run("nslookup vm3")
    assert f"vm1.{DOMAIN}" in guest.run(f"nslookup {lab.vm('vm1').ip}")


def test_it_reaches_its_gateway_and_vms_on_both_hosts(lab: Lab, guest: Guest) -> None:
    assert lab.vm("vm2").mac in guest.run("ip link show eth0")
    for address in (lab.network("blue").gateway, lab.vm("vm1").ip, lab.vm("vm3").ip):
        assert "2 packets received" in guest.run(f"ping -c 2 {address}")


def test_large_packets_of_the_guest_stay_whole(lab: Lab, guest: Guest) -> None:
    guest.run(f"head -c {SIZE} /dev/zero > /tmp/data && httpd -p {PORT} -h /tmp")
    with netns.enter(lab.netns("vm3")), counted(lab) as seen:
        peer = socket.create_connection((lab.vm("vm2").ip, PORT), 30)
        with peer:
            peer.sendall(b"GET /data HTTP/1.0\r\n\r\n")
            got = sum(map(len, iter(lambda: peer.recv(1 << 20), b"")))
    assert got > SIZE
    assert seen["rx_bytes"] / seen["rx_packets"] > WHOLE, seen


def test_large_packets_to_the_guest_stay_whole(lab: Lab, guest: Guest) -> None:
    far = lab.vm("vm3")
    with netns.enter(lab.netns("vm3")):
        listening = socket.create_server((far.ip, PORT))
    with listening, ThreadPoolExecutor(1) as pool, counted(lab) as seen:
        sent = pool.submit(_give, listening)
        assert int(guest.run(f"nc {far.ip} {PORT} | wc -c")) == SIZE
        sent.result(10)
    assert seen["tx_bytes"] / seen["tx_packets"] > WHOLE, seen


def _give(listening: socket.socket) -> None:
    peer, _ = listening.accept()
    with peer:
        peer.sendall(bytes(SIZE))


@contextlib.contextmanager
def counted(lab: Lab) -> Iterator[dict[str, int]]:
    """What the guest's vif counts inside the block; filled when it is left."""
    seen: dict[str, int] = {}
    with proof.open_host(lab, "h1") as core:
        vif = core.vifs.by_name(TAP)
        assert vif is not None
        before = asdict(core.vifs.stats(vif.idx))
        yield seen
        after = asdict(core.vifs.stats(vif.idx))
    seen |= {name: after[name] - before[name] for name in after}
