# SPDX-License-Identifier: Apache-2.0
"""Tunnels that end at this host: how they are opened, and what may be inside."""

from __future__ import annotations

from scapy.layers.inet import IP, UDP
from scapy.packet import Packet, Raw

from tests.model.const import BROADCAST, Drop, Trap
from tests.model.state import mac

from . import states as s
from .frames import (
    OTHER_IP,
    eth,
    ip,
    ip6,
    mplsogre,
    mplsoudp,
    outer,
    tag,
    trapped,
    vxlan,
)
from .table import Case, Macs, Names, copy, drop, flood, rows, trap, tx

B, R = s.BLUE, s.RED_VRF
RCV: Names = ((0, "receives"),)
TRANSLATED: Names = (*RCV, (B, "vrf_translates"))
INSIDE = ip("10.1.1.1", src="10.1.1.3")
BARE = bytes(INSIDE)
FRAME = eth(s.VM1_MAC, s.REMOTE_MAC, INSIDE)
TO_VM1: Macs = ((B, s.VM1_MAC),)
L2 = (B, "l2_encaps")
L3 = (B, "encaps")
OUTER_HEAD = (s.NIC_MAC, s.FAR_MAC)
BY_LABEL = eth(s.VM1_MAC, s.GATEWAY, INSIDE)
REWRITTEN = eth(s.VM1_MAC, s.GATEWAY, INSIDE)


def to_vm1(name: str, packet: bytes, sent: bytes, vrf: Names, bridge: Macs = ()) -> Case:
    """What reaches vm1."""
    return tx(name, s.FABRIC, packet, s.VM1, sent, (*RCV, *vrf), bridge)


def lost(name: str, packet: bytes, reason: Drop, vrf: Names = (), bridge: Macs = ()) -> Case:
    """A tunnel packet that is dropped, after the Receive nexthop has seen it."""
    return drop(name, s.FABRIC, packet, reason, (*RCV, *vrf), bridge)


def to_host(name: str, packet: bytes) -> Case:
    """What is the host's own."""
    return tx(name, s.FABRIC, packet, s.HOST, packet, RCV)


