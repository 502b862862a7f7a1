# SPDX-License-Identifier: Apache-2.0
"""Who may speak: a case for every rule of a vif with a table of sources."""

from __future__ import annotations

from scapy.layers.dhcp6 import DHCP6_Reply, DHCP6_Solicit
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6MLReport2,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)
from scapy.layers.l2 import ARP
from scapy.packet import Packet, Raw

from tests.model.const import Drop
from tests.model.state import mac

from . import frames6
from . import states as s
from .frames import eth, ip, tag, text
from .table import Case, drop, rows, tx

MINE, OTHER, STRANGE = s.VM1_MAC, s.VM2_MAC, mac("02:de:ad:00:00:01")
LOCAL = "fe80::aff:fe01:101"  # of MINE
TO = s.VM2_MAC
L2 = ((s.BLUE, "l2_encaps"),)
HIT = ((s.BLUE, TO),)
BPDU = mac("01:80:c2:00:00:00")


def passes(name: str, *layers: Packet, src: bytes = MINE, vif: int = s.CHECKED) -> Case:
    """The frame is bridged to vm2 as if nothing were checked."""
    frame = eth(TO, src, *layers)
    return tx(name, vif, frame, s.VM2, frame, L2, HIT)


def refused(
    name: str,
    reason: Drop,
    *layers: Packet,
    src: bytes = MINE,
    dst: bytes = TO,
    vif: int = s.CHECKED,
    type: int | None = None,
) -> Case:
    """The frame is dropped for that reason."""
    return drop(name, vif, eth(dst, src, *layers, type=type), reason)


def udp4(src: str, sport: int, dport: int, dst: str = "10.1.1.2") -> Packet:
    return IP(src=src, dst=dst) / UDP(sport=sport, dport=dport) / Raw(b"data")


def igmp(kind: int, length: int = 8, frag: int = 0) -> Packet:
    message = bytes((kind,)) + bytes(length - 1)
    return IP(src="0.0.0.0", dst="224.0.0.251", proto=2, ttl=1, frag=frag) / Raw(message)


def v6(src: str, *layers: Packet, dst: str = "fd00::2") -> Packet:
    packet = IPv6(src=src, dst=dst, hlim=255)
    for layer in layers:
        packet = packet / layer
    return packet


def arp(sha: bytes, spa: str, tpa: str = "10.1.1.2", op: int = 2) -> Packet:
    return ARP(op=op, hwsrc=text(sha), psrc=spa, hwdst=text(TO), pdst=tpa)


def ns(target: str, *more: Packet, src: str = "fd00::1") -> Packet:
    return v6(src, ICMPv6ND_NS(tgt=target), *more)


def na(target: str, *more: Packet, src: str = "fd00::1") -> Packet:
    return v6(src, ICMPv6ND_NA(tgt=target), *more)


def sll(address: bytes) -> Packet:
    return ICMPv6NDOptSrcLLAddr(lladdr=text(address))


def tll(address: bytes) -> Packet:
    return ICMPv6NDOptDstLLAddr(lladdr=text(address))


ECHO = ICMPv6EchoRequest()
FIRST, LATER = IPv6ExtHdrFragment(offset=0, m=1), IPv6ExtHdrFragment(offset=8, m=0)
HBH, DEST = IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt()
LATE_4 = IP(src="10.1.1.1", dst="10.1.1.2", frag=8, proto=17) / Raw(b"\0\x43\0\x44data")
EMPTY_4 = IP(src="10.1.1.1", dst="10.1.1.2", proto=17) / Raw(b"1234567")

