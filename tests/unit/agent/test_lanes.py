# SPDX-License-Identifier: Apache-2.0
"""What a packet's rate is counted by is the service that takes it."""

from __future__ import annotations

import random
from typing import Any

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dhcp6 import DHCP6_Solicit
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6MLReport,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RS,
    IPv6,
    IPv6ExtHdrHopByHop,
    RouterAlert,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Raw
from tests.unit.services.rig import VM1, VM1_LL, Rig

from vrouter.agent.lanes import OTHER, lane
from vrouter.agent.services.base import Count
from vrouter.dpcore.names import TrapReason

IGMP2 = bytes.fromhex("1600fafdef010101")
BFD = bytes.fromhex("2040031801020304000000000000000f0000000f00000000")
FROM4 = IP(src="10.1.1.10", dst="10.1.1.1")
FROM6 = IPv6(src=VM1_LL, dst="fd00:1::1")
ALERT = IPv6ExtHdrHopByHop(options=[RouterAlert()])
PACKETS = {
    "arp": ARP(op=1, hwsrc=VM1, psrc="10.1.1.10", pdst="10.1.1.1"),
    "dhcp": IP(src="0.0.0.0", dst="255.255.255.255")
    / UDP(sport=68, dport=67)
    / BOOTP(chaddr=bytes.fromhex(VM1.replace(":", "")))
    / DHCP(options=[("message-type", "discover"), "end"]),
    "dhcp6": IPv6(src=VM1_LL, dst="ff02::1:2") / UDP(sport=546, dport=547) / DHCP6_Solicit(),
    "dns": FROM4 / UDP(sport=5353, dport=53) / DNS(rd=1, qd=DNSQR(qname="vm1.red.example")),
    "bfd": IP(src="10.1.1.10", dst="10.1.1.1", ttl=255) / UDP(sport=49152, dport=3784) / Raw(BFD),
    "icmp": FROM4 / ICMP(type=8) / Raw(b"x"),
    "icmp6": FROM6 / ICMPv6EchoRequest(),
    "igmp": IP(src="10.1.1.10", dst="239.1.1.1", proto=2, ttl=1) / Raw(IGMP2),
    "mld": IPv6(src=VM1_LL, dst="ff15::1", hlim=1) / ALERT / ICMPv6MLReport(mladdr="ff15::1"),
    "ra": IPv6(src=VM1_LL, dst="ff02::2", hlim=255) / ICMPv6ND_RS(),
    "nd": IPv6(src=VM1_LL, dst="fd00:1::1", hlim=255) / ICMPv6ND_NS(tgt="fd00:1::1"),
    "icmp-error": FROM4 / UDP(sport=7, dport=33434),
}


@pytest.mark.parametrize("name", PACKETS)
def test_it_is_the_service_that_takes_it(name: str) -> None:
    frame = Ether(src=VM1, dst="00:00:5e:00:01:00") / PACKETS[name]
    assert lane(TrapReason.NEXTHOP, bytes(frame)) == name
    actions = Rig().send(frame, reason=TrapReason.NEXTHOP)
    taken = {one.service for one in actions if isinstance(one, Count)}
    assert taken == {name}
    tagged = Ether(src=VM1) / Dot1Q(vlan=5) / Dot1Q(vlan=6) / PACKETS[name]
    assert lane(TrapReason.NEXTHOP, bytes(tagged)) == name


@pytest.mark.parametrize(
    ("reason", "packet", "name"),
    [
        (TrapReason.MAC_LEARN, PACKETS["dhcp"], "mac-learning"),
        (TrapReason.MAC_MOVE, PACKETS["dhcp"], "mac-learning"),
        (TrapReason.MAC_IP_LEARNING, PACKETS["arp"], "address-learning"),
        (TrapReason.HANDLE_DF, PACKETS["dns"], "icmp-error"),
        (TrapReason.ZERO_TTL, PACKETS["icmp"], "icmp-error"),
        (TrapReason.BFD, PACKETS["bfd"], "bfd"),
        (TrapReason.NEXTHOP, FROM4 / TCP(dport=53), "tcp"),
        (TrapReason.NEXTHOP, FROM6 / TCP(dport=53), "tcp"),
        (TrapReason.NEXTHOP, IPv6(src=VM1_LL, dst="ff02::1") / ICMPv6ND_NA(), "nd"),
        (TrapReason.NEXTHOP, IP(proto=89) / Raw(bytes(20)), OTHER),
    ],
)
def test_others(reason: TrapReason, packet: Any, name: str) -> None:
    assert lane(reason, bytes(Ether(src=VM1) / packet)) == name


def test_any_bytes_will_do() -> None:
    chance = random.Random(4711)
    whole = [bytes(Ether(src=VM1) / one) for one in PACKETS.values()]
    for frame in whole:
        for length in range(len(frame) + 1):
            assert lane(TrapReason.NEXTHOP, frame[:length])
    for _ in range(2000):
        spoiled = bytearray(chance.choice(whole))
        for _ in range(4):
            spoiled[chance.randrange(12, len(spoiled))] = chance.randrange(256)
        assert lane(TrapReason.L3_PROTOCOLS, bytes(spoiled))
