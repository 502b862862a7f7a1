# SPDX-License-Identifier: Apache-2.0
"""Packets for the services that are nearly right: valid ones whose payload is spoiled, with
checksums put right again, so that most get past the first checks."""

from __future__ import annotations

import os
import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scapy.layers import dhcp6 as d6
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dns import DNS, DNSQR, DNSRROPT
from scapy.layers.igmp import IGMP, IGMPv3_MR, IGMPv3_MR_Group
from scapy.layers.inet6 import (
    ICMPv6MLDMultAddrRec,
    ICMPv6MLDone,
    ICMPv6MLReport,
    ICMPv6MLReport2,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
)
from scapy.layers.l2 import ARP
from tests.unit.services.rig import ROUTER, ROUTER_LL, V4, V6, VM1, VM1_LL

from vrouter.agent.services.wire import checksum, ethernet, icmp, ipv4, ipv6, udp

ROOT = Path(__file__).parents[3]
_MAC = bytes.fromhex(VM1.replace(":", ""))
_GATEWAY = bytes.fromhex(ROUTER.replace(":", ""))
_INTERESTING = (0, 1, 2, 3, 4, 5, 7, 8, 16, 63, 64, 127, 128, 192, 254, 255)


def seed(*, soak: bool = False) -> int:
    """As tests.datapath.agree.seed: $VR_SEED, or one that changes with what is tested."""
    if given := os.environ.get("VR_SEED"):
        return int(given)
    if soak:
        return random.SystemRandom().getrandbits(32)
    sources = [
        *(ROOT / "src/vrouter/agent/services").rglob("*.py"),
        *(ROOT / "tests/unit/services").glob("*.py"),
    ]
    return zlib.crc32(b"".join(one.read_bytes() for one in sorted(sources)))


@dataclass(frozen=True)
class Grammar:
    """What is sent to a service. bases: valid payloads; wrap: a payload and the chance that
    its checksum is put right, to a frame; first: results that are of the first checks."""

    service: tuple[str, ...]
    bases: Sequence[bytes]
    wrap: Callable[[bytes, bool], bytes]
    first: frozenset[str]


