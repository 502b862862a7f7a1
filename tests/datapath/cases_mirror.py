# SPDX-License-Identifier: Apache-2.0
"""Mirrors and marks: what an analyzer gets, and how packets are classified."""

from __future__ import annotations

from dataclasses import replace

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1Q
from scapy.packet import Packet, Raw

from tests.model.const import Drop
from tests.model.packet import Copy
from tests.model.state import mac

from . import states as s
from .frames import SELF_IP, entropy, eth, ip, sent_mplsoudp, sent_vxlan, usual_port, vxlan
from .table import Case, Macs, Names, copy, drop, rows, tx

B = s.BLUE
ANALYZER = "172.30.0.9"
TO_VM2: Macs = ((B, s.VM2_MAC),)
PLAIN = eth(s.VM2_MAC, s.VM1_MAC, ip("10.1.1.2"))
UDP_COUNTS: Names = ((0, "udp_tunnels"), (0, "encaps"))


def mirrored(frame: bytes, *, id: int = 7, tos: int = 0) -> Copy:
    """A dynamic mirror's copy, to the analyzer by the underlay; it was routed: TTL 63."""
    body = UDP(sport=8097, dport=8099, chksum=0) / Raw(s.METADATA + frame)
    packet = IP(src=SELF_IP, dst=ANALYZER, id=id, ttl=63, tos=tos) / body
    return copy(s.FABRIC, eth(s.FAR_MAC, s.GATEWAY, packet))


def and_copy(case: Case, one: Copy, counts: Names) -> Case:
    """The case, and a mirror's copy."""
    return replace(case, copies=(*case.copies, one), vrf=(*case.vrf, *counts))


def to_vm2(name: str, vif: int, frame: bytes) -> Case:
    """A frame that reaches vm2 as it is."""
    return tx(name, vif, frame, s.VM2, frame, ((B, "l2_encaps"),), TO_VM2)


TAGGED = eth(s.VM2_MAC, s.VM1_MAC, Dot1Q(vlan=9), ip("10.1.1.2"))
CUT = eth(s.VM2_MAC, s.VM1_MAC, b"x", type=0x88CC)
RX = [
    and_copy(
        to_vm2("dynamic: metadata and UDP, routed", s.MIRRORED, PLAIN), mirrored(PLAIN), UDP_COUNTS
    ),
    and_copy(to_vm2("a tag is in the copy", s.MIRRORED, TAGGED), mirrored(TAGGED), UDP_COUNTS),
    and_copy(to_vm2("no IP packet", s.MIRRORED, CUT), mirrored(CUT, id=0), UDP_COUNTS),
    and_copy(
        to_vm2("static: VXLAN with the mirror's VNI", s.STATIC, PLAIN),
        copy(s.FABRIC, sent_vxlan(7000, PLAIN, usual_port("10.1.1.2", 0))),
        ((0, "vxlan_tunnels"),),
    ),
    replace(to_vm2("no mirror of that index", s.LOST, PLAIN), lost=(Drop.INVALID_NH,)),
    and_copy(
        drop(
            "what is dropped was received",
            s.MIRRORED,
            eth(s.FAR_MAC, s.VM1_MAC, ip("10.1.1.2")),
            Drop.L2_NO_ROUTE,
        ),
        mirrored(eth(s.FAR_MAC, s.VM1_MAC, ip("10.1.1.2"))),
        UDP_COUNTS,
    ),
]
TO_MIRRORED = eth(s.MIRRORED_MAC, s.REMOTE_MAC, ip("10.1.1.2"))
INTO: Names = ((B, "l2_encaps"),)
TX = [
    and_copy(
        tx(
            "sent by a VM",
            s.VM1,
            TO_MIRRORED,
            s.MIRRORED,
            TO_MIRRORED,
            INTO,
            ((B, s.MIRRORED_MAC),),
        ),
        mirrored(TO_MIRRORED),
        UDP_COUNTS,
    ),
    and_copy(
        tx(
            "by a tunnel: without the outer headers",
            s.FABRIC,
            vxlan(5001, TO_MIRRORED),
            s.MIRRORED,
            TO_MIRRORED,
            ((0, "receives"), (B, "vrf_translates"), *INTO),
            ((B, s.MIRRORED_MAC),),
        ),
        mirrored(TO_MIRRORED),
        UDP_COUNTS,
    ),
]


def udp(dst: str, tos: int, ttl: int = 64) -> Packet:
    """A UDP packet of vm1 with a TOS."""
    head = IP(src="10.1.1.1", dst=dst, ttl=ttl, id=7, tos=tos)
    return head / UDP(sport=1111, dport=2222, chksum=0) / Raw(b"data")


def marked(name: str, tos: int, out: int, marks: tuple[int, int] = (0, 0)) -> Case:
    """A frame for a VM of this host: DSCP written anew; `marks`: queue + 1 and priority."""
    frame = eth(s.VM2_MAC, s.VM1_MAC, udp("10.1.1.2", tos))
    sent = eth(s.VM2_MAC, s.VM1_MAC, udp("10.1.1.2", out))
    return replace(tx(name, s.MARKED, frame, s.VM2, sent, INTO, TO_VM2), marks=marks)


EF, AF11 = 46 << 2, 10 << 2
REMOTE = mac("02:00:0a:01:01:04")


def tunnelled(
    name: str, vif: int, tos: int, outer: int, exp: int, marks: tuple[int, int] = (0, 0)
) -> Case:
    """A frame for another host: it keeps its own DSCP."""
    frame = eth(REMOTE, s.VM1_MAC, udp("10.1.1.4", tos))
    port = entropy("10.1.1.1", "10.1.1.4", 1111, 2222, 17, B)
    sent = sent_mplsoudp(1040, frame, port, tos=outer, exp=exp)
    counts: Names = ((B, "udp_mpls_tunnels"),)
    return replace(tx(name, vif, frame, s.FABRIC, sent, counts, ((B, REMOTE),)), marks=marks)


QOS = [
    marked("DSCP 0 is of class 1: DSCP 46; ECN stays", 3, EF | 3, (4, 6)),
    marked("DSCP 46 is of class 2: DSCP 10", EF, AF11, (1, 2)),
    marked("a class that is not there changes nothing", 8 << 2, 8 << 2),
    tunnelled("outer DSCP and EXP are those of the class", s.MARKED, 0, EF, 5, (4, 6)),
    tunnelled("no congestion mark goes outside", s.MARKED, EF | 2, AF11, 1, (1, 2)),
    tunnelled("no class: DSCP is copied, EXP is 0", s.VM1, EF | 1, EF, 0),
    tunnelled("a class that is not there: the same", s.MARKED, 8 << 2, 8 << 2, 0),
]
CASES = rows(RX, TX, QOS)
