# SPDX-License-Identifier: Apache-2.0
"""What VMs send: bridging, routing, ARP, tunnels, replication."""

from __future__ import annotations

from tests.model.const import Drop, Trap

from . import states as s
from .case import (
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
    outer,
    text,
    to_agent,
    trap,
    tx,
)

VTEP = UDP(sport=50000, dport=4789, chksum=0)
MPLS_UDP = UDP(sport=50000, dport=6635, chksum=0)
M = {last: bytes.fromhex(f"02000a0101{last:02x}") for last in range(1, 14)}


def routed(packet: bytes, dst: bytes, ttl: int = 63) -> bytes:
    """The packet after a router of ours: MACs and TTL."""
    frame = Ether(packet)
    frame.dst, frame.src = text(dst), text(s.GATEWAY)
    frame[IP].ttl, frame[IP].chksum = ttl, None
    return bytes(frame)


PING = bytes(echo(s.GATEWAY, "10.1.1.2"))
LAST = bytes(echo(s.GATEWAY, "10.1.1.2", ttl=1))
TAGGED = (
    Ether(dst=text(s.REMOTE_MAC), src=text(s.VM1_MAC)) / Dot1Q(vlan=7) / IP(id=0) / Raw(b"x" * 40)
)

BRIDGE: list[Case] = [
    tx(
        "to a VM of this host",
        s.VM1,
        echo(s.VM2_MAC, "10.1.1.2"),
        s.VM2,
        echo(s.VM2_MAC, "10.1.1.2"),
        counts={("vrf", 1, "l2_encaps"): 1, ("bridge", 1, s.VM2_MAC.hex()): 1},
    ),
    tx(
        "VXLAN",
        s.VM1,
        echo(s.REMOTE_MAC, "10.1.1.3"),
        s.FABRIC,
        outer(VTEP / VXLAN(flags=8, vni=5001) / echo(s.REMOTE_MAC, "10.1.1.3")),
        counts={("vrf", 1, "vxlan_tunnels"): 1},
    ),
    tx(
        "MPLSoUDP, a frame inside",
        s.VM1,
        echo(M[4], "10.1.1.4"),
        s.FABRIC,
        outer(MPLS_UDP / MPLS(label=1040, s=1, ttl=64) / Raw(bytes(echo(M[4], "10.1.1.4")))),
        counts={("vrf", 1, "udp_mpls_tunnels"): 1},
    ),
    tx(
        "MPLSoGRE, a frame inside",
        s.VM1,
        echo(M[5], "10.1.1.5"),
        s.FABRIC,
        outer(
            GRE(proto=0x8847) / MPLS(label=1050, s=1, ttl=64) / Raw(bytes(echo(M[5], "10.1.1.5"))),
            proto=47,
        ),
        counts={("vrf", 1, "gre_mpls_tunnels"): 1},
    ),
    tx(
        "the tag of a VM crosses the tunnel",
        s.VM1,
        TAGGED,
        s.FABRIC,
        outer(VTEP / VXLAN(flags=8, vni=5001) / TAGGED, ident=0),
    ),
    drop("VXLAN without a VNI", s.VM1, echo(M[6], "10.1.1.6"), Drop.INVALID_VNID),
    drop("a nexthop that does not exist", s.VM1, echo(M[7], "10.1.1.7"), Drop.INVALID_NH),
    drop(
        "VRF translate that leads to itself",
        s.VM1,
        echo(M[8], "10.1.1.8"),
        Drop.PKT_LOOP,
        counts={("vrf", 1, "vrf_translates"): 1, ("vrf", 5, "vrf_translates"): 3},
    ),
    drop("a vif that is gone", s.VM1, echo(M[11], "10.1.1.9"), Drop.INVALID_IF),
    drop("unknown unicast", s.VM1, echo(M[2][:5] + b"\x99", "10.1.1.9"), Drop.L2_NO_ROUTE),
    drop("another network's MAC", s.RED, echo(s.VM2_MAC, "10.1.1.2"), Drop.L2_NO_ROUTE),
    tx(
        "the same MAC in another network is another VM",
        s.UUF,
        echo(s.VM1_MAC, "10.1.1.1"),
        s.VM1,
        echo(s.VM1_MAC, "10.1.1.1"),
    ),
    drop(
        "longer than the netdevice takes",
        s.VM1,
        echo(M[12], "10.1.1.2") / Raw(b"x" * 700),
        Drop.TOO_BIG,
    ),
    tx(
        "a VM cannot pass for the fabric",
        s.VM1,
        Ether(dst=text(s.VM2_MAC))
        / IP(dst="172.30.0.1")
        / VTEP
        / VXLAN(flags=8, vni=5002)
        / echo(s.VM1_MAC, "10.1.1.1"),
        s.VM2,
        Ether(dst=text(s.VM2_MAC))
        / IP(dst="172.30.0.1")
        / VTEP
        / VXLAN(flags=8, vni=5002)
        / echo(s.VM1_MAC, "10.1.1.1"),
    ),
]

