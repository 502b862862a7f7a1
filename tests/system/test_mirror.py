# SPDX-License-Identifier: Apache-2.0
"""An analyzer's own socket gets what a VM sends and receives; flows share equal paths."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from tests.system.frames import SO_RCVBUFFORCE
from tests.system.helpers import plain_wire
from tests.system.topology import Guest, Host, World, run_in
from vrouter.dpcore.names import NhFlag, NhType, VifFlag
from vrouter.dpcore.records import Member, Mirror, Route
from vrouter.host import netns
from vrouter.host.netlink import Netlink

VRF, LABEL, PORT, METADATA = 1, 101, 8099, b"\xff\0"
ANALYZER, ANALYZER_MAC = "172.29.0.200", bytes((2, 0, 0, 0, 9, 200))
SIZE = 300_000


@dataclass
class Net:
    """Guests a and b behind one host, an analyzer on the underlay."""

    host: Host
    a: Guest
    b: Guest
    analyzer: str


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World() as one:
        yield one


@pytest.fixture(scope="module")
def net(world: World) -> Net:
    host = world.host()
    a, b = host.guest(VRF, 1), host.guest(VRF, 2)
    analyzer = world.namespace("analyzer")
    world.plug_in(analyzer, "eth0", ANALYZER_MAC)
    with netns.enter(analyzer), Netlink() as links:
        links.add_address("eth0", ANALYZER, 24)
    there = host.put(type=NhType.ENCAP, oif=host.nic, rewrite=ANALYZER_MAC + host.mac + b"\x08\x00")
    prefix = IPv4Network(f"{ANALYZER}/32")
    host.core.inet.put(Route(vrf=0, prefix=prefix, nh=there))
    udp = host.put(
        type=NhType.TUNNEL,
        flags=NhFlag.VALID | NhFlag.TUNNEL_UDP,
        sip=IPv4Address(host.ip),
        dip=IPv4Address(ANALYZER),
        sport=8097,
        dport=PORT,
    )
    host.core.mirrors.put(Mirror(index=1, nh=udp, dynamic=True, metadata=METADATA))
    host.flood(VRF, [a, b], [])
    return Net(host, a, b, analyzer)


@contextlib.contextmanager
def mirrored(net: Net, flags: VifFlag) -> Iterator[socket.socket]:
    """Guest a is mirrored inside the block; the analyzer's socket."""
    vif = net.host.core.vifs.get(net.a.vif)
    assert vif is not None
    with netns.enter(net.analyzer):
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20)
    one.bind((ANALYZER, PORT))
    one.settimeout(3)
    with netns.enter(net.host.netns):
        net.host.core.vifs.change(replace(vif, flags=vif.flags | flags, mirror=1))
    try:
        yield one
    finally:
        with netns.enter(net.host.netns):
            net.host.core.vifs.change(vif)
        one.close()


def transfer(net: Net) -> None:
    """Guest a sends SIZE bytes by TCP to b."""
    with netns.enter(net.b.netns):
        server = socket.create_server((net.b.ip, 4000))
    with netns.enter(net.a.netns):
        client = socket.socket()
    got = bytearray()

    def serve() -> None:
        one, _ = server.accept()
        while data := one.recv(1 << 16):
            got.extend(data)
        one.close()

    thread = threading.Thread(target=serve)
    thread.start()
    client.connect((net.b.ip, 4000))
    client.sendall(b"\x5a" * SIZE)
    client.close()
    thread.join(10)
    server.close()
    assert len(got) == SIZE


