# SPDX-License-Identifier: Apache-2.0
"""Frames of VMs: the look-up of their destination MAC, and what it leads to."""

from __future__ import annotations

from scapy.packet import Packet

from tests.model.const import BROADCAST, Drop, Trap
from tests.model.packet import Copy
from tests.model.state import mac

from . import states as s
from .frames import eth, ip, ip6, sent_vxlan, tag, trapped, usual_port
from .table import copy, drop, flood, rows, trap, tx

B, R = s.BLUE, s.RED_VRF


def port(last: int) -> bytes:
    """One of the MACs of network blue that lead to something special."""
    return mac(f"02:00:0a:01:01:{last:02x}")


def to(dst: bytes, *layers: Packet) -> bytes:
    """A frame of vm1."""
    return eth(dst, s.VM1_MAC, *(layers or (ip("10.1.1.2"),)))


def hit(dst: bytes, times: int = 1) -> tuple[tuple[int, bytes], ...]:
    return ((B, dst),) * times


L2 = ((B, "l2_encaps"),)
TAGGED = to(s.VM2_MAC, tag(), ip("10.1.1.2"))
TO_HOST = to(port(13))
LOOP = ((B, "vrf_translates"), *((5, "vrf_translates"),) * 3)
UNKNOWN = to(mac("02:de:ad:00:00:01"), ip("10.1.1.9"))
NEW_IP = bytes(ip("10.1.1.2", ttl=63))
REPLICATED = (
    (B, "l2_mcast_composites"),
    (B, "encap_composites"),
    (B, "evpn_composites"),
    *((B, "l2_encaps"),) * 2,
    *((B, "vxlan_tunnels"),) * 2,
)


def to_all(frame: bytes, locals_: tuple[int, ...], sport: int) -> list[Copy]:
    """What the broadcast entry of blue makes of a frame."""
    return [copy(vif, frame) for vif in locals_] + [
        copy(s.FABRIC, sent_vxlan(5001, frame, sport)),
        copy(s.FABRIC, sent_vxlan(5001, frame, sport, dst="172.30.0.3")),
    ]


LOST = (Drop.INVALID_NH, Drop.INVALID_NH, Drop.INVALID_VNID)
UNKNOWN_PORT = usual_port("10.1.1.9")
V6 = to(s.VM2_MAC, ip6())