TUNNEL_OF_VM = (
    Ether(dst=text(s.GATEWAY), src=text(s.VM1_MAC))
    / IP(src="10.1.1.1", dst="10.1.3.1")
    / VTEP
    / VXLAN(flags=8, vni=5002)
    / echo(s.VM1_MAC, "10.1.1.1")
)

ROUTE: list[Case] = [
    tx(
        "to a VM of this host",
        s.VM1,
        PING,
        s.VM2,
        routed(PING, s.VM2_MAC),
        counts={("vrf", 1, "l2_receives"): 1, ("vrf", 1, "encaps"): 1},
    ),
    tx(
        "MPLSoUDP, a packet inside",
        s.VM1,
        echo(s.GATEWAY, "10.1.1.3"),
        s.FABRIC,
        outer(
            MPLS_UDP
            / MPLS(label=1030, s=1, ttl=63)
            / Raw(routed(bytes(echo(s.GATEWAY, "10.1.1.3")), s.GATEWAY)[14:])
        ),
    ),
    tx(
        "MPLSoGRE, a packet inside",
        s.VM1,
        echo(s.GATEWAY, "10.1.1.5", ttl=9),
        s.FABRIC,
        outer(
            GRE(proto=0x8847)
            / MPLS(label=1030, s=1, ttl=8)
            / Raw(routed(bytes(echo(s.GATEWAY, "10.1.1.5", ttl=9)), s.GATEWAY, 8)[14:]),
            proto=47,
        ),
    ),
    tx(
        "VXLAN, to the far router's MAC",
        s.VM1,
        echo(s.GATEWAY, "10.1.1.4"),
        s.FABRIC,
        outer(
            VTEP
            / VXLAN(flags=8, vni=5001)
            / Raw(
                s.ROUTER_MAC
                + s.NIC_MAC
                + routed(bytes(echo(s.GATEWAY, "10.1.1.4")), s.GATEWAY)[12:]
            )
        ),
    ),
    tx(
        "by way of another VRF",
        s.VM1,
        echo(s.GATEWAY, "10.1.8.1"),
        s.VM1,
        routed(bytes(echo(s.GATEWAY, "10.1.8.1")), s.VM1_MAC),
        counts={("vrf", 9, "encaps"): 1},
    ),
    tx(
        "to the host: the vhost's MAC, TTL as it was",
        s.VM1,
        echo(s.GATEWAY, "10.1.3.1"),
        s.HOST,
        s.NIC_MAC + bytes(echo(s.GATEWAY, "10.1.3.1"))[6:],
        counts={("vrf", 1, "receives"): 1},
    ),
    drop("no route", s.VM1, echo(s.GATEWAY, "8.8.8.8"), Drop.DISCARD),
    drop(
        "a route to Discard",
        s.VM1,
        echo(s.GATEWAY, "10.1.2.1"),
        Drop.DISCARD,
        counts={("vrf", 1, "discards"): 1},
    ),
    drop("a route to nothing", s.VM1, echo(s.GATEWAY, "10.1.1.10"), Drop.INVALID_NH),
    drop("a nexthop that is not valid", s.VM1, echo(s.GATEWAY, "10.1.6.1"), Drop.INVALID_NH),
    drop("MPLS without a label", s.VM1, echo(s.GATEWAY, "10.1.1.7"), Drop.INVALID_LABEL),
    drop("a tunnel of no kind", s.VM1, echo(s.GATEWAY, "10.1.7.1"), Drop.INVALID_NH),
    drop(
        "a composite cannot take a routed packet",
        s.VM1,
        echo(s.GATEWAY, "10.1.1.8"),
        Drop.INVALID_NH,
    ),
    drop("TTL 1, no agent", s.VM1, LAST, Drop.TRAP_NO_IF, states=("headless",)),
    trap(
        "TTL 1: to the agent, unchanged",
        s.VM1,
        LAST,
        Trap.ZERO_TTL,
        to_agent(LAST, s.VM1, 1, Trap.ZERO_TTL),
    ),
    trap(
        "a route to Resolve",
        s.VM1,
        echo(s.GATEWAY, "10.1.4.1"),
        Trap.RESOLVE,
        to_agent(
            routed(bytes(echo(s.GATEWAY, "10.1.4.1")), s.GATEWAY)[:0]
            + s.GATEWAY
            + s.VM1_MAC
            + routed(bytes(echo(s.GATEWAY, "10.1.4.1")), s.GATEWAY)[12:],
            s.VM1,
            1,
            Trap.RESOLVE,
            6,
        ),
    ),
    drop(
        "neither IPv4 nor ARP for the gateway",
        s.VM1,
        Ether(dst=text(s.GATEWAY), src=text(s.VM1_MAC), type=0x88CC) / Raw(b"y" * 40),
        Drop.INVALID_PROTOCOL,
    ),
    tx(
        "a VM's tunnel packet for the host is just a packet",
        s.VM1,
        TUNNEL_OF_VM,
        s.HOST,
        s.NIC_MAC + bytes(TUNNEL_OF_VM)[6:],
    ),
]