ETHERNET = [
    passes("a frame of another protocol", Raw(b"x" * 46)),
    refused("of a MAC that is not allowed", Drop.SOURCE_MAC, Raw(b"x" * 46), src=STRANGE),
    refused("nothing is allowed", Drop.SOURCE_MAC, ip("10.1.1.2"), vif=s.MUTE),
    refused("nothing is allowed, ARP", Drop.SOURCE_MAC, arp(MINE, "10.1.1.1"), vif=s.MUTE),
    refused("BPDU", Drop.BPDU, Raw(b"x" * 46), dst=BPDU, type=0x88CC),
    refused("BPDU of a provider", Drop.BPDU, Raw(b"x"), dst=mac("01:80:c2:00:00:08"), type=0x88CC),
    refused("BPDU per VLAN", Drop.BPDU, Raw(b"x"), dst=mac("01:00:0c:cc:cc:cd"), type=0x88CC),
    refused("behind a VLAN tag", Drop.SOURCE_ADDRESS, tag(), ip("10.1.1.2", "10.1.1.9")),
]
V4 = [
    passes("its address", ip("10.1.1.2")),
    passes("a prefix of another MAC", ip("10.1.1.2", "10.1.2.77"), src=OTHER),
    refused("an address of nobody", Drop.SOURCE_ADDRESS, ip("10.1.1.2", "10.1.1.9")),
    refused("an address of another MAC", Drop.SOURCE_ADDRESS, ip("10.1.1.2", "10.1.2.77")),
    refused(
        "an address beside the prefix", Drop.SOURCE_ADDRESS, ip("1.1.1.1", "10.1.3.1"), src=OTHER
    ),
    refused("a MAC of nobody", Drop.SOURCE_MAC, ip("10.1.1.2"), src=STRANGE),
    passes("a DHCP request", udp4("0.0.0.0", 68, 67)),
    refused("a DHCP request of nobody", Drop.SOURCE_MAC, udp4("0.0.0.0", 68, 67), src=STRANGE),
    refused("no address, another port", Drop.SOURCE_ADDRESS, udp4("0.0.0.0", 68, 53)),
    refused("no address, another source port", Drop.SOURCE_ADDRESS, udp4("0.0.0.0", 67, 67)),
    refused("no address, TCP", Drop.SOURCE_ADDRESS, IP(src="0.0.0.0", dst="1.1.1.1") / TCP()),
    passes("an IGMP report of version 2 by one without an address", igmp(0x16)),
    passes("an IGMP report of version 3 by one without an address", igmp(0x22)),
    refused("the same of a MAC of nobody", Drop.SOURCE_MAC, igmp(0x22), src=STRANGE),
    refused("an IGMP query by one without an address", Drop.SOURCE_ADDRESS, igmp(0x11)),
    refused("an IGMP report cut short", Drop.SOURCE_ADDRESS, igmp(0x16, 7)),
    refused("what may be an IGMP report's end", Drop.SOURCE_ADDRESS, igmp(0x16, frag=8)),
    refused("a DHCP server", Drop.DHCP_SERVER, udp4("10.1.1.1", 67, 68)),
    passes("a DHCP server, trusted", udp4("10.1.1.1", 67, 68), vif=s.TRUSTED),
    passes("any address, trusted", ip("10.1.1.2", "9.9.9.9"), vif=s.TRUSTED),
    passes("a later fragment has no ports", LATE_4),
    refused("UDP cut short", Drop.INVALID_PACKET, EMPTY_4),
    refused("IPv4 that is none", Drop.INVALID_PACKET, Raw(b"x" * 46), type=0x0800),
]
A = [
    passes("ARP: its own pair", arp(MINE, "10.1.1.1")),
    refused("ARP: another address", Drop.SOURCE_ARP, arp(MINE, "10.1.1.9")),
    refused("ARP: an address of another MAC", Drop.SOURCE_ARP, arp(MINE, "10.1.2.1")),
    passes("ARP: the pair of another MAC that it may use", arp(OTHER, "10.1.2.1")),
    refused("ARP: another sender", Drop.SOURCE_ARP, arp(STRANGE, "10.1.1.1")),
    refused("ARP: another Ethernet source", Drop.SOURCE_MAC, arp(MINE, "10.1.1.1"), src=STRANGE),
    refused("ARP: a probe for another's address", Drop.SOURCE_ARP, arp(MINE, "0.0.0.0", op=1)),
    refused("ARP: malformed", Drop.INVALID_ARP, ARP(hwlen=5), type=0x0806),
]
V6 = [
    passes("IPv6: its address", v6("fd00::1", ECHO)),
    refused("IPv6: another address", Drop.SOURCE_ADDRESS, v6("fd00::9", ECHO)),
    refused("IPv6: a MAC of nobody", Drop.SOURCE_MAC, v6("fd00::1", ECHO), src=STRANGE),
    passes("IPv6: link-local of its MAC", v6(LOCAL, ECHO)),
    refused("IPv6: another link-local", Drop.SOURCE_ADDRESS, v6("fe80::1", ECHO)),
    passes("IPv6: any link-local, if allowed", v6("fe80::1", ECHO), src=OTHER),
    refused(
        "IPv6: link-local of a MAC of nobody",
        Drop.SOURCE_MAC,
        v6("fe80::de:adff:fe00:1", ECHO),
        src=STRANGE,
    ),
    refused("IPv6: no address", Drop.SOURCE_ADDRESS, v6("::", ECHO)),
    refused("IPv6: no address, UDP", Drop.SOURCE_ADDRESS, v6("::", UDP(sport=546, dport=547))),
    passes("IPv6: no address, MLD", v6("::", HBH, ICMPv6MLReport2())),
    passes("IPv6: no address, router solicitation", v6("::", ICMPv6ND_RS())),
    passes("IPv6: router solicitation", v6(LOCAL, ICMPv6ND_RS(), sll(MINE))),
    refused("IPv6: solicits as another", Drop.SOURCE_ND, v6(LOCAL, ICMPv6ND_RS(), sll(STRANGE))),
    refused("IPv6: no address, and a MAC", Drop.SOURCE_ND, v6("::", ICMPv6ND_RS(), sll(MINE))),
    refused("RA", Drop.ROUTER, v6(LOCAL, ICMPv6ND_RA())),
    refused("RA behind headers", Drop.ROUTER, v6(LOCAL, HBH, DEST, ICMPv6ND_RA())),
    refused("RA in a fragment", Drop.ROUTER, v6(LOCAL, FIRST, ICMPv6ND_RA())),
    refused(
        "RA behind too many headers", Drop.INVALID_PACKET, v6(LOCAL, *[DEST] * 7, ICMPv6ND_RA())
    ),
    refused("redirect", Drop.ROUTER, v6(LOCAL, ICMPv6ND_Redirect())),
    passes("RA, trusted", v6(LOCAL, ICMPv6ND_RA()), vif=s.TRUSTED),
    refused("DHCPv6 server", Drop.DHCP_SERVER, v6(LOCAL, UDP(sport=547), DHCP6_Reply())),
    passes("DHCPv6 server, trusted", v6(LOCAL, UDP(sport=547), DHCP6_Reply()), vif=s.TRUSTED),
    passes("DHCPv6 client", v6(LOCAL, UDP(sport=546, dport=547), DHCP6_Solicit())),
    passes("IPv6: a later fragment", v6("fd00::1", LATER, Raw(b"\x86" * 8))),
    refused(
        "IPv6: a later fragment of another",
        Drop.SOURCE_ADDRESS,
        v6("fd00::9", LATER, Raw(b"x" * 8)),
    ),
]