def spoil(r: random.Random, base: bytes, bases: Sequence[bytes]) -> bytes:
    """One to three changes."""
    data = bytearray(base)
    for _ in range(r.choice((1, 1, 2, 3))):
        size = len(data)
        at = r.randrange(size) if size else 0
        match r.randrange(9):
            case 0 if size:
                data[at] ^= 1 << r.randrange(8)
            case 1 | 2 if size:
                data[at] = r.choice(_INTERESTING)
            case 3:
                del data[max(at, size * 3 // 4) :]
            case 4:
                data[at:at] = data[at : at + r.randrange(1, 40)]
            case 5:
                del data[at : at + r.randrange(1, 9)]
            case 6:
                data += r.randbytes(r.randrange(1, 30))
            case 7:
                other = r.choice(bases)
                data[at:] = other[r.randrange(len(other)) :]
            case _:
                data[at : at + 2] = r.randbytes(2)
    return bytes(data)


def _udp4(sport: int, dport: int, source: str, target: str) -> Callable[[bytes, bool], bytes]:
    a, b = V4(source), V4(target)

    def wrap(payload: bytes, right: bool) -> bytes:
        data = udp.build(a, b, sport, dport, payload)
        if not right:
            data = data[:6] + b"\x12\x34" + data[8:]
        return ethernet.build(_GATEWAY, _MAC, ethernet.IPV4, ipv4.build(a, b, udp.PROTO, data))

    return wrap


def _udp6(sport: int, dport: int, source: str, target: str) -> Callable[[bytes, bool], bytes]:
    a, b = V6(source), V6(target)

    def wrap(payload: bytes, right: bool) -> bytes:
        data = udp.build(a, b, sport, dport, payload)
        if not right:
            data = data[:4] + b"\xff\xff" + data[6:]
        return ethernet.build(_GATEWAY, _MAC, ethernet.IPV6, ipv6.build(a, b, udp.PROTO, data))

    return wrap


def _icmp6(source: str, target: str, hops: int) -> Callable[[bytes, bool], bytes]:
    """Payload: type, code and what follows the checksum."""
    a, b = V6(source), V6(target)

    def wrap(payload: bytes, right: bool) -> bytes:
        kind, code = (*payload[:2], 0, 0)[:2]
        data = icmp.build6(kind, code, payload[2:], a, b)
        if not right:
            data = data[:2] + b"\0\0" + data[4:]
        return ethernet.build(
            _GATEWAY, _MAC, ethernet.IPV6, ipv6.build(a, b, ipv6.ICMP, data, hops=hops)
        )

    return wrap


def _igmp(payload: bytes, right: bool) -> bytes:
    data = payload
    if right and len(data) >= 4:
        data = data[:2] + b"\0\0" + data[4:]
        data = data[:2] + checksum.checksum(data).to_bytes(2, "big") + data[4:]
    body = ipv4.build(V4("10.1.1.10"), V4("224.0.0.22"), ipv4.IGMP, data, ttl=1)
    return ethernet.build(b"\1\0\x5e\0\0\x16", _MAC, ethernet.IPV4, body)


def _arp(payload: bytes, right: bool) -> bytes:
    # nothing of ARP has a checksum; what is "right" is a sender that the frame has too
    if right and len(payload) >= 14:
        payload = payload[:8] + _MAC + payload[14:]
    return ethernet.build(ethernet.BROADCAST, _MAC, ethernet.ARP, payload)


def _dhcp(kind: str, *options: Any, **fields: Any) -> bytes:
    bootp = BOOTP(**{"op": 1, "chaddr": _MAC, "xid": 7, **fields})
    return bytes(bootp / DHCP(options=[("message-type", kind), *options, "end"]))


def _dhcp6(kind: Any, *options: Any) -> bytes:
    packet = kind(trid=7)
    for one in options:
        packet /= one
    return bytes(packet)


def _dns(name: str, kind: int, edns: bool = False) -> bytes:
    extra = [DNSRROPT(rclass=1232)] if edns else []
    return bytes(DNS(id=3, rd=1, qd=[DNSQR(qname=name, qtype=kind)], ar=extra))


def _no_sum(message: Any) -> bytes:
    """An ICMPv6 message without its checksum."""
    data = bytes(message)
    return data[:2] + data[4:]


_CLIENT = d6.DHCP6OptClientId(duid=d6.DUID_LL(lladdr=VM1))
_SERVER = d6.DHCP6OptServerId(duid=d6.DUID_LL(lladdr=ROUTER, hwtype=1))
_IA = d6.DHCP6OptIA_NA(
    iaid=1, ianaopts=[d6.DHCP6OptIAAddress(addr="fd00:1::a", preflft=1, validlft=1)]
)
_ORO = d6.DHCP6OptOptReq(reqopts=[23, 24, 31, 32, 56])
_PARAMS = ("param_req_list", [1, 3, 6, 12, 15, 26, 42, 121])
_SUMS = frozenset(("udp checksum", "udp length", "short udp", "icmp checksum", "short icmp"))

GRAMMARS: dict[str, Grammar] = {
    "dhcp": Grammar(
        ("dhcp",),
        [
            _dhcp("discover", _PARAMS),
            _dhcp("discover", ("client_id", b"\1abcdef"), ("max_dhcp_size", 1400), _PARAMS),
            _dhcp("request", ("server_id", "10.1.1.1"), ("requested_addr", "10.1.1.10"), _PARAMS),
            _dhcp("request", ciaddr="10.1.1.10", flags=0x8000),
            _dhcp("inform", _PARAMS, ciaddr="10.1.1.10"),
            _dhcp("decline", ("requested_addr", "10.1.1.10")),
            _dhcp("release", ciaddr="10.1.1.10"),
            _dhcp("discover", (52, b"\3"), _PARAMS, file=b"\x37\2\1\3\xff", sname=b"\x37\1\6\xff"),
        ],
        _udp4(68, 67, "0.0.0.0", "255.255.255.255"),
        _SUMS | {"short dhcp", "dhcp hardware"},
    ),
    "dhcp6": Grammar(
        ("dhcp6",),
        [
            _dhcp6(d6.DHCP6_Solicit, _CLIENT, _IA, _ORO),
            _dhcp6(d6.DHCP6_Solicit, _CLIENT, d6.DHCP6OptRapidCommit(), _IA, _ORO),
            _dhcp6(d6.DHCP6_Request, _CLIENT, _SERVER, _IA, _ORO, d6.DHCP6OptIA_PD(iaid=2)),
            _dhcp6(d6.DHCP6_Confirm, _CLIENT, _IA),
            _dhcp6(d6.DHCP6_Renew, _CLIENT, _SERVER, _IA, _IA),
            _dhcp6(d6.DHCP6_Rebind, _CLIENT, _IA, _ORO),
            _dhcp6(d6.DHCP6_Release, _CLIENT, _SERVER, _IA),
            _dhcp6(d6.DHCP6_Decline, _CLIENT, _SERVER, _IA),
            _dhcp6(d6.DHCP6_InfoRequest, _ORO),
        ],
        _udp6(546, 547, VM1_LL, "ff02::1:2"),
        _SUMS | {"short dhcp"},
    ),
    "dns": Grammar(
        ("dns",),
        [
            _dns("vm1", 1),
            _dns("vm2.red.example", 28, edns=True),
            _dns("www.example.org", 1),
            _dns("WWW.Example.ORG", 255, edns=True),
            _dns("10.1.1.10.in-addr.arpa", 12),
            _dns(".".join("b000000000000000000000000100000d") + "f.ip6.arpa", 12),
            _dns("nobody.red.example", 1),
        ],
        _udp4(5353, 53, "10.1.1.10", "10.1.1.2"),
        _SUMS | {"short dns", "not a query"},
    ),
    "arp": Grammar(
        ("arp",),
        [
            bytes(ARP(hwsrc=VM1, psrc="10.1.1.10", pdst="10.1.1.1")),
            bytes(ARP(hwsrc=VM1, psrc="10.1.1.10", pdst="10.1.1.11")),
            bytes(ARP(hwsrc=VM1, psrc="0.0.0.0", pdst="10.1.1.2")),
            bytes(ARP(hwsrc=VM1, psrc="10.1.1.100", pdst="10.1.1.100")),
            bytes(ARP(op=2, hwsrc=VM1, psrc="10.1.3.7", hwdst=ROUTER, pdst="10.1.1.1")),
        ],
        _arp,
        frozenset(("short arp", "arp kind")),
    ),
    "nd": Grammar(
        ("nd", "ra", "mld", "icmp6"),
        [
            _no_sum(ICMPv6ND_NS(tgt="fd00:1::1") / ICMPv6NDOptSrcLLAddr(lladdr=VM1)),
            _no_sum(ICMPv6ND_NS(tgt=ROUTER_LL) / ICMPv6NDOptSrcLLAddr(lladdr=VM1)),
            _no_sum(ICMPv6ND_NA(tgt="fd00:1::100", R=0) / ICMPv6NDOptDstLLAddr(lladdr=VM1)),
            _no_sum(ICMPv6ND_RS() / ICMPv6NDOptSrcLLAddr(lladdr=VM1)),
        ],
        _icmp6(VM1_LL, ROUTER_LL, 255),
        _SUMS | {"not an echo request"},
    ),
    "igmp": Grammar(
        ("igmp",),
        [
            bytes(IGMP(type=0x16, gaddr="239.1.1.1")),
            bytes(IGMP(type=0x17, gaddr="239.1.1.1")),
            bytes(IGMP(type=0x12, gaddr="239.1.1.2")),
            bytes(
                IGMPv3_MR(
                    records=[
                        IGMPv3_MR_Group(rtype=5, maddr="239.1.1.3", srcaddrs=["10.9.9.1"]),
                        IGMPv3_MR_Group(rtype=4, maddr="239.1.1.4", srcaddrs=[]),
                        IGMPv3_MR_Group(rtype=6, maddr="239.1.1.3", srcaddrs=["10.9.9.1"]),
                    ]
                )
            ),
        ],
        _igmp,
        frozenset(("short igmp", "igmp checksum")),
    ),
    "mld": Grammar(
        ("mld", "nd", "ra", "icmp6"),
        [
            _no_sum(ICMPv6MLReport(mladdr="ff15::1")),
            _no_sum(ICMPv6MLDone(mladdr="ff15::1")),
            _no_sum(
                ICMPv6MLReport2(
                    records=[
                        ICMPv6MLDMultAddrRec(rtype=4, dst="ff15::2"),
                        ICMPv6MLDMultAddrRec(rtype=5, dst="ff15::3", sources=["fd00::1"]),
                    ]
                )
            ),
        ],
        _icmp6(VM1_LL, "ff02::16", 1),
        _SUMS | {"not an echo request"},
    ),
}
