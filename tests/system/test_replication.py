# SPDX-License-Identifier: Apache-2.0
"""Broadcast, unknown unicast, multicast: every receiver's own count proves one copy each.

Four hosts; each reaches the three others by three different encapsulations.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.system import frames
from tests.system.frames import ETH_IPV4, ETH_LOCAL, SO_RCVBUFFORCE, Tap, count, read_until
from tests.system.topology import BROADCAST, Guest, Host, World, label_for
from vrouter.dpcore.names import DropReason, VifFlag
from vrouter.dpcore.records import Member
from vrouter.host import netns, offload

ENCAPS = ("vxlan", "mplsoudp", "mplsogre")
VRF, LABEL = 1, 101
UNKNOWN = bytes.fromhex("020000dead01")
MULTICAST = bytes.fromhex("01005e010203")
FRAMES = 20
UDP_SEGMENT = 103  # linux/udp.h


@dataclass
class Net:
    """Hosts by number (from 0), guests by name: a b c on the first, d e, f, g on the others."""

    hosts: list[Host]
    guests: dict[str, Guest]

    def host_of(self, name: str) -> Host:
        return self.hosts[{"d": 1, "e": 1, "f": 2, "g": 3}.get(name, 0)]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World() as one:
        yield one


@pytest.fixture(scope="module")
def net(world: World) -> Net:
    hosts = [world.host() for _ in range(4)]
    found = Net(hosts, {})
    for last, name in enumerate("abcdefg", 1):
        found.guests[name] = found.host_of(name).guest(VRF, last)
    for number, host in enumerate(hosts):
        host.accept(LABEL, VRF)
        remote = []
        for step in (1, 2, 3):
            far = hosts[(number + step) % 4]
            encap = ENCAPS[step - 1]
            remote.append(
                Member(nh=host.tunnel(far.ip, far.mac, encap), label=label_for(encap, LABEL))
            )
        local = [guest for name, guest in found.guests.items() if found.host_of(name) is host]
        host.flood(VRF, local, remote)
    return found


def send_and_count(
    sender: Guest, taps: dict[str, Tap], receivers: set[str], dst: bytes, proto: int, size: int
) -> dict[str, Counter[int]]:
    """Send FRAMES numbered frames, then a marker; what each tap counted of the numbered ones."""
    token, marker = b"numbered", b"the last one"
    with Tap(sender.netns, sender.device) as out:
        for number in (*range(FRAMES), None):
            body = marker if number is None else token + struct.pack("!I", number)
            body = body.ljust(size - 14 - 28, b"\xa5")
            if proto == ETH_IPV4:
                body = frames.udp(sender.ip, "10.1.0.255", 4000, 4001, body)
            out.send(frames.ethernet(dst, sender.mac, proto, body))
    got = read_until(taps.values(), marker, len(receivers))
    return {name: count(got[tap], token) for name, tap in taps.items()}


@pytest.fixture
def taps(net: Net) -> Iterator[dict[str, Tap]]:
    with contextlib.ExitStack() as stack:
        yield {
            name: stack.enter_context(Tap(guest.netns, guest.device))
            for name, guest in net.guests.items()
        }


EACH_ONCE = Counter(range(FRAMES))


@pytest.mark.parametrize("sender", ["a", "d", "g"])
@pytest.mark.parametrize("size", [60, 1414])
@pytest.mark.parametrize("proto", [ETH_IPV4, ETH_LOCAL], ids=["ipv4", "not-ip"])
@pytest.mark.parametrize(
    "dst", [BROADCAST, MULTICAST, UNKNOWN], ids=["broadcast", "multicast", "unknown"]
)
def test_one_copy_for_everybody_else(
    net: Net, taps: dict[str, Tap], sender: str, dst: bytes, proto: int, size: int
) -> None:
    receivers = set(net.guests) - {sender}
    got = send_and_count(net.guests[sender], taps, receivers, dst, proto, size)
    assert got == {name: EACH_ONCE if name in receivers else Counter() for name in net.guests}


def test_each_copy_travels_as_its_tunnel_says(net: Net, taps: dict[str, Tap]) -> None:
    """The far hosts' own counters: nothing dropped, nothing sent on."""
    hosts = net.hosts
    before = [(host.core.stats.vrf(VRF), host.core.stats.drops()) for host in hosts]
    send_and_count(net.guests["a"], taps, set("bcdefg"), BROADCAST, ETH_IPV4, 100)
    after = [(host.core.stats.vrf(VRF), host.core.stats.drops()) for host in hosts]
    sent = FRAMES + 1
    for kind in ("vxlan_tunnels", "udp_mpls_tunnels", "gre_mpls_tunnels"):
        rises = [getattr(now[0], kind) - getattr(old[0], kind) for old, now in zip(before, after, strict=True)]
        assert rises == [sent, 0, 0, 0], kind
    for old, now in zip(before, after, strict=True):
        dropped = {reason: now[1][reason] - old[1][reason] for reason in now[1]}
        assert {reason: n for reason, n in dropped.items() if n} == {DropReason.CLONED_ORIGINAL: sent}