CASES = rows(
    tx("to another VM", s.VM1, to(s.VM2_MAC), s.VM2, to(s.VM2_MAC), L2, hit(s.VM2_MAC)),
    tx("back to itself", s.VM1, to(s.VM1_MAC), s.VM1, to(s.VM1_MAC), L2, hit(s.VM1_MAC)),
    tx("IPv6", s.VM1, V6, s.VM2, V6, L2, hit(s.VM2_MAC)),
    tx(
        "an unknown EtherType, no payload",
        s.VM1,
        eth(s.VM2_MAC, s.VM1_MAC, type=0x88CC),
        s.VM2,
        eth(s.VM2_MAC, s.VM1_MAC, type=0x88CC),
        L2,
        hit(s.VM2_MAC),
    ),
    tx("a tag stays", s.VM1, TAGGED, s.VM2, TAGGED, L2, hit(s.VM2_MAC)),
    drop("a tag cut short", s.VM1, TAGGED[:17], Drop.INVALID_PACKET),
    drop("unknown unicast", s.VM1, UNKNOWN, Drop.L2_NO_ROUTE),
    flood(
        "unknown unicast of a vif that may flood it",
        s.UUF,
        UNKNOWN,
        to_all(UNKNOWN, (s.VM1, s.VM2), UNKNOWN_PORT),
        LOST,
        ((B, "uuc_floods"), *REPLICATED),
        hit(BROADCAST),
    ),
    tx(
        "the same MAC in the other network is another VM",
        s.RED,
        to(s.VM1_MAC),
        s.RED,
        to(s.VM1_MAC),
        ((R, "l2_encaps"),),
        ((R, s.VM1_MAC),),
    ),
    drop("a MAC of the other network", s.RED, to(s.VM2_MAC), Drop.L2_NO_ROUTE),
    drop("a nexthop that is not there", s.VM1, to(port(7)), Drop.INVALID_NH, (), hit(port(7))),
    drop("a vif that is not there", s.VM1, to(port(11)), Drop.INVALID_IF, (), hit(port(11))),
    drop("a tunnel without VNI", s.VM1, to(port(6)), Drop.INVALID_VNID, (), hit(port(6))),
    drop(
        "translated in circles: four look-ups, no fifth",
        s.VM1,
        to(port(8)),
        Drop.PKT_LOOP,
        LOOP,
        (*hit(port(8)), *((5, port(8)),) * 3),
    ),
    tx(
        "a rewrite for L3 replaces the MACs of a bridged frame",
        s.VM2,
        eth(port(9), s.VM2_MAC, ip("10.1.1.2")),
        s.VM1,
        eth(s.VM1_MAC, s.GATEWAY, ip("10.1.1.2")),
        ((B, "encaps"),),
        hit(port(9)),
    ),
    tx(
        "translated from L2 to L3",
        s.VM1,
        to(port(10)),
        s.VM2,
        eth(s.VM2_MAC, s.GATEWAY, NEW_IP, type=0x0800),
        ((B, "vrf_translates"), (B, "encaps")),
        hit(port(10)),
    ),
    drop(
        "translated from L2 to L3, but no IP",
        s.VM1,
        eth(port(10), s.VM1_MAC, type=0x88CC),
        Drop.INVALID_PROTOCOL,
        ((B, "vrf_translates"),),
        hit(port(10)),
    ),
    tx(
        "as long as the MTU",
        s.VM1,
        to(port(12), ip("10.1.1.2", size=672)),
        s.NARROW,
        to(port(12), ip("10.1.1.2", size=672)),
        L2,
        hit(port(12)),
    ),
    drop(
        "longer than the MTU",
        s.VM1,
        to(port(12), ip("10.1.1.2", size=673)),
        Drop.TOO_BIG,
        L2,
        hit(port(12)),
    ),
    tx(
        "as long as the MTU, and a tag",
        s.VM1,
        to(port(12), tag(), ip("10.1.1.2", size=672)),
        s.NARROW,
        to(port(12), tag(), ip("10.1.1.2", size=672)),
        L2,
        hit(port(12)),
    ),
    drop(
        "longer than the MTU, and a tag",
        s.VM1,
        to(port(12), tag(), ip("10.1.1.2", size=673)),
        Drop.TOO_BIG,
        L2,
        hit(port(12)),
    ),
    drop(
        "a second tag counts towards the MTU",
        s.VM1,
        to(port(12), tag(), tag(7), ip("10.1.1.2", size=669)),
        Drop.TOO_BIG,
        L2,
        hit(port(12)),
    ),
    tx(
        "to the host's stack: as if sent to it",
        s.VM1,
        TO_HOST,
        s.HOST,
        eth(s.NIC_MAC, s.VM1_MAC, ip("10.1.1.2")),
        ((B, "receives"),),
        hit(port(13)),
    ),
    tx(
        "to the host's stack: without its tag",
        s.VM1,
        to(port(13), tag(), ip("10.1.1.2")),
        s.HOST,
        eth(s.NIC_MAC, s.VM1_MAC, ip("10.1.1.2")),
        ((B, "receives"),),
        hit(port(13)),
    ),
    tx(
        "to the host's stack: without either tag",
        s.VM1,
        to(port(13), tag(), tag(7), ip("10.1.1.2")),
        s.HOST,
        eth(s.NIC_MAC, s.VM1_MAC, ip("10.1.1.2")),
        ((B, "receives"),),
        hit(port(13)),
    ),
    tx(
        "to the host's stack: without eight tags",
        s.VM1,
        to(port(13), *[tag()] * 8, ip("10.1.1.2")),
        s.HOST,
        eth(s.NIC_MAC, s.VM1_MAC, ip("10.1.1.2")),
        ((B, "receives"),),
        hit(port(13)),
    ),
    drop(
        "to the host's stack: nine tags are too many",
        s.VM1,
        to(port(13), *[tag()] * 9, ip("10.1.1.2")),
        Drop.INVALID_PACKET,
        ((B, "receives"),),
        hit(port(13)),
    ),
    tx(
        "a small packet in a smaller MTU: just as long",
        s.VM1,
        to(port(15), ip("10.1.1.2", size=72)),
        s.TINY,
        to(port(15), ip("10.1.1.2", size=72)),
        L2,
        hit(port(15)),
    ),
    drop(
        "a small packet in a smaller MTU",
        s.VM1,
        to(port(15), ip("10.1.1.2", size=73)),
        Drop.TOO_BIG,
        L2,
        hit(port(15)),
    ),
    trap(
        "the agent's port",
        s.VM1,
        to(port(14)),
        Trap.NEXTHOP,
        trapped(to(port(14)), s.VM1, B, 4),
        L2,
        hit(port(14)),
    )[0],
    drop("of a Stats vif", s.STATS, to(s.VM2_MAC), Drop.INTERFACE_RX_DISCARD),
    drop("a netdevice that is no vif's", s.GONE, to(s.VM2_MAC), Drop.INVALID_IF),
)
