# SPDX-License-Identifier: Apache-2.0
"""Routing: what the gateway's MAC leads to, for VMs, for the host and for the fabric."""

from __future__ import annotations

from dataclasses import replace

from scapy.layers.inet import IP
from scapy.packet import Packet, Raw

from tests.model.const import Drop, Trap
from tests.model.state import mac

from . import states as s
from .frames import eth, ip, tag, trapped
from .table import Case, Macs, Names, copy, drop, rows, trap, tx

B = s.BLUE
L2R = (B, "l2_receives")
HIT: Macs = ((B, s.GATEWAY),)
VM_GW = (s.GATEWAY, s.VM1_MAC)
UP = (s.NIC_MAC, s.FAR_MAC)
DOWN = (s.FAR_MAC, s.NIC_MAC)


def gw(*layers: Packet | bytes) -> bytes:
    """A frame of vm1 for the gateway."""
    return eth(*VM_GW, *layers)


def to(dst: str, ttl: int = 64) -> bytes:
    """A packet of vm1 for the gateway."""
    return gw(ip(dst, ttl=ttl))


def lost(name: str, dst: str, reason: Drop, vrf: Names = (), ttl: int = 64) -> Case:
    """A routed packet of vm1 that is dropped."""
    return drop(name, s.VM1, to(dst, ttl), reason, (L2R, *vrf), HIT)


def delivered(name: str, frame: bytes, ttl: int = 63) -> Case:
    """A packet of vm1 that reaches vm2."""
    sent = eth(s.VM2_MAC, s.GATEWAY, ip("10.1.1.2", ttl=ttl))
    return tx(name, s.VM1, frame, s.VM2, sent, (L2R, (B, "encaps")), HIT)


OPTIONS = IP(src="10.1.1.1", dst="10.1.1.2", ttl=9, id=7, options=[b"\x01\x01\x01\x00"])
OPTIONS_OUT = IP(src="10.1.1.1", dst="10.1.1.2", ttl=8, id=7, options=[b"\x01\x01\x01\x00"])
FRAGMENT = IP(src="10.1.1.1", dst="10.1.1.2", ttl=9, id=7, flags="MF", frag=3)
FRAGMENT_OUT = IP(src="10.1.1.1", dst="10.1.1.2", ttl=8, id=7, flags="MF", frag=3)
WRONG_SUM = IP(src="10.1.1.1", dst="10.1.1.2", ttl=64, id=7, chksum=0x1234) / Raw(b"abcd")
WRONG_SUM_OUT = IP(src="10.1.1.1", dst="10.1.1.2", ttl=63, id=7, chksum=0x1334) / Raw(b"abcd")
EDGE_SUM = IP(src="10.1.1.1", dst="10.1.1.2", ttl=64, id=7, chksum=0xFF00) / Raw(b"abcd")
EDGE_SUM_OUT = IP(src="10.1.1.1", dst="10.1.1.2", ttl=63, id=7, chksum=0x0001) / Raw(b"abcd")
ROUTED = (L2R, (B, "encaps"))


def variant(name: str, packet: Packet, out: Packet) -> Case:
    """Another packet for vm2 by the gateway."""
    return tx(name, s.VM1, gw(packet), s.VM2, eth(s.VM2_MAC, s.GATEWAY, out), ROUTED, HIT)


