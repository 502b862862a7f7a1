# SPDX-License-Identifier: Apache-2.0
"""Types of vifs: parts of a vif by VLAN and sender, Gateway, Monitoring."""

from __future__ import annotations

from dataclasses import replace

from scapy.packet import Packet

from tests.model.const import Drop
from tests.model.state import mac

from . import states as s
from .cases_arp import answered
from .frames import eth, ip, request, tag, trapped
from .table import Case, drop, rows, tx

B, R = s.BLUE, s.RED_VRF
OTHER = mac("02:de:ad:00:00:01")
L2 = ((B, "l2_encaps"),)
TO_VM2 = ((B, s.VM2_MAC),)


def of(vif: int, part: int, case: Case) -> Case:
    """The case of a frame that comes in by `vif` and is received by its part, without its tag."""
    return replace(case, vif=vif, part=part, taken=4)


def frame(*layers: Packet, dst: bytes = s.VM2_MAC, src: bytes = OTHER) -> bytes:
    return eth(dst, src, *(layers or (ip("10.1.1.2"),)))


PLAIN = frame()
RED = frame(dst=s.VM1_MAC, src=s.VM1_MAC)
UNTAGGED = replace(
    tx("untagged counts as VLAN 0", s.NATIVE, PLAIN, s.VM2, PLAIN, L2, TO_VM2), part=s.SUB_NATIVE
)
IN = frame(dst=s.IN_SUB)
OUT = eth(s.IN_SUB, OTHER, tag(101), ip("10.1.1.2"))
DOUBLE = frame(tag(100), tag(7), ip("10.1.1.2"))
INNER = frame(tag(7), ip("10.1.1.2"))
LONG = frame(tag(100), tag(7), ip("10.1.1.2", size=1472))
LONG_INNER = frame(tag(7), ip("10.1.1.2", size=1472))
TO_ALL = frame(dst=b"\xff" * 6)
SPOOFED = frame(tag(200), ip("10.1.1.2", "10.1.1.9"), src=s.VM1_MAC)

PARTS = [
    of(
        s.PARENT,
        s.SUB,
        tx("VLAN 100", s.PARENT, frame(tag(100), ip("10.1.1.2")), s.VM2, PLAIN, L2, TO_VM2),
    ),
    of(
        s.PARENT,
        s.SUB_OF_VM1,
        tx(
            "VLAN 100 of a sender, in another VRF",
            s.PARENT,
            eth(s.VM1_MAC, s.VM1_MAC, tag(100), ip("10.1.1.2")),
            s.RED,
            RED,
            ((R, "l2_encaps"),),
            ((R, s.VM1_MAC),),
        ),
    ),
    of(s.PARENT, s.SUB, tx("a tag behind the tag", s.PARENT, DOUBLE, s.VM2, INNER, L2, TO_VM2)),
    of(
        s.PARENT,
        s.SUB,
        tx("the same at full length", s.PARENT, LONG, s.VM2, LONG_INNER, L2, TO_VM2),
    ),
    of(
        s.PARENT,
        s.SUB_CHECKED,
        drop("a part that is checked", s.PARENT, SPOOFED, Drop.SOURCE_ADDRESS),
    ),
    tx(
        "a VLAN of nobody is the parent's own",
        s.PARENT,
        frame(tag(300), ip("10.1.1.2")),
        s.VM2,
        frame(tag(300), ip("10.1.1.2")),
        L2,
        TO_VM2,
    ),
    tx("untagged is the parent's own", s.PARENT, PLAIN, s.VM2, PLAIN, L2, TO_VM2),
    UNTAGGED,
    of(
        s.NATIVE,
        s.SUB_NATIVE,
        tx("VLAN 0", s.NATIVE, frame(tag(0), ip("10.1.1.2")), s.VM2, PLAIN, L2, TO_VM2),
    ),
    tx("to a part, with its tag", s.VM1, IN, s.SUB, OUT, L2, ((B, s.IN_SUB),)),
]
ASK = request("10.1.1.2", sha=OTHER, spa="10.1.1.77")
ASK_100 = ASK[:12] + b"\x81\x00\x00\x64" + ASK[12:]
ASKED = answered("ARP of a part", s.SUB, ASK, s.VM2_MAC, "arp_virtual_stitch")
TAGGED_ANSWER = ASKED.sent[:12] + b"\x81\x00\x00\x65" + ASKED.sent[12:]
ARP = [replace(of(s.PARENT, s.SUB, ASKED), frame=ASK_100, sent=TAGGED_ANSWER)]

INJECTED = trapped(IN, s.SUB, B, 0)
TO_NATIVE = trapped(PLAIN, s.SUB_NATIVE, B, 0)
BY_AGENT = [
    tx("the agent sends by a part", s.AGENT, INJECTED, s.SUB, OUT).with_agent(),
    tx("VLAN 0 is sent untagged", s.AGENT, TO_NATIVE, s.SUB_NATIVE, PLAIN).with_agent(),
]

VGW_ASK = request("8.8.8.8", sha=s.ROUTER_MAC, spa="10.1.1.99")
GRATUITOUS = request("10.1.1.99", sha=s.ROUTER_MAC, spa="10.1.1.99")
FROM_VGW = eth(s.ROUTER_MAC, s.ROUTER_MAC, ip("10.1.1.2"))
TO_VGW = frame(dst=s.IN_VGW)
TAGGED_TO_VGW = frame(tag(9), ip("10.1.1.2"), dst=s.IN_VGW)
AT_VGW = frame(dst=s.ROUTER_MAC)
GATEWAY = [
    answered("a Gateway answers for everybody", s.VGW, VGW_ASK, s.ROUTER_MAC),
    drop("a gratuitous ARP of a Gateway goes nowhere", s.VGW, GRATUITOUS, Drop.INVALID_IF),
    tx(
        "a Gateway routes into its VRF",
        s.VGW,
        FROM_VGW,
        s.VM2,
        eth(s.VM2_MAC, s.GATEWAY, ip("10.1.1.2", ttl=63)),
        ((B, "encaps"),),
    ),
    tx("to a Gateway, addressed to it", s.VM1, TO_VGW, s.VGW, AT_VGW, L2, ((B, s.IN_VGW),)),
    tx("to a Gateway, without tag", s.VM1, TAGGED_TO_VGW, s.VGW, AT_VGW, L2, ((B, s.IN_VGW),)),
]
MONITORING = [
    drop("nothing is received on a Monitoring vif", s.MONITOR, PLAIN, Drop.INTERFACE_RX_DISCARD),
    tx(
        "the agent sends to a Monitoring vif",
        s.AGENT,
        trapped(PLAIN, s.MONITOR, B, 0),
        s.MONITOR,
        PLAIN,
    ).with_agent(),
]

CASES = rows(PARTS, ARP, BY_AGENT, GATEWAY, MONITORING)
