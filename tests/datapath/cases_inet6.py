# SPDX-License-Identifier: Apache-2.0
"""IPv6 routing: the same nexthops as for IPv4, and what is IPv6's own."""

from __future__ import annotations

from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, PadN
from scapy.packet import Packet, Raw

from tests.model.const import Drop, Trap

from . import states as s
from .frames import (
    eth,
    mplsogre,
    mplsoudp,
    sent_mplsogre,
    sent_mplsoudp,
    sent_vxlan,
    tag,
    trapped,
    vxlan,
)
from .frames6 import hash6, port_of, udp6
from .table import Case, Macs, Names, drop, rows, trap, tx

B, R = s.BLUE, s.RED_VRF
L2R = (B, "l2_receives")
HIT: Macs = ((B, s.GATEWAY),)
ROUTED: Names = (L2R, (B, "encaps"))
SRC = "fd00::1"


def gw(*layers: Packet | bytes) -> bytes:
    """A frame of vm1 for the gateway."""
    return eth(s.GATEWAY, s.VM1_MAC, *layers)


def to(dst: str, hops: int = 64) -> bytes:
    """A packet of vm1 for the gateway."""
    return gw(udp6(dst, hops=hops))


def lost(name: str, dst: str, reason: Drop, vrf: Names = (), hops: int = 64) -> Case:
    """A routed packet of vm1 that is dropped."""
    return drop(name, s.VM1, to(dst, hops), reason, (L2R, *vrf), HIT)


def delivered(name: str, frame: bytes, packet: Packet) -> Case:
    """A packet of vm1 that reaches vm2."""
    return tx(name, s.VM1, frame, s.VM2, eth(s.VM2_MAC, s.GATEWAY, packet), ROUTED, HIT)


def spoiled(name: str, at: int, value: bytes) -> Case:
    """A packet for the gateway with a field of the IPv6 header overwritten."""
    frame = to("fd00::2")
    frame = frame[:at] + value + frame[at + len(value) :]
    return drop(name, s.VM1, frame, Drop.INVALID_PACKET, (L2R,), HIT)


def with_headers(hops: int) -> Packet:
    """A packet with extension headers."""
    head = IPv6(src=SRC, dst="fd00::2", hlim=hops)
    options = IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)])
    return head / options / IPv6ExtHdrFragment(offset=5, m=1) / Raw(b"x" * 8)


def bare(hops: int) -> Packet:
    """A packet with nothing behind its header."""
    return IPv6(src=SRC, dst="fd00::2", hlim=hops, nh=59)


VM = [
    delivered("to a VM of this host: hop limit and MACs", to("fd00::2"), udp6("fd00::2", hops=63)),
    delivered("the last hop but one", to("fd00::2", 2), udp6("fd00::2", hops=1)),
    delivered("a tag comes off", gw(tag(), udp6("fd00::2")), udp6("fd00::2", hops=63)),
    delivered("extension headers", gw(with_headers(64)), with_headers(63)),
    delivered("nothing behind the header", gw(bare(64)), bare(63)),
    *trap(
        "Resolve",
        s.VM1,
        to("fd00:4::1"),
        Trap.RESOLVE,
        trapped(to("fd00:4::1", 63), s.VM1, B, 5, 6),
        (L2R, (B, "resolves")),
        HIT,
    ),
    lost("no route", "2001:4860::8", Drop.DISCARD, ((B, "discards"),)),
    lost("a link-local address that no route names", "fe80::2", Drop.DISCARD, ((B, "discards"),)),
    lost("a route to Discard", "fd00:2::1", Drop.DISCARD, ((B, "discards"),)),
    lost("a route to nothing", "fd00::a", Drop.INVALID_NH),
    lost("a nexthop that is not valid", "fd00:6::1", Drop.INVALID_NH),
    lost("inside a /65", "fd00:6::4000:0:0:1", Drop.INVALID_NH),
    lost("one bit beyond a /65", "fd00:6::8000:0:0:1", Drop.DISCARD, ((B, "discards"),)),
    lost(
        "inside a /63",
        "fd00:5:0:1::1",
        Drop.PKT_LOOP,
        ((B, "vrf_translates"), (4, "vrf_translates"), (B, "vrf_translates")),
    ),
    lost("MPLS without a label", "fd00::7", Drop.INVALID_LABEL),
    lost("VXLAN that is not for L3", "fd00::6", Drop.INVALID_NH),
    lost("a composite cannot take a routed packet", "fd00::8", Drop.INVALID_NH),
    lost("L2 Receive cannot take a routed packet", "fd00::fe", Drop.INVALID_PROTOCOL, (L2R,)),
    lost(
        "another VRF has no route",
        "fd00:8::2",
        Drop.DISCARD,
        ((B, "vrf_translates"), (9, "discards")),
    ),
    tx(
        "by way of another VRF: hop limit down once",
        s.VM1,
        to("fd00:8::1"),
        s.VM1,
        eth(s.VM1_MAC, s.GATEWAY, udp6("fd00:8::1", hops=63)),
        (L2R, (B, "vrf_translates"), (9, "encaps")),
        HIT,
    ),
    tx(
        "to the host: as if sent to it, hop limit as it was",
        s.VM1,
        to("fd00:3::1", 1),
        s.HOST,
        eth(s.NIC_MAC, s.VM1_MAC, udp6("fd00:3::1", hops=1)),
        (L2R, (B, "receives")),
        HIT,
    ),
    spoiled("version 4", 14, b"\x40"),
    spoiled("version 7", 14, b"\x70"),
    spoiled("a payload longer than the frame", 18, b"\x00\xff"),
]


