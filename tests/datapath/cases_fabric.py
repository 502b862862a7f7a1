# SPDX-License-Identifier: Apache-2.0
"""What the fabric brings, what the host and the agent send."""

from __future__ import annotations

from typing import Any

from scapy.packet import Packet

from tests.model.const import Drop, Trap

from . import states as s
from .case import (
    ARP,
    GRE,
    IP,
    MPLS,
    UDP,
    VXLAN,
    Case,
    Dot1Q,
    Ether,
    Raw,
    arp_reply,
    arp_request,
    drop,
    echo,
    text,
    to_agent,
    trap,
    tx,
)

BOTH = ("headless", "with-agent")
PING = echo(s.VM1_MAC, "10.1.1.1", s.REMOTE_MAC, "10.1.1.3")
BARE = PING[IP]
RED_PING = echo(s.VM1_MAC, "10.1.1.1", s.REMOTE_MAC, "10.1.1.3")


def fabric(payload: Any, dst: str = "172.30.0.1", src: str = "172.30.0.2", **ip: Any) -> Packet:
    """A packet of the underlay for this host."""
    packet: Packet = (
        Ether(dst=text(s.NIC_MAC), src=text(s.FAR_MAC)) / IP(src=src, dst=dst, **ip) / payload
    )
    return packet


def vxlan(vni: int, inner: Any, flags: int = 8, **ip: Any) -> Packet:
    """The same, VXLAN."""
    return fabric(
        UDP(sport=50001, dport=4789, chksum=0) / VXLAN(flags=flags, vni=vni) / inner, **ip
    )


def udp_mpls(label: int, inner: Any, port: int = 6635, ttl: int = 64, bottom: int = 1) -> Packet:
    """The same, MPLSoUDP."""
    stack = MPLS(label=label, s=bottom, ttl=ttl)
    return fabric(UDP(sport=50001, dport=port, chksum=0) / stack / Raw(bytes(inner)))


def gre_mpls(label: int, inner: Any, **gre: Any) -> Packet:
    """The same, MPLSoGRE."""
    return fabric(
        GRE(proto=0x8847, **gre) / MPLS(label=label, s=1, ttl=64) / Raw(bytes(inner)), proto=47
    )


TO_VM1 = s.VM1_MAC + s.GATEWAY + bytes(PING)[12:]
PLAIN = fabric(UDP(sport=9, dport=9) / Raw(b"hello"))
ASKED = arp_request("10.1.1.1", "10.1.1.3", s.REMOTE_MAC)

