# SPDX-License-Identifier: Apache-2.0
"""The MSS of SYNs, before and behind tunnels; checksums by scapy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet

from tests.model.state import mac

from . import states as s
from .frames import (
    entropy,
    eth,
    mplsoudp,
    sent_mplsoudp,
    sent_vxlan,
    tag,
    vxlan,
)
from .frames6 import hash6, port_of, sent_mplsoudp6
from .table import Case, Macs, Names, only, rows, tx

B = s.BLUE
Z, Z6 = "10.9.9.9", "fd00::99"
UDP6_MAC = mac("02:00:0a:01:01:13")
V: Names = ((B, "vxlan_tunnels"),)
HIT: Macs = ((B, s.REMOTE_MAC),)
Options = list[tuple[str, object]]
Make = Callable[[int], Options]


def plain(mss: int) -> Options:
    """An MSS alone."""
    return [("MSS", mss)]


def late(mss: int) -> Options:
    """As Linux sends it, but last."""
    return [("SAckOK", b""), ("Timestamp", (1, 0)), ("MSS", mss)]


def odd(mss: int) -> Options:
    """At an odd place."""
    return [("NOP", None), ("MSS", mss), ("WScale", 7)]


def behind_end(mss: int) -> Options:
    """Behind the end of the options."""
    return [("EOL", None), ("MSS", mss)]


def syn(options: Options, flags: str = "S", **head: object) -> Packet:
    """A segment of IPv4."""
    packet = IP(src="10.1.1.1", dst=Z, id=7)
    for name, value in head.items():
        setattr(packet, name, value)
    return packet / TCP(sport=1111, dport=80, flags=flags, options=options)


def syn6(options: Options, dst: str = Z6, hops: int = 64) -> Packet:
    """A segment of IPv6."""
    packet = IPv6(src="fd00::1", dst=dst, hlim=hops)
    return packet / TCP(sport=1111, dport=80, flags="S", options=options)


PORT = entropy("10.1.1.1", Z, 1111, 80, 6, B)


def out(name: str, before: Packet, after: Packet, port: int = PORT, id: int = 7) -> Case:
    """A bridged segment of vm1, and what is inside of the VXLAN packet."""
    frame, sent = (eth(s.REMOTE_MAC, s.VM1_MAC, one) for one in (before, after))
    return tx(name, s.VM1, frame, s.FABRIC, sent_vxlan(5001, sent, port, id=id), V, HIT)


def wrong(packet: Packet, checksum: int) -> Packet:
    """The same with that checksum."""
    packet[TCP].chksum = checksum
    return packet


def routed(name: str, before: Packet, after: Packet, ttl: int = 63) -> Case:
    """A routed segment of vm1, in MPLSoUDP."""
    port = entropy("10.1.1.1", "10.1.1.3", 1111, 80, 6, B)
    return tx(
        name,
        s.VM1,
        eth(s.GATEWAY, s.VM1_MAC, before),
        s.FABRIC,
        sent_mplsoudp(1030, bytes(after), port, ttl=ttl),
        ((B, "l2_receives"), (B, "udp_mpls_tunnels")),
        ((B, s.GATEWAY),),
    )


V6_HASH = hash6("fd00::1", Z6, B, ports=(1111, 80), proto=6)
V6_PORT = port_of(V6_HASH)
FRAME6 = [eth(UDP6_MAC, s.VM1_MAC, syn6(plain(mss))) for mss in (1460, 1374)]
FROM_VM = [
    out("VXLAN", syn(plain(1460)), syn(plain(1398))),
    out("no more than fits: as it is", syn(plain(1398)), syn(plain(1398))),
    out("one more", syn(plain(1399)), syn(plain(1398))),
    out("the last option", syn(late(1460)), syn(late(1398))),
    out("at an odd place", syn(odd(1460)), syn(odd(1398))),
    out("with an answer", syn(plain(8960), "SA"), syn(plain(1398), "SA")),
    out("no SYN: as it is", syn(plain(1460), "A"), syn(plain(1460), "A")),
    out("behind the end of options", syn(behind_end(1460)), syn(behind_end(1460))),
    out("no MSS", syn([("WScale", 7)]), syn([("WScale", 7)])),
    out("IPv6", syn6(plain(1440)), syn6(plain(1378)), V6_PORT, id=0),
    routed("routed", syn(plain(1460), dst="10.1.1.3"), syn(plain(1420), dst="10.1.1.3", ttl=63)),
    tx(
        "over IPv6: what its longer header leaves",
        s.VM1,
        FRAME6[0],
        s.FABRIC,
        sent_mplsoudp6(1040, FRAME6[1], V6_HASH),
        ((B, "udp_mpls_tunnels"),),
        ((B, UDP6_MAC),),
    ),
    out(
        "a wrong checksum stays as wrong as it was",
        wrong(syn(plain(0x0600)), 0x1000),
        wrong(syn(plain(0x0576)), 0x108A),
    ),
]
TO_VM_FRAMES = [eth(s.VM1_MAC, s.REMOTE_MAC, syn(plain(mss))) for mss in (1460, 1398)]
TAGGED = [eth(s.VM1_MAC, s.REMOTE_MAC, tag(), syn(plain(mss))) for mss in (1460, 1398)]
TO_VM = [
    tx(
        f"out of VXLAN{what}",
        s.FABRIC,
        vxlan(5004, before),
        s.VM1,
        after,
        ((0, "receives"), (B, "l2_encaps")),
    )
    for what, (before, after) in (("", TO_VM_FRAMES), (" with a tag", TAGGED))
] + [
    tx(
        "out of MPLSoUDP",
        s.FABRIC,
        mplsoudp(1000, bytes(syn(plain(1460)))),
        s.VM1,
        eth(s.VM1_MAC, s.GATEWAY, syn(plain(1420))),
        ((0, "receives"), (B, "encaps")),
    )
]
LOCAL = eth(s.VM2_MAC, s.VM1_MAC, syn(plain(1460)))
STAYS = [
    tx(
        "to a VM of this host: as it is",
        s.VM1,
        LOCAL,
        s.VM2,
        LOCAL,
        ((B, "l2_encaps"),),
        ((B, s.VM2_MAC),),
    ),
]
OFF = [
    out("off, from a VM", syn(plain(1460)), syn(plain(1460))),
    replace(TO_VM[0], name="off, to a VM", sent=TO_VM_FRAMES[0]),
]

CASES = rows(FROM_VM, TO_VM, STAYS, only(s.NO_PAIR, *OFF))
