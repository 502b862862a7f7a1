# SPDX-License-Identifier: Apache-2.0
"""Tunnels over IPv6, both ways, and the fabric's and the host's own IPv6."""

from __future__ import annotations

from scapy.layers.inet import UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, PadN
from scapy.packet import Packet, Raw

from tests.model.const import Drop, Trap
from tests.model.state import mac

from . import states as s
from .frames import eth, ip, label, mplsoudp, sent_mplsoudp, tag, trapped
from .frames6 import (
    FAR_IP6,
    OTHER_IP6,
    SELF_IP6,
    hash6,
    mplsogre6,
    mplsoudp6,
    outer6,
    port_of,
    sent_mplsogre6,
    sent_mplsoudp6,
    sent_vxlan6,
    udp6,
    vxlan6,
)
from .table import Case, Macs, Names, copy, drop, flood, rows, trap, tx

B = s.BLUE
VX_MAC, UDP_MAC = mac("02:00:0a:01:01:28"), mac("02:00:0a:01:01:13")
GRE_MAC, ALL_MAC = mac("02:00:0a:01:01:14"), mac("02:00:0a:01:01:15")
UM, GM, VM = "udp_mpls_tunnels", "gre_mpls_tunnels", "vxlan_tunnels"


def out(name: str, dst: bytes, frame: bytes, sent: bytes, counter: str) -> Case:
    """A frame of vm1 that goes into a tunnel."""
    return tx(name, s.VM1, frame, s.FABRIC, sent, ((B, counter),), ((B, dst),))


def to(dst: bytes, *layers: Packet | bytes, type: int | None = None) -> bytes:
    """A frame of vm1."""
    return eth(dst, s.VM1_MAC, *layers, type=type)


SIX = udp6("fd00::3")
VALUE = hash6("fd00::1", "fd00::3", B)
OUT = [
    out("VXLAN", VX_MAC, to(VX_MAC, SIX), sent_vxlan6(5001, to(VX_MAC, SIX), VALUE), VM),
    out(
        "VXLAN: tagged",
        VX_MAC,
        to(VX_MAC, tag(), SIX),
        sent_vxlan6(5001, to(VX_MAC, tag(), SIX), VALUE),
        VM,
    ),
    out(
        "VXLAN: not IP",
        VX_MAC,
        to(VX_MAC, b"abc", type=0x88CC),
        sent_vxlan6(5001, to(VX_MAC, b"abc", type=0x88CC), None),
        VM,
    ),
    out("MPLSoUDP", UDP_MAC, to(UDP_MAC, SIX), sent_mplsoudp6(1040, to(UDP_MAC, SIX), VALUE), UM),
    out("MPLSoGRE", GRE_MAC, to(GRE_MAC, SIX), sent_mplsogre6(1050, to(GRE_MAC, SIX), VALUE), GM),
    out(
        "MPLSoGRE: not IP",
        GRE_MAC,
        to(GRE_MAC, b"abc", type=0x88CC),
        sent_mplsogre6(1050, to(GRE_MAC, b"abc", type=0x88CC), None),
        GM,
    ),
]
L2R = (B, "l2_receives")
GW: Macs = ((B, s.GATEWAY),)


def routed(name: str, dst: str, sent: bytes, counter: str) -> Case:
    """A packet of vm1 that a route sends into a tunnel."""
    frame = eth(s.GATEWAY, s.VM1_MAC, udp6(dst))
    return tx(name, s.VM1, frame, s.FABRIC, sent, (L2R, (B, counter)), GW)


def after(dst: str) -> bytes:
    """The packet after one hop."""
    return bytes(udp6(dst, hops=63))


def of(dst: str) -> int:
    """The hash of a packet of vm1."""
    return hash6("fd00::1", dst, B)


ROUTED = [
    routed(
        "L3 VXLAN",
        "fd00::b",
        sent_vxlan6(5001, eth(s.ROUTER_MAC, s.NIC_MAC, udp6("fd00::b", hops=63)), of("fd00::b")),
        VM,
    ),
    routed(
        "L3 MPLSoUDP",
        "fd00::c",
        sent_mplsoudp6(1030, after("fd00::c"), of("fd00::c"), ttl=63),
        UM,
    ),
    routed(
        "L3 MPLSoGRE",
        "fd00::d",
        sent_mplsogre6(1030, after("fd00::d"), of("fd00::d"), ttl=63),
        GM,
    ),
]
FRAME = to(ALL_MAC, SIX)
LEAVES = [
    copy(s.FABRIC, sent_mplsoudp(1030, FRAME, port_of(VALUE), id=0)),
    copy(s.FABRIC, sent_vxlan6(5001, FRAME, VALUE)),
    copy(s.FABRIC, sent_vxlan6(5001, FRAME, VALUE, dst=OTHER_IP6)),
    copy(s.FABRIC, sent_mplsoudp6(1030, FRAME, VALUE)),
]
FLOOD = [
    flood(
        "replicated over both versions: IPv4 first, one outer header at a time",
        s.VM1,
        FRAME,
        LEAVES,
        (),
        (
            (B, "l2_mcast_composites"),
            (B, "evpn_composites"),
            *((B, VM),) * 2,
            *((B, UM),) * 2,
        ),
        ((B, ALL_MAC),),
    ),
]

