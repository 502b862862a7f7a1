# SPDX-License-Identifier: Apache-2.0
"""Guests are told of packets that went too far, by dp-core alone: no agent runs here."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from tests.system.helpers import MakeLab
from vrouter.dpcore.names import DropReason
from vrouter.host import netns
from vrouter.host.netlink import Netlink
from vrouter.lab import node, proof
from vrouter.lab.topology import Lab


@pytest.fixture(scope="module")
def lab(shared_lab: MakeLab) -> Lab:
    made: Lab = shared_lab("vxlan", "l3")
    proof.ping(made, "vm1", made.vm("vm3").ip, 1)
    return made


def run(lab: Lab, where: str, command: str) -> str:
    done = node.call(lab, where, command.split())
    return done.stdout + (done.stderr or "")


def drops(lab: Lab, reason: DropReason) -> int:
    with proof.open_host(lab, "h1") as core:
        return core.stats.drops()[reason]


def told_by(output: str) -> list[str]:
    """Who says that the time was exceeded, as ping prints it."""
    return re.findall(r"From (\S+) icmp_seq=\d+ Time (?:to live )?exceeded", output)


def test_the_gateway_says_that_the_ttl_is_over(lab: Lab) -> None:
    before = drops(lab, DropReason.TTL_EXCEEDED)
    output = run(lab, "vm1", f"ping -n -c 3 -i 0.2 -W 1 -t 1 {lab.vm('vm3').ip}")
    gateway = lab.network(lab.vm("vm1").network).gateway
    assert told_by(output) == [gateway] * 3, output
    assert drops(lab, DropReason.TTL_EXCEEDED) == before + 3


def test_and_that_of_ipv6(lab: Lab) -> None:
    output = run(lab, "vm1", f"ping -6 -n -c 3 -i 0.2 -W 1 -t 1 {lab.vm('vm3').ip6}")
    gateway = lab.network(lab.vm("vm1").network).gateway6
    assert told_by(output) == [gateway] * 3, output


def test_a_large_packet_with_a_checksum_to_be_made(lab: Lab) -> None:
    """UDP of the guest's own stack: what is quoted has a whole checksum, and the error too."""
    sender = (
        "import socket,sys\n"
        "s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n"
        "s.setsockopt(0,11,1)\n"  # IP_RECVERR
        "s.setsockopt(0,2,1)\n"  # IP_TTL
        "s.settimeout(3)\n"
        f"s.sendto(bytes(1200),({lab.vm('vm3').ip!r},33434))\n"
        "s.setblocking(True)\n"
        "import select\n"
        "p=select.poll();p.register(s,select.POLLERR);p.poll(3000)\n"
        "d,a,f,_=s.recvmsg(2000,512,0x2000)\n"  # MSG_ERRQUEUE
        "e=a[0][2]\n"
        "print(e[4],e[5],socket.inet_ntoa(e[20:24]))\n"
    )
    with netns.enter(lab.netns("vm1")):
        done = subprocess.run(
            ["python3", "-c", sender], capture_output=True, text=True, timeout=20, check=False
        )
    gateway = lab.network(lab.vm("vm1").network).gateway
    # SO_EE_ORIGIN_ICMP, type, and who it is from
    assert done.stdout.split() == ["2", "11", gateway], done


def test_no_more_than_the_rate(lab: Lab) -> None:
    target = lab.vm("vm3").ip
    assert "icmp-rate is 5" in run(lab, "h1", "vrouter --icmp-rate 5")
    try:
        output = run(lab, "vm1", f"ping -n -c 150 -i 0.002 -W 1 -t 1 {target}")
        assert 45 <= len(told_by(output)) <= 60, output
    finally:
        run(lab, "h1", "vrouter --icmp-rate 1000")


def test_trap_gives_them_to_the_agent(lab: Lab) -> None:
    """There is no agent: that is what is counted."""
    before = drops(lab, DropReason.TRAP_NO_IF)
    assert "icmp-errors is trap" in run(lab, "h1", "vrouter --icmp-errors trap")
    try:
        assert "nothing changed" in run(lab, "h1", "vrouter --icmp-errors trap")
        assert (
            json.loads(run(lab, "h1", "vrouter --info --json"))["runtime"]["icmp_errors"] == "trap"
        )
        assert not told_by(run(lab, "vm1", f"ping -n -c 1 -W 1 -t 1 {lab.vm('vm3').ip}"))
        assert drops(lab, DropReason.TRAP_NO_IF) == before + 1
    finally:
        run(lab, "h1", "vrouter --icmp-errors answer")


@pytest.mark.parametrize("end", ["vrx0", "vrx1"])
def test_a_pair_that_is_down_is_counted_and_mended(lab: Lab, end: str) -> None:
    target = lab.vm("vm3").ip
    before = drops(lab, DropReason.NO_EXCEPTION)
    run(lab, "h1", f"ip link set {end} down")
    assert not told_by(run(lab, "vm1", f"ping -n -c 1 -W 1 -t 1 {target}"))
    assert drops(lab, DropReason.NO_EXCEPTION) == before + 1
    assert f"ip link set {end} up" in run(lab, "h1", "vrouter status")
    run(lab, "h1", "vrouter load")
    assert told_by(run(lab, "vm1", f"ping -n -c 1 -W 1 -t 1 {target}"))


def test_a_pair_that_is_gone_is_made_by_a_load(lab: Lab) -> None:
    target = lab.vm("vm3").ip
    before = drops(lab, DropReason.NO_EXCEPTION)
    run(lab, "h1", "ip link delete vrx0")
    assert not told_by(run(lab, "vm1", f"ping -n -c 1 -W 1 -t 1 {target}"))
    assert drops(lab, DropReason.NO_EXCEPTION) == before + 1
    assert "vrouter load" in run(lab, "h1", "vrouter status")
    assert "made vrx0" in run(lab, "h1", "vrouter load")
    assert told_by(run(lab, "vm1", f"ping -n -c 1 -W 1 -t 1 {target}"))
    assert "nothing changed" in run(lab, "h1", "vrouter load")


def test_it_is_no_vif_and_silent(lab: Lab) -> None:
    assert "vrx" not in run(lab, "h1", "vif --list")
    with netns.enter(lab.netns("h1")), Netlink() as links:
        for name in ("vrx0", "vrx1"):
            link = links.need(name)
            assert link.up and link.mtu == 65535
            assert netns.path(lab.netns("h1")).exists()
    assert "inet6" not in run(lab, "h1", "ip address show dev vrx0")