DECAP: list[Case] = [
    tx(
        "VXLAN",
        s.FABRIC,
        vxlan(5001, PING),
        s.VM1,
        PING,
        counts={
            ("vrf", 0, "receives"): 1,
            ("vrf", 1, "vrf_translates"): 1,
            ("vrf", 1, "l2_encaps"): 1,
        },
    ),
    tx("VXLAN, the other network", s.FABRIC, vxlan(5002, RED_PING), s.RED, RED_PING),
    tx(
        "VXLAN, for the router: routed",
        s.FABRIC,
        vxlan(5001, echo(s.ROUTER_MAC, "10.1.1.1")),
        s.VM1,
        s.VM1_MAC + s.GATEWAY + bytes(echo(s.ROUTER_MAC, "10.1.1.1", ttl=63))[12:],
    ),
    tx(
        "VXLAN behind IP options",
        s.FABRIC,
        vxlan(5001, PING, options=[Raw(b"\1\1\1\0")]),
        s.VM1,
        PING,
    ),
    drop("VXLAN, a VNI that nobody has", s.FABRIC, vxlan(9999, PING), Drop.INVALID_VNID),
    drop("VXLAN without the I bit", s.FABRIC, vxlan(5001, PING, flags=0), Drop.INVALID_VNID),
    drop("VXLAN, a VNI whose nexthop is missing", s.FABRIC, vxlan(5005, PING), Drop.INVALID_NH),
    trap(
        "VXLAN with router alert",
        s.FABRIC,
        vxlan(5001, PING, flags=9),
        Trap.ROUTER_ALERT,
        to_agent(vxlan(5001, PING, flags=9), s.FABRIC, 0, Trap.ROUTER_ALERT),
    ),
    drop(
        "VXLAN, unknown MAC inside",
        s.FABRIC,
        vxlan(5001, echo(b"\2\0\0\0\0\x99", "10.1.1.9")),
        Drop.L2_NO_ROUTE,
    ),
    drop(
        "back into the tunnel it came by",
        s.FABRIC,
        vxlan(5001, echo(s.REMOTE_MAC, "10.1.1.3")),
        Drop.PKT_LOOP,
    ),
    tx(
        "MPLSoUDP, a packet inside: TTL as it was",
        s.FABRIC,
        udp_mpls(1000, BARE),
        s.VM1,
        TO_VM1,
        counts={("vrf", 1, "encaps"): 1},
    ),
    tx("MPLSoUDP by the old port", s.FABRIC, udp_mpls(1000, BARE, port=51234), s.VM1, TO_VM1),
    tx("MPLSoUDP, a frame inside", s.FABRIC, udp_mpls(1001, PING), s.VM1, PING),
    tx("MPLSoUDP, a frame for a VRF", s.FABRIC, udp_mpls(1002, PING), s.VM1, PING),
    tx("MPLSoGRE, a packet inside", s.FABRIC, gre_mpls(1000, BARE), s.VM1, TO_VM1),
    tx("MPLSoGRE, a frame inside", s.FABRIC, gre_mpls(1001, PING), s.VM1, PING),
    tx("MPLSoGRE with key", s.FABRIC, gre_mpls(1000, BARE, key_present=1, key=5), s.VM1, TO_VM1),
    tx(
        "GRE with a sequence number is the host's",
        s.FABRIC,
        gre_mpls(1000, BARE, seqnum_present=1),
        s.HOST,
        gre_mpls(1000, BARE, seqnum_present=1),
    ),
    drop("a label that nobody has", s.FABRIC, udp_mpls(1020, BARE), Drop.INVALID_LABEL),
    drop("a label beyond the table", s.FABRIC, udp_mpls(0xFFFFF, BARE), Drop.INVALID_LABEL),
    drop("two labels", s.FABRIC, udp_mpls(1000, BARE, bottom=0), Drop.INVALID_LABEL),
    drop("a label whose TTL ran out", s.FABRIC, udp_mpls(1000, BARE, ttl=1), Drop.TTL_EXCEEDED),
    drop(
        "no IP behind a label for IP",
        s.FABRIC,
        udp_mpls(1000, Raw(b"\0" * 40)),
        Drop.INVALID_PACKET,
    ),
    drop("a frame cut short", s.FABRIC, vxlan(5001, Raw(bytes(PING)[:13])), Drop.INVALID_PACKET),
    drop(
        "UDP longer than IP",
        s.FABRIC,
        fabric(UDP(sport=1, dport=4789, len=999) / Raw(b"\x08" + b"\0" * 30)),
        Drop.INVALID_PACKET,
    ),
    drop(
        "a fragment of a tunnel",
        s.FABRIC,
        bytes(vxlan(5001, PING))[:20] + b"\x20\0" + bytes(vxlan(5001, PING))[22:],
        Drop.FRAGMENTS,
    ),
    tx(
        "not for this host",
        s.FABRIC,
        fabric(UDP(sport=50001, dport=4789) / Raw(b"a" * 40), dst="9.9.9.9"),
        s.HOST,
        fabric(UDP(sport=50001, dport=4789) / Raw(b"a" * 40), dst="9.9.9.9"),
        states=("headless",),
    ),
]

ARP_CASES: list[Case] = [
    tx(
        "a request for a VM of this host: answered into the tunnel",
        s.FABRIC,
        vxlan(5001, ASKED),
        s.FABRIC,
        Ether(dst=text(s.FAR_MAC), src=text(s.NIC_MAC))
        / IP(src="172.30.0.1", dst="172.30.0.2", id=0, ttl=64)
        / UDP(sport=52000, dport=4789, chksum=0)
        / VXLAN(flags=8, vni=5001)
        / arp_reply("10.1.1.1", s.VM1_MAC, "10.1.1.3", s.REMOTE_MAC),
        counts={("vrf", 1, "arp_physical_stitch"): 1},
    ),
    drop(
        "a request for the gateway",
        s.FABRIC,
        vxlan(5001, arp_request("10.1.1.254", "10.1.1.3", s.REMOTE_MAC)),
        Drop.INVALID_ARP,
    ),
    drop(
        "any other request: flooded to VMs, never to tunnels",
        s.FABRIC,
        vxlan(5001, arp_request("10.1.1.77", "10.1.1.3", s.REMOTE_MAC)),
        Drop.CLONED_ORIGINAL,
        copies=tuple(
            (vif, bytes(arp_request("10.1.1.77", "10.1.1.3", s.REMOTE_MAC)))
            for vif in (s.VM1, s.VM2, s.UUF)
        ),
        counts={("vrf", 1, "arp_physical_flood"): 1, ("drop", int(Drop.INVALID_NH)): 1},
    ),
    tx(
        "cross-connected: to the host",
        s.FABRIC,
        arp_request("172.30.0.1", "172.30.0.2", s.FAR_MAC),
        s.HOST,
        arp_request("172.30.0.1", "172.30.0.2", s.FAR_MAC),
        states=("headless",),
    ),
    tx(
        "with an agent: the host answers for itself",
        s.FABRIC,
        arp_request("172.30.0.1", "172.30.0.2", s.FAR_MAC),
        s.HOST,
        arp_request("172.30.0.1", "172.30.0.2", s.FAR_MAC),
        states=("with-agent",),
    ),
    trap(
        "with an agent: a reply is for both",
        s.FABRIC,
        arp_reply("172.30.0.2", s.FAR_MAC, "172.30.0.1", s.NIC_MAC),
        Trap.ARP,
        to_agent(
            arp_reply("172.30.0.2", s.FAR_MAC, "172.30.0.1", s.NIC_MAC), s.FABRIC, 0, Trap.ARP
        ),
        copies=((s.HOST, bytes(arp_reply("172.30.0.2", s.FAR_MAC, "172.30.0.1", s.NIC_MAC))),),
    ),
    tx(
        "of the host, link-local: answered",
        s.HOST,
        arp_request("169.254.169.254", "172.30.0.1", s.NIC_MAC),
        s.HOST,
        arp_reply("169.254.169.254", s.NIC_MAC, "172.30.0.1", s.NIC_MAC),
        states=("with-agent",),
    ),
    drop(
        "malformed, with an agent",
        s.FABRIC,
        Ether(dst=text(s.NIC_MAC)) / ARP(hwtype=6),
        Drop.INVALID_ARP,
        states=("with-agent",),
    ),
]