def read(one: socket.socket, enough: int) -> tuple[Counter[str], bytearray]:
    """Frames by the guest that sent them, and the bytes of a's stream that were seen."""
    senders: Counter[str] = Counter()
    seen, first = bytearray(2 * SIZE), None
    while sum(seen) < enough:
        data = one.recv(1 << 17)
        assert data[:2] == METADATA
        frame = data[2:]
        if frame[12:14] != b"\x08\x00" or frame[23] != 6:
            continue
        ip = frame[14:]
        length = int.from_bytes(ip[2:4], "big")
        assert len(ip) >= length, "a segment that is not whole"
        source = socket.inet_ntoa(ip[12:16])
        senders[source] += 1
        tcp = ip[20:length]
        number = int.from_bytes(tcp[4:8], "big")
        if source != "10.1.0.1":
            continue
        first = number + 1 if first is None else first
        payload = len(tcp) - (tcp[12] >> 4) * 4
        at = number - first & 0xFFFFFFFF
        if payload:
            seen[at : at + payload] = b"\1" * payload
    return senders, seen


@pytest.mark.alone
@pytest.mark.parametrize("wire", ["tso", "plain"])
def test_every_byte_of_a_stream_reaches_the_analyzer(net: Net, wire: str) -> None:
    with contextlib.ExitStack() as stack:
        if wire == "plain":
            stack.enter_context(plain_wire(net.host.netns))
        both = VifFlag.MIRROR_RX | VifFlag.MIRROR_TX
        one = stack.enter_context(mirrored(net, both))
        transfer(net)
        senders, seen = read(one, SIZE)
    assert seen[:SIZE] == b"\1" * SIZE
    assert set(senders) == {net.a.ip, net.b.ip}


def test_one_direction(net: Net) -> None:
    with mirrored(net, VifFlag.MIRROR_RX) as one:
        transfer(net)
        senders, _ = read(one, SIZE)
    assert set(senders) == {net.a.ip}


def test_flows_share_equal_paths(net: Net) -> None:
    """Datagrams of many ports to one address: each flow at one guest, both guests have some."""
    host = net.host
    guests = {guest.ip: guest for guest in (net.a, net.b)}
    sender = host.guest(VRF, 9)
    ways = []
    for guest in guests.values():
        rewrite = guest.mac + bytes.fromhex("00005e000100") + b"\x08\x00"
        ways.append(host.put(type=NhType.ENCAP, vrf=VRF, oif=guest.vif, rewrite=rewrite))
    ecmp = host.put(
        type=NhType.COMPOSITE,
        flags=NhFlag.VALID | NhFlag.COMPOSITE_ECMP,
        vrf=VRF,
        members=tuple(Member(nh=way) for way in ways),
    )
    receive = host.put(type=NhType.L2_RECEIVE)
    gateway = bytes.fromhex("00005e000100")
    host.core.bridge.put(VRF, gateway, receive)
    host.core.inet.put(Route(vrf=VRF, prefix=IPv4Network("10.9.9.9/32"), nh=ecmp))
    got = {ip: _listen(guest) for ip, guest in guests.items()}
    run_in(sender.netns, f"ip neigh add 10.1.0.254 lladdr {gateway.hex(chr(58))} dev eth0")
    run_in(sender.netns, "ip route add 10.9.9.9/32 via 10.1.0.254")
    for _ in range(3):
        for port in range(6000, 6040):
            with netns.enter(sender.netns):
                one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind((sender.ip, port))
            one.sendto(b"flow", ("10.9.9.9", 4009))
            one.close()
    counts = {ip: _ports(one) for ip, one in got.items()}
    first, second = counts.values()
    assert not set(first) & set(second)
    assert set(first) | set(second) == set(range(6000, 6040))
    assert set(first.values()) == set(second.values()) == {3}


def _listen(guest: Guest) -> socket.socket:
    run_in(guest.netns, "ip addr add 10.9.9.9/32 dev lo")
    with netns.enter(guest.netns):
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind(("10.9.9.9", 4009))
    one.settimeout(1)
    return one


def _ports(one: socket.socket) -> Counter[int]:
    found: Counter[int] = Counter()
    with one, contextlib.suppress(TimeoutError):
        while True:
            found[one.recvfrom(64)[1][1]] += 1
    return found
