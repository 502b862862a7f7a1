# SPDX-License-Identifier: Apache-2.0
"""ICMP errors that dp-core itself makes, with checksums that scapy makes."""

from __future__ import annotations

from dataclasses import replace

from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    ICMPv6ND_Redirect,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
)
from scapy.packet import Packet, Raw

from tests.model.const import Drop, Trap

from . import states as s
from .frames import eth, ip, tag, trapped
from .frames6 import udp6
from .table import Case, Macs, copy, drop, only, rows, trap

B = s.BLUE
L2R = (B, "l2_receives")
HIT: Macs = ((B, s.GATEWAY),)
GW, GW6 = "10.1.1.254", "fd00::fe"
# made of GATEWAY, where a vif has no address: RFC 4291, A
LINK_LOCAL = "fe80::200:5eff:fe00:100"


def gw(*layers: Packet | bytes, src: bytes = s.VM1_MAC) -> bytes:
    """A frame for the gateway."""
    return eth(s.GATEWAY, src, *layers)


def head(src: str = GW, dst: str = "10.1.1.1") -> IP:
    """The IPv4 header of an error."""
    return IP(src=src, dst=dst, id=0, flags="DF", tos=0xC0, ttl=64)


def late(quoted: bytes, **where: str) -> bytes:
    """Time exceeded, to vm1."""
    message = ICMP(type=11, code=0) / Raw(quoted)
    return eth(s.VM1_MAC, s.GATEWAY, head(**where) / message)


def late6(quoted: bytes, src: str = GW6, dst: str = "fd00::1") -> bytes:
    """The same of ICMPv6."""
    message = ICMPv6TimeExceeded(code=0) / Raw(quoted)
    return eth(s.VM1_MAC, s.GATEWAY, IPv6(src=src, dst=dst, hlim=64) / message)


def ended(name: str, frame: bytes, *answers: bytes, vif: int = s.VM1) -> Case:
    """A packet that goes no further, and what its sender is told."""
    case = drop(name, vif, frame, Drop.TTL_EXCEEDED, (L2R,), HIT)
    return replace(case, copies=tuple(copy(vif, answer) for answer in answers))


def old(dst: str = "10.1.1.2", src: str = "10.1.1.1", size: int = 4, ttl: int = 1) -> bytes:
    """An IPv4 packet at the end of its way."""
    return bytes(ip(dst, src, ttl=ttl, size=size))


def old6(dst: str = "fd00::2", src: str = "fd00::1", size: int = 4) -> bytes:
    """An IPv6 packet likewise."""
    return bytes(udp6(dst, src, hops=1, size=size))


def frame4(data: bytes) -> bytes:
    """Vm1's frame around IPv4."""
    return gw(Raw(data))[:12] + b"\x08\x00" + data


def frame6(data: bytes) -> bytes:
    """Vm1's frame around IPv6."""
    return gw(Raw(data))[:12] + b"\x86\xdd" + data


def icmp(kind: int) -> bytes:
    """An ICMP message at the end of its way."""
    return bytes(
        IP(src="10.1.1.1", dst="10.1.1.2", ttl=1, id=7) / ICMP(type=kind) / Raw(b"12345678")
    )


def icmp6(message: Packet, *between: Packet) -> bytes:
    """An ICMPv6 message likewise."""
    packet = IPv6(src="fd00::1", dst="fd00::2", hlim=1)
    for one in between:
        packet = packet / one
    return bytes(packet / message)


OPTIONS = bytes(
    IP(src="10.1.1.1", dst="10.1.1.2", ttl=1, options=[b"\x01" * 8]) / UDP() / Raw(b"x")
)
FIRST = bytes(IP(src="10.1.1.1", dst="10.1.1.2", ttl=1, flags="MF") / UDP() / Raw(b"abc"))
SECOND = bytes(IP(src="10.1.1.1", dst="10.1.1.2", ttl=1, frag=5) / Raw(b"abcdefgh"))
EXT = IPv6ExtHdrDestOpt(options=[])

