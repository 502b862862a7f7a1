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
from tests.system.frames import (
    ETH_IPV4,
    ETH_LOCAL,
    SO_RCVBUFFORCE,
    Tap,
    checksum,
    count,
    read_until,
)
from tests.system.helpers import plain_wire
from tests.system.topology import BROADCAST, Guest, Host, World, label_for
from vrouter.dpcore.names import DropReason, VifFlag
from vrouter.dpcore.records import Member
from vrouter.host import netns

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
        rises = [
            getattr(now[0], kind) - getattr(old[0], kind)
            for old, now in zip(before, after, strict=True)
        ]
        assert rises == [sent, 0, 0, 0], kind
    for old, now in zip(before, after, strict=True):
        dropped = {reason: now[1][reason] - old[1][reason] for reason in now[1]}
        assert {reason: n for reason, n in dropped.items() if n} == {
            DropReason.CLONED_ORIGINAL: sent
        }


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


@pytest.fixture(params=["tso", "plain"])
def wire(request: pytest.FixtureRequest, net: Net) -> Iterator[str]:
    """The first host's NIC with all offloads, or with none."""
    spaces = [net.hosts[0].netns] if request.param == "plain" else []
    with plain_wire(*spaces):
        yield request.param


SEGMENT, SEGMENTS, SUPERS = 1300, 40, 4


def super_frame(sender: Guest, number: int) -> bytes:
    """virtio_net_hdr and a TCP packet that the kernel is asked to cut; its sequence numbers
    are those of the `number`th block of bytes."""
    source, target = socket.inet_aton(sender.ip), socket.inet_aton("10.1.0.255")
    payload = bytes(SEGMENT * SEGMENTS)
    length = 20 + len(payload)
    seq = number * len(payload)
    tcp = struct.pack("!HHIIBBHHH", 4000, 4001, seq, 1, 5 << 4, 0x10, 1000, 0, 0)
    pseudo = source + target + struct.pack("!HH", 6, length)
    tcp = tcp[:16] + struct.pack("!H", ~checksum(pseudo) & 0xFFFF) + tcp[18:]
    virtio = struct.pack("=BBHHHH", 1, 1, 54, SEGMENT, 34, 16)  # NEEDS_CSUM, GSO_TCPV4
    packet = frames.ipv4(sender.ip, "10.1.0.255", 6, tcp + payload)
    return virtio + frames.ethernet(BROADCAST, sender.mac, ETH_IPV4, packet)


def test_gso_packets_are_replicated_right(net: Net, taps: dict[str, Tap], wire: str) -> None:
    """TCP super-packets: each receiver sees every byte of them once, whole or in segments."""
    sender, host = net.guests["a"], net.hosts[0]
    old = host.core.vifs.stats(sender.vif)
    with Tap(sender.netns) as out, Tap(sender.netns) as last:
        out.speak_vnet_headers()
        for number in range(SUPERS):
            out.send(super_frame(sender, number))
        last.send(frames.ethernet(BROADCAST, sender.mac, ETH_LOCAL, b"the last one"))
    got = read_until(taps.values(), b"the last one", len(taps) - 1)
    now = host.core.vifs.stats(sender.vif)
    assert now.rx_packets - old.rx_packets == SUPERS + 1
    assert now.rx_bytes - old.rx_bytes > SUPERS * SEGMENT * SEGMENTS
    for name, tap in taps.items():
        blocks: Counter[int] = Counter()
        for _, data in got[tap]:
            if data[12:14] == b"\x08\x00":
                seq = int.from_bytes(data[38:42], "big")
                blocks.update(range(seq // SEGMENT, (seq + len(data) - 54) // SEGMENT))
        assert blocks == (Counter() if name == "a" else Counter(range(SUPERS * SEGMENTS))), name


def test_udp_super_packets_reach_plain_sockets(net: Net, wire: str) -> None:
    """What is sent with UDP_SEGMENT: every datagram once at every receiver."""
    send_super_packets(net, "bcdefg")


def send_super_packets(net: Net, names: str) -> None:
    """Broadcast datagrams with UDP_SEGMENT from guest a; each must be at each of `names` once."""
    sender, packets = net.guests["a"], 3
    receivers = {name: net.guests[name] for name in names}
    with contextlib.ExitStack() as stack:
        sockets = {name: stack.enter_context(_udp(guest)) for name, guest in receivers.items()}
        out = stack.enter_context(_udp(sender))
        out.setsockopt(socket.SOL_UDP, UDP_SEGMENT, SEGMENT)
        for packet in range(packets):
            numbers = range(packet * SEGMENTS, (packet + 1) * SEGMENTS)
            body = b"".join(struct.pack("!I", n).ljust(SEGMENT, b"\x5a") for n in numbers)
            out.sendto(body, ("10.1.0.255", 4001))
            for name, one in sockets.items():
                got = Counter(int.from_bytes(one.recv(2048)[:4], "big") for _ in numbers)
                assert got == Counter(numbers), name
        for one in sockets.values():
            one.setblocking(False)
            with pytest.raises(BlockingIOError):
                one.recv(2048)


def _udp(guest: Guest) -> socket.socket:
    with netns.enter(guest.netns):
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    one.bind(("", 4001))
    one.settimeout(3)
    return one
