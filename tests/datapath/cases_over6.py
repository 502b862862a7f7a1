# SPDX-License-Identifier: Apache-2.0
"""What is the same over IPv6: the fabric's tree, equal-cost paths, marks, mirrors."""

from __future__ import annotations

import struct
from dataclasses import replace

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw

from tests.model.const import BROADCAST
from tests.model.packet import Copy
from tests.model.state import mac

from . import states as s
from .frames import eth
from .frames6 import FAR_IP6, OTHER_IP6, SELF_IP6, hash6, mplsoudp6, port_of, sent_mplsoudp6, udp6
from .table import Case, Names, copy, flood, rows, tx

B = s.BLUE
FRAME = eth(BROADCAST, s.VM1_MAC, udp6("fd00::3"))
VALUE = hash6("fd00::1", "fd00::3", B)


def wrapped(vni: int, src: str, dst: str, sport: int, ident: int) -> bytes:
    """Control word and a VXLAN packet of IPv4: what stands behind the label on the tree."""
    inside = UDP(sport=sport, dport=4789, chksum=0) / VXLAN(flags="Instance", vni=vni)
    packet = IP(src=src, dst=dst, id=ident, ttl=64) / inside / Raw(FRAME)
    return struct.pack("!I", 0) + bytes(packet)


def by_tree(name: str, src: str, remote: list[Copy], *names: str) -> Case:
    """A frame of another host, along the tree: VMs, and further hosts."""
    body = wrapped(333, "172.30.0.2", "172.30.0.1", 50000, 1)
    counted = ("l2_mcast_composites", "encap_composites", "l2_encaps", "l2_encaps", *names)
    counts: Names = ((0, "receives"), *((B, one) for one in counted))
    copies = [copy(s.VM1, FRAME), copy(s.VM2, FRAME), *remote]
    return flood(name, s.FABRIC, mplsoudp6(1105, body, src=src), copies, (), counts)


ON = sent_mplsoudp6(
    2201, wrapped(333, "0.0.0.0", "0.0.0.0", port_of(VALUE), 0), VALUE, dst=OTHER_IP6
)
TREE = [
    by_tree(
        "along the tree: on to the others, the network told by headers without addresses",
        FAR_IP6,
        [copy(s.FABRIC, ON)],
        "fabric_composites",
        "udp_mpls_tunnels",
    ),
    by_tree("along the tree: not back to its sender", OTHER_IP6, [], "fabric_composites"),
]
ECMP = [
    tx(
        "a route with equal-cost paths",
        s.VM1,
        eth(s.GATEWAY, s.VM1_MAC, udp6("fd00::13")),
        s.FABRIC,
        sent_mplsoudp6(
            1033, bytes(udp6("fd00::13", hops=63)), hash6("fd00::1", "fd00::13", B), ttl=63
        ),
        ((B, "l2_receives"), (B, "ecmp_composites"), (B, "udp_mpls_tunnels")),
        ((B, s.GATEWAY),),
    ),
]


def marks(frame: bytes, dscp: int, exp: int) -> bytes:
    """The MPLSoUDP packet with marks in its outer IPv6 header and its label."""
    word, label = struct.unpack_from("!I", frame, 14)[0], struct.unpack_from("!I", frame, 62)[0]
    word, label = word | dscp << 22, label | exp << 9
    return (
        frame[:14] + struct.pack("!I", word) + frame[18:62] + struct.pack("!I", label) + frame[66:]
    )


REMOTE = mac("02:00:0a:01:01:13")


def marked(name: str, vif: int, inner: int, outer: int, exp: int, of: tuple[int, int]) -> Case:
    """A frame whose IPv6 packet has a traffic class, for another host."""
    packet: Packet = udp6("fd00::3")
    packet.tc = inner
    frame = eth(REMOTE, s.VM1_MAC, packet)
    sent = marks(sent_mplsoudp6(1040, frame, VALUE), outer, exp)
    counts: Names = ((B, "udp_mpls_tunnels"),)
    return replace(tx(name, vif, frame, s.FABRIC, sent, counts, ((B, REMOTE),)), marks=of)


QOS = [
    marked("outer traffic class and EXP are those of the class", s.MARKED, 1, 46, 5, (4, 6)),
    marked(
        "no class: the DSCP is copied, congestion marks are not", s.VM1, 46 << 2 | 1, 46, 0, (0, 0)
    ),
]
SEEN = eth(s.VM2_MAC, s.VM1_MAC, udp6("fd00::2"))
LABEL = hash6("fd00::1", "fd00::2", 0) & 0xFFFFF
ANALYZED = eth(
    s.FAR_MAC,
    s.GATEWAY,
    IPv6(src=SELF_IP6, dst="2001:db8::9", hlim=63, fl=LABEL)
    / UDP(sport=8097, dport=8099, chksum=0)
    / Raw(s.METADATA + SEEN),
)
MIRROR = [
    replace(
        tx(
            "metadata and UDP to an analyzer",
            s.MIRRORED6,
            SEEN,
            s.VM2,
            SEEN,
            ((B, "l2_encaps"), (0, "udp_tunnels"), (0, "encaps")),
            ((B, s.VM2_MAC),),
        ),
        copies=(copy(s.FABRIC, ANALYZED),),
    ),
]
CASES = rows(TREE, ECMP, QOS, MIRROR)