RCV: Names = ((0, "receives"),)
INSIDE4 = ip("10.1.1.1", src="10.1.1.3")
INSIDE6 = udp6("fd00::1", src="fd00::3")
L2 = (B, "l2_encaps")
L3 = (B, "encaps")
IN_BLUE: Names = (*RCV, (B, "vrf_translates"), L2)
VM1_HIT: Macs = ((B, s.VM1_MAC),)


def frame_of(inside: Packet) -> bytes:
    """A frame of the other host's VM."""
    return eth(s.VM1_MAC, s.REMOTE_MAC, inside)


def by_label(inside: Packet) -> bytes:
    """What vm1 gets of a packet without a frame."""
    return eth(s.VM1_MAC, s.GATEWAY, inside)


def arrives(name: str, packet: bytes, sent: bytes, vrf: Names, bridge: Macs = ()) -> Case:
    """What reaches vm1."""
    return tx(name, s.FABRIC, packet, s.VM1, sent, vrf, bridge)


def lost(name: str, packet: bytes, reason: Drop, vrf: Names = ()) -> Case:
    """A tunnel packet that is dropped, after the Receive nexthop has seen it."""
    return drop(name, s.FABRIC, packet, reason, (*RCV, *vrf))


TINY = eth(s.VM1_MAC, s.REMOTE_MAC, b"abc", type=0x88CC)
UDP_HEAD = UDP(sport=50000, dport=4789, chksum=0)
VNI = b"\x08\0\0\0" + (5001 << 8).to_bytes(4, "big")
IN = [
    arrives("VXLAN, IPv4", vxlan6(5001, frame_of(INSIDE4)), frame_of(INSIDE4), IN_BLUE, VM1_HIT),
    arrives("VXLAN, IPv6", vxlan6(5001, frame_of(INSIDE6)), frame_of(INSIDE6), IN_BLUE, VM1_HIT),
    arrives("VXLAN, short", vxlan6(5001, TINY), TINY + bytes(17), IN_BLUE, VM1_HIT),
    arrives(
        "VXLAN, with a UDP checksum, which is not looked at",
        vxlan6(5001, frame_of(INSIDE4), chksum=0x1234),
        frame_of(INSIDE4),
        IN_BLUE,
        VM1_HIT,
    ),
    arrives("MPLSoUDP, IPv4", mplsoudp6(1000, bytes(INSIDE4)), by_label(INSIDE4), (*RCV, L3)),
    arrives("MPLSoUDP, IPv6", mplsoudp6(1000, bytes(INSIDE6)), by_label(INSIDE6), (*RCV, L3)),
    arrives(
        "MPLSoUDP, old port",
        mplsoudp6(1000, bytes(INSIDE6), port=51234),
        by_label(INSIDE6),
        (*RCV, L3),
    ),
    arrives("MPLSoUDP, a frame", mplsoudp6(1001, frame_of(INSIDE4)), frame_of(INSIDE4), (*RCV, L2)),
    arrives("MPLSoGRE, IPv4", mplsogre6(1000, bytes(INSIDE4)), by_label(INSIDE4), (*RCV, L3)),
    arrives("MPLSoGRE, IPv6", mplsogre6(1000, bytes(INSIDE6)), by_label(INSIDE6), (*RCV, L3)),
    arrives("MPLSoGRE, a frame", mplsogre6(1001, frame_of(INSIDE6)), frame_of(INSIDE6), (*RCV, L2)),
    *trap(
        "VXLAN, router alert",
        s.FABRIC,
        outer6(UDP_HEAD / Raw(b"\x09" + VNI[1:] + frame_of(INSIDE4))),
        Trap.ROUTER_ALERT,
        trapped(outer6(UDP_HEAD / Raw(b"\x09" + VNI[1:] + frame_of(INSIDE4))), s.FABRIC, 0, 16),
        RCV,
    ),
    lost("an unknown VNI", vxlan6(4, frame_of(INSIDE4)), Drop.INVALID_VNID),
    lost("an unknown label", mplsoudp6(16, bytes(INSIDE4)), Drop.INVALID_LABEL),
    lost("back to where it came from", mplsoudp6(1020, bytes(INSIDE6)), Drop.PKT_LOOP),
    lost(
        "the same by its IPv6 address, from another host: no label",
        mplsoudp6(1020, bytes(INSIDE6), src=OTHER_IP6),
        Drop.INVALID_LABEL,
    ),
    lost("from IPv4 to IPv6: no loop", mplsoudp(1020, bytes(INSIDE6)), Drop.INVALID_LABEL),
    lost("from IPv6 to IPv4: no loop", mplsoudp6(1008, bytes(INSIDE6)), Drop.INVALID_LABEL),
]