def test_unknown_unicast_is_dropped_where_flooding_is_off(world: World, net: Net) -> None:
    host = net.hosts[0]
    quiet = host.guest(2, 50, flags=VifFlag(0))
    other = host.guest(2, 51)
    host.flood(2, [quiet, other], [])
    with Tap(other.netns) as tap:
        taps = {"other": tap}
        frame = frames.ethernet(UNKNOWN, quiet.mac, ETH_LOCAL, b"numbered" + bytes(4))
        with Tap(quiet.netns) as out:
            before = host.core.vifs.drops(quiet.vif)[DropReason.L2_NO_ROUTE]
            out.send(frame)
            assert host.core.vifs.drops(quiet.vif)[DropReason.L2_NO_ROUTE] == before + 1
        got = send_and_count(quiet, taps, {"other"}, BROADCAST, ETH_LOCAL, 60)
        assert got == {"other": EACH_ONCE}


def test_three_encapsulations_to_the_same_host(net: Net) -> None:
    """One composite, three tunnels to one host, each into a network of its own there."""
    here, there = net.hosts[0], net.hosts[1]
    sender = here.guest(3, 60)
    remote, guests = [], {}
    for number, encap in enumerate(ENCAPS):
        vrf, label = 4 + number, 110 + number
        there.accept(label, vrf)
        guests[encap] = there.guest(vrf, 61)
        there.flood(vrf, [guests[encap]], [])
        nexthop = here.tunnel(there.ip, there.mac, encap)
        remote.append(Member(nh=nexthop, label=label_for(encap, label)))
    here.flood(3, [sender], remote)
    with contextlib.ExitStack() as stack:
        taps = {name: stack.enter_context(Tap(one.netns)) for name, one in guests.items()}
        for proto in (ETH_IPV4, ETH_LOCAL):
            got = send_and_count(sender, taps, set(taps), BROADCAST, proto, 300)
            assert got == dict.fromkeys(ENCAPS, EACH_ONCE)


def test_more_members_than_one_chunk_holds(world: World, net: Net) -> None:
    """70 receivers: three chunks of 31 members."""
    host = net.hosts[2]
    sender = host.guest(8, 1)
    many = world.namespace("many")
    guests = [host.guest(8, last, space=many, device=f"e{last}") for last in range(2, 72)]
    host.flood(8, [sender, *guests], [])
    with Tap(many, "") as tap, Tap(sender.netns) as own:
        token, marker = b"numbered", b"the last one"
        for number in (*range(FRAMES), None):
            body = marker if number is None else token + struct.pack("!I", number)
            own.send(frames.ethernet(BROADCAST, sender.mac, ETH_LOCAL, body))
        got = read_until([tap, own], marker, len(guests))
        by_device = {guest.device: Counter[int]() for guest in guests}
        for device, data in got[tap]:
            by_device[device] += count([(device, data)], token)
        assert by_device == {guest.device: EACH_ONCE for guest in guests}
        assert count(got[own], token) == Counter()


@pytest.mark.parametrize("wire", ["tso", "plain"])
def test_gso_packets_are_replicated_whole(net: Net, wire: str) -> None:
    """UDP super-packets to the broadcast address: every datagram once at every receiver."""
    size, per_packet, packets = 1300, 40, 5
    sender, host = net.guests["a"], net.hosts[0]
    receivers = {name: guest for name, guest in net.guests.items() if name != "a"}
    with netns.enter(host.netns):
        before_offload = offload.get("eth0")
        if wire == "plain":
            offload.make_plain("eth0")
    try:
        with contextlib.ExitStack() as stack:
            sockets = {}
            for name, guest in receivers.items():
                with netns.enter(guest.netns):
                    one = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                one.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
                one.bind(("", 4001))
                one.settimeout(2)
                sockets[name] = one
            old = host.core.vifs.stats(sender.vif)
            with netns.enter(sender.netns):
                out = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            out.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            out.setsockopt(socket.SOL_UDP, UDP_SEGMENT, size)
            for packet in range(packets):
                numbers = range(packet * per_packet, (packet + 1) * per_packet)
                body = b"".join(struct.pack("!I", n).ljust(size, b"\x5a") for n in numbers)
                out.sendto(body, ("10.1.0.255", 4001))
                for name, one in sockets.items():
                    got = Counter(int.from_bytes(one.recv(2048)[:4], "big") for _ in numbers)
                    assert got == Counter(numbers), name
            now = host.core.vifs.stats(sender.vif)
            rise = now.rx_packets - old.rx_packets
            assert rise == packets
            assert (now.rx_bytes - old.rx_bytes) / rise > 10_000
            for one in sockets.values():
                one.setblocking(False)
                with pytest.raises(BlockingIOError):
                    one.recv(2048)
    finally:
        with netns.enter(host.netns):
            offload.put("eth0", before_offload)