FLOODED = ((s.VM2, bytes(arp_request("10.1.1.77"))), (s.UUF, bytes(arp_request("10.1.1.77"))))


def _vxlan_copy(frame: bytes, dst: str, ident: int = 0) -> tuple[int, bytes]:
    return s.FABRIC, bytes(
        outer(
            UDP(sport=52000, dport=4789, chksum=0) / VXLAN(flags=8, vni=5001) / Raw(frame),
            ident,
            dst,
        )
    )


ARP_CASES: list[Case] = [
    tx(
        "proxied, stitched: answered with the VM's MAC",
        s.VM1,
        arp_request("10.1.1.2"),
        s.VM1,
        arp_reply("10.1.1.2", s.VM2_MAC),
        counts={("vrf", 1, "arp_virtual_stitch"): 1},
    ),
    tx(
        "proxied: answered with the vif's MAC",
        s.VM1,
        arp_request("10.1.1.254"),
        s.VM1,
        arp_reply("10.1.1.254", s.GATEWAY),
        counts={("vrf", 1, "arp_virtual_proxy"): 1},
    ),
    drop(
        "not proxied: flooded",
        s.VM1,
        arp_request("10.1.1.77"),
        Drop.CLONED_ORIGINAL,
        copies=(
            *FLOODED,
            _vxlan_copy(FLOODED[0][1], "172.30.0.2"),
            _vxlan_copy(FLOODED[0][1], "172.30.0.3"),
        ),
        counts={
            ("vrf", 1, "arp_virtual_flood"): 1,
            ("drop", int(Drop.INVALID_NH)): 2,
            ("drop", int(Drop.INVALID_VNID)): 1,
        },
    ),
    tx(
        "a vif that proxies everything",
        s.PROXY,
        arp_request("10.1.1.77", mac=M[6]),
        s.PROXY,
        arp_reply("10.1.1.77", s.GATEWAY, mac=M[6]),
    ),
    drop("such a vif floods no gratuitous one", s.PROXY, arp_request("10.1.1.1"), Drop.INVALID_ARP),
    drop("a vif without proxy", s.NO_PROXY, arp_request("10.1.1.2", mac=M[6]), Drop.INVALID_ARP),
    tx(
        "such a vif may ask for the gateway",
        s.NO_PROXY,
        arp_request("10.1.1.254", mac=M[6]),
        s.NO_PROXY,
        arp_reply("10.1.1.254", s.GATEWAY, mac=M[6]),
    ),
    drop(
        "op 3",
        s.VM1,
        bytes(arp_request("10.1.1.2"))[:20] + b"\0\3" + bytes(arp_request("10.1.1.2"))[22:],
        Drop.INVALID_ARP,
    ),
    drop("cut short", s.VM1, bytes(arp_request("10.1.1.2"))[:-1], Drop.INVALID_ARP),
    tx(
        "a reply to a VM is bridged",
        s.VM1,
        arp_reply("10.1.1.1", s.VM1_MAC, "10.1.1.2", s.VM2_MAC),
        s.VM2,
        arp_reply("10.1.1.1", s.VM1_MAC, "10.1.1.2", s.VM2_MAC),
    ),
    trap(
        "a reply to the gateway",
        s.VM1,
        arp_reply("10.1.1.1", s.VM1_MAC, "10.1.1.254", s.GATEWAY),
        Trap.ARP,
        to_agent(arp_reply("10.1.1.1", s.VM1_MAC, "10.1.1.254", s.GATEWAY), s.VM1, 1, Trap.ARP),
    ),
]

FLOOD: list[Case] = [
    drop(
        "unknown unicast, where it may be flooded",
        s.UUF,
        echo(M[2][:5] + b"\x99", "10.1.1.9"),
        Drop.CLONED_ORIGINAL,
        copies=(
            (s.VM1, bytes(echo(M[2][:5] + b"\x99", "10.1.1.9"))),
            (s.VM2, bytes(echo(M[2][:5] + b"\x99", "10.1.1.9"))),
            (
                s.FABRIC,
                bytes(
                    outer(VTEP / VXLAN(flags=8, vni=5001) / echo(M[2][:5] + b"\x99", "10.1.1.9"))
                ),
            ),
            (
                s.FABRIC,
                bytes(
                    outer(
                        VTEP / VXLAN(flags=8, vni=5001) / echo(M[2][:5] + b"\x99", "10.1.1.9"),
                        dst="172.30.0.3",
                    )
                ),
            ),
        ),
        counts={("vrf", 1, "uuc_floods"): 1},
    ),
]
