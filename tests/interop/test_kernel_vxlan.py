# SPDX-License-Identifier: Apache-2.0
"""The kernel's own VXLAN device and bridge as the far end of our VXLAN tunnel.

vm (ours) - dp-core - eth0 ---- wire ---- eth0 - vxlan - bridge - two machines (the kernel's)
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.system import frames, iperf
from tests.system.frames import ETH_IPV4, ETH_LOCAL, Tap, count, ethernet, read_until
from tests.system.helpers import plain_wire
from tests.system.topology import BROADCAST, GUEST_MTU, NIC, Guest, Host, World, run_in
from vrouter.dpcore.names import DropReason
from vrouter.dpcore.records import Member
from vrouter.host import netns
from vrouter.host.netlink import Netlink

VRF, LABEL, VNI = 1, 101, 5101
FAR_IP, FAR_MAC = "172.29.0.99", bytes.fromhex("020000000963")
UNKNOWN = bytes.fromhex("020000dead01")
FRAMES = 20


@dataclass
class Net:
    """Our host with two guests, the kernel's host with two."""

    host: Host
    far: str
    ours: list[Guest]
    theirs: list[Guest]


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with World() as world:
        host = world.host()
        ours = [host.guest(VRF, last) for last in (1, 2)]
        far = world.namespace("kernel")
        world.plug_in(far, NIC, FAR_MAC)
        theirs = kernel_side(world, host, far)
        host.accept(LABEL, VRF)
        tunnel = host.tunnel(FAR_IP, FAR_MAC, "vxlan")
        host.flood(VRF, ours, [Member(nh=tunnel, label=VNI)])
        for guest in theirs:
            host.core.bridge.put(VRF, guest.mac, tunnel, label=VNI)
        yield Net(host, far, ours, theirs)


def make_tunnel(host: Host, far: str, checksum: str) -> None:
    """The kernel's VXLAN device, in its bridge. `checksum`: udpcsum, its default, or noudpcsum."""
    for command in (
        f"ip link add vx0 type vxlan id {VNI} local {FAR_IP} remote {host.ip} dstport 4789 "
        f"dev {NIC} ttl 64 {checksum}",
        "ip link set vx0 master br1",
        "ip link set vx0 up",
    ):
        run_in(far, command)


def kernel_side(world: World, host: Host, far: str) -> list[Guest]:
    """vxlan + bridge in namespace `far`, as iproute2 makes them, and two machines behind it."""
    for command in (
        f"ip addr add {FAR_IP}/24 dev {NIC}",
        "ip link add br1 type bridge mcast_snooping 0",
        "ip link set br1 up",
    ):
        run_in(far, command)
    make_tunnel(host, far, "udpcsum")
    machines = []
    for last in (11, 12):
        home = world.namespace("vm")
        mac, ip = bytes((2, 0, 10, 1, 0, last)), f"10.1.0.{last}"
        with netns.enter(far), Netlink() as links:
            file = str(netns.path(home))
            links.add_veth(f"m{last}", "eth0", peer_mac=mac, mtu=GUEST_MTU, peer_netns=file)
            run_in(far, f"ip link set m{last} master br1")
            links.up(f"m{last}")
        with netns.enter(home), Netlink() as links:
            links.add_address("eth0", ip, 24)
            links.up("eth0")
        machines.append(Guest(home, "eth0", mac, ip, VRF, 0, 0))
    return machines


PAIRS = [("ours", "theirs"), ("theirs", "ours")]


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_ping_both_ways_from_a_cold_start(net: Net, source: str, target: str) -> None:
    """ARP first: each must find the other's own MAC, by broadcast through the tunnel."""
    for guest in net.ours + net.theirs:
        run_in(guest.netns, "ip neigh flush dev eth0")
    for one in getattr(net, source):
        for other in getattr(net, target):
            output = run_in(one.netns, f"ping -n -c 3 -i 0.05 -W 2 {other.ip}")
            assert "3 received" in output
            shown = run_in(one.netns, f"ip neigh show {other.ip}")
            assert other.mac.hex(":") in shown


def test_the_longest_packet_passes_unbroken(net: Net) -> None:
    size = GUEST_MTU - 28
    run_in(net.ours[0].netns, f"ping -n -M do -s {size} -c 2 -i 0.05 -W 2 {net.theirs[0].ip}")
    run_in(net.theirs[0].netns, f"ping -n -M do -s {size} -c 2 -i 0.05 -W 2 {net.ours[0].ip}")


