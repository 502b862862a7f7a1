# SPDX-License-Identifier: Apache-2.0
"""Packets that are too long for their tunnel: lost, and their sender is told."""

from __future__ import annotations

from dataclasses import replace

from scapy.layers.inet import ICMP, IP, UDP, fragment
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6, IPv6ExtHdrFragment
from scapy.packet import Packet, Raw

from tests.model.const import Drop, Trap
from tests.model.state import mac

from . import states as s
from .frames import (
    eth,
    hash4,
    ip,
    sent_mplsogre,
    sent_mplsoudp,
    sent_vxlan,
    tag,
    trapped,
    usual_port,
    vxlan,
)
from .frames6 import sent_mplsoudp6, udp6
from .table import Case, Macs, Names, copy, drop, only, rows, trap, tx

B = s.BLUE
Z = "10.9.9.9"
UDP_MAC, GRE_MAC = mac("02:00:0a:01:01:04"), mac("02:00:0a:01:01:05")
UDP6_MAC = mac("02:00:0a:01:01:13")
VX, UM, GM = "vxlan_tunnels", "udp_mpls_tunnels", "gre_mpls_tunnels"
GW, GW6 = "10.1.1.254", "fd00::fe"
PORT = usual_port(Z)


def to(dst: bytes, *layers: Packet | bytes) -> bytes:
    """A frame of vm1."""
    return eth(dst, s.VM1_MAC, *layers)


def cut(sent: bytes, size: int) -> list[bytes]:
    """An outer IPv4 packet in fragments of so many bytes each."""
    head = IP(sent[14:34])
    del head.chksum, head.len
    pieces: list[Packet] = fragment(head / Raw(sent[34:]), fragsize=size)  # type: ignore[no-untyped-call]
    return [sent[:14] + bytes(piece) for piece in pieces]


