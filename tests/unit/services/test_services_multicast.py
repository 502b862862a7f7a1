# SPDX-License-Identifier: Apache-2.0
"""IGMP and MLD: what is wanted at a port, and who is asked when."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pytest
from scapy.layers.igmp import IGMP, IGMPv3_MQ, IGMPv3_MR, IGMPv3_MR_Group
from scapy.layers.inet import IP, IPOption_Router_Alert
from scapy.layers.inet6 import (
    ICMPv6MLDMultAddrRec,
    ICMPv6MLDone,
    ICMPv6MLQuery2,
    ICMPv6MLReport,
    ICMPv6MLReport2,
    IPv6,
    IPv6ExtHdrHopByHop,
    Pad1,
    PadN,
    RouterAlert,
)
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from tests.unit.services.rig import (
    FABRIC,
    PORT1,
    PORT3,
    RED,
    ROUTER,
    ROUTER_LL,
    VM1,
    VM1_LL,
    Rig,
    frames,
    results,
    same_sums,
)

from vrouter.agent.services.base import HearGroups
from vrouter.agent.services.membership import GROUPS_PER_PORT, SOURCES_PER_GROUP
from vrouter.agent.services.wire import igmp

IS_IN, IS_EX, TO_IN, TO_EX, ALLOW, BLOCK = range(1, 7)
GROUP = "239.1.1.1"


def old(kind: int, group: str = GROUP, **ip: Any) -> Any:
    head = Ether(src=VM1, dst="01:00:5e:01:01:01") / IP(src="10.1.1.10", dst=group, ttl=1, **ip)
    return head / IGMP(type=kind, gaddr=group)


def v3(*records: tuple[int, str, list[str]]) -> Any:
    made = [
        IGMPv3_MR_Group(rtype=kind, maddr=group, srcaddrs=srcs) for kind, group, srcs in records
    ]
    head = Ether(src=VM1, dst="01:00:5e:00:00:16") / IP(src="10.1.1.10", dst="224.0.0.22", ttl=1)
    return head / IGMPv3_MR(records=made)


def groups(rig: Rig, name: str = "igmp") -> list[str]:
    return sorted(str(one) for one in rig.get(name).members.ports.get(1, {}))


def queries(actions: Any) -> list[str]:
    """The groups that a port is asked about; 0.0.0.0 for all."""
    return [one[IGMPv3_MQ].gaddr for one in frames(actions) if IGMPv3_MQ in one]


@pytest.mark.parametrize(
    "packet",
    [
        old(0x12),
        old(0x16),
        v3((IS_EX, GROUP, [])),
        v3((TO_EX, GROUP, [])),
        v3((ALLOW, GROUP, ["10.9.9.9"])),
        v3((IS_IN, GROUP, ["10.9.9.9"])),
        v3((TO_IN, GROUP, ["10.9.9.9"])),
    ],
)
def test_a_report_joins_for_260_seconds(packet: Any) -> None:
    rig = Rig()
    assert "igmp: joined" in results(rig.send(packet, now=100.0))
    assert groups(rig) == [GROUP]
    rig.tick(359.0)
    assert groups(rig) == [GROUP]
    rig.tick(360.0)
    assert groups(rig) == [] and not rig.get("igmp").members.ports


@pytest.mark.parametrize("leave", [old(0x17), v3((TO_IN, GROUP, []))])
def test_a_leave_asks_twice_who_is_left(leave: Any) -> None:
    rig = Rig()
    rig.send(old(0x16), now=100.0)
    left = rig.send(leave, now=110.0)
    assert queries(left) == [GROUP]
    assert results(left) == ["igmp: asked", "igmp: left"]
    assert queries(rig.tick(111.0)) == [GROUP]
    rig.tick(112.0)
    assert groups(rig) == []


def test_who_answers_stays() -> None:
    rig = Rig()
    rig.send(old(0x16), now=100.0)
    rig.send(old(0x17), now=110.0)
    rig.send(old(0x16), now=111.0)
    rig.tick(200.0)
    assert groups(rig) == [GROUP]


def test_a_host_of_version_1_cannot_be_asked_in_time() -> None:
    rig = Rig()
    rig.send(old(0x12), now=100.0)
    assert results(rig.send(old(0x17), now=110.0)) == ["igmp: ignored"]
    rig.tick(113.0)
    assert groups(rig) == [GROUP]


def test_sources() -> None:
    rig = Rig()
    rig.send(v3((ALLOW, GROUP, ["10.9.9.1", "10.9.9.2"])), now=100.0)
    rig.send(v3((BLOCK, GROUP, ["10.9.9.1"])), now=101.0)
    rig.tick(104.0)
    (group,) = rig.get("igmp").members.ports[1].values()
    assert [str(one) for one in group.sources] == ["10.9.9.2"]
    rig.send(v3((TO_EX, GROUP, [])), now=105.0)
    assert group.everything == 365.0
    narrowed = rig.send(v3((TO_IN, GROUP, ["10.9.9.2"])), now=106.0)
    row = {"vif": 1, "group": GROUP, "version": 3}
    assert rig.remembered("igmp", 106.0) == [{**row, "sources": "all", "seconds_left": 260.0}]
    assert queries(narrowed) == [GROUP], "others may want all of it still"
    rig.tick(109.0)
    assert groups(rig) == [GROUP] and group.everything < 109.0
    shown = rig.remembered("igmp", 109.0)
    assert shown == [{**row, "sources": "10.9.9.2", "seconds_left": 257.0}]


def test_bounds() -> None:
    rig = Rig()
    for n in range(GROUPS_PER_PORT):
        rig.send(old(0x16, f"239.2.{n // 200}.{n % 200}"))
    assert len(groups(rig)) == GROUPS_PER_PORT
    assert results(rig.send(old(0x16, "239.3.1.1"))) == ["igmp: too many groups"]
    many = [f"10.8.0.{n}" for n in range(SOURCES_PER_GROUP + 5)]
    rig.send(v3((ALLOW, "239.2.0.1", many)))
    group = next(one for one in rig.get("igmp").members.ports[1].values() if one.sources)
    assert len(group.sources) == SOURCES_PER_GROUP
    assert group.everything > 1000.0, "all sources, as they are too many to keep"


@pytest.mark.parametrize(
    ("packet", "how", "result"),
    [
        (old(0x11, "0.0.0.0"), {}, "another querier"),
        (old(0x16, "224.0.0.251"), {}, "ignored"),
        (old(0x16, "10.1.1.1"), {}, "membership group"),
        (old(0x13), {}, "igmp kind"),
        (old(0x16, flags="MF"), {}, "fragment"),
        (old(0x16), {"vif": FABRIC}, "from the fabric"),
        (Ether(src=VM1) / IP(proto=2, ttl=1) / Raw(b"\x16\0\0"), {}, "short igmp"),
        (Ether(src=VM1) / IP(proto=2, ttl=1) / Raw(b"\x16\0\0\0\xef\1\1\1"), {}, "igmp checksum"),
    ],
)
def test_what_is_not_taken(packet: Any, how: Any, result: str) -> None:
    rig = Rig()
    rig.up(PORT1)
    assert results(rig.send(packet, **how)) == [f"igmp: {result}"]
    assert not rig.get("igmp").members.ports


def test_a_record_that_is_cut_short() -> None:
    data = bytearray(bytes(v3((IS_EX, GROUP, []))[IP].payload)[:-2])
    data[2:4] = b"\0\0"
    data[2:4] = _sum(bytes(data))
    packet = Ether(src=VM1) / IP(proto=2, ttl=1) / Raw(bytes(data))
    assert results(Rig().send(packet)) == ["igmp: membership record cut short"]


def _sum(data: bytes) -> bytes:
    from scapy.utils import checksum

    return int(checksum(data)).to_bytes(2, "big")


def test_general_queries() -> None:
    """Two 31 seconds apart, then one every 125 (RFC 3376, sections 8.2, 8.6, 8.7)."""
    rig = Rig()
    sent = [one for one in frames(rig.up(PORT1, 0.0)) if IGMPv3_MQ in one]
    (first,) = sent
    assert same_sums(first)
    assert (first.src, first.dst) == (ROUTER, "01:00:5e:00:00:01")
    assert (first[IP].src, first[IP].dst, first[IP].ttl) == ("10.1.1.1", "224.0.0.1", 1)
    assert isinstance(first[IP].options[0], IPOption_Router_Alert)
    asked = first[IGMPv3_MQ]
    assert (asked.gaddr, asked.qrv, asked.qqic, asked.mrcode) == ("0.0.0.0", 2, 125, 100)
    times = [now for now in range(1, 420) if queries(rig.tick(float(now)))]
    assert times == [32, 157, 282, 407]
    (blue,) = [one for one in frames(rig.up(PORT3, 0.0), 3) if IGMPv3_MQ in one]
    assert blue[IP].src == "0.0.0.0"
    del rig.world.live[1]
    assert not queries(rig.tick(999.0))


@pytest.mark.parametrize("value", [0, 1, 127, 128, 129, 200, 1000, 31743])
def test_codes(value: int) -> None:
    code = igmp.code(value)
    read = code if code < 128 else (code & 15 | 16) << ((code >> 4 & 7) + 3)
    assert read <= value < read * 1.07 + 1


def test_a_port_that_changes() -> None:
    rig = Rig()
    rig.up(PORT1, 0.0)
    rig.send(old(0x16), now=1.0)
    assert not queries(rig.up(PORT1, 1.0)), "it has its querier"
    quiet = msgspec.structs.replace(RED, igmp=False)
    rig.world.live[1] = dataclasses.replace(PORT1, network=quiet)
    assert not queries(rig.tick(40.0)) and not groups(rig)
    assert not queries(rig.up(rig.world.live[1], 41.0))
    assert queries(rig.up(PORT1, 42.0)) == ["0.0.0.0"]


PADDED = IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\5\2\0\0")])
ALERT = IPv6ExtHdrHopByHop(options=[Pad1(), PadN(optdata=b"\0"), RouterAlert()])


def mld(message: Any, src: str = VM1_LL, hlim: int = 1, before: Any = ALERT) -> Any:
    return Ether(src=VM1) / IPv6(src=src, dst="ff02::16", hlim=hlim) / before / message


def test_mld() -> None:
    rig = Rig()
    asked, *_ = [one for one in frames(rig.up(PORT1)) if ICMPv6MLQuery2 in one]
    join = ICMPv6MLReport2(records=[ICMPv6MLDMultAddrRec(rtype=TO_EX, dst="ff15::1")])
    assert results(rig.send(mld(join), now=2000.0)) == ["mld: joined"]
    assert same_sums(asked)
    assert (asked[IPv6].src, asked[IPv6].dst, asked[IPv6].hlim) == (ROUTER_LL, "ff02::1", 1)
    assert asked[IPv6].nh == 0, "router alert"
    assert (asked[ICMPv6MLQuery2].mrd, asked[ICMPv6MLQuery2].QRV) == (10000, 2)
    assert groups(rig, "mld") == ["ff15::1"]
    assert results(rig.send(mld(ICMPv6MLReport(mladdr="ff15::1")), now=2001.0)) == [
        "mld: refreshed"
    ]
    left = rig.send(mld(ICMPv6MLDone(mladdr="ff15::1")), now=2002.0)
    assert [one[ICMPv6MLQuery2].mladdr for one in frames(left)] == ["ff15::1"]
    rig.tick(2004.0)
    assert groups(rig, "mld") == []


@pytest.mark.parametrize(
    ("packet", "result"),
    [
        (mld(ICMPv6MLReport(mladdr="ff15::1"), hlim=64), "not of this link"),
        (mld(ICMPv6MLReport(mladdr="ff15::1"), src="fd00:1::a"), "not of this link"),
        (mld(ICMPv6MLReport(mladdr="fd00::1")), "membership group"),
        (mld(ICMPv6MLQuery2()), "another querier"),
        (mld(ICMPv6MLReport(mladdr="ff15::1"), before=PADDED), "no router alert"),
        (mld(ICMPv6MLReport(mladdr="ff15::1", cksum=1)), "icmp checksum"),
    ],
)
def test_mld_that_is_not_taken(packet: Any, result: str) -> None:
    assert results(Rig().send(packet)) == [f"mld: {result}"]


def told(actions: Any) -> list[tuple[int, int, list[str]]]:
    return [
        (one.vif, one.version, sorted(mac.hex(":") for mac in one.macs))
        for one in actions
        if isinstance(one, HearGroups)
    ]


def test_what_a_port_joins_is_told_once_a_second_at_most() -> None:
    rig = Rig()
    rig.up(PORT1, 0.0)
    assert told(rig.send(old(0x16, "239.1.1.1"), now=1.0)) == [(1, 4, ["01:00:5e:01:01:01"])]
    assert not told(rig.send(old(0x16, "239.1.1.1"), now=1.1)), "no news"
    assert not told(rig.send(old(0x16, "239.1.1.2"), now=1.2)), "too soon"
    both = ["01:00:5e:01:01:01", "01:00:5e:01:01:02"]
    assert told(rig.tick(2.0)) == [(1, 4, both)]
    join = mld(ICMPv6MLReport(mladdr="ff15::7:7"))
    assert told(rig.send(join, now=2.0)) == [(1, 6, ["33:33:00:07:00:07"])]
    gone = rig.tick(1000.0)
    assert sorted(told(gone)) == [(1, 4, []), (1, 6, [])]
    assert not told(rig.tick(1001.0))


def test_a_port_that_is_gone_wants_no_groups() -> None:
    rig = Rig()
    rig.up(PORT1, 0.0)
    rig.send(old(0x16, "239.1.1.1"), now=1.0)
    del rig.world.live[1]
    assert told(rig.tick(3.0)) == [(1, 4, [])]


@pytest.mark.parametrize("group", ["239.0.0.5", "224.128.0.251"])
def test_a_mac_that_a_group_of_the_link_has_is_nobodys(group: str) -> None:
    rig = Rig()
    rig.up(PORT1, 0.0)
    actions = rig.send(old(0x16, group), now=1.0)
    assert "igmp: joined" in results(actions) and not told(actions)


@pytest.mark.parametrize("group", ["ff15::1", "ff15::fb", "ff15::1:2", "ff02::1:ff00:1"])
def test_a_mac_that_a_group_of_the_ipv6_link_has_is_nobodys(group: str) -> None:
    rig = Rig()
    rig.up(PORT1, 0.0)
    actions = rig.send(mld(ICMPv6MLReport(mladdr=group)), now=1.0)
    assert "mld: joined" in results(actions) and not told(actions)