FROM_VM = [
    delivered("to a VM of this host: TTL and MACs", to("10.1.1.2")),
    delivered("the last hop but one: TTL 2", to("10.1.1.2", 2), 1),
    delivered("a tag comes off", gw(tag(), ip("10.1.1.2"))),
    variant("IP options", OPTIONS / Raw(b"abcd"), OPTIONS_OUT / Raw(b"abcd")),
    variant("a fragment", FRAGMENT / Raw(b"abcd"), FRAGMENT_OUT / Raw(b"abcd")),
    variant("a wrong checksum stays as wrong as it was", WRONG_SUM, WRONG_SUM_OUT),
    variant("a checksum that carries over", EDGE_SUM, EDGE_SUM_OUT),
    *(
        case
        for ttl in (1, 0)
        for case in trap(
            f"TTL {ttl}",
            s.VM1,
            to("10.1.1.2", ttl),
            Trap.ZERO_TTL,
            trapped(to("10.1.1.2", ttl), s.VM1, B, 12),
            (L2R,),
            HIT,
        )
    ),
    *trap(
        "TTL 1 with a tag: the agent gets the frame as it was",
        s.VM1,
        gw(tag(), ip("10.1.1.2", ttl=1)),
        Trap.ZERO_TTL,
        trapped(gw(tag(), ip("10.1.1.2", ttl=1)), s.VM1, B, 12),
        (L2R,),
        HIT,
    ),
    *trap(
        "Resolve: the agent alone, with the nexthop's number",
        s.VM1,
        to("10.1.4.1"),
        Trap.RESOLVE,
        trapped(to("10.1.4.1", 63), s.VM1, B, 5, 6),
        (L2R, (B, "resolves")),
        HIT,
    ),
    lost("no route", "8.8.8.8", Drop.DISCARD, ((B, "discards"),)),
    lost("a route to Discard", "10.1.2.1", Drop.DISCARD, ((B, "discards"),)),
    lost("a route to Discard, TTL 1", "10.1.2.1", Drop.DISCARD, ((B, "discards"),), 1),
    lost("a route to nothing", "10.1.1.10", Drop.INVALID_NH),
    lost("a nexthop that is not valid", "10.1.6.1", Drop.INVALID_NH),
    lost("a nexthop that is not valid, TTL 1", "10.1.6.1", Drop.INVALID_NH, (), 1),
    lost("a tunnel of no kind", "10.1.7.1", Drop.INVALID_NH),
    lost("MPLS without a label", "10.1.1.7", Drop.INVALID_LABEL),
    lost("VXLAN that is not for L3", "10.1.1.6", Drop.INVALID_NH),
    lost("a composite cannot take a routed packet", "10.1.1.8", Drop.INVALID_NH),
    lost("L2 Receive cannot take a routed packet", "10.1.1.254", Drop.INVALID_PROTOCOL, (L2R,)),
    lost(
        "two VRFs that lead to each other",
        "10.1.5.1",
        Drop.PKT_LOOP,
        ((B, "vrf_translates"), (4, "vrf_translates"), (B, "vrf_translates")),
    ),
    replace(
        lost(
            "routed, bridged, routed, bridged: no fifth look-up",
            "10.1.1.9",
            Drop.PKT_LOOP,
            ((B, "vrf_translates"), L2R, (B, "vrf_translates")),
        ),
        bridge=HIT * 2,
    ),
    lost(
        "another VRF has no route",
        "10.1.8.2",
        Drop.DISCARD,
        ((B, "vrf_translates"), (9, "discards")),
    ),
    *(
        tx(
            f"a nexthop for multicast: {what}",
            s.VM1,
            to(dst),
            s.VM2,
            eth(group, s.GATEWAY, ip(dst, ttl=63)),
            (L2R, (B, "encaps")),
            HIT,
        )
        for what, dst, group in (
            ("the group's MAC", "239.129.2.3", mac("01:00:5e:01:02:03")),
            ("an address that is no group", "10.1.9.9", s.VM2_MAC),
        )
    ),
    *(
        trap(
            f"the agent as a gateway, TTL {ttl}: as it was",
            s.VM1,
            to("10.1.1.11", ttl),
            Trap.NEXTHOP,
            trapped(to("10.1.1.11", ttl), s.VM1, B, 4),
            (L2R, (B, "encaps")),
            HIT,
        )[0]
        for ttl in (64, 1)
    ),
    tx(
        "by way of another VRF: TTL down once",
        s.VM1,
        to("10.1.8.1"),
        s.VM1,
        eth(s.VM1_MAC, s.GATEWAY, ip("10.1.8.1", ttl=63)),
        (L2R, (B, "vrf_translates"), (9, "encaps")),
        HIT,
    ),
    tx(
        "to the host: as if sent to it, TTL as it was",
        s.VM1,
        to("10.1.3.1", 1),
        s.HOST,
        eth(s.NIC_MAC, s.VM1_MAC, ip("10.1.3.1", ttl=1)),
        (L2R, (B, "receives")),
        HIT,
    ),
    drop(
        "neither IP nor ARP for the gateway",
        s.VM1,
        eth(*VM_GW, Raw(b"y" * 40), type=0x88CC),
        Drop.INVALID_PROTOCOL,
        (L2R,),
        HIT,
    ),
]


