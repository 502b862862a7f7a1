# SPDX-License-Identifier: Apache-2.0
"""What is too long for its tunnel and may be cut: the outer packet goes in fragments, which a
plain kernel puts together again."""

from __future__ import annotations

import contextlib
import hashlib
import random
import socket
from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv6Address

import pytest

from tests.system.topology import TUNNEL_FLAG, Guest, Host, World, run_in
from vrouter.dpcore.names import DropReason, Family, NhFlag, NhType
from vrouter.host import netns
from vrouter.host.netlink import Netlink

VRF, VNI, LABEL, PORT = 1, 5010, 99, 4001
FAR_IP, FAR_MAC = "172.29.0.200", bytes.fromhex("0200000009c8")
FAR_IP6, SELF_IP6 = "fd29::200", "fd29::1"
IP_MTU_DISCOVER, IP_PMTUDISC_DONT, UDP_SEGMENT = 10, 0, 103
GUEST_MTU = 9000
SIZES = (1422, 1423, 1424, 1472, 1473, 2900, 5000, 8972)
INNER = {"vxlan": "10.1.0.201", "vxlan6": "10.1.0.202", "mplsoudp": "10.1.0.203"}
INNER |= {"mplsogre": "10.1.0.204", "mplsoudp6": "10.1.0.205", "mplsogre6": "10.1.0.206"}


def inner_mac(kind: str) -> bytes:
    return bytes((2, 0, 10, 1, 0, int(INNER[kind].rsplit(".", 1)[1])))


class Net:
    """A host with a guest, and a far end that is no vRouter."""

    def __init__(self, world: World) -> None:
        self.host: Host = world.host()
        self.guest: Guest = self.host.guest(VRF, 1)
        self.far = world.namespace("far")
        world.plug_in(self.far, "eth0", FAR_MAC)
        self._make_far()
        for kind in INNER:
            self._lead_to(kind)
        with netns.enter(self.host.netns), Netlink() as links:
            links.set(links.need(f"tap{VRF}-1"), mtu=GUEST_MTU)
        with netns.enter(self.guest.netns), Netlink() as links:
            links.set(links.need(self.guest.device), mtu=GUEST_MTU)

    def _make_far(self) -> None:
        with netns.enter(self.far):
            for scope in ("all", "default", "eth0"):
                netns.sysctl(f"net/ipv6/conf/{scope}/disable_ipv6", 0)
        for command in (
            f"ip address add {FAR_IP}/24 dev eth0",
            f"ip -6 address add {FAR_IP6}/64 dev eth0 nodad",
            f"ip link add vxlan type vxlan id {VNI} dstport 4789 local {FAR_IP} "
            f"remote {self.host.ip} dev eth0",
            f"ip link add vxlan6 type vxlan id {VNI + 1} dstport 4789 local {FAR_IP6} "
            f"remote {SELF_IP6} dev eth0 udp6zerocsumrx",
        ):
            run_in(self.far, command)
        for kind in ("vxlan", "vxlan6"):
            mac = inner_mac(kind).hex(":")
            run_in(self.far, f"ip link set {kind} address {mac} up")
            run_in(self.far, f"ip address add {INNER[kind]}/32 dev {kind}")
            with netns.enter(self.far):
                netns.sysctl(f"net/ipv4/conf/{kind}/rp_filter", 0)

    def _lead_to(self, kind: str) -> None:
        """The guest's frames for that address go to the far end, in that tunnel."""
        mac, six = inner_mac(kind), kind.endswith("6")
        if not six:
            nexthop = self.host.tunnel(FAR_IP, FAR_MAC, kind)
        else:
            nexthop = self.host.put(
                type=NhType.TUNNEL,
                family=Family.INET6,
                flags=NhFlag.VALID | TUNNEL_FLAG[kind.removesuffix("6")],
                oif=self.host.nic,
                sip=IPv6Address(SELF_IP6),
                dip=IPv6Address(FAR_IP6),
                rewrite=FAR_MAC + self.host.mac + b"\x86\xdd",
            )
        number = VNI + six if kind.startswith("vxlan") else LABEL
        self.host.core.bridge.put(VRF, mac, nexthop, number)
        neighbour = f"ip neighbour replace {INNER[kind]} lladdr {mac.hex(':')}"
        run_in(self.guest.netns, f"{neighbour} dev {self.guest.device}")

    def drops(self) -> Counter[int]:
        return Counter(self.host.core.stats.drops())


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with World() as world:
        yield Net(world)


