# SPDX-License-Identifier: Apache-2.0
"""Echo, and ICMP errors."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from tests.unit.services.rig import FABRIC, ROUTER, VM1, Rig, frames, only, results, same_sums

from vrouter.agent.services.base import Inject
from vrouter.agent.services.errors import BURST
from vrouter.dpcore.names import TrapReason

DF = {"reason": TrapReason.HANDLE_DF, "params": (1442, 0)}
TTL = {"reason": TrapReason.ZERO_TTL}
NEXTHOP = {"reason": TrapReason.NEXTHOP}


def ip4(**fields: Any) -> Any:
    return Ether(src=VM1, dst=ROUTER) / IP(**{"src": "10.1.1.10", "dst": "10.1.1.1", **fields})


def ip6(**fields: Any) -> Any:
    return Ether(src=VM1, dst=ROUTER) / IPv6(**{"src": "fd00:1::a", "dst": "fd00:1::1", **fields})


@pytest.mark.parametrize("target", ["10.1.1.1", "10.1.1.2"])
def test_ping(target: str) -> None:
    packet = ip4(dst=target) / ICMP(id=7, seq=9) / Raw(b"x" * 57)
    actions = Rig().send(packet, **NEXTHOP)
    sent = only(actions)
    assert same_sums(sent)
    assert (sent.src, sent.dst, sent[IP].src, sent[IP].dst) == (ROUTER, VM1, target, "10.1.1.10")
    assert (sent[ICMP].type, sent[ICMP].id, sent[ICMP].seq) == (0, 7, 9)
    assert sent[Raw].load == b"x" * 57
    assert results(actions) == ["icmp: answered"]


def test_ping6() -> None:
    packet = ip6() / ICMPv6EchoRequest(id=7, seq=9, data=b"y" * 57)
    sent = only(Rig().send(packet, **NEXTHOP))
    assert same_sums(sent)
    reply = sent[ICMPv6EchoReply]
    assert (reply.id, reply.seq, reply.data) == (7, 9, b"y" * 57)
    assert (sent[IPv6].src, sent[IPv6].dst) == ("fd00:1::1", "fd00:1::a")


@pytest.mark.parametrize(
    ("packet", "result"),
    [
        (ip4() / ICMP(type=13), "icmp: not an echo request"),
        (ip4() / ICMP(chksum=1), "icmp: icmp checksum"),
        (ip4(flags="MF") / ICMP(), "icmp: fragment"),
        (ip4(src="224.0.0.9") / ICMP(), "icmp: source"),
        (ip4(src="10.1.1.1") / ICMP(), "icmp: source"),
        (ip4(src="127.0.0.1") / ICMP(), "icmp: source"),
        (ip6() / ICMPv6EchoReply(), "icmp6: not an echo request"),
        (ip6(src="::") / ICMPv6EchoRequest(), "icmp6: source"),
        (ip6() / IPv6ExtHdrFragment(m=1) / ICMPv6EchoRequest(), "icmp6: fragment"),
    ],
)
def test_no_echo(packet: Any, result: str) -> None:
    actions = Rig().send(packet, **NEXTHOP)
    assert results(actions) == [result]
    assert len(actions) == 1


def test_echo_to_others_is_not_ours() -> None:
    packet = ip4(dst="10.1.1.11") / ICMP()
    assert Rig().raw(bytes(packet), **NEXTHOP) is None  # type: ignore[arg-type]


def test_fragmentation_needed() -> None:
    packet = ip4(dst="10.1.1.11", flags="DF") / UDP(sport=5000, dport=9) / Raw(b"z" * 1500)
    actions = Rig().send(packet, **DF)
    sent = only(actions)
    assert same_sums(sent)
    assert (sent[IP].src, sent[IP].dst, sent.dst) == ("10.1.1.1", "10.1.1.10", VM1)
    assert (sent[ICMP].type, sent[ICMP].code, sent[ICMP].nexthopmtu) == (3, 4, 1442)
    assert len(bytes(sent[IP])) == 576
    assert sent.original[42:] == bytes(packet[IP])[: 576 - 28]
    assert results(actions) == ["icmp-error: too big"]


def test_packet_too_big() -> None:
    packet = ip6(dst="fd00:1::b") / UDP(sport=5000, dport=9) / Raw(b"z" * 1500)
    sent = only(Rig().send(packet, **DF))
    assert same_sums(sent)
    assert sent[ICMPv6PacketTooBig].mtu == 1442
    assert len(bytes(sent[IPv6])) == 1280
    assert sent.original[62:] == bytes(packet[IPv6])[: 1280 - 48]
    small = only(Rig().send(packet, reason=TrapReason.HANDLE_DF, params=(900,)))
    assert small[ICMPv6PacketTooBig].mtu == 1280


def test_a_trap_may_be_cut_short() -> None:
    packet = bytes(ip4(dst="10.1.1.11", flags="DF") / UDP(sport=5000, dport=9) / Raw(b"z" * 1500))
    actions = Rig().raw(packet[:200], **DF)  # type: ignore[arg-type]
    (sent,) = frames(actions or ())
    assert sent.original[42:] == packet[14:200]


def test_time_exceeded() -> None:
    sent = only(Rig().send(ip4(dst="10.8.8.8", ttl=1) / UDP(dport=33434), **TTL))
    assert (sent[ICMP].type, sent[ICMP].code, sent[IP].src) == (11, 0, "10.1.1.1")
    six = only(Rig().send(ip6(dst="fd09::1", hlim=1) / UDP(dport=33434), **TTL))
    assert ICMPv6TimeExceeded in six and same_sums(six)


def test_a_trace_to_the_gateway_arrives() -> None:
    for how in (TTL, NEXTHOP):
        sent = only(Rig().send(ip4(ttl=1) / UDP(dport=33434), **how))
        assert (sent[ICMP].type, sent[ICMP].code, sent[IP].src) == (3, 3, "10.1.1.1")
        six = only(Rig().send(ip6(hlim=1) / UDP(dport=33434), **how))
        assert six[ICMPv6DestUnreach].code == 4


def test_to_a_sender_elsewhere_by_the_routes() -> None:
    packet = ip4(src="10.1.1.99", dst="10.1.1.10", ttl=1) / UDP()
    actions = Rig().send(packet, vif=FABRIC, **TTL)
    (sent,) = [one for one in actions if isinstance(one, Inject)]
    frame = Ether(sent.frame)
    assert (sent.vif, sent.vrf, frame.dst, frame[IP].dst) == (FABRIC, 2, ROUTER, "10.1.1.99")


@pytest.mark.parametrize(
    ("packet", "how", "result"),
    [
        (ip4(dst="10.8.8.8") / ICMP(type=3), TTL, "about an icmp error"),
        (ip4(dst="10.8.8.8") / ICMP(type=11), TTL, "about an icmp error"),
        (ip4(dst="10.8.8.8", frag=9) / UDP(), TTL, "about a fragment"),
        (ip4(dst="224.0.0.9") / UDP(), TTL, "to a group"),
        (ip4(dst="255.255.255.255") / UDP(), TTL, "to a group"),
        (ip4(src="0.0.0.0", dst="10.8.8.8") / UDP(), TTL, "source"),
        (ip4(src="239.1.1.1", dst="10.8.8.8") / UDP(), TTL, "source"),
        (Ether(src=VM1, dst="01:00:5e:00:00:09") / IP(dst="10.8.8.8"), TTL, "to a group"),
        (ip6(dst="fd09::1") / ICMPv6DestUnreach(), TTL, "about an icmp error"),
        (ip6(dst="fd09::1") / IPv6ExtHdrFragment(offset=3) / UDP(), TTL, "about a fragment"),
        (ip6(dst="ff02::9") / UDP(), TTL, "to a group"),
        (ip6(src="::", dst="fd09::1") / UDP(), TTL, "source"),
        (ip4(dst="10.8.8.8") / UDP(), {"reason": TrapReason.HANDLE_DF, "params": (0,)}, "mtu"),
        (ip4(dst="10.8.8.8") / UDP(), {"vif": 3, "vrf": 3, **TTL}, "no gateway"),
    ],
)
def test_no_error(packet: Any, how: Any, result: str) -> None:
    actions = Rig().send(packet, **how)
    assert results(actions) == [f"icmp-error: {result}"]
    assert len(actions) == 1


def test_a_ping_may_be_too_old() -> None:
    assert results(Rig().send(ip4(dst="10.8.8.8") / ICMP(type=8), **TTL)) == [
        "icmp-error: time exceeded"
    ]


def test_errors_have_a_rate() -> None:
    rig = Rig()
    packet = ip4(dst="10.8.8.8", ttl=1) / UDP()
    first = [results(rig.send(packet, **TTL))[0] for _ in range(BURST + 5)]
    assert first.count("icmp-error: time exceeded") == BURST
    assert first[-1] == "icmp-error: too many"
    assert results(rig.send(packet, vif=2, **TTL)) == ["icmp-error: time exceeded"]
    later = [results(rig.send(packet, now=1000.5, **TTL))[0] for _ in range(BURST)]
    assert later.count("icmp-error: time exceeded") == BURST // 2


@pytest.mark.parametrize(
    ("frame", "result"),
    [
        (b"\0" * 9, "short frame"),
        (bytes(Ether(src="01:00:00:00:00:01") / IP()), "source mac"),
        (bytes(Ether(src=VM1) / IP(version=5)), "ip version"),
        (bytes(Ether(src=VM1) / IP(chksum=1)), "ip checksum"),
        (bytes(Ether(src=VM1) / IP(len=900)), "ip length"),
        (bytes(Ether(src=VM1) / IP(ihl=4)), "ip header"),
        (bytes(Ether(src=VM1, type=0x0800)), "short ip"),
        (bytes(Ether(src=VM1, type=0x86DD) / Raw(b"\x60" + bytes(4))), "short ip"),
        (bytes(Ether(src=VM1) / IPv6(plen=900)), "ip length"),
        (bytes(Ether(src=VM1) / IPv6(nh=0) / Raw(b"\0\x09")), "ip extensions"),
    ],
)
def test_what_cannot_be_read_is_counted(frame: bytes, result: str) -> None:
    assert results(Rig().raw(frame) or ()) == [f"unread: {result}"]