def host(dst: str, ttl: int = 64) -> bytes:
    """A packet of the host's stack."""
    return eth(*DOWN, ip(dst, src="172.30.0.1", ttl=ttl))


def wire(dst: str, ttl: int = 64) -> bytes:
    """A packet of the underlay."""
    return eth(*UP, ip(dst, src="172.30.0.2", ttl=ttl))


def with_copy(cases: list[Case], vif: int, frame: bytes) -> list[Case]:
    """The same, with a copy out of a vif."""
    return [replace(case, copies=(copy(vif, frame),)).with_agent() for case in cases[:1]]


FROM_HOST = [
    tx(
        "of the host: out of the fabric as the host made it",
        s.HOST,
        host("172.30.0.9"),
        s.FABRIC,
        host("172.30.0.9"),
        ((0, "encaps"),),
    ).with_agent(),
    tx(
        "of the host: to the next router only, TTL 1",
        s.HOST,
        host("172.30.0.9", 1),
        s.FABRIC,
        host("172.30.0.9", 1),
        ((0, "encaps"),),
    ).with_agent(),
    tx(
        "of the host: to a VM that lives in its network",
        s.HOST,
        host("172.30.0.10"),
        s.VM1,
        eth(s.VM1_MAC, s.GATEWAY, ip("172.30.0.10", src="172.30.0.1")),
        ((0, "encaps"),),
    ).with_agent(),
    tx(
        "of the host, for itself",
        s.HOST,
        host("172.30.0.1"),
        s.HOST,
        host("172.30.0.1"),
        ((0, "receives"),),
    ).with_agent(),
    drop(
        "of the host: no route", s.HOST, host("8.8.8.8"), Drop.DISCARD, ((0, "discards"),)
    ).with_agent(),
    drop("of the host: no nexthop", s.HOST, host("169.254.7.1"), Drop.INVALID_NH).with_agent(),
    *with_copy(
        trap(
            "of the host: neighbour not known",
            s.HOST,
            host("172.30.0.77"),
            Trap.RESOLVE,
            trapped(host("172.30.0.77"), s.HOST, 0, 5, 6),
            ((0, "resolves"),),
        ),
        s.FABRIC,
        host("172.30.0.77"),
    ),
]
FROM_FABRIC = [
    tx(
        "of the fabric: forwarded back to it",
        s.FABRIC,
        wire("172.30.0.9"),
        s.FABRIC,
        eth(s.FAR_MAC, s.GATEWAY, ip("172.30.0.9", src="172.30.0.2", ttl=63)),
        ((0, "encaps"),),
    ).with_agent(),
    tx(
        "of the fabric: to a VM that lives in it",
        s.FABRIC,
        wire("172.30.0.10"),
        s.VM1,
        eth(s.VM1_MAC, s.GATEWAY, ip("172.30.0.10", src="172.30.0.2", ttl=63)),
        ((0, "encaps"),),
    ).with_agent(),
    drop(
        "of the fabric: no route", s.FABRIC, wire("8.8.8.8"), Drop.DISCARD, ((0, "discards"),)
    ).with_agent(),
    trap(
        "of the fabric: TTL 1",
        s.FABRIC,
        wire("172.30.0.9", 1),
        Trap.ZERO_TTL,
        trapped(wire("172.30.0.9", 1), s.FABRIC, 0, 12),
    )[0],
    *with_copy(
        trap(
            "of the fabric: neighbour not known",
            s.FABRIC,
            wire("172.30.0.77"),
            Trap.RESOLVE,
            trapped(wire("172.30.0.77", 63), s.FABRIC, 0, 5, 6),
            ((0, "resolves"),),
        ),
        s.HOST,
        wire("172.30.0.77", 63),
    ),
    tx(
        "for the host, the longest prefix wins",
        s.FABRIC,
        wire("172.30.0.1", 1),
        s.HOST,
        wire("172.30.0.1", 1),
        ((0, "receives"),),
    ),
]

CASES = rows(FROM_VM, FROM_HOST, FROM_FABRIC)
