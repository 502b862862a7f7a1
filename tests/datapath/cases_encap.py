# SPDX-License-Identifier: Apache-2.0
"""Tunnels on the way out: every encapsulation, with a frame and with a packet inside."""

from __future__ import annotations

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet, Raw

from tests.model.state import mac

from . import states as s
from .frames import (
    entropy,
    eth,
    ip,
    ip6,
    sent_mplsogre,
    sent_mplsoudp,
    sent_vxlan,
    tag,
    tcp,
    usual_port,
)
from .table import Case, Macs, Names, rows, tx

B, R = s.BLUE, s.RED_VRF
UDP_MAC, GRE_MAC = mac("02:00:0a:01:01:04"), mac("02:00:0a:01:01:05")
V = (B, "vxlan_tunnels")


def vx(name: str, frame: bytes, sport: int, id: int = 7) -> Case:
    """A frame of vm1 that goes into the VXLAN tunnel of REMOTE_MAC."""
    sent = sent_vxlan(5001, frame, sport, id=id)
    return tx(name, s.VM1, frame, s.FABRIC, sent, (V,), ((B, s.REMOTE_MAC),))


def mu(name: str, frame: bytes, sport: int, id: int = 7) -> Case:
    """A frame of vm1 that goes into an MPLSoUDP tunnel."""
    sent = sent_mplsoudp(1040, frame, sport, id=id)
    counts: Names = ((B, "udp_mpls_tunnels"),)
    return tx(name, s.VM1, frame, s.FABRIC, sent, counts, ((B, UDP_MAC),))


def gre(name: str, frame: bytes, id: int = 7) -> Case:
    """A frame of vm1 that goes into an MPLSoGRE tunnel."""
    sent = sent_mplsogre(1050, frame, id=id)
    counts: Names = ((B, "gre_mpls_tunnels"),)
    return tx(name, s.VM1, frame, s.FABRIC, sent, counts, ((B, GRE_MAC),))


def to(dst: bytes, *layers: Packet | bytes) -> bytes:
    """A frame of vm1."""
    return eth(dst, s.VM1_MAC, *layers)


def remote(*layers: Packet | bytes) -> bytes:
    """A frame of vm1 for the other host's VM."""
    return to(s.REMOTE_MAC, *layers)


A, Z = "10.1.1.1", "10.1.1.3"
PING = IP(src=A, dst=Z, id=9, proto=1) / Raw(b"\x08\x00abcdefgh")
FIRST = IP(src=A, dst=Z, id=9, flags="MF") / UDP(sport=1111, dport=2222) / Raw(b"x" * 16)
LATER = IP(src=A, dst=Z, id=9, frag=3, proto=17) / Raw(b"x" * 16)
STUB = IP(src=A, dst=Z, id=9, proto=17) / Raw(b"abc")
OPTIONS = IP(src=A, dst=Z, id=9, options=[b"\1" * 4]) / UDP(sport=1111, dport=2222)
SHORT = bytes(ip(Z))[:-3]
SIX_FOLD = (0x00FD ^ 0x01000000, 0x00FD ^ 0x02000000)


def v6_port(first: int = SIX_FOLD[0], second: int = SIX_FOLD[1]) -> int:
    """Its hash takes the exclusive or of the four words of each address."""
    halves = [
        ".".join(str(byte) for byte in word.to_bytes(4, "little")) for word in (first, second)
    ]
    return entropy(halves[0], halves[1], 1111, 2222, 17, B)


TO_ROUTER, BY_HOST = mac("02:00:0a:01:01:11"), mac("02:00:0a:01:01:10")
BRIDGED = to(TO_ROUTER, tag(), ip(Z))
THROUGH = to(BY_HOST, tag(), ip(Z))
# the VLAN tag inside is none of the outer header's
ODD = [
    tx(
        "VXLAN to a router: a bridged frame too gets its MACs",
        s.VM1,
        BRIDGED,
        s.FABRIC,
        sent_vxlan(5001, s.ROUTER_MAC + s.NIC_MAC + BRIDGED[12:], usual_port(Z)),
        (V,),
        ((B, TO_ROUTER),),
    ),
    tx(
        "VXLAN by the host's vif: the tag inside stays",
        s.VM1,
        THROUGH,
        s.HOST,
        s.NIC_MAC + sent_vxlan(5001, THROUGH, usual_port(Z), dst="172.30.0.3")[6:],
        (V,),
        ((B, BY_HOST),),
    ),
]
VXLAN_FRAMES = [
    vx("VXLAN: UDP", remote(ip(Z)), usual_port(Z)),
    vx("VXLAN: TCP", remote(tcp(Z)), entropy(A, Z, 1111, 80, 6, B)),
    vx("VXLAN: TCP, another flow", remote(tcp(Z, 1112)), entropy(A, Z, 1112, 80, 6, B)),
    vx("VXLAN: no ports", remote(PING), entropy(A, Z, 0, 0, 1, B), 9),
    vx("VXLAN: first fragment: no ports", remote(FIRST), entropy(A, Z, 0, 0, 17, B), 9),
    vx("VXLAN: later fragment: no ports", remote(LATER), entropy(A, Z, 0, 0, 17, B), 9),
    vx("VXLAN: UDP without ports", remote(STUB), entropy(A, Z, 0, 0, 17, B), 9),
    vx("VXLAN: IP options", remote(OPTIONS), usual_port(Z), 9),
    vx("VXLAN: tagged", remote(tag(), ip(Z)), usual_port(Z)),
    vx("VXLAN: IPv6", remote(ip6()), v6_port(), 0),
    vx("VXLAN: IP cut short", eth(s.REMOTE_MAC, s.VM1_MAC, SHORT, type=0x0800), 52000, 0),
    vx("VXLAN: not IP", eth(s.REMOTE_MAC, s.VM1_MAC, b"abc", type=0x88CC), 52000, 0),
    vx("VXLAN: an Ethernet header alone", eth(s.REMOTE_MAC, s.VM1_MAC, type=0x88CC), 52000, 0),
]
NO_IP6 = eth(s.REMOTE_MAC, s.VM1_MAC, b"\x40" + bytes(IPv6())[1:], type=0x86DD)
MPLS_FRAMES = [
    vx("VXLAN: IPv6 of no version", NO_IP6, 52000, 0),
    mu("MPLSoUDP: UDP", to(UDP_MAC, ip(Z)), usual_port(Z)),
    mu("MPLSoUDP: not IP", eth(UDP_MAC, s.VM1_MAC, b"abc", type=0x88CC), 51000, 0),
    mu("MPLSoUDP: tagged", to(UDP_MAC, tag(), ip(Z)), usual_port(Z)),
    mu("MPLSoUDP: IPv6", to(UDP_MAC, ip6()), v6_port(), 0),
    mu("MPLSoUDP: TTL 1 is the VM's affair", to(UDP_MAC, ip(Z, ttl=1)), usual_port(Z)),
    gre("MPLSoGRE: UDP", to(GRE_MAC, ip(Z))),
    gre("MPLSoGRE: not IP", eth(GRE_MAC, s.VM1_MAC, b"abc", type=0x88CC), 0),
    gre("MPLSoGRE: tagged", to(GRE_MAC, tag(), ip(Z))),
    gre("MPLSoGRE: IPv6", to(GRE_MAC, ip6()), 0),
]

