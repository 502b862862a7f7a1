# SPDX-License-Identifier: Apache-2.0
"""Marks: how packets are classified, and what that changes on them."""

from __future__ import annotations

from dataclasses import replace

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1Q
from scapy.packet import Packet, Raw

from tests.model.state import mac

from . import states as s
from .frames import entropy, eth, sent_mplsoudp
from .table import Case, Macs, Names, rows, tx

B = s.BLUE
OTHER = mac("02:de:ad:00:00:01")
INTO: Names = ((B, "l2_encaps"),)
TO_VM2: Macs = ((B, s.VM2_MAC),)


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


def of_vlan(vlan: int, priority: int, *layers: Packet, dst: bytes = s.VM2_MAC) -> bytes:
    """A frame of vm1 with a tag; LLDP unless it is told otherwise."""
    head = Dot1Q(vlan=vlan, prio=priority)
    if not layers:
        head.type = 0x88CC
    return eth(dst, s.VM1_MAC, head, *(layers or (Raw(b"lldp"),)))


def part(name: str, priority: int, marks: tuple[int, int], *layers: Packet) -> Case:
    """A frame of a part with a QoS map, to vm2."""
    frame = of_vlan(400, priority, *layers)
    sent = frame[:12] + frame[16:]
    case = tx(name, s.PARENT, frame, s.VM2, sent, INTO, TO_VM2)
    return replace(case, part=s.SUB_MARKED, taken=4, marks=marks)


LLDP = eth(s.IN_MARKED, s.VM1_MAC, Raw(b"lldp"), type=0x88CC)
UNCLASSED = of_vlan(401, 0, dst=s.IN_MARKED)
THROUGH = of_vlan(400, 7, dst=s.IN_SUB)
KEPT = eth(s.IN_MARKED, OTHER, Dot1Q(vlan=100, prio=5, type=0x88CC), Raw(b"lldp"))
KEPT_OUT = eth(s.IN_MARKED, OTHER, Dot1Q(vlan=401, prio=5, type=0x88CC), Raw(b"lldp"))
CLASSED = eth(s.IN_SUB, s.VM1_MAC, udp("10.1.1.2", 0))
CLASSED_OUT = eth(s.IN_SUB, s.VM1_MAC, Dot1Q(vlan=101, prio=6), udp("10.1.1.2", EF))
FAR_LLDP = of_vlan(400, 5, dst=REMOTE)
SENT_LLDP = sent_mplsoudp(1040, FAR_LLDP[:12] + FAR_LLDP[16:], 51000, id=0, tos=EF, exp=5)

PARTS = [
    part("the priority of the tag is of class 1", 5, (4, 6)),
    part("the priority of the tag is of class 2", 7, (1, 2)),
    part("a priority of no class", 0, (0, 0)),
    part(
        "the tag that is off counts, not the one behind it",
        5,
        (4, 6),
        Dot1Q(vlan=7, prio=7, type=0x88CC),
    ),
    replace(
        part("IP goes by its DSCP", 7, (4, 6), udp("10.1.1.2", 0)),
        sent=eth(s.VM2_MAC, s.VM1_MAC, udp("10.1.1.2", EF)),
    ),
    replace(
        tx(
            "into a tunnel",
            s.PARENT,
            FAR_LLDP,
            s.FABRIC,
            SENT_LLDP,
            ((B, "udp_mpls_tunnels"),),
            ((B, REMOTE),),
        ),
        part=s.SUB_MARKED,
        taken=4,
        marks=(4, 6),
    ),
    replace(
        tx(
            "the class's priority goes into the tag of a part",
            s.PARENT,
            THROUGH,
            s.SUB,
            of_vlan(101, 2, dst=s.IN_SUB),
            INTO,
            ((B, s.IN_SUB),),
        ),
        part=s.SUB_MARKED,
        taken=4,
        marks=(1, 2),
    ),
    replace(
        tx("of IP likewise", s.MARKED, CLASSED, s.SUB, CLASSED_OUT, INTO, ((B, s.IN_SUB),)),
        marks=(4, 6),
    ),
    replace(
        tx(
            "without a class the priority stays",
            s.PARENT,
            KEPT,
            s.SUB_MARKED,
            KEPT_OUT,
            INTO,
            ((B, s.IN_MARKED),),
        ),
        part=s.SUB,
        taken=4,
    ),
    tx("no tag, no priority", s.VM1, LLDP, s.SUB_MARKED, UNCLASSED, INTO, ((B, s.IN_MARKED),)),
]
CASES = rows(QOS, PARTS)