TINY = eth(s.VM1_MAC, s.REMOTE_MAC, b"abc", type=0x88CC)
TINY6 = eth(s.VM1_MAC, s.REMOTE_MAC, b"\x60ab", type=0x86DD)
TINY_TAG = eth(s.VM1_MAC, s.REMOTE_MAC, tag(), b"abc")
TAGGED = eth(s.VM1_MAC, s.REMOTE_MAC, tag(), INSIDE)
UNKNOWN = eth(mac("02:de:ad:00:00:01"), s.REMOTE_MAC, INSIDE)
FOR_GATEWAY = eth(s.GATEWAY, s.REMOTE_MAC, INSIDE)
BLUE_IN = ((B, "vrf_translates"), L2)
VXLAN = [
    to_vm1("VXLAN", vxlan(5001, FRAME), FRAME, BLUE_IN, TO_VM1),
    to_vm1("VXLAN: the byte behind the VNI", vxlan(5001, FRAME, low=255), FRAME, BLUE_IN, TO_VM1),
    to_vm1("VXLAN: other flags", vxlan(5001, FRAME, flags=0xFE), FRAME, BLUE_IN, TO_VM1),
    to_vm1("VXLAN: tagged inside", vxlan(5001, TAGGED), TAGGED, BLUE_IN, TO_VM1),
    to_vm1("VXLAN: a short frame", vxlan(5001, TINY), TINY + bytes(17), BLUE_IN, TO_VM1),
    to_vm1("VXLAN: a short IPv6 frame", vxlan(5001, TINY6), TINY6 + bytes(37), BLUE_IN, TO_VM1),
    to_vm1(
        "VXLAN: a short tagged frame", vxlan(5001, TINY_TAG), TINY_TAG + bytes(17), BLUE_IN, TO_VM1
    ),
    to_vm1(
        "VXLAN: bytes behind the packet stay",
        vxlan(5001, FRAME) + b"tail",
        FRAME + b"tail",
        BLUE_IN,
        TO_VM1,
    ),
    tx(
        "VXLAN: the other network, equal MACs",
        s.FABRIC,
        vxlan(5002, FRAME),
        s.RED,
        FRAME,
        (*RCV, (R, "vrf_translates"), (R, "l2_encaps")),
        ((R, s.VM1_MAC),),
    ),
    to_vm1("VXLAN: straight to a vif", vxlan(5004, UNKNOWN), UNKNOWN, (L2,)),
    to_vm1("VXLAN: straight to a vif, with a rewrite", vxlan(5009, UNKNOWN), REWRITTEN, (L3,)),
    to_vm1(
        "VXLAN: for the gateway: routed",
        vxlan(5001, FOR_GATEWAY),
        eth(s.VM1_MAC, s.GATEWAY, ip("10.1.1.1", src="10.1.1.3", ttl=63)),
        ((B, "vrf_translates"), (B, "l2_receives"), L3),
        ((B, s.GATEWAY),),
    ),
    to_vm1(
        "VXLAN: a VNI for routing",
        vxlan(5006, UNKNOWN),
        eth(s.VM1_MAC, s.GATEWAY, ip("10.1.1.1", src="10.1.1.3", ttl=63)),
        ((B, "vrf_translates"), L3),
    ),
    lost(
        "VXLAN: a VNI for routing, but no IP",
        vxlan(5006, eth(s.VM1_MAC, s.REMOTE_MAC, type=0x88CC)),
        Drop.INVALID_PROTOCOL,
        ((B, "vrf_translates"),),
    ),
    lost(
        "VXLAN: a VNI for L2 Receive is the fabric's VRF",
        vxlan(5008, UNKNOWN),
        Drop.DISCARD,
        ((0, "l2_receives"), (0, "discards")),
    ),
    lost("VXLAN: a VNI that nobody has", vxlan(9999, FRAME), Drop.INVALID_VNID),
    lost("VXLAN: VNI 0", vxlan(0, FRAME), Drop.INVALID_VNID),
    lost("VXLAN: a VNI with one bit more", vxlan(5001 | 1 << 23, FRAME), Drop.INVALID_VNID),
    lost("VXLAN: no I bit", vxlan(5001, FRAME, flags=0), Drop.INVALID_VNID),
    lost("VXLAN: router alert without I bit", vxlan(5001, FRAME, flags=1), Drop.INVALID_VNID),
    lost("VXLAN: a nexthop that is not there", vxlan(5005, FRAME), Drop.INVALID_NH),
    lost(
        "VXLAN: unknown unicast", vxlan(5001, UNKNOWN), Drop.L2_NO_ROUTE, ((B, "vrf_translates"),)
    ),
    lost("VXLAN: 13 bytes inside", vxlan(5001, FRAME[:13]), Drop.INVALID_PACKET),
    lost("VXLAN: nothing inside", vxlan(5001, b""), Drop.INVALID_PACKET),
    lost(
        "VXLAN: back into the tunnel",
        vxlan(5001, eth(s.REMOTE_MAC, s.FAR_MAC, INSIDE)),
        Drop.PKT_LOOP,
        ((B, "vrf_translates"),),
        ((B, s.REMOTE_MAC),),
    ),
    lost("VXLAN: a VNI that leads back", vxlan(5007, FRAME), Drop.PKT_LOOP),
    lost(
        "VXLAN: on to another tunnel, without a label",
        vxlan(5007, FRAME, src=OTHER_IP),
        Drop.INVALID_VNID,
    ),
    *trap(
        "VXLAN: router alert",
        s.FABRIC,
        vxlan(5001, FRAME, flags=9),
        Trap.ROUTER_ALERT,
        trapped(vxlan(5001, FRAME, flags=9), s.FABRIC, 0, 16),
        RCV,
    ),
    *trap(
        "VXLAN: router alert, whatever the VNI",
        s.FABRIC,
        vxlan(9999, FRAME, flags=9),
        Trap.ROUTER_ALERT,
        trapped(vxlan(9999, FRAME, flags=9), s.FABRIC, 0, 16),
        RCV,
    ),
]
UUC = flood(
    "VXLAN: unknown unicast of a network that floods it",
    s.FABRIC,
    vxlan(5002, UNKNOWN),
    [copy(s.VM1, UNKNOWN)],
    (Drop.INVALID_NH, Drop.INVALID_NH),
    (
        *RCV,
        (R, "vrf_translates"),
        (R, "uuc_floods"),
        (R, "l2_mcast_composites"),
        (R, "encap_composites"),
        (R, "l2_encaps"),
    ),
    ((R, BROADCAST),),
)
BARE6 = bytes(ip6())
V6_OUT = eth(s.VM1_MAC, s.GATEWAY, ip6())
LAST_HOP = bytes(ip("10.1.1.1", src="10.1.1.3", ttl=1))
MPLS = [
    to_vm1("MPLSoUDP: a packet, TTL as it was", mplsoudp(1000, BARE), BY_LABEL, (L3,)),
    to_vm1(
        "MPLSoUDP: a packet, TTL 1",
        mplsoudp(1000, LAST_HOP),
        eth(s.VM1_MAC, s.GATEWAY, LAST_HOP, type=0x0800),
        (L3,),
    ),
    to_vm1("MPLSoUDP: the old port", mplsoudp(1000, BARE, port=51234), BY_LABEL, (L3,)),
    to_vm1("MPLSoUDP: IPv6", mplsoudp(1000, BARE6), V6_OUT, (L3,)),
    to_vm1(
        "MPLSoUDP: bytes behind the packet stay",
        mplsoudp(1000, BARE) + b"tail",
        BY_LABEL + b"tail",
        (L3,),
    ),
    to_vm1("MPLSoUDP: a frame", mplsoudp(1001, FRAME), FRAME, (L2,)),
    to_vm1("MPLSoUDP: a short frame", mplsoudp(1001, TINY), TINY + bytes(17), (L2,)),
    to_vm1("MPLSoUDP: a frame for a VRF", mplsoudp(1002, FRAME), FRAME, BLUE_IN, TO_VM1),
    tx(
        "MPLSoUDP: a frame for the other VRF",
        s.FABRIC,
        mplsoudp(1014, FRAME),
        s.RED,
        FRAME,
        (*RCV, (R, "vrf_translates"), (R, "l2_encaps")),
        ((R, s.VM1_MAC),),
    ),
    tx(
        "MPLSoUDP: a label of the other network",
        s.FABRIC,
        mplsoudp(1013, FRAME),
        s.RED,
        FRAME,
        (*RCV, (R, "l2_encaps")),
    ),
    to_vm1(
        "MPLSoUDP: a packet for a VRF: routed",
        mplsoudp(1004, BARE),
        eth(s.VM1_MAC, s.GATEWAY, ip("10.1.1.1", src="10.1.1.3", ttl=63)),
        ((B, "vrf_translates"), L3),
    ),
    to_vm1("MPLSoGRE: a packet", mplsogre(1000, BARE), BY_LABEL, (L3,)),
    to_vm1("MPLSoGRE: a packet, checksum", mplsogre(1000, BARE, csum=1), BY_LABEL, (L3,)),
    to_vm1("MPLSoGRE: a packet, key", mplsogre(1000, BARE, key=1), BY_LABEL, (L3,)),
    to_vm1("MPLSoGRE: a packet, both", mplsogre(1000, BARE, csum=1, key=1), BY_LABEL, (L3,)),
    to_vm1("MPLSoGRE: a frame", mplsogre(1001, FRAME), FRAME, (L2,)),
    to_vm1("MPLSoGRE: a frame for a VRF", mplsogre(1002, FRAME), FRAME, BLUE_IN, TO_VM1),
    tx(
        "a label for the host: a made-up Ethernet header",
        s.FABRIC,
        mplsoudp(1011, BARE),
        s.HOST,
        eth(*OUTER_HEAD, INSIDE),
        (*RCV, *RCV),
    ),
    tx(
        "a tunnel in a tunnel is the host's",
        s.FABRIC,
        mplsoudp(1011, vxlan(5001, FRAME)[14:]),
        s.HOST,
        vxlan(5001, FRAME),
        (*RCV, *RCV),
    ),
    lost("a label for Discard", mplsoudp(1012, BARE), Drop.DISCARD, ((0, "discards"),)),
    lost("a label for a vif that is not there", mplsoudp(1016, FRAME), Drop.INVALID_IF),
    lost("a label whose nexthop is not there", mplsoudp(1006, BARE), Drop.INVALID_NH),
    lost("a label whose nexthop is not valid", mplsoudp(1007, BARE), Drop.INVALID_NH),
    lost("a label that leads back", mplsoudp(1008, BARE), Drop.PKT_LOOP),
    lost(
        "on to another tunnel, without a label",
        mplsoudp(1008, BARE, src=OTHER_IP),
        Drop.INVALID_LABEL,
    ),
    lost(
        "a label for L2 Receive",
        mplsoudp(1005, FRAME),
        Drop.DISCARD,
        ((0, "l2_receives"), (0, "discards")),
    ),
    lost(
        "a label for L2 Receive, IPv6 inside",
        mplsoudp(1005, eth(s.VM1_MAC, s.FAR_MAC, ip6())),
        Drop.DISCARD,
        ((0, "l2_receives"), (0, "discards")),
    ),
    lost("a label that nobody has", mplsoudp(1020, BARE), Drop.INVALID_LABEL),
    lost("a label beyond the table", mplsoudp(0xFFFFF, BARE), Drop.INVALID_LABEL),
    lost("a reserved label", mplsoudp(3, BARE), Drop.INVALID_LABEL),
    lost("a label with one bit more", mplsoudp(1000 | 1 << 19, BARE), Drop.INVALID_LABEL),
    lost("neither IPv4 nor IPv6", mplsoudp(1000, b"\x50" + BARE[1:]), Drop.INVALID_PACKET),
    lost("IPv4 cut short", mplsoudp(1000, BARE[:-1]), Drop.INVALID_PACKET),
    lost("IPv6 of 39 bytes", mplsoudp(1000, BARE6[:39]), Drop.INVALID_PACKET),
    lost("nothing behind the label", mplsoudp(1000, b""), Drop.INVALID_PACKET),
    lost("13 bytes for a frame", mplsoudp(1001, FRAME[:13]), Drop.INVALID_PACKET),
    *trap(
        "a label for Resolve: the agent alone",
        s.FABRIC,
        mplsoudp(1015, BARE),
        Trap.RESOLVE,
        trapped(eth(*OUTER_HEAD, INSIDE), s.FABRIC, 0, 5, 6),
        (*RCV, (0, "resolves")),
    ),
]