def answered(name: str, *options: Packet) -> Case:
    """A solicitation that may be sent is answered, as one of any vif is."""
    ask = eth(TO, MINE, ns("fd00::2", *options))
    reply = frames6.na(ask, s.VM2_MAC, "fd00::2")
    return tx(name, s.CHECKED, ask, s.CHECKED, reply, ((s.BLUE, "arp_virtual_stitch"),))


ND = [
    answered("NS", sll(MINE)),
    answered("NS without option"),
    answered("NS with two options", sll(MINE), sll(MINE)),
    refused("NS as another", Drop.SOURCE_ND, ns("fd00::2", sll(OTHER))),
    refused("NS, the second option lies", Drop.SOURCE_ND, ns("fd00::2", sll(MINE), sll(STRANGE))),
    refused("NS, more options than are read", Drop.SOURCE_ND, ns("fd00::2", *[sll(MINE)] * 7)),
    passes("DAD of its address", ns("fd00::1", src="::")),
    passes("DAD of its link-local", ns(LOCAL, src="::")),
    refused("DAD of another's", Drop.SOURCE_ND, ns("fd00::9", src="::")),
    passes("NA of its address", na("fd00::1", tll(MINE))),
    refused("NA of another's", Drop.SOURCE_ND, na("fd00::9", tll(MINE))),
    refused("NA as another", Drop.SOURCE_ND, na("fd00::1", tll(OTHER))),
    refused("NA without address", Drop.SOURCE_ND, na("fd00::1", src="::")),
    refused("NA in a fragment", Drop.SOURCE_ND, v6("fd00::1", FIRST, ICMPv6ND_NA(tgt="fd00::1"))),
    refused(
        "NS, an option of no length", Drop.INVALID_PACKET, ns("fd00::2", Raw(b"\x01\0" + bytes(6)))
    ),
    refused(
        "NS, an option too long", Drop.INVALID_PACKET, ns("fd00::2", Raw(b"\x0e\x02" + bytes(6)))
    ),
]


def probe(name: str, target: str, reason: Drop | None) -> Case:
    """An ARP probe (RFC 5227) that is answered with vm1's own MAC, or refused."""
    frame = eth(TO, MINE, arp(MINE, "0.0.0.0", target, op=2))
    if reason is not None:
        return drop(name, s.CHECKED, frame, reason)
    return tx(name, s.CHECKED, frame, s.VM2, frame, L2, HIT)


PROBES = [
    probe("ARP: a sender without address asks for its own", "10.1.1.1", None),
    probe("ARP: a sender without address asks for another's", "10.1.1.2", Drop.SOURCE_ARP),
]

CASES = rows(ETHERNET, V4, A, V6, ND, PROBES)