def cut6(sent: bytes, size: int, ident: int) -> list[bytes]:
    """The same of IPv6."""
    made = []
    for at in range(0, len(sent) - 54, size):
        head = IPv6(sent[14:54])
        nh, head.nh, head.plen = head.nh, 44, None
        more = int(at + size < len(sent) - 54)
        extension = IPv6ExtHdrFragment(nh=nh, offset=at // 8, m=more, id=ident)
        piece = Raw(sent[54 + at : 54 + at + size])
        made.append(sent[:14] + bytes(head / extension / piece))
    return made


def in_pieces(
    name: str,
    frame: bytes,
    pieces: list[bytes],
    counter: str,
    vrf: Names = (),
) -> Case:
    """A frame of vm1 that is too long and may be cut."""
    case = drop(name, s.VM1, frame, Drop.CLONED_ORIGINAL, (*vrf, (B, counter)), ((B, frame[:6]),))
    return replace(case, copies=tuple(copy(s.FABRIC, piece) for piece in pieces))


def of_size(dst: bytes, length: int, *tags: Packet, id: int = 7) -> bytes:
    """A frame of that many bytes, which may be cut."""
    return to(dst, *tags, ip(Z, size=length - 42 - 4 * len(tags), id=id))


NOT_IP = to(s.REMOTE_MAC, Raw(bytes(1451)))[:12] + b"\x88\xcc" + bytes(1451)
BY_VXLAN = {
    "one byte too long": (of_size(s.REMOTE_MAC, 1465), 744),
    "with a tag": (of_size(s.REMOTE_MAC, 1465, tag()), 744),
    "in three pieces": (of_size(s.REMOTE_MAC, 3500), 1176),
    "just two whole pieces": (of_size(s.REMOTE_MAC, 2944), 1480),
    "one byte more than two whole pieces": (of_size(s.REMOTE_MAC, 2945), 992),
}
BY_UDP, BY_GRE = of_size(UDP_MAC, 1469), of_size(GRE_MAC, 1473)
ROUTED = to(s.GATEWAY, ip("10.1.1.3", size=1500 - 28))
ROUTED_ON = bytes(ip("10.1.1.3", ttl=63, size=1500 - 28))
BY_UDP6 = of_size(UDP6_MAC, 1500, id=300)
THREE_BY_UDP6 = of_size(UDP6_MAC, 2888, id=300)
VALUE = hash4("10.1.1.1", Z, 1111, 2222, 17, B)
CUT = [
    *(
        in_pieces(f"VXLAN, cut: {what}", frame, cut(sent_vxlan(5001, frame, PORT), size), VX)
        for what, (frame, size) in BY_VXLAN.items()
    ),
    in_pieces(
        "VXLAN, cut: no IP inside",
        NOT_IP,
        cut(sent_vxlan(5001, NOT_IP, 52000, id=0), 744),
        VX,
    ),
    in_pieces("MPLSoUDP, cut", BY_UDP, cut(sent_mplsoudp(1040, BY_UDP, PORT), 744), UM),
    in_pieces("MPLSoGRE, cut", BY_GRE, cut(sent_mplsogre(1050, BY_GRE), 744), GM),
    in_pieces(
        "MPLSoUDP, cut: routed",
        ROUTED,
        cut(sent_mplsoudp(1030, ROUTED_ON, usual_port("10.1.1.3"), ttl=63), 760),
        UM,
        ((B, "l2_receives"),),
    ),
    in_pieces(
        "MPLSoUDP over IPv6, cut",
        BY_UDP6,
        cut6(sent_mplsoudp6(1040, BY_UDP6, VALUE), 760, 300),
        UM,
    ),
    in_pieces(
        "MPLSoUDP over IPv6, cut: more than two whole pieces",
        THREE_BY_UDP6,
        cut6(sent_mplsoudp6(1040, THREE_BY_UDP6, VALUE), 968, 300),
        UM,
    ),
]


def df(dst: str, size: int, ttl: int = 64) -> IP:
    """An IPv4 packet that must not be cut, of `size` bytes."""
    head = IP(src="10.1.1.1", dst=dst, id=7, flags="DF", ttl=ttl)
    return head / UDP(sport=1111, dport=2222) / Raw(b"x" * (size - 28))


def needed(mtu: int, quoted: bytes) -> bytes:
    """Fragmentation needed, to vm1."""
    head = IP(src=GW, dst="10.1.1.1", id=0, flags="DF", tos=0xC0, ttl=64)
    message = ICMP(type=3, code=4, nexthopmtu=mtu) / Raw(quoted[:548])
    return eth(s.VM1_MAC, s.GATEWAY, head / message)


def too_big(mtu: int, quoted: bytes) -> bytes:
    """Packet too big, to vm1."""
    message = ICMPv6PacketTooBig(mtu=mtu) / Raw(quoted[:1232])
    return eth(s.VM1_MAC, s.GATEWAY, IPv6(src=GW6, dst="fd00::1", hlim=64) / message)


def told(name: str, frame: bytes, answer: bytes, vrf: Names, bridge: Macs) -> Case:
    """A packet that is lost, and what its sender is told."""
    case = drop(name, s.VM1, frame, Drop.FRAG_NEEDED, vrf, bridge)
    return replace(case, copies=(copy(s.VM1, answer),))


def told_frame(kind: str, dst: bytes, counter: str, mtu: int) -> list[Case]:
    """Of a tunnel into which frames go: what is one byte longer than it takes, of IPv4 and IPv6."""
    vrf, bridge = ((B, counter),), ((B, dst),)
    four, six = df(Z, mtu + 1), udp6("fd00::99", size=mtu + 1 - 48)
    return [
        told(f"{kind}: DF", to(dst, four), needed(mtu, bytes(four)), vrf, bridge),
        told(f"{kind}: IPv6", to(dst, six), too_big(mtu, bytes(six)), vrf, bridge),
    ]


def told_packet(kind: str, last: str, counter: str, mtu: int) -> list[Case]:
    """Of a tunnel into which packets go."""
    vrf, bridge = ((B, "l2_receives"), (B, counter)), ((B, s.GATEWAY),)
    v4, v6 = f"10.1.1.{last}", f"fd00::{last}"
    quoted = bytes(df(v4, mtu + 1, ttl=63)), bytes(udp6(v6, hops=63, size=mtu + 1 - 48))
    return [
        told(
            f"{kind}: routed, DF",
            to(s.GATEWAY, df(v4, mtu + 1)),
            needed(mtu, quoted[0]),
            vrf,
            bridge,
        ),
        told(
            f"{kind}: routed, IPv6",
            to(s.GATEWAY, udp6(v6, size=mtu + 1 - 48)),
            too_big(mtu, quoted[1]),
            vrf,
            bridge,
        ),
    ]


FITS = to(s.REMOTE_MAC, df(Z, 1450))
TAGGED = to(s.REMOTE_MAC, tag(), df(Z, 1450))
LONG = to(s.REMOTE_MAC, df(Z, 1451))
V = ((B, VX),)
HIT: Macs = ((B, s.REMOTE_MAC),)
TOLD = [
    tx("DF, and it fits", s.VM1, FITS, s.FABRIC, sent_vxlan(5001, FITS, PORT), V, HIT),
    *told_frame("VXLAN", s.REMOTE_MAC, VX, 1450),
    *told_frame("MPLSoUDP", UDP_MAC, UM, 1454),
    *told_frame("MPLSoGRE", GRE_MAC, GM, 1458),
    *told_frame("MPLSoUDP over IPv6", UDP6_MAC, UM, 1434),
    *told_packet("MPLSoUDP", "3", UM, 1468),
    *told_packet("VXLAN for routers", "4", VX, 1450),
    *told_packet("MPLSoGRE", "5", GM, 1472),
    drop("DF with a tag: nobody is told", s.VM1, TAGGED, Drop.TOO_BIG, V, HIT),
]
LONG_TO_VM2 = to(s.VM2_MAC, df("10.1.1.2", 1460))
OTHERS = [
    replace(
        tx(
            "a mirror's copy: its sender is not told",
            s.STATIC,
            LONG_TO_VM2,
            s.VM2,
            LONG_TO_VM2,
            ((B, "l2_encaps"), (0, "vxlan_tunnels")),
            ((B, s.VM2_MAC),),
        ),
        lost=(Drop.TOO_BIG,),
    ),
    drop(
        "what another host's guest sent: its sender is not told",
        s.FABRIC,
        vxlan(5006, eth(s.GATEWAY, s.REMOTE_MAC, df("10.1.1.4", 1452)), src="172.30.0.3"),
        Drop.TOO_BIG,
        ((0, "receives"), (B, "vrf_translates"), (B, VX)),
    ),
]
TRAPPED = [
    trap(
        f"the agent tells: {what}",
        s.VM1,
        frame,
        Trap.HANDLE_DF,
        trapped(inside, s.VM1, B, 11, mtu),
        vrf,
        bridge,
    )[0]
    for what, frame, inside, mtu, vrf, bridge in (
        ("a frame", LONG, LONG, 1450, V, HIT),
        (
            "a packet",
            to(s.GATEWAY, df("10.1.1.3", 1469)),
            to(s.GATEWAY, df("10.1.1.3", 1469, ttl=63)),
            1468,
            ((B, "l2_receives"), (B, UM)),
            ((B, s.GATEWAY),),
        ),
    )
]
UNPAIRED = [
    replace(
        drop("no pair: not told", s.VM1, LONG, Drop.FRAG_NEEDED, V, HIT),
        lost=(Drop.NO_EXCEPTION,),
    ),
]

CASES = rows(CUT, TOLD, OTHERS, only(s.TRAPPING, *TRAPPED), only(s.NO_PAIR, *UNPAIRED))