def stack(ttl: int = 64, bottom: int = 1) -> bytes:
    """MPLSoUDP with such a label stack entry."""
    packet = mplsoudp(1000, BARE)
    return packet[:44] + bytes([packet[44] & 0xFE | bottom, ttl]) + packet[46:]


def claims(packet: bytes, area: int) -> bytes:
    """The packet, all bytes there, with outer lengths that end after so many bytes of L4."""
    head = packet[14:16] + (20 + area).to_bytes(2, "big") + packet[18:24] + bytes(2)
    l4 = packet[34:]
    if packet[23] == 17:
        l4 = l4[:4] + area.to_bytes(2, "big") + l4[6:]
    return packet[:14] + head + packet[26:34] + l4


def fragment(packet: bytes, field: int) -> bytes:
    """The packet with that fragment field."""
    return packet[:20] + field.to_bytes(2, "big") + packet[22:]


DNS = outer(UDP(sport=5, dport=53) / Raw(b"x" * 20))
UDP_TOO_LONG = outer(UDP(sport=5, dport=4789, len=999) / Raw(b"x" * 20))
UDP_7 = outer(UDP(sport=5, dport=4789, len=7) / Raw(b"x" * 20))
STUB = eth(
    *OUTER_HEAD, IP(src="172.30.0.2", dst="172.30.0.1", proto=17, id=1) / Raw(b"\0\1\2\3\4\5\6")
)
GRE_STUB = eth(
    *OUTER_HEAD, IP(src="172.30.0.2", dst="172.30.0.1", proto=47, id=1) / Raw(b"\0\0\x88")
)


