# SPDX-License-Identifier: Apache-2.0
"""Mirrors: what an analyzer gets."""

from __future__ import annotations

from dataclasses import replace

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1Q
from scapy.packet import Raw

from tests.model.const import Drop
from tests.model.packet import Copy

from . import states as s
from .frames import SELF_IP, eth, ip, sent_vxlan, usual_port, vxlan
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

OF_PART = eth(s.VM2_MAC, s.VM1_MAC, Dot1Q(vlan=500), ip("10.1.1.2"))
INTO_PART = eth(s.IN_MIRRORED, s.VM1_MAC, ip("10.1.1.2"))
BY_PART = eth(s.IN_MIRRORED, s.VM1_MAC, Dot1Q(vlan=501), ip("10.1.1.2"))
PARTS = [
    replace(
        and_copy(
            to_vm2("received by a part", s.PARENT_MIRRORED, OF_PART), mirrored(OF_PART), UDP_COUNTS
        ),
        part=s.SUB_MIRRORED,
        taken=4,
        sent=PLAIN,
    ),
    and_copy(
        tx(
            "sent by a part", s.VM1, INTO_PART, s.SUB_MIRRORED, BY_PART, INTO, ((B, s.IN_MIRRORED),)
        ),
        mirrored(BY_PART),
        UDP_COUNTS,
    ),
]
CASES = rows(RX, TX, PARTS)
