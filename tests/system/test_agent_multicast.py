# SPDX-License-Identifier: Apache-2.0
"""Multicast in the networks of a running agent."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from tests.system import agents as helper
from tests.system.helpers import unique, wait_until
from tests.system.service_clients import Wire, forget_addresses
from vrouter.host import netns
from vrouter.lab import agents, build, node, topology
from vrouter.lab.topology import VM_DEVICE, Lab

ROUTER = "00:00:5e:00:01:00"
VM1, VM2, VM4 = "02:00:0a:01:01:01", "02:00:0a:01:01:02", "02:00:0a:01:01:04"
GROUP, GROUP_MAC = "239.7.7.7", "01:00:5e:07:07:07"
GROUP6, GROUP6_MAC = "ff15::7:7:7", "33:33:00:07:00:07"
MARK = b"to whom it may concern"


def wanted(lab: Lab) -> dict[str, Any]:
    """h1's desired state, with a default route of the tenant's, to vm2."""
    state = agents.desired(lab, lab.host("h1"))
    for network in state["network"]:
        network["igmp"] = True
    for interface in state["interface"]:
        if interface["name"] == "vm4":
            interface |= {"network": "blue", "mac": VM4, "addresses": ["10.1.1.4"]}
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
        call(lab, "vm4", f"ip link set {VM_DEVICE} address {VM4}")
        for vm, address in (("vm2", "10.1.1.2"), ("vm4", "10.1.1.4")):
            forget_addresses(lab, vm)
            call(lab, vm, f"ip address add {address}/24 dev {VM_DEVICE}")
        yield lab
        log = (agents.folder(lab, "h1") / "agent.log").read_text()
        assert "Traceback" not in log, log
    finally:
        build.down(lab.id, lambda line: None)


def call(lab: Lab, vm: str, command: str) -> None:
    assert node.call(lab, vm, command.split()).returncode == 0, command


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
        assert heard(vm2) == heard(other) == [(mac, 8)]
        assert not heard(vm1)


def test_to_a_group_bridged(lab: Lab) -> None:
    payload = IP(src="10.1.1.1", dst=GROUP, ttl=1) / UDP(sport=7, dport=7) / Raw(MARK)
    with Wire(lab, "vm1") as vm1, Wire(lab, "vm2") as vm2, Wire(lab, "vm3") as far:
        vm1.send(bytes(Ether(src=VM1, dst=GROUP_MAC) / payload))
        assert heard(vm2) == heard(far) == [(GROUP_MAC, 1)]


@contextlib.contextmanager
def member(lab: Lab, vm: str, group: str) -> Iterator[None]:
    """A program in a VM has joined a group, with the kernel's own IGMP and MLD."""
    version = ip_address(group).version

    def join() -> socket.socket:
        one = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
        index = socket.if_nametoindex(VM_DEVICE)
        if version == 4:
            request = socket.inet_aton(group) + bytes(4) + struct.pack("@i", index)
            one.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
        else:
            request = socket.inet_pton(socket.AF_INET6, group) + struct.pack("@I", index)
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
        return one

    with netns.run(lab.netns(vm), join):
        yield


def entry(lab: Lab, mac: str) -> bool:
    """Whether the group has an entry of its own in h1's tables."""
    return any(key[1].hex(":") == mac for key in helper.tables(lab, "h1").bridge)


GROUPS = [
    (IP(src="10.1.1.1", dst=GROUP, ttl=1), GROUP, GROUP_MAC),
    (IPv6(src="fd00:10:1:1::1", dst=GROUP6, hlim=1), GROUP6, GROUP6_MAC),
]


@pytest.mark.parametrize(("packet", "group", "mac"), GROUPS, ids=["inet", "inet6"])
def test_members_get_it_and_others_do_not(lab: Lab, packet: Any, group: str, mac: str) -> None:
    """Of the ports here; the other host gets it in any case. Without a member all get it."""
    frame = bytes(Ether(src=VM1, dst=mac) / packet / UDP(sport=7, dport=7) / Raw(MARK))
    with Wire(lab, "vm1") as vm1, Wire(lab, "vm2") as vm2, Wire(lab, "vm4") as vm4:
        with Wire(lab, "vm3") as far, member(lab, "vm2", group):
            wait_until(lambda: entry(lab, mac))
            vm1.send(frame)
            assert heard(vm2) == heard(far) == [(mac, 1)]
            assert not heard(vm4)
            assert not helper.differences(lab, "h1")
            with member(lab, "vm4", group):
                time.sleep(1.5)  # what a port has joined is told once a second at most
                vm1.send(frame)
                assert heard(vm2) == heard(vm4) == [(mac, 1)]
            # another agent begins with what all get, until it has asked
            helper.kill(lab, "h1")
            agents.start(lab, lab.host("h1"), fresh=False)
            vm1.send(frame)
            assert (mac, 1) in heard(vm2)
            wait_until(lambda: entry(lab, mac), seconds=20)
        wait_until(lambda: not entry(lab, mac), seconds=20)
        vm2.received(0.1)
        vm4.received(0.1)
        vm1.send(frame)
        assert heard(vm2) == heard(vm4) == [(mac, 1)]
    assert not helper.differences(lab, "h1")


def test_what_everybody_hears_stays_so(lab: Lab) -> None:
    """A group whose MAC is also that of a group of the link."""
    frame = Ether(src=VM1, dst="01:00:5e:00:00:05") / IP(src="10.1.1.1", dst="224.0.0.5", ttl=1)
    with member(lab, "vm2", "239.0.0.5"), Wire(lab, "vm1") as vm1, Wire(lab, "vm4") as vm4:
        time.sleep(1.5)
        vm1.send(bytes(frame / UDP(sport=7, dport=7) / Raw(MARK)))
        assert heard(vm4) == [("01:00:5e:00:00:05", 1)]