HOST: list[Case] = [
    tx("the host's own packet", s.HOST, Ether(bytes(PLAIN)), s.FABRIC, PLAIN, states=("headless",)),
    tx("for the host", s.FABRIC, PLAIN, s.HOST, PLAIN, counts={("vrf", 0, "receives"): 1}),
    tx(
        "IPv6 of the fabric",
        s.FABRIC,
        Ether(dst=text(s.NIC_MAC), type=0x86DD) / Raw(b"\x60" + b"\0" * 50),
        s.HOST,
        Ether(dst=text(s.NIC_MAC), type=0x86DD) / Raw(b"\x60" + b"\0" * 50),
    ),
    tx(
        "multicast of the fabric",
        s.FABRIC,
        Ether(dst="01:00:5e:00:00:05") / IP(dst="224.0.0.5") / Raw(b"o" * 40),
        s.HOST,
        Ether(dst="01:00:5e:00:00:05") / IP(dst="224.0.0.5") / Raw(b"o" * 40),
    ),
    tx(
        "a VLAN tag comes off for the host",
        s.FABRIC,
        Ether(dst=text(s.NIC_MAC)) / Dot1Q(vlan=3) / IP(id=4) / Raw(b"q" * 40),
        s.HOST,
        Ether(dst=text(s.NIC_MAC)) / IP(id=4) / Raw(b"q" * 40),
    ),
    drop(
        "a malformed IPv4 header",
        s.FABRIC,
        Ether(dst=text(s.NIC_MAC)) / IP(ihl=4, len=40) / Raw(b"w" * 40),
        Drop.INVALID_PACKET,
    ),
    trap(
        "no neighbour known: the host's stack and the agent get it",
        s.FABRIC,
        fabric(Raw(b"e" * 30), dst="172.30.0.77", ttl=5),
        Trap.RESOLVE,
        to_agent(fabric(Raw(b"e" * 30), dst="172.30.0.77", ttl=4), s.FABRIC, 0, Trap.RESOLVE, 6),
        copies=((s.HOST, bytes(fabric(Raw(b"e" * 30), dst="172.30.0.77", ttl=4))),),
    ),
]

AGENT: list[Case] = [
    tx(
        "SWITCH: out of that vif as it is",
        s.AGENT,
        to_agent(PING, s.VM1, 0, 0),
        s.VM1,
        PING,
        states=("with-agent",),
    ),
    drop(
        "SWITCH: a vif that is gone",
        s.AGENT,
        to_agent(PING, s.GONE, 0, 0),
        Drop.INVALID_IF,
        states=("with-agent",),
    ),
    tx(
        "ROUTE: as if the VM had sent it",
        s.AGENT,
        to_agent(echo(s.VM2_MAC, "10.1.1.2"), s.VM1, 1, 1),
        s.VM2,
        echo(s.VM2_MAC, "10.1.1.2"),
        states=("with-agent",),
    ),
    tx(
        "ROUTE: in the VRF that is named",
        s.AGENT,
        to_agent(PING, 500, 2, 1),
        s.RED,
        PING,
        states=("with-agent",),
    ),
    drop(
        "another command",
        s.AGENT,
        to_agent(PING, s.VM1, 1, 7),
        Drop.INVALID_PACKET,
        states=("with-agent",),
    ),
    drop(
        "cut short",
        s.AGENT,
        to_agent(PING, s.VM1, 1, 0)[:57],
        Drop.INVALID_PACKET,
        states=("with-agent",),
    ),
    drop(
        "the kernel's own frames",
        s.AGENT,
        bytes(Ether(type=0x86DD)) + b"\x60" + b"\0" * 80,
        Drop.INVALID_PACKET,
        states=("with-agent",),
    ),
]