def tunnelled(name: str, dst: str, sent: bytes, counter: str, hops: int = 64) -> Case:
    """A packet of vm1 that a route sends into a tunnel over IPv4."""
    return tx(name, s.VM1, to(dst, hops), s.FABRIC, sent, (L2R, (B, counter)), HIT)


def value(dst: str, vrf: int = B) -> int:
    """The hash of a packet of vm1."""
    return hash6(SRC, dst, vrf)


def after(dst: str, hops: int = 63) -> bytes:
    """The packet after one hop."""
    return bytes(udp6(dst, hops=hops))


def to_router(dst: str) -> bytes:
    """What an L3 VXLAN tunnel carries."""
    return eth(s.ROUTER_MAC, s.NIC_MAC, udp6(dst, hops=63))


UM, GM, VM_ = "udp_mpls_tunnels", "gre_mpls_tunnels", "vxlan_tunnels"
TUNNELS = [
    tunnelled(
        "L3 MPLSoUDP: the label's TTL is the hop limit",
        "fd00::3",
        sent_mplsoudp(1030, after("fd00::3"), port_of(value("fd00::3")), ttl=63, id=0),
        UM,
    ),
    tunnelled(
        "L3 MPLSoUDP: hop limit 255",
        "fd00::3",
        sent_mplsoudp(1030, after("fd00::3", 254), port_of(value("fd00::3")), ttl=254, id=0),
        UM,
        255,
    ),
    tunnelled("L3 MPLSoGRE", "fd00::5", sent_mplsogre(1030, after("fd00::5"), ttl=63, id=0), GM),
    tunnelled(
        "L3 VXLAN",
        "fd00::4",
        sent_vxlan(5001, to_router("fd00::4"), port_of(value("fd00::4")), id=0),
        VM_,
    ),
    tx(
        "L3 VXLAN by the default route: the hash knows the VRF",
        s.RED,
        gw(udp6("2001:4860::8")),
        s.FABRIC,
        sent_vxlan(77, to_router("2001:4860::8"), port_of(value("2001:4860::8", R)), id=0),
        ((R, "l2_receives"), (R, VM_)),
        ((R, s.GATEWAY),),
    ),
]

RCV = (0, "receives")
IN = udp6("fd00::1", src="fd00::3")
BY_LABEL = eth(s.VM1_MAC, s.GATEWAY, IN)
HOP = eth(s.VM1_MAC, s.GATEWAY, udp6("fd00::1", src="fd00::3", hops=63))
LONG = bytes(IN)[:4] + b"\x01\x00" + bytes(IN)[6:]


def arrived(name: str, packet: bytes, sent: bytes, vrf: Names) -> Case:
    """What reaches vm1."""
    return tx(name, s.FABRIC, packet, s.VM1, sent, (RCV, *vrf))


INWARD = [
    arrived("from MPLSoUDP", mplsoudp(1000, bytes(IN)), BY_LABEL, ((B, "encaps"),)),
    arrived("from MPLSoGRE", mplsogre(1000, bytes(IN)), BY_LABEL, ((B, "encaps"),)),
    arrived(
        "from MPLSoUDP, routed",
        mplsoudp(1004, bytes(IN)),
        HOP,
        ((B, "vrf_translates"), (B, "encaps")),
    ),
    arrived(
        "from VXLAN, routed",
        vxlan(5006, eth(s.ROUTER_MAC, s.FAR_MAC, IN)),
        HOP,
        ((B, "vrf_translates"), (B, "encaps")),
    ),
    drop(
        "from MPLSoUDP: longer than it is",
        s.FABRIC,
        mplsoudp(1000, LONG),
        Drop.INVALID_PACKET,
        (RCV,),
    ),
]

CASES = rows(VM, TUNNELS, INWARD)