@pytest.mark.alone
@pytest.mark.parametrize("wire", ["tso", "plain"])
@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_tcp_both_ways(net: Net, source: str, target: str, wire: str) -> None:
    client, server = getattr(net, source)[0], getattr(net, target)[0]
    with plain_wire(net.host.netns, net.far) if wire == "plain" else contextlib.nullcontext():
        sums = iperf.stream(client.netns, server.netns, server.ip)
    assert sums.mbit > 100, sums
    assert sums.lossy < 0.02, sums


@pytest.mark.parametrize("wire", ["tso", "plain"])
def test_outer_checksums_or_none(net: Net, wire: str) -> None:
    """The tests above are with those that the kernel puts in; here it puts in none."""
    run_in(net.far, "ip link del vx0")
    make_tunnel(net.host, net.far, "noudpcsum")
    try:
        test_ping_both_ways_from_a_cold_start(net, "theirs", "ours")
        test_tcp_both_ways(net, "theirs", "ours", wire)
    finally:
        run_in(net.far, "ip link del vx0")
        make_tunnel(net.host, net.far, "udpcsum")


@pytest.mark.parametrize("proto", [ETH_IPV4, ETH_LOCAL], ids=["ipv4", "not-ip"])
@pytest.mark.parametrize(
    "dst",
    [BROADCAST, bytes.fromhex("01005e010203"), UNKNOWN],
    ids=["broadcast", "multicast", "unknown"],
)
@pytest.mark.parametrize("side", ["ours", "theirs"])
def test_bum_reaches_everybody_once(net: Net, side: str, dst: bytes, proto: int) -> None:
    everybody = net.ours + net.theirs
    sender = getattr(net, side)[0]
    token, marker = b"numbered", b"the last one"
    taps = {guest.ip: Tap(guest.netns) for guest in everybody}
    try:
        with Tap(sender.netns) as out:
            for number in (*range(FRAMES), None):
                body = marker if number is None else token + struct.pack("!I", number)
                if proto == ETH_IPV4:
                    body = frames.udp(sender.ip, "10.1.0.255", 4000, 4001, body)
                out.send(ethernet(dst, sender.mac, proto, body))
        got = read_until(taps.values(), marker, len(everybody) - 1)
    finally:
        for tap in taps.values():
            tap.close()
    each_once = Counter(range(FRAMES))
    for guest in everybody:
        wanted = Counter[int]() if guest is sender else each_once
        assert count(got[taps[guest.ip]], token) == wanted, guest.ip


def test_the_kernel_takes_our_udp_super_packets(net: Net) -> None:
    """Counted by datagrams: nothing is lost or doubled."""
    source, target = net.ours[0], net.theirs[1]
    with netns.enter(target.netns):
        sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with netns.enter(source.netns):
        out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sink, out:
        sink.bind(("", 4002))
        sink.settimeout(3)
        out.setsockopt(socket.SOL_UDP, 103, 1200)  # UDP_SEGMENT
        body = b"".join(struct.pack("!I", n).ljust(1200, b"\x5a") for n in range(40))
        out.sendto(body, (target.ip, 4002))
        numbers = [int.from_bytes(sink.recv(2048)[:4], "big") for _ in range(40)]
        assert sorted(numbers) == list(range(40))
        sink.setblocking(False)
        with pytest.raises(BlockingIOError):
            sink.recv(1)


def test_another_vni_stays_out(net: Net) -> None:
    """A frame of a VNI that we do not have is counted and dropped."""
    guest = net.ours[0]
    frame = ethernet(guest.mac, net.theirs[0].mac, ETH_LOCAL, b"not for you")
    run_in(net.far, f"ip link add vx1 type vxlan id 6000 local {FAR_IP} remote {net.host.ip} "
           f"dstport 4789 dev {NIC}")  # fmt: skip
    try:
        run_in(net.far, "ip link set vx1 up")
        before = net.host.core.stats.drops()[DropReason.INVALID_VNID]
        with Tap(guest.netns) as tap, Tap(net.far, "vx1") as out:
            for _ in range(FRAMES):
                out.send(frame)
            ours = ethernet(guest.mac, net.theirs[0].mac, ETH_LOCAL, b"the last one")
            with Tap(net.far, "vx0") as good:
                good.send(ours)
            got = read_until([tap], b"the last one", 1)[tap]
        assert not any(b"not for you" in data for _, data in got)
        assert net.host.core.stats.drops()[DropReason.INVALID_VNID] - before == FRAMES
    finally:
        run_in(net.far, "ip link del vx1")
