# SPDX-License-Identifier: Apache-2.0
"""Frames for the tables of cases, built with scapy: a third opinion beside dp-core and model."""

from __future__ import annotations

import struct
from socket import inet_aton

from scapy.contrib.mpls import MPLS
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, GRE, Dot1Q, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw

from tests.model.hash import hashword

from . import states as s

FAR_IP, OTHER_IP, SELF_IP = "172.30.0.2", "172.30.0.3", "172.30.0.1"
ALL = "ff:ff:ff:ff:ff:ff"


def text(address: bytes) -> str:
    """A MAC as scapy wants it."""
    return address.hex(":")


def eth(dst: bytes, src: bytes, *layers: Packet | bytes, type: int | None = None) -> bytes:
    """A frame; the EtherType follows from the first layer unless it is given."""
    frame = Ether(dst=text(dst), src=text(src))
    if type is not None:
        frame.type = type
    for layer in layers:
        frame = frame / layer
    return bytes(frame)


def ip(dst: str, src: str = "10.1.1.1", *, ttl: int = 64, id: int = 7, size: int = 4) -> Packet:
    """A UDP packet from port 1111 to port 2222 with `size` bytes of payload."""
    return IP(src=src, dst=dst, ttl=ttl, id=id) / UDP(sport=1111, dport=2222) / Raw(b"x" * size)


def ip6(size: int = 4) -> Packet:
    """A UDP packet over IPv6."""
    return IPv6(src="fd00::1", dst="fd00::2") / UDP(sport=1111, dport=2222) / Raw(b"x" * size)


def tag(vid: int = 100) -> Packet:
    """A VLAN tag."""
    return Dot1Q(vlan=vid)


def request(
    target: str,
    *,
    sha: bytes = s.VM1_MAC,
    spa: str = "10.1.1.1",
    dst: bytes = b"\xff" * 6,
    tagged: bool = False,
) -> bytes:
    """An ARP request."""
    arp = ARP(op=1, hwsrc=text(sha), psrc=spa, hwdst="00:00:00:00:00:00", pdst=target)
    return eth(dst, sha, *([tag()] if tagged else []), arp)


def reply(dst: bytes, target: str, *, sha: bytes = s.VM1_MAC, spa: str = "10.1.1.1") -> bytes:
    """An ARP reply."""
    return eth(dst, sha, ARP(op=2, hwsrc=text(sha), psrc=spa, hwdst=text(dst), pdst=target))


def outer(payload: Packet, *, src: str = FAR_IP, dst: str = SELF_IP) -> bytes:
    """What another host sends to this one."""
    return eth(s.NIC_MAC, s.FAR_MAC, IP(src=src, dst=dst, id=1) / payload)


def vxlan(vni: int, frame: bytes, *, flags: int = 8, low: int = 0, src: str = FAR_IP) -> bytes:
    """A VXLAN packet of another host; `low` is the reserved byte behind the VNI."""
    head = struct.pack("!II", flags << 24, vni << 8 | low)
    return outer(UDP(sport=50000, dport=4789, chksum=0) / Raw(head + frame), src=src)


def label(number: int, *, ttl: int = 64, bottom: int = 1, exp: int = 0) -> bytes:
    """A label stack entry."""
    return bytes(MPLS(label=number, cos=exp, s=bottom, ttl=ttl))


def mplsoudp(number: int, inside: bytes, *, port: int = 6635, src: str = FAR_IP) -> bytes:
    """An MPLSoUDP packet of another host."""
    return outer(UDP(sport=50000, dport=port, chksum=0) / Raw(label(number) + inside), src=src)


def mplsogre(number: int, inside: bytes, *, csum: int = 0, key: int = 0) -> bytes:
    """An MPLSoGRE packet of another host."""
    words = b"\0" * 4 * (csum + key)
    head = struct.pack("!HH", csum << 15 | key << 13, 0x8847)
    return outer_gre(head + words + label(number) + inside)


def outer_gre(body: bytes) -> bytes:
    """An IPv4 packet of protocol GRE to this host."""
    packet = IP(src=FAR_IP, dst=SELF_IP, proto=47, id=1) / Raw(body)
    return eth(s.NIC_MAC, s.FAR_MAC, packet)


def sent_vxlan(vni: int, frame: bytes, sport: int, *, id: int = 7, dst: str = FAR_IP) -> bytes:
    """The VXLAN packet that dp-core must make of a frame."""
    head = VXLAN(flags="Instance", vni=vni)
    return _sent(UDP(sport=sport, dport=4789, chksum=0) / head / Raw(frame), id, dst)


def sent_mplsoudp(
    number: int,
    data: bytes,
    sport: int,
    *,
    ttl: int = 64,
    id: int = 7,
    dst: str = FAR_IP,
    tos: int = 0,
    exp: int = 0,
) -> bytes:
    """The MPLSoUDP packet that dp-core must make of a frame or an IP packet."""
    body = Raw(label(number, ttl=ttl, exp=exp) + data)
    return _sent(UDP(sport=sport, dport=6635, chksum=0) / body, id, dst, tos)


def sent_mplsogre(
    number: int, data: bytes, *, ttl: int = 64, id: int = 7, dst: str = FAR_IP
) -> bytes:
    """The MPLSoGRE packet that dp-core must make of a frame or an IP packet."""
    return _sent(GRE(proto=0x8847) / Raw(label(number, ttl=ttl) + data), id, dst)


def _sent(payload: Packet, id: int, dst: str, tos: int = 0) -> bytes:
    head = IP(src=SELF_IP, dst=dst, id=id, ttl=64, tos=tos)
    return eth(s.FAR_MAC, s.NIC_MAC, head / payload)


def trapped(
    frame: bytes, vif: int, vrf: int, reason: int, param: int = 0, param1: int = 0
) -> bytes:
    """The frame as the agent gets it."""
    head = struct.pack("!HHHII", vif, vrf, reason, param, param1) + bytes(16)
    return eth(s.GATEWAY, s.GATEWAY, Raw(head + frame), type=0x0800)


def injected(frame: bytes, vif: int, vrf: int, command: int) -> bytes:
    """What the agent writes to pkt0."""
    return trapped(frame, vif, vrf, command)


def tcp(dst: str, sport: int = 1111, src: str = "10.1.1.1") -> Packet:
    """A TCP packet."""
    return IP(src=src, dst=dst, id=7) / TCP(sport=sport, dport=80) / Raw(b"hello")


def hash4(src: str, dst: str, sport: int, dport: int, proto: int, vrf: int) -> int:
    """The hash of a flow, which itself is tested against vectors (test_hash.py)."""
    first, second = (int.from_bytes(inet_aton(one), "little") for one in (src, dst))
    ports = int.from_bytes(struct.pack("!HH", sport, dport), "little")
    return hashword([first, second, ports, proto << 16 | vrf], s.SEED)


def entropy(src: str, dst: str, sport: int, dport: int, proto: int, vrf: int) -> int:
    """The outer source port."""
    return 49152 + (hash4(src, dst, sport, dport, proto, vrf) * 16383 >> 32)


def usual_port(dst: str, vrf: int = s.BLUE, src: str = "10.1.1.1") -> int:
    """The outer source port of what `ip` makes."""
    return entropy(src, dst, 1111, 2222, 17, vrf)
