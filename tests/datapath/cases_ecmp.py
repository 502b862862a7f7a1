# SPDX-License-Identifier: Apache-2.0
"""Equal-cost paths: which member a flow takes.

The picks were computed by the C program whose vectors stand in test_hash.py, from keys written
by hand; they are numbers here, not calls of the model's hash.
"""

from __future__ import annotations

from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet, Raw

from tests.model.const import Drop
from tests.model.state import mac

from . import states as s
from .frames import (
    entropy,
    eth,
    ip,
    mplsoudp,
    sent_mplsogre,
    sent_mplsoudp,
    sent_vxlan,
)
from .table import Case, Macs, Names, drop, rows, tx

B = s.BLUE
HIT: Macs = ((B, s.GATEWAY),)
PICKED: Names = ((B, "l2_receives"), (B, "ecmp_composites"))
COUNTED = ((B, "encaps"), (B, "udp_mpls_tunnels"), (B, "gre_mpls_tunnels"))
# hash % 3 of the flows 10.1.1.1:1111 -> 10.1.10.N:2222, UDP, nexthop 11
WAYS = {1: 2, 2: 1, 3: 1, 4: 1, 5: 2, 6: 1, 7: 1, 8: 0}


def gw(packet: Packet) -> bytes:
    """A frame of vm1 for the gateway."""
    return eth(s.GATEWAY, s.VM1_MAC, packet)


def sent(packet: Packet, way: int, labels: tuple[int, int]) -> tuple[int, bytes]:
    """The vif and the frame of a way: vm2, MPLSoUDP or MPLSoGRE; the packet's TTL is 63."""
    sport, dport = (packet.sport, packet.dport) if UDP in packet else (0, 0)
    port = entropy(packet.src, packet.dst, sport, dport, packet.proto, B)
    if way == 0:
        return s.VM2, eth(s.VM2_MAC, s.GATEWAY, packet)
    if way == 1:
        return s.FABRIC, sent_mplsoudp(labels[0], bytes(packet), port, ttl=63)
    return s.FABRIC, sent_mplsogre(labels[1], bytes(packet), ttl=63)


def takes(name: str, packet: Packet, way: int, labels: tuple[int, int] = (1030, 1031)) -> Case:
    """The packet of vm1, of TTL 64, takes that way."""
    out = packet.copy()
    out.ttl = 63
    return tx(name, s.VM1, gw(packet), *sent(out, way, labels), (*PICKED, COUNTED[way]), HIT)


def fragment(at: int, more: str) -> Packet:
    """A fragment of a UDP datagram."""
    ip_head = IP(src="10.1.1.1", dst="10.1.10.3", id=7, frag=at, flags=more, proto=17)
    return ip_head / Raw(b"p" * 8)


def icmp(message: Packet) -> Packet:
    """An ICMP message of vm1."""
    return IP(src="10.1.1.1", dst="10.1.10.2", id=7) / message


# what came back from 10.1.10.1:2222, or what went there, is of the flow that goes there
QUOTED = IP(src="10.1.10.1", dst="10.1.1.1") / UDP(sport=2222, dport=1111)
FROM_VM = [
    *(takes(f"flow {last}", ip(f"10.1.10.{last}"), way) for last, way in WAYS.items()),
    *(
        # all parts take one way, the first too, though it has the ports
        takes(f"a fragment at {at}", fragment(at, more), 0)
        for at, more in ((0, "MF"), (1, "MF"), (2, ""))
    ),
    takes("an echo: its identifier", icmp(ICMP(type=8, id=0x1234, seq=1)), 2),
    takes("its answer is of the same flow", icmp(ICMP(type=0, id=0x1234, seq=9)), 2),
    takes("another message: its type", icmp(ICMP(type=13)), 1),
    takes(
        "an error: the flow that it speaks of, reversed",
        IP(src="10.1.1.1", dst="10.1.10.8", id=7) / ICMP(type=3, code=4) / QUOTED,
        WAYS[1],
    ),
    # of the 31 ways to choose fields, the one for the destination only: 0x6E314A82 % 3
    takes("only the destination counts", ip("10.1.11.1"), 0),
    # 0xEBB6C935 % 3
    takes("only the destination port counts", ip("10.1.18.1"), 2),
    takes("label-unicast, a VM", ip("10.1.12.1"), 0, (77, 77)),
    takes("label-unicast: the route's label stays, MPLSoGRE", ip("10.1.12.3"), 2, (77, 77)),
    takes("label-unicast: the route's label stays, MPLSoUDP", ip("10.1.12.7"), 1, (77, 77)),
    takes("a member of the second chunk of many", ip("10.1.14.1"), 2, (0, 4039)),
    takes("a hole picks again among two", ip("10.1.17.1"), 0),
    takes("another flow, the other of two", ip("10.1.17.2"), 2),
    takes("no hole", ip("10.1.17.4"), 0),
]


def lost(name: str, dst: str) -> Case:
    """A routed packet of vm1 that no member takes."""
    return drop(name, s.VM1, gw(ip(dst)), Drop.INVALID_NH, PICKED, HIT)


LOST = [
    lost("holes only", "10.1.13.1"),
    lost("no members", "10.1.16.1"),
    lost("a composite of composites", "10.1.15.1"),
]
BRIDGED_MAC = mac("02:00:0a:01:01:12")
BRIDGED: Names = ((B, "ecmp_composites"), (B, "vxlan_tunnels"))
L2_HIT: Macs = ((B, BRIDGED_MAC),)
TYPED = eth(BRIDGED_MAC, s.VM1_MAC, b"bytes of no IP packet", type=0x88CC)
UDP6 = UDP(sport=1111, dport=2222) / Raw(b"xxxx")
# the folded addresses: fd00 and the last byte of each
SIX_PORT = entropy("253.0.0.1", "253.0.0.2", 1111, 2222, 17, B)
SIX = eth(BRIDGED_MAC, s.VM1_MAC, IPv6(src="fd00::1", dst="fd00::2") / UDP6)


def bridged(name: str, frame: bytes, port: int) -> Case:
    """A frame that takes the second of two ways, in VXLAN."""
    out = sent_vxlan(5001, frame, port, id=0)
    return tx(name, s.VM1, frame, s.FABRIC, out, BRIDGED, L2_HIT)


FRAMES = [
    # 0x5FA33D25 and 0xF19AE8EF are odd
    bridged("no IP packet: Ethernet header and VRF", TYPED, 52000),
    bridged("IPv6: a key of 44 bytes", SIX, SIX_PORT),
]
INSIDE = ip("10.1.1.1", src="10.1.1.3")
BY_FABRIC = [
    # the label's nexthop is in the key: 61 itself
    tx(
        "by a label",
        s.FABRIC,
        mplsoudp(1017, bytes(INSIDE), src="172.30.0.9"),
        s.FABRIC,
        sent_mplsogre(1031, bytes(INSIDE)),
        ((0, "receives"), (B, "ecmp_composites"), (B, "gre_mpls_tunnels")),
    ),
]
CASES = rows(FROM_VM, LOST, FRAMES, BY_FABRIC)