def fragment(first: int, proto: int, body: bytes) -> bytes:
    """A fragment of a packet of another host."""
    head = IPv6ExtHdrFragment(offset=first, m=1, nh=proto)
    return outer6(head / Raw(body))


def to_host(name: str, packet: bytes) -> Case:
    """What is the host's own."""
    return tx(name, s.FABRIC, packet, s.HOST, packet, RCV)


VX_BODY = bytes(UDP_HEAD / Raw(VNI + frame_of(INSIDE4)))
GRE_BODY = b"\0\0\x88\x47" + label(1000) + bytes(INSIDE4)
OPTIONS = IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)])
STRANGE = [
    lost("a first fragment of VXLAN", fragment(0, 17, VX_BODY), Drop.FRAGMENTS),
    lost("a first fragment of GRE", fragment(0, 47, GRE_BODY), Drop.FRAGMENTS),
    lost("a later fragment of GRE", fragment(9, 47, GRE_BODY), Drop.FRAGMENTS),
    to_host("a later fragment of UDP", fragment(9, 17, VX_BODY)),
    to_host("a fragment of TCP", fragment(0, 6, VX_BODY)),
    lost(
        "a fragment header cut short",
        outer6(Raw(b"\x11\0\0"))[:20] + b"\x2c" + outer6(Raw(b"\x11\0\0"))[21:],
        Drop.INVALID_PACKET,
    ),
    to_host("VXLAN behind an extension header", outer6(OPTIONS / UDP_HEAD / Raw(VNI + TINY))),
    to_host("another UDP port", outer6(UDP(sport=1, dport=53) / Raw(b"x"))),
    to_host("TCP", outer6(Raw(b"x" * 20))[:20] + b"\x06" + outer6(Raw(b"x" * 20))[21:]),
]

UP, DOWN = (s.NIC_MAC, s.FAR_MAC), (s.FAR_MAC, s.NIC_MAC)


def up(name: str, frame: bytes) -> Case:
    """From the wire to the host."""
    return tx(name, s.FABRIC, frame, s.HOST, frame)


def down(name: str, frame: bytes) -> Case:
    """From the host to the wire."""
    return tx(name, s.HOST, frame, s.FABRIC, frame)


def wire(dst: str, hops: int = 64) -> bytes:
    """A packet of the underlay."""
    return eth(*UP, udp6(dst, src=FAR_IP6, hops=hops))


def host(dst: str, hops: int = 64) -> bytes:
    """A packet of the host's stack."""
    return eth(*DOWN, udp6(dst, src=SELF_IP6, hops=hops))


BROKEN = eth(*UP, IPv6(src=FAR_IP6, dst=SELF_IP6, plen=99))
OWN = [
    to_host("for the host", wire(SELF_IP6)),
    up("no route: the host's", wire("2001:4860::8", 1)),
    up("link-local: the host's, whatever the routes say", wire("fe80::77", 1)),
    up("multicast", eth(b"\x33\x33\0\0\0\1", s.FAR_MAC, udp6("ff02::1", src=FAR_IP6))),
    up("X: a route that is not Receive", wire("2001:db8::9", 1)).headless(),
    tx(
        "forwarded: hop limit down",
        s.FABRIC,
        wire("2001:db8::9"),
        s.FABRIC,
        eth(s.FAR_MAC, s.GATEWAY, udp6("2001:db8::9", src=FAR_IP6, hops=63)),
        ((0, "encaps"),),
    ).with_agent(),
    drop("a malformed header", s.FABRIC, BROKEN, Drop.INVALID_PACKET),
    down("of the host: no route", host("2001:4860::8")),
    down("of the host: link-local", host("fe80::77")),
    down("of the host: multicast", host("ff02::1")),
    down("X, of the host: a route", host("2001:db8::9", 1)).headless(),
    tx(
        "of the host, by a route",
        s.HOST,
        host("2001:db8::9", 1),
        s.FABRIC,
        host("2001:db8::9", 1),
        ((0, "encaps"),),
    ).with_agent(),
    drop(
        "of the host: a route to nothing", s.HOST, host("2001:db8:7::1"), Drop.INVALID_NH
    ).with_agent(),
    drop(
        "of a VM: a tunnel is a packet like any other",
        s.VM1,
        eth(s.GATEWAY, s.VM1_MAC, IPv6(vxlan6(5001, FRAME)[14:])),
        Drop.DISCARD,
        (L2R, (B, "discards")),
        GW,
    ),
]

CASES = rows(OUT, ROUTED, FLOOD, IN, STRANGE, OWN)
