# SPDX-License-Identifier: Apache-2.0
"""Neighbour discovery and router advertisements."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import msgspec
import pytest
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_RS,
    ICMPv6NDOptDNSSL,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptMTU,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptRDNSS,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from tests.unit.services.rig import (
    BLUE,
    FABRIC,
    PORT1,
    PORT3,
    ROUTER,
    ROUTER_LL,
    VM1,
    VM1_LL,
    VM3,
    Rig,
    frames,
    only,
    results,
    same_sums,
)

from vrouter.agent.services.base import ForgetAddress, Inject, LearnAddress
from vrouter.dpcore.names import TrapReason


def ns(target: str, src: str = VM1_LL, dst: str = "ff02::1:ff00:1", **ip: Any) -> Any:
    message = ICMPv6ND_NS(tgt=target)
    if src != "::":
        message /= ICMPv6NDOptSrcLLAddr(lladdr=VM1)
    return Ether(src=VM1) / IPv6(src=src, dst=dst, **ip) / message


def na(target: str, src: str, mac: str = VM1, dst: str = ROUTER_LL, **fields: Any) -> Any:
    message = ICMPv6ND_NA(tgt=target, **{"R": 0, "S": 1, "O": 1, **fields})
    option = ICMPv6NDOptDstLLAddr(lladdr=mac)
    return Ether(src=VM1, dst=ROUTER) / IPv6(src=src, dst=dst) / message / option


def rs(src: str = VM1_LL, mac: str = VM1) -> Any:
    ip = Ether(src=mac, dst="33:33:00:00:00:02") / IPv6(src=src, dst="ff02::2")
    option = ICMPv6NDOptSrcLLAddr(lladdr=mac) if src != "::" else b""
    return ip / ICMPv6ND_RS() / option


@pytest.mark.parametrize("target", ["fd00:1::1", ROUTER_LL])
def test_gateways_are_answered(target: str) -> None:
    actions = Rig().send(ns(target))
    reply = only(actions)
    assert same_sums(reply)
    assert (reply.src, reply.dst) == (ROUTER, VM1)
    assert (reply[IPv6].src, reply[IPv6].dst, reply[IPv6].hlim) == (target, VM1_LL, 255)
    said = reply[ICMPv6ND_NA]
    assert (said.tgt, said.R, said.S, said.O) == (target, 1, 1, 1)
    assert reply[ICMPv6NDOptDstLLAddr].lladdr == ROUTER
    assert results(actions) == ["nd: answered"]


def test_who_wants_the_gateways_address_hears_that_it_is_taken() -> None:
    reply = only(Rig().send(ns("fd00:1::1", src="::")))
    assert (reply[IPv6].dst, reply.dst) == ("ff02::1", "33:33:00:00:00:01")
    assert (reply[ICMPv6ND_NA].S, reply[ICMPv6ND_NA].O) == (0, 1)


def with_option(option: bytes) -> Any:
    head = IPv6(src=VM1_LL, dst="ff02::1:ff00:1") / ICMPv6ND_NS(tgt="fd00:1::1")
    return Ether(src=VM1) / head / Raw(option)


def test_a_network_that_only_routes_answers_for_all_others_but_not_who_looks_for_an_address() -> (
    None
):
    rig = Rig()
    asked = ns("fd00:2::77", src="fe80::3", dst="ff02::1:ff00:77")
    assert only(rig.send(asked, vif=3), 3)[ICMPv6ND_NA].tgt == "fd00:2::77"
    for probe in (
        ns("fd00:2::77", src="::", dst="ff02::1:ff00:77"),
        ns("fd00:2::77", src="fd00:2::77", dst="ff02::1:ff00:77"),
        ns("fd00:2::a", src="fe80::3", dst="ff02::1:ff00:a"),
        ns("fd00:9::1", src="fe80::3", dst="ff02::1:ff00:1"),
    ):
        assert results(rig.send(probe, vif=3)) == ["nd: not for the network"]


@pytest.mark.parametrize(
    ("vif", "packet", "result"),
    [
        (1, ns("fd00:1::b"), "not for the network"),
        (1, ns("fd00:1::1", hlim=64), "nd hop limit"),
        (1, ns("ff02::1"), "nd target"),
        (1, ns("fd00:1::1", src="fd00:1::1"), "claims an address of the network"),
        (1, ns("fd00:1::1", src="::", dst="ff02::1"), "nd unspecified source"),
        (1, with_option(b"\1\0\0\0\0\0\0\0"), "nd option"),
        (1, with_option(b"\1\2\2\0\0\0\0\0"), "nd option"),
        (1, with_option(b"\1\2\2" + bytes(13)), "nd link-layer address"),
        (1, with_option(b"\1\1\3" + bytes(5)), "nd link-layer address"),
        (1, na("fd00:1::1", "fd00:1::1"), "claims an address of the network"),
        (1, na("fd00:1::a", "fd00:1::a"), "heard"),
        (1, na("fd00:1::a", "fd00:1::a", dst="ff02::1"), "nd solicited"),
        (FABRIC, ns("fd00:1::1"), "from the fabric"),
    ],
)
def test_what_is_not_answered(vif: int, packet: Any, result: str) -> None:
    actions = Rig().send(packet, vif=vif)
    assert results(actions) == [f"nd: {result}"]
    assert len(actions) == 1


def test_a_bad_checksum_and_a_fragment() -> None:
    packet = ns("fd00:1::1")
    packet[ICMPv6ND_NS].cksum = 1
    assert results(Rig().send(packet)) == ["nd: icmp checksum"]
    whole = ns("fd00:1::1")
    cut = Ether(src=VM1) / IPv6(src=VM1_LL, dst="ff02::1:ff00:1", nh=44, hlim=255)
    cut /= IPv6ExtHdrFragment(nh=58, m=0, offset=0) / Raw(bytes(whole[IPv6])[40:])
    assert results(Rig().send(cut)) == ["nd: nd fragment"]


def test_announcements_probes_and_learning() -> None:
    rig = Rig()
    sent = frames(rig.up(PORT1))
    said = {one[ICMPv6ND_NA].tgt: one for one in sent if ICMPv6ND_NA in one}
    assert sorted(said) == ["fd00:1::1", ROUTER_LL]
    assert all(same_sums(one) and one[IPv6].dst == "ff02::1" for one in said.values())
    asked = [one for one in sent if ICMPv6ND_NS in one]
    assert [(one[ICMPv6ND_NS].tgt, one[IPv6].dst, one.dst) for one in asked] == [
        ("fd00:1::100", "ff02::1:ff00:100", "33:33:ff:00:01:00")
    ]
    actions = rig.send(na("fd00:1::100", "fd00:1::100"), now=1001)
    assert [str(one.address) for one in actions if isinstance(one, LearnAddress)] == ["fd00:1::100"]
    assert [one[ICMPv6ND_NS].tgt for one in frames(rig.tick(1032)) if ICMPv6ND_NS in one]
    gone = [str(one.address) for one in rig.tick(1061) if isinstance(one, ForgetAddress)]
    assert gone == ["fd00:1::100"]


def test_stateful_router_advertisement() -> None:
    actions = Rig().send(rs())
    sent = only(actions)
    assert same_sums(sent)
    assert (sent.src, sent.dst, sent[IPv6].dst) == (ROUTER, VM1, VM1_LL)
    assert (sent[IPv6].src, sent[IPv6].hlim) == (ROUTER_LL, 255)
    said = sent[ICMPv6ND_RA]
    assert (said.M, said.O, said.routerlifetime, said.chlim) == (1, 1, 1800, 64)
    prefix = sent[ICMPv6NDOptPrefixInfo]
    assert (prefix.prefix, prefix.prefixlen, prefix.L, prefix.A) == ("fd00:1::", 64, 1, 0)
    assert sent[ICMPv6NDOptMTU].mtu == 1400
    assert sent[ICMPv6NDOptRDNSS].dns == ["fd00:1::1"]
    assert sent[ICMPv6NDOptDNSSL].searchlist == ["red.example."]
    assert sent[ICMPv6NDOptSrcLLAddr].lladdr == ROUTER
    assert results(actions) == ["ra: answered"]


def test_slaac_in_a_network_that_only_routes() -> None:
    sent = only(Rig().send(rs("fe80::1", VM3), vif=3), 3)
    assert (sent[ICMPv6ND_RA].M, sent[ICMPv6ND_RA].O) == (0, 1)
    prefix = sent[ICMPv6NDOptPrefixInfo]
    assert (prefix.L, prefix.A, prefix.validlifetime) == (0, 1, 2592000)
    assert ICMPv6NDOptMTU not in sent


def test_no_gateway_no_default_router() -> None:
    rig = Rig()
    subnet = msgspec.structs.replace(BLUE.subnets[1], gateway="", dns_servers=("2001:db8::53",))
    network = msgspec.structs.replace(BLUE, subnets=(subnet,))
    rig.world.live[3] = dataclasses.replace(PORT3, network=network)
    sent = only(rig.send(rs("fe80::1", VM3), vif=3), 3)
    assert sent[ICMPv6ND_RA].routerlifetime == 0
    assert sent[ICMPv6NDOptRDNSS].dns == ["2001:db8::53"]
    assert sent[ICMPv6NDOptPrefixInfo].A == 1


def test_advertisements_by_time() -> None:
    """Three quickly, then between 200 and 600 seconds (RFC 4861, 6.2.4)."""
    rig = Rig()
    assert any(ICMPv6ND_RA in one for one in frames(rig.up(PORT3, 0.0), 3))
    sent = [0] + [
        now
        for now in range(1, 5000)
        if any(ICMPv6ND_RA in one for one in frames(rig.tick(float(now)), 3))
    ]
    gaps = [b - a for a, b in itertools.pairwise(sent)]
    assert all(one <= 17 for one in gaps[:2])
    assert all(199 <= one <= 601 for one in gaps[2:])
    assert len(gaps) > 8
    del rig.world.live[3]
    assert not frames(rig.tick(9999.0), 3)


def test_a_port_that_changes_is_told_soon() -> None:
    rig = Rig()
    rig.up(PORT3, 0.0)
    assert not [one for one in frames(rig.up(PORT3, 1.0), 3) if ICMPv6ND_RA in one]
    assert [one for one in frames(rig.tick(3.0), 3) if ICMPv6ND_RA in one]
    later = [
        now
        for now in range(4, 40)
        if any(ICMPv6ND_RA in one for one in frames(rig.tick(float(now)), 3))
    ]
    assert len(later) == 2, "three quickly, once more"


def test_multicast_answers_keep_three_seconds_apart() -> None:
    rig = Rig()
    first = only(rig.send(rs("::"), now=100.0))
    assert first[IPv6].dst == "ff02::1"
    assert results(rig.send(rs("::"), now=101.0)) == ["ra: answered later"]
    assert not frames(rig.tick(102.0))
    assert [ICMPv6ND_RA in one for one in frames(rig.tick(103.0))] == [True]


@pytest.mark.parametrize(
    ("packet", "result"),
    [
        (Ether(src=VM1) / IPv6(src=VM1_LL, dst="ff02::1") / ICMPv6ND_RA(), "another router"),
        (
            Ether(src=VM1)
            / IPv6(src="::", dst="ff02::2")
            / ICMPv6ND_RS()
            / ICMPv6NDOptSrcLLAddr(lladdr=VM1),
            "nd unspecified source",
        ),
        (Ether(src=VM1) / IPv6(src=VM1_LL, dst="ff02::2", hlim=3) / ICMPv6ND_RS(), "nd hop limit"),
    ],
)
def test_bad_router_messages(packet: Any, result: str) -> None:
    actions = Rig().send(packet)
    assert results(actions) == [f"ra: {result}"]
    assert len(actions) == 1


def test_what_is_held_back_to_be_learnt_goes_on() -> None:
    rig = Rig()
    how = {"reason": TrapReason.MAC_IP_LEARNING}
    asked = ns("fd00:1::1", src="fd00:1::50")
    actions = rig.send(asked, **how)
    assert [str(one.address) for one in actions if isinstance(one, LearnAddress)] == ["fd00:1::50"]
    assert only(actions)[ICMPv6ND_NA].tgt == "fd00:1::1"
    told = na("fd00:1::51", "fd00:1::51", dst="ff02::1", S=0)
    actions = rig.send(told, **how)
    assert [str(one.address) for one in actions if isinstance(one, LearnAddress)] == ["fd00:1::51"]
    assert [one.frame for one in actions if isinstance(one, Inject)] == [bytes(told)]
    own = rig.send(ns("fd00:1::60"), **how)
    assert results(own) == ["address-learning: known"] and isinstance(own[-1], Inject)
    for target, why in (
        ("fd00:1::1", "claims an address of the network"),
        ("fd00:7::7", "not of the network"),
    ):
        assert results(rig.send(na(target, target), **how)) == [f"address-learning: {why}"]
    other = na("fd00:1::52", "fd00:1::52", mac=VM3)
    assert results(rig.send(other, **how)) == ["address-learning: sender differs from frame"]
