# SPDX-License-Identifier: Apache-2.0
"""What passes between the host's stack and the fabric as it is."""

from __future__ import annotations

from scapy.layers.inet import IP
from scapy.layers.l2 import ARP
from scapy.packet import Raw

from tests.model.const import Drop
from tests.model.state import mac

from . import states as s
from .frames import eth, ip, ip6, reply, request, tag, vxlan
from .table import Case, drop, rows, tx

UP = (s.NIC_MAC, s.FAR_MAC)
DOWN = (s.FAR_MAC, s.NIC_MAC)
GROUP = mac("01:00:5e:00:00:05")
PACKET = ip("172.30.0.1", src="172.30.0.2", ttl=1)
AWAY = ip("9.9.9.9", src="172.30.0.2", ttl=1)
BROKEN = IP(src="172.30.0.2", dst="172.30.0.1", len=1000) / Raw(b"w" * 40)


def down(name: str, frame: bytes) -> Case:
    """The host's frame leaves by the fabric as it is."""
    return tx(name, s.HOST, frame, s.FABRIC, frame)


def up(name: str, frame: bytes, sent: bytes | None = None) -> Case:
    """The fabric's frame reaches the host."""
    return tx(name, s.FABRIC, frame, s.HOST, frame if sent is None else sent)


HOST_X = [
    down("X, host: IPv4, TTL 1", eth(*DOWN, AWAY)),
    down("X, host: a tunnel packet", vxlan(5001, eth(s.VM1_MAC, s.VM2_MAC, ip("10.1.1.1")))),
    down("X, host: ARP", request("172.30.0.2", sha=s.NIC_MAC, spa="172.30.0.1")),
    down("X, host: ARP for a link-local address", request("169.254.7.7", sha=s.NIC_MAC)),
    down("X, host: malformed ARP", eth(*DOWN, ARP(hwtype=6))),
    down("X, host: tagged", eth(*DOWN, tag(), AWAY)),
    down("X, host: a malformed header", eth(*DOWN, BROKEN)),
    down("X, host: an Ethernet header alone", eth(*DOWN, type=0x88CC)),
]
FABRIC_X = [
    up("X: IPv4 for elsewhere, TTL 1", eth(*UP, AWAY)),
    up("X: a route that is not Receive", eth(*UP, ip("172.30.0.77", ttl=1))),
    up("X: a route without nexthop", eth(*UP, ip("169.254.7.7", ttl=1))),
    up("X: a VM's address in the fabric", eth(*UP, ip("172.30.0.10", ttl=1))),
    up("X: an ARP request", request("172.30.0.1", sha=s.FAR_MAC, spa="172.30.0.2")),
    up("X: an ARP request that a route proxies", request("172.30.0.10", sha=s.FAR_MAC)),
    up("X: a gratuitous ARP", request("172.30.0.2", sha=s.FAR_MAC, spa="172.30.0.2")),
    up("X: an ARP reply", reply(s.NIC_MAC, "172.30.0.1", sha=s.FAR_MAC, spa="172.30.0.2")),
    up("X: malformed ARP", eth(*UP, ARP(hwtype=6))),
]
FABRIC = [
    up("IPv6", eth(*UP, ip6())),
    up("LLDP", eth(mac("01:80:c2:00:00:0e"), s.FAR_MAC, Raw(b"l" * 40), type=0x88CC)),
    up("an unknown EtherType, unicast", eth(*UP, type=0x0027)),
    up("multicast", eth(GROUP, s.FAR_MAC, ip("224.0.0.5"))),
    up("broadcast", eth(b"\xff" * 6, s.FAR_MAC, ip("255.255.255.255"))),
    up("multicast, malformed: not looked into", eth(GROUP, s.FAR_MAC, BROKEN)),
    up("a tag comes off", eth(*UP, tag(), PACKET), eth(*UP, PACKET)),
    up("two tags come off", eth(*UP, tag(), tag(9), PACKET), eth(*UP, PACKET)),
    up("three tags come off", eth(*UP, tag(), tag(9), tag(8), PACKET), eth(*UP, PACKET)),
    up("a tagged ARP", eth(*UP, tag(), ARP(op=1)), eth(*UP, ARP(op=1))),
    drop("a malformed header", s.FABRIC, eth(*UP, BROKEN), Drop.INVALID_PACKET),
    drop("a tag cut short", s.FABRIC, eth(*UP, tag())[:16], Drop.INVALID_PACKET),
]
HOST = [
    down("host: IPv6", eth(*DOWN, ip6())),
    down("host: multicast", eth(GROUP, s.NIC_MAC, ip("224.0.0.5"))),
    down("host: a tag stays", eth(*DOWN, tag(), AWAY)),
    down("host: a tagged ARP request", request("169.254.7.7", sha=s.NIC_MAC, tagged=True)),
    down("host: an unknown EtherType", eth(*DOWN, type=0x88CC)),
    drop("host: a malformed header", s.HOST, eth(*DOWN, BROKEN), Drop.INVALID_PACKET),
    drop("host: a tag cut short", s.HOST, eth(*DOWN, tag())[:16], Drop.INVALID_PACKET),
]

CASES = rows(
    [case.headless() for case in HOST_X + FABRIC_X],
    FABRIC,
    [case.with_agent() for case in HOST],
)
