# SPDX-License-Identifier: Apache-2.0
"""Tenants with equal addresses never see each other; a VM is never taken for the fabric."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network

import pytest

from tests.system import frames
from tests.system.frames import ETH_IPV4, ETH_LOCAL, Tap, ethernet, read_until
from tests.system.helpers import MakeLab
from vrouter.dpcore.names import DropReason
from vrouter.dpcore.records import Route
from vrouter.host import netns
from vrouter.lab import node, proof
from vrouter.lab.program import NH_VHOST
from vrouter.lab.topology import ENCAPS, FORWARDINGS, ROUTER_MAC, Lab, mac_bytes

KINDS = [(encap, forwarding) for encap in ENCAPS for forwarding in FORWARDINGS]
BLUE, RED = ("vm1", "vm2", "vm3"), ("vm4", "vm5")
BROADCAST = b"\xff" * 6
FORGED = b"perfectly formed"


@pytest.fixture(scope="module", params=KINDS, ids=["-".join(kind) for kind in KINDS])
def lab(request: pytest.FixtureRequest, shared_lab: MakeLab) -> Lab:
    return shared_lab(*request.param)


@pytest.fixture
def taps(lab: Lab) -> Iterator[dict[str, Tap]]:
    proof.forget_neighbours(lab)  # nobody asks again for those of an earlier test
    with contextlib.ExitStack() as stack:
        yield {vm.name: stack.enter_context(Tap(lab.netns(vm.name))) for vm in lab.vms}


def everything(lab: Lab, talkers: tuple[str, ...]) -> None:
    """Unicast, broadcast, multicast and unknown unicast from each of `talkers` to each."""
    for source in talkers:
        vm = lab.vm(source)
        proof.forget_neighbours(lab, source)
        for target in talkers:
            if target != source:
                assert proof.ping(lab, source, lab.vm(target).ip, 2).answered == 2
        node.call(lab, source, ["ping", "-b", "-c", "2", "-i", "0.05", "-W", "0.2", "10.1.1.255"])
        with Tap(lab.netns(source)) as out:
            for dst in (BROADCAST, bytes.fromhex("01005e000001"), bytes.fromhex("020000dead01")):
                for proto in (ETH_IPV4, ETH_LOCAL):
                    body = (
                        frames.udp(vm.ip, "10.1.1.255", 1, 2, b"x") if proto == ETH_IPV4 else b"x"
                    )
                    out.send(ethernet(dst, mac_bytes(vm.mac), proto, body))


@pytest.mark.parametrize(("talkers", "silent"), [(BLUE, RED), (RED, BLUE)], ids=["blue", "red"])
def test_one_network_hears_nothing_of_the_other(
    lab: Lab, taps: dict[str, Tap], talkers: tuple[str, ...], silent: tuple[str, ...]
) -> None:
    everything(lab, talkers)
    last = b"the last frame of all"
    with Tap(lab.netns(talkers[0])) as out:
        out.send(ethernet(BROADCAST, mac_bytes(lab.vm(talkers[0]).mac), ETH_LOCAL, last))
    got = read_until(taps.values(), last, len(talkers) - 1)
    for name in silent:
        assert got[taps[name]] == [], name
    for name in talkers[1:]:
        assert any(last in data for _, data in got[taps[name]])


def test_neither_does_a_tcp_stream(lab: Lab, taps: dict[str, Tap]) -> None:
    """vm1 talks to an address that vm5 has as well as vm3."""
    with netns.enter(lab.netns("vm3")):
        server = socket.create_server(("", 5000))
    with netns.enter(lab.netns("vm5")):
        other = socket.create_server(("", 5000))
    with server, other:
        other.setblocking(False)
        with netns.enter(lab.netns("vm1")):
            client = socket.create_connection((lab.vm("vm3").ip, 5000), timeout=5)
        with client, server.accept()[0] as far:
            client.sendall(b"blue" * 50_000)
            client.shutdown(socket.SHUT_WR)
            assert sum(len(data) for data in iter(lambda: far.recv(1 << 16), b"")) == 200_000
        with pytest.raises(BlockingIOError):
            other.accept()
    assert taps["vm4"].read() == []
    assert taps["vm5"].read() == []


# ---- forged tunnel packets --------------------------------------------------------------


@dataclass(frozen=True)
class Forgery:
    """A tunnel packet to h1 that, from the fabric, reaches `victim`; an IPv4 packet."""

    name: str
    encap: str
    victim: str
    packet: bytes


def forgeries(lab: Lab, source: str) -> list[Forgery]:
    """One for every way into h1, with outer source address `source`."""
    found = []
    host = lab.host("h1").ip
    for victim in ("vm2", "vm4"):
        vm, network = lab.vm(victim), lab.network(lab.vm(victim).network)
        inner = frames.udp("10.1.1.9", vm.ip, 7, 7, FORGED)
        frame = ethernet(mac_bytes(vm.mac), bytes.fromhex("020000000999"), ETH_IPV4, inner)
        flood = ethernet(BROADCAST, bytes.fromhex("020000000999"), ETH_IPV4, inner)
        payloads = {
            ("vxlan", "unicast"): frames.vxlan(network.vni, frame),
            ("vxlan", "broadcast"): frames.vxlan(network.vni, flood),
            ("mplsoudp", "packet"): frames.mpls(vm.l3_label, inner),
            ("mplsoudp", "frame"): frames.mpls(vm.l2_label, frame),
            ("mplsogre", "packet"): frames.mpls(vm.l3_label, inner),
            ("mplsogre", "frame"): frames.mpls(vm.l2_label, frame),
        }
        for (encap, what), payload in payloads.items():
            if encap == "vxlan":
                packet = frames.udp(source, host, 50000, 4789, payload)
            elif encap == "mplsoudp":
                packet = frames.udp(source, host, 50000, 6635, payload)
            else:
                packet = frames.ipv4(source, host, 47, b"\0\0\x88\x47" + payload)
            found.append(Forgery(f"{encap} {what} to {victim}", encap, victim, packet))
    return found


def delivered(taps: dict[str, Tap], timeout: float) -> set[str]:
    """VMs that got a forged packet within `timeout` (one is enough)."""
    found: set[str] = set()
    deadline = time.monotonic() + timeout
    while not found and time.monotonic() < deadline:
        for name, tap in taps.items():
            if any(FORGED in data for _, data in tap.read()):
                found.add(name)
    return found


@pytest.fixture(scope="module")
def vxlan_lab(shared_lab: MakeLab) -> Lab:
    """A lab whose h1 accepts its VNIs, and labels too."""
    return shared_lab("vxlan", "l2")


@pytest.fixture
def vm_taps(vxlan_lab: Lab) -> Iterator[dict[str, Tap]]:
    lab = vxlan_lab
    with contextlib.ExitStack() as stack:
        yield {vm.name: stack.enter_context(Tap(lab.netns(vm.name))) for vm in lab.vms}


def test_from_the_fabric_they_are_opened(vxlan_lab: Lab, vm_taps: dict[str, Tap]) -> None:
    """The control of the tests below: these packets are well formed."""
    lab = vxlan_lab
    with Tap(lab.netns("h2")) as wire:
        for forged in forgeries(lab, lab.host("h2").ip):
            h1, h2 = lab.host("h1"), lab.host("h2")
            wire.send(ethernet(mac_bytes(h1.mac), mac_bytes(h2.mac), ETH_IPV4, forged.packet))
            assert forged.victim in delivered(vm_taps, 3), forged.name
            for tap in vm_taps.values():
                tap.read()


@pytest.mark.parametrize("routed", [False, True], ids=["no-route-to-the-host", "host-reachable"])
@pytest.mark.parametrize("source", ["own", "the-far-host"])
def test_from_a_vm_they_are_not(
    vxlan_lab: Lab, vm_taps: dict[str, Tap], routed: bool, source: str
) -> None:
    """To the gateway's MAC and to the host's, with its own address or another host's.

    Even where its VRF has a route to the host's own address, they end in the host's stack.
    """
    lab, own = vxlan_lab, vxlan_lab.vm("vm1")
    h1 = lab.host("h1")
    address = own.ip if source == "own" else lab.host("h2").ip
    prefix = IPv4Network(f"{h1.ip}/32")
    vrf = lab.network("blue").vrf
    with proof.open_host(lab, "h1") as core, contextlib.ExitStack() as undo:
        if routed:
            core.inet.put(Route(vrf=vrf, prefix=prefix, nh=NH_VHOST))
            undo.callback(core.inet.delete, vrf, prefix)
        to_host = undo.enter_context(Tap(lab.netns("h1"), "vhost0"))
        tap_vm1 = core.vifs.by_name("tap-vm1")
        assert tap_vm1 is not None
        before = core.vifs.drops(tap_vm1.idx)[DropReason.DISCARD]
        sent = forgeries(lab, address)
        with Tap(lab.netns("vm1")) as out:
            for dst in (ROUTER_MAC, mac_bytes(h1.mac)):
                for forged in sent:
                    out.send(ethernet(dst, mac_bytes(own.mac), ETH_IPV4, forged.packet))
            # behind all of them, on the same way: when this is there, so is every other
            out.send(ethernet(BROADCAST, mac_bytes(own.mac), ETH_LOCAL, b"the last one"))
        got = read_until(vm_taps.values(), b"the last one", 2)
        for name, tap in vm_taps.items():
            assert not any(FORGED in data for _, data in got[tap]), name
        at_host = sum(FORGED in data for _, data in to_host.read())
        discarded = core.vifs.drops(tap_vm1.idx)[DropReason.DISCARD] - before
        assert (at_host, discarded) == ((2 * len(sent), 0) if routed else (0, 2 * len(sent)))


def test_nor_when_a_vm_routes_them_itself(vxlan_lab: Lab, vm_taps: dict[str, Tap]) -> None:
    """By the VM's own stack, to its gateway, towards both hosts."""
    lab = vxlan_lab
    with netns.enter(lab.netns("vm1")):
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with raw:
        for host in lab.hosts:
            for forged in forgeries(lab, lab.vm("vm1").ip):
                packet = bytearray(forged.packet)
                packet[16:20] = socket.inet_aton(host.ip)
                raw.sendto(bytes(packet), (host.ip, 0))
    with Tap(lab.netns("vm1")) as out:
        mac = mac_bytes(lab.vm("vm1").mac)
        out.send(ethernet(BROADCAST, mac, ETH_LOCAL, b"the last one"))
    got = read_until(vm_taps.values(), b"the last one", 2)
    for name, tap in vm_taps.items():
        assert not any(FORGED in data for _, data in got[tap]), name