def gre(head: bytes) -> bytes:
    """A GRE packet that begins like this."""
    packet: Packet = IP(src="172.30.0.2", dst="172.30.0.1", proto=47, id=1)
    return eth(*OUTER_HEAD, packet / Raw(head + bytes(40)))


OUTER = [
    *(lost(f"label TTL {ttl}", stack(ttl), Drop.TTL_EXCEEDED) for ttl in (0, 1)),
    to_vm1("label TTL 2", stack(2), BY_LABEL, (L3,)),
    lost("a second label", stack(bottom=0), Drop.INVALID_LABEL),
    lost("TTL before S", stack(1, 0), Drop.TTL_EXCEEDED),
    lost("fragment: GRE, first", fragment(mplsogre(1000, BARE), 0x2000), Drop.FRAGMENTS),
    lost("fragment: GRE, last", fragment(mplsogre(1000, BARE), 5), Drop.FRAGMENTS),
    lost("fragment: VXLAN, first", fragment(vxlan(5001, FRAME), 0x2000), Drop.FRAGMENTS),
    lost("fragment: MPLSoUDP, first", fragment(mplsoudp(1000, BARE), 0x2000), Drop.FRAGMENTS),
    lost(
        "fragment: old port, first", fragment(mplsoudp(1, BARE, port=51234), 0x2000), Drop.FRAGMENTS
    ),
    to_host("fragment: VXLAN's bytes, not first", fragment(vxlan(5001, FRAME), 5)),
    to_host("fragment: another port", fragment(DNS, 0x2000)),
    lost("fragment: first, UDP cut short", fragment(STUB, 0x2000), Drop.INVALID_PACKET),
    to_vm1("DF is no fragment", fragment(vxlan(5001, FRAME), 0x4000), FRAME, BLUE_IN, TO_VM1),
    lost(
        "VXLAN: the frame's header ends behind the outer lengths",
        claims(vxlan(5001, FRAME), 8 + 8 + 13),
        Drop.INVALID_PACKET,
    ),
    to_vm1(
        "VXLAN: the frame's header ends with the outer lengths",
        claims(vxlan(5001, FRAME), 8 + 8 + 14),
        FRAME,
        BLUE_IN,
        TO_VM1,
    ),
    lost(
        "MPLSoUDP: the packet's header ends behind the outer lengths",
        claims(mplsoudp(1000, BARE), 8 + 4 + 19),
        Drop.INVALID_PACKET,
    ),
    lost(
        "MPLSoUDP: the IPv6 header ends behind the outer lengths",
        claims(mplsoudp(1000, BARE6), 8 + 4 + 39),
        Drop.INVALID_PACKET,
    ),
    lost(
        "MPLSoGRE: the packet's header ends behind the outer lengths",
        claims(mplsogre(1000, BARE), 4 + 4 + 19),
        Drop.INVALID_PACKET,
    ),
    to_host("UDP, another port", DNS),
    lost("UDP of 7 bytes", STUB, Drop.INVALID_PACKET),
    lost("UDP longer than IP", UDP_TOO_LONG, Drop.INVALID_PACKET),
    lost("UDP length 7", UDP_7, Drop.INVALID_PACKET),
    lost("GRE of 3 bytes", GRE_STUB, Drop.INVALID_PACKET),
    to_host("GRE: a sequence number", gre(b"\x10\0\x88\x47")),
    to_host("GRE: version 1", gre(b"\0\1\x88\x47")),
    to_host("GRE: routing", gre(b"\x40\0\x88\x47")),
    to_host("GRE: another protocol", gre(b"\0\0\x08\0")),
    to_host("GRE: MPLS multicast", gre(b"\0\0\x88\x48")),
    to_host(
        "another protocol",
        eth(*OUTER_HEAD, IP(src="172.30.0.2", dst="172.30.0.1", proto=89) / Raw(b"x" * 20)),
    ),
]

FORGED = vxlan(5002, FRAME)[14:]
FORGED_MPLS = mplsoudp(1000, BARE)[14:]
FORGED_GRE = mplsogre(1000, BARE)[14:]
HOST_MAC = mac("02:00:0a:01:01:0d")


def forged(name: str, packet: bytes) -> list[Case]:
    """A perfect tunnel packet of a VM, and of the host: it is the host's, and stays closed."""
    frame = eth(HOST_MAC, s.VM1_MAC, packet, type=0x0800)
    vm = tx(
        f"a VM sends {name}",
        s.VM1,
        frame,
        s.HOST,
        s.NIC_MAC + frame[6:],
        ((B, "receives"),),
        ((B, HOST_MAC),),
    )
    own = eth(s.FAR_MAC, s.NIC_MAC, packet, type=0x0800)
    host = tx(f"the host sends itself {name}", s.HOST, own, s.HOST, own, RCV)
    return [vm, host.with_agent()]


CASES = rows(
    VXLAN,
    UUC,
    MPLS,
    OUTER,
    forged("VXLAN", FORGED),
    forged("MPLSoUDP", FORGED_MPLS),
    forged("MPLSoGRE", FORGED_GRE),
)