V4 = [
    ended("TTL 1: time exceeded, from the gateway", frame4(old()), late(old())),
    ended("TTL 0", frame4(old(ttl=0)), late(old(ttl=0))),
    ended("an odd number of bytes", frame4(old(size=5)), late(old(size=5))),
    ended("a padded frame: the padding is not quoted", frame4(old() + b"pad"), late(old())),
    ended("548 bytes are quoted whole", frame4(old(size=520)), late(old(size=520))),
    ended("no more than 548", frame4(old(size=521)), late(old(size=521)[:548])),
    ended("of a long packet", frame4(old(size=1400)), late(old(size=1400)[:548])),
    ended("a tag comes off", gw(tag(), ip("10.1.1.2", ttl=1)), late(old())),
    ended("IP options are quoted", frame4(OPTIONS), late(OPTIONS)),
    ended("the first fragment", frame4(FIRST), late(FIRST)),
    ended("another fragment: no error", frame4(SECOND)),
    ended("an echo request", frame4(icmp(8)), late(icmp(8))),
    *(
        ended(f"an ICMP error, type {kind}: none about errors", frame4(icmp(kind)))
        for kind in (3, 4, 5, 11, 12)
    ),
    *(
        ended(f"from {src}: nobody to be told", frame4(old(src=src)))
        for src in ("0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255")
    ),
    ended("to a group: none", frame4(old(dst="224.0.0.9"))),
    ended(
        "a forged source: its sender is told",
        frame4(old(src="8.8.8.8")),
        late(old(src="8.8.8.8"), dst="8.8.8.8"),
    ),
    ended(
        "a vif without an address: the dummy address",
        eth(s.GATEWAY, s.VM1_MAC, ip("10.1.1.2", ttl=1)),
        late(old(), src="192.0.0.8"),
        vif=s.NARROW,
    ),
]
V6 = [
    ended("hop limit 1: time exceeded, from the gateway", frame6(old6()), late6(old6())),
    ended("an odd number of bytes of IPv6", frame6(old6(size=5)), late6(old6(size=5))),
    ended("a padded frame of IPv6", frame6(old6() + b"pad"), late6(old6())),
    ended("1232 bytes are quoted whole", frame6(old6(size=1184)), late6(old6(size=1184))),
    ended("no more than 1232", frame6(old6(size=1185)), late6(old6(size=1185)[:1232])),
    ended("a tag comes off IPv6", gw(tag(), udp6("fd00::2", hops=1)), late6(old6())),
    ended("from nobody", frame6(old6(src="::"))),
    ended("from a group", frame6(old6(src="ff02::1"))),
    ended(
        "an ICMPv6 echo request",
        frame6(icmp6(ICMPv6EchoRequest())),
        late6(icmp6(ICMPv6EchoRequest())),
    ),
    ended(
        "an ICMPv6 error: none about errors", frame6(icmp6(ICMPv6DestUnreach() / Raw(b"12345678")))
    ),
    ended("an ICMPv6 error behind options", frame6(icmp6(ICMPv6DestUnreach(), EXT, EXT))),
    ended("a redirect", frame6(icmp6(ICMPv6ND_Redirect()))),
    ended(
        "a fragment of IPv6",
        frame6(icmp6(Raw(b"12345678"), IPv6ExtHdrFragment(nh=58, m=1))),
        late6(icmp6(Raw(b"12345678"), IPv6ExtHdrFragment(nh=58, m=1))),
    ),
    ended(
        "a vif without an address: its link-local one",
        frame6(old6()),
        late6(old6(), src=LINK_LOCAL),
        vif=s.NARROW,
    ),
]
TRAPPED = [
    *trap(
        "the agent tells, if it is asked to",
        s.VM1,
        frame4(old()),
        Trap.ZERO_TTL,
        trapped(frame4(old()), s.VM1, B, 12),
        (L2R,),
        HIT,
    )[:1],
    *trap(
        "with a tag: the agent gets the frame as it was",
        s.VM1,
        gw(tag(), ip("10.1.1.2", ttl=1)),
        Trap.ZERO_TTL,
        trapped(gw(tag(), ip("10.1.1.2", ttl=1)), s.VM1, B, 12),
        (L2R,),
        HIT,
    )[:1],
    *trap(
        "of IPv6",
        s.VM1,
        frame6(old6()),
        Trap.ZERO_TTL,
        trapped(frame6(old6()), s.VM1, B, 12),
        (L2R,),
        HIT,
    )[:1],
]
UNPAIRED = [
    replace(ended("no pair: counted, nobody is told", frame4(old())), lost=(Drop.NO_EXCEPTION,)),
]

CASES = rows(V4, V6, only(s.TRAPPING, *TRAPPED), only(s.NO_PAIR, *UNPAIRED))