def sender(net: Net) -> socket.socket:
    """A socket of the guest whose packets have no DF."""
    with netns.enter(net.guest.netns):
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
    return one


def datagrams() -> list[bytes]:
    return [random.Random(size).randbytes(size) for size in SIZES for _ in range(3)]


def md5(bodies: list[bytes]) -> list[str]:
    return sorted(hashlib.md5(body, usedforsecurity=False).hexdigest() for body in bodies)


def far_socket(net: Net, family: int, kind: int, proto: int) -> socket.socket:
    with netns.enter(net.far):
        one = socket.socket(family, kind, proto)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    one.settimeout(5)
    return one


@pytest.mark.parametrize("kind", ["vxlan", "vxlan6"])
def test_the_kernels_vxlan_device_gets_them_whole(net: Net, kind: str) -> None:
    bodies, before = datagrams(), net.drops()
    with sender(net) as out, far_socket(net, socket.AF_INET, socket.SOCK_DGRAM, 0) as back:
        back.bind((INNER[kind], PORT))
        for body in bodies:
            out.sendto(body, (INNER[kind], PORT))
        assert md5([back.recv(65535) for _ in bodies]) == md5(bodies)
    lost = net.drops() - before
    # nothing but the originals of what went on in pieces
    assert lost.keys() == {DropReason.CLONED_ORIGINAL}
    least = 1423 if kind == "vxlan" else 1403
    assert lost.total() == 3 * sum(size >= least for size in SIZES)


def test_datagrams_in_one_packet_are_cut_each(net: Net) -> None:
    """UDP_SEGMENT: the exception pair makes single packets, and each of them is too long."""
    bodies = [random.Random(number).randbytes(1460) for number in range(40)]
    with sender(net) as out, far_socket(net, socket.AF_INET, socket.SOCK_DGRAM, 0) as back:
        back.bind((INNER["vxlan"], PORT))
        out.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1460)
        for at in range(0, 40, 10):
            out.sendto(b"".join(bodies[at : at + 10]), (INNER["vxlan"], PORT))
        assert md5([back.recv(65535) for _ in bodies]) == md5(bodies)


@pytest.mark.parametrize("kind", ["mplsoudp", "mplsogre", "mplsoudp6", "mplsogre6"])
def test_other_tunnels_packets_are_put_together(net: Net, kind: str) -> None:
    """A raw socket gets the outer packet whole: behind the label stands the guest's frame."""
    proto = socket.IPPROTO_GRE if kind.startswith("mplsogre") else socket.IPPROTO_UDP
    family = socket.AF_INET6 if kind.endswith("6") else socket.AF_INET
    bodies = datagrams()
    with sender(net) as out, far_socket(net, family, socket.SOCK_RAW, proto) as back:
        for body in bodies:
            out.sendto(body, (INNER[kind], PORT))
        got = [back.recv(65535) for _ in bodies]
    skip = (20 if family == socket.AF_INET else 0) + (8 if proto == socket.IPPROTO_GRE else 12)
    frames = [data[skip:] for data in got]
    assert {(frame[:6], frame[6:12]) for frame in frames} == {(inner_mac(kind), net.guest.mac)}
    assert md5([frame[42:] for frame in frames]) == md5(bodies)
    # one that fits leaves its checksum to the NIC
    assert all(udp_is_right(frame[14:]) for frame in frames if len(frame) >= 42 + 1472)


def udp_is_right(packet: bytes) -> bool:
    """Whether the checksum of a UDP packet without options is right, and there."""
    pseudo = packet[12:20] + b"\0\x11" + packet[24:26]
    data = pseudo + packet[20:] + bytes(len(packet) % 2)
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total == 0xFFFF and packet[26:28] != b"\0\0"


def test_without_the_pair_they_are_lost_and_counted(net: Net) -> None:
    before = net.drops()
    with netns.enter(net.host.netns), Netlink() as links:
        links.set(links.need("vrx0"), state="down")
    try:
        with sender(net) as out, contextlib.suppress(OSError):
            out.sendto(bytes(1472), (INNER["vxlan"], PORT))
    finally:
        with netns.enter(net.host.netns), Netlink() as links:
            links.up("vrx0")
    assert (net.drops() - before)[DropReason.NO_EXCEPTION] == 1