L2R = (B, "l2_receives")
GW: Macs = ((B, s.GATEWAY),)


def routed(
    name: str, dst: str, sent: bytes, counter: str, ttl: int = 64, layer: Packet | None = None
) -> Case:
    """A packet of vm1 for the gateway that a route sends into a tunnel."""
    frame = to(s.GATEWAY, *([layer] if layer is not None else []), ip(dst, ttl=ttl))
    return tx(name, s.VM1, frame, s.FABRIC, sent, (L2R, (B, counter)), GW)


def after(dst: str, ttl: int = 63) -> bytes:
    """The packet after one hop."""
    return bytes(ip(dst, ttl=ttl))


def to_router(dst: str, ttl: int = 63) -> bytes:
    """What an L3 VXLAN tunnel carries: the far router's MAC, and that of the fabric vif."""
    return eth(s.ROUTER_MAC, s.NIC_MAC, ip(dst, ttl=ttl))


UM, GM, VM = "udp_mpls_tunnels", "gre_mpls_tunnels", "vxlan_tunnels"
P3, P4 = usual_port("10.1.1.3"), usual_port("10.1.1.4")
RED = to(s.GATEWAY, ip("10.9.9.9"))
RED_SENT = sent_vxlan(77, to_router("10.9.9.9"), usual_port("10.9.9.9", R))
ROUTED = [
    routed(
        "L3 MPLSoUDP: the label's TTL is the packet's",
        "10.1.1.3",
        sent_mplsoudp(1030, after("10.1.1.3"), P3, ttl=63),
        UM,
    ),
    routed(
        "L3 MPLSoUDP: TTL 255",
        "10.1.1.3",
        sent_mplsoudp(1030, after("10.1.1.3", 254), P3, ttl=254),
        UM,
        255,
    ),
    routed(
        "L3 MPLSoUDP: TTL 2",
        "10.1.1.3",
        sent_mplsoudp(1030, after("10.1.1.3", 1), P3, ttl=1),
        UM,
        2,
    ),
    routed(
        "L3 MPLSoUDP: a tag comes off",
        "10.1.1.3",
        sent_mplsoudp(1030, after("10.1.1.3"), P3, ttl=63),
        UM,
        layer=tag(),
    ),
    routed("L3 MPLSoGRE", "10.1.1.5", sent_mplsogre(1030, after("10.1.1.5"), ttl=63), GM),
    routed("L3 VXLAN", "10.1.1.4", sent_vxlan(5001, to_router("10.1.1.4"), P4), VM),
    routed(
        "L3 VXLAN: a tag comes off",
        "10.1.1.4",
        sent_vxlan(5001, to_router("10.1.1.4"), P4),
        VM,
        layer=tag(),
    ),
    tx(
        "L3 VXLAN: the hash knows the VRF",
        s.RED,
        RED,
        s.FABRIC,
        RED_SENT,
        ((R, "l2_receives"), (R, VM)),
        ((R, s.GATEWAY),),
    ),
]


def of_size(dst: bytes, length: int) -> bytes:
    """A frame of that many bytes."""
    return to(dst, ip(Z, size=length - 42))


SIZES = [
    vx("VXLAN: 1500 bytes outside", of_size(s.REMOTE_MAC, 1464), usual_port(Z)),
    mu("MPLSoUDP: 1500 bytes outside", of_size(UDP_MAC, 1468), usual_port(Z)),
    gre("MPLSoGRE: 1500 bytes outside", of_size(GRE_MAC, 1472)),
]

CASES = rows(ODD, VXLAN_FRAMES, MPLS_FRAMES, ROUTED, SIZES)
