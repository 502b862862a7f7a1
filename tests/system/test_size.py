# SPDX-License-Identifier: Apache-2.0
"""Guests whose MTU is too large for the fabric are told what fits. No agent runs."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.system import iperf
from tests.system.helpers import MakeLab
from vrouter.dpcore.names import DropReason
from vrouter.host import netns
from vrouter.host.netlink import Netlink
from vrouter.lab import node, proof
from vrouter.lab.topology import VM_DEVICE, VM_MTU, Lab

GUEST_MTU = 1500
FITS = {("vxlan", "l2"): 1450, ("mplsoudp", "l3"): 1468, ("mplsogre", "l2"): 1458}


def run(lab: Lab, where: str, command: str) -> str:
    done = node.call(lab, where, command.split())
    return done.stdout + (done.stderr or "")


def set_mtu(lab: Lab, mtu: int) -> None:
    for vm in lab.vms:
        with netns.enter(lab.netns(vm.host)), Netlink() as links:
            links.set(links.need(vm.tap), mtu=mtu)
        with netns.enter(lab.netns(vm.name)), Netlink() as links:
            links.set(links.need(VM_DEVICE), mtu=mtu)


def forget(lab: Lab) -> None:
    """No guest knows the MTU of a path."""
    for vm in lab.vms:
        run(lab, vm.name, "ip route flush cache")
        run(lab, vm.name, "ip -6 route flush cache")


@pytest.fixture(scope="module", params=list(FITS), ids=["-".join(kind) for kind in FITS])
def lab(request: pytest.FixtureRequest, shared_lab: MakeLab) -> Iterator[Lab]:
    made: Lab = shared_lab(*request.param)
    set_mtu(made, GUEST_MTU)
    proof.ping(made, "vm1", made.vm("vm3").ip, 1)
    yield made
    set_mtu(made, VM_MTU)
    forget(made)


def fits(lab: Lab) -> int:
    return FITS[lab.encap, lab.forwarding]


def drops(lab: Lab, reason: DropReason, host: str = "h1") -> int:
    with proof.open_host(lab, host) as core:
        return core.stats.drops()[reason]


def test_a_ping_that_must_not_be_cut_is_told_the_mtu(lab: Lab) -> None:
    forget(lab)
    target, before = lab.vm("vm3").ip, drops(lab, DropReason.FRAG_NEEDED)
    output = run(lab, "vm1", f"ping -n -c 1 -W 2 -M do -s {GUEST_MTU - 28} {target}")
    gateway = lab.network(lab.vm("vm1").network).gateway
    told = re.findall(r"From (\S+) icmp_seq=1 Frag needed and DF set \(mtu = (\d+)\)", output)
    assert told == [(gateway, str(fits(lab)))], output
    assert drops(lab, DropReason.FRAG_NEEDED) == before + 1
    assert "1 received" in run(lab, "vm1", f"ping -n -c 1 -W 2 -M do -s {fits(lab) - 28} {target}")


def test_so_is_one_of_ipv6(lab: Lab) -> None:
    forget(lab)
    target = lab.vm("vm3").ip6
    output = run(lab, "vm1", f"ping -6 -n -c 1 -W 2 -M do -s {GUEST_MTU - 48} {target}")
    gateway = lab.network(lab.vm("vm1").network).gateway6
    told = re.findall(r"From (\S+) icmp_seq=1 Packet too big: mtu=(\d+)", output)
    assert told == [(gateway, str(fits(lab)))], output
    # the guest cuts it itself now
    output = run(lab, "vm1", f"ping -6 -n -c 3 -i 0.2 -W 1 -s {GUEST_MTU - 48} {target}")
    assert " 0 received" not in output, output  # the first answer was too long, too


@pytest.mark.parametrize("version", [4, 6])
def test_tcp_finds_the_mtu_of_the_path(lab: Lab, version: int) -> None:
    """Large GSO packets of segments that are too long, both ways; the first ones are lost."""
    forget(lab)
    before = drops(lab, DropReason.FRAG_NEEDED)
    clamp(lab, "off")
    try:
        seen = stream(lab, version)
    finally:
        clamp(lab, "both")
    assert drops(lab, DropReason.FRAG_NEEDED) > before
    assert seen.mbit > 100, seen
    assert drops(lab, DropReason.NO_EXCEPTION) == 0


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("where", ["both", "from-vm", "to-vm"])
def test_tcp_that_is_clamped_never_meets_it(lab: Lab, version: int, where: str) -> None:
    forget(lab)
    before = drops(lab, DropReason.FRAG_NEEDED)
    clamp(lab, where)
    try:
        seen = stream(lab, version)
    finally:
        clamp(lab, "both")
    assert drops(lab, DropReason.FRAG_NEEDED) == before
    assert seen.mbit > 100, seen


def stream(lab: Lab, version: int) -> iperf.Sums:
    vm = lab.vm("vm3")
    return iperf.stream(lab.netns("vm1"), lab.netns("vm3"), vm.ip if version == 4 else vm.ip6)


def clamp(lab: Lab, where: str) -> None:
    for host in ("h1", "h2"):
        run(lab, host, f"vrouter --mss-clamp {where}")


def test_what_may_be_cut_is_cut_and_what_cannot_be_opened_is_counted(lab: Lab) -> None:
    """dp-core cuts the outer packet, and opens no fragments. Of UDP only the first one can be
    told from what is the host's own."""
    forget(lab)
    cut, opened = DropReason.CLONED_ORIGINAL, DropReason.FRAGMENTS
    before = drops(lab, cut), drops(lab, opened, "h2")
    output = run(lab, "vm1", f"ping -n -c 1 -W 1 -M dont -s {GUEST_MTU - 28} {lab.vm('vm3').ip}")
    assert "Frag needed" not in output
    assert drops(lab, cut) == before[0] + 1
    assert drops(lab, opened, "h2") == before[1] + (2 if lab.encap == "mplsogre" else 1)
