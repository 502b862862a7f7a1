# SPDX-License-Identifier: Apache-2.0
"""Neighbour discovery and DHCPv6: a case for every row of the rules, by the vif."""

from __future__ import annotations

from dataclasses import replace

from scapy.layers.inet6 import (
    ICMPv6ND_NS,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    PadN,
)
from scapy.packet import Packet, Raw

from tests.model.const import BROADCAST, Drop, Trap

from . import states as s
from .cases_arp import LOST, REPLICATED
from .frames import OTHER_IP, eth, sent_vxlan, tag, trapped, vxlan
from .frames6 import (
    ALL_NODES,
    FAR_IP6,
    SELF_IP6,
    advert,
    dhcp6,
    group_mac,
    hash6,
    na,
    ns,
    port_of,
    rs,
    solicited_node,
)
from .table import Case, copy, drop, flood, rows, trap, trap_copy, tx

B = s.BLUE
STITCH, PROXY = "arp_virtual_stitch", "arp_virtual_proxy"


def answered(
    name: str, ask: bytes, target: str, by: bytes, counter: str, vif: int = s.VM1, router: int = 0
) -> Case:
    """A solicitation that is answered out of the vif it came by."""
    return tx(name, vif, ask, vif, na(ask, by, target, router=router), ((B, counter),))


def spread(
    name: str, frame: bytes, src: str, dst: str, *, proto: int = 58, count: bool = True
) -> Case:
    """A frame of vm1 that goes to all of blue; `count`: as a question that nobody answers."""
    sport = port_of(hash6(src, dst, B, ports=(0, 0), proto=proto))
    remote = [
        copy(s.FABRIC, sent_vxlan(5001, frame, sport, id=0)),
        copy(s.FABRIC, sent_vxlan(5001, frame, sport, id=0, dst=OTHER_IP)),
    ]
    copies = [copy(s.VM2, frame), copy(s.UUF, frame), *remote]
    counts = ((B, "arp_virtual_flood"),) if count else ()
    return flood(name, s.VM1, frame, copies, LOST, (*counts, *REPLICATED), ((B, BROADCAST),))


def asked(name: str, target: str, **more: object) -> Case:
    """A solicitation of vm1 that goes to all of blue."""
    src = str(more.get("src", "fd00::1"))
    to = target if more.get("dst") is not None else solicited_node(target)
    dad = src in ("::", target)
    frame = ns(target, **more)  # type: ignore[arg-type]
    return spread(name, frame, src, to, count=not dad)


NEXT = ns("fd00::2")
OPTIONS = IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)])
HOPS = IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * 12)])
SOLICITED = solicited_node("fd00::2")


def behind(*headers: Packet) -> bytes:
    """A solicitation behind extension headers."""
    return ns("fd00::2", layers=headers)


def hidden() -> bytes:
    """A solicitation behind more extension headers than are walked over."""
    return ns("fd00::2", layers=(HOPS, *[OPTIONS.copy() for _ in range(8)]))


VM_ASKS = [
    answered("P, stitched", NEXT, "fd00::2", s.VM2_MAC, STITCH),
    answered(
        "P, stitched, asked by unicast",
        ns("fd00::2", dst=s.VM2_MAC),
        "fd00::2",
        s.VM2_MAC,
        STITCH,
    ),
    answered("P, stitched to a MAC elsewhere", ns("fd00::3"), "fd00::3", s.REMOTE_MAC, STITCH),
    answered(
        "no option in the question: the answer is longer",
        ns("fd00::2", option=False),
        "fd00::2",
        s.VM2_MAC,
        STITCH,
    ),
    answered(
        "what stands behind the question goes", NEXT + bytes(18), "fd00::2", s.VM2_MAC, STITCH
    ),
    answered("P, not stitched", ns("fd00::4"), "fd00::4", s.GATEWAY, PROXY),
    answered("P, the gateway: a router", ns("fd00::fe"), "fd00::fe", s.GATEWAY, PROXY, router=1),
    answered(
        "P, the gateway's link-local address",
        ns("fe80::1"),
        "fe80::1",
        s.GATEWAY,
        PROXY,
        router=1,
    ),
    answered("behind a hop-by-hop header", behind(HOPS), "fd00::2", s.VM2_MAC, STITCH),
    answered("behind two headers", behind(HOPS, OPTIONS), "fd00::2", s.VM2_MAC, STITCH),
    asked("P and F, not stitched", "fd00::5"),
    asked("T without P: not trapped", "fd00::6"),
    asked("no P", "fd00:2::1"),
    asked("no route", "2001:db8:ffff::1"),
    asked("no P, asked by unicast", "fd00:2::1", dst=s.VM2_MAC),
    asked("tagged, though P", "fd00::2", layers=(tag(),)),
    asked("DAD, though P: bridged", "fd00::2", src="::"),
    asked("DAD, though T: bridged, not trapped", "fd00::6", src="::"),
    asked("one's own address: bridged", "fd00::2", src="fd00::2"),
    spread(
        "behind too many headers: bridged", hidden(), "fd00::1", SOLICITED, proto=0, count=False
    ),
    spread(
        "a fragment: bridged",
        behind(IPv6ExtHdrFragment(offset=0, m=1)),
        "fd00::1",
        SOLICITED,
        proto=44,
        count=False,
    ),
    drop("Mnp vif: not the gateway", s.NO_PROXY, NEXT, Drop.INVALID_ARP),
    drop("Mnp vif: no route", s.NO_PROXY, ns("2001:db8:ffff::1"), Drop.INVALID_ARP),
    answered(
        "Mnp vif: the gateway",
        ns("fd00::fe"),
        "fd00::fe",
        s.GATEWAY,
        PROXY,
        s.NO_PROXY,
        router=1,
    ),
    answered(
        "Proxy vif: no route", ns("2001:db8:f::1"), "2001:db8:f::1", s.GATEWAY, PROXY, s.PROXY
    ),
    answered("Proxy vif: stitched", NEXT, "fd00::2", s.VM2_MAC, STITCH, s.PROXY),
]


def wrong(name: str, frame: bytes) -> Case:
    """A message that is not to be believed."""
    return drop(name, s.VM1, frame, Drop.INVALID_ARP)


SHORT = IPv6(src="fd00::1", dst=SOLICITED, hlim=255) / Raw(bytes(ICMPv6ND_NS(tgt="fd00::2"))[:23])
SHORT.nh = 58
MALFORMED = [
    wrong("NS: hop limit 254", ns("fd00::2", hops=254)),
    wrong("NS: code 1", ns("fd00::2", code=1)),
    wrong("NS for a group", ns("ff02::5", dst=s.VM2_MAC)),
    wrong("NS of a group", ns("fd00::2", src="ff02::9")),
    wrong("NS: 23 bytes", eth(group_mac(SOLICITED), s.VM1_MAC, SHORT)),
]


def both(name: str, frame: bytes, src: str, dst: str) -> list[Case]:
    """Trapped and flooded; without an agent the trap alone is lost."""
    alone = spread(f"{name}, no agent", frame, src, dst)
    first = trap_copy(Trap.L3_PROTOCOLS, trapped(frame, s.VM1, B, 7))
    together = replace(alone, name=name, copies=(first, *alone.copies))
    return [
        together.with_agent(),
        replace(alone, lost=(*LOST, Drop.TRAP_NO_IF)).headless(),
    ]


def to_agent(name: str, frame: bytes, vif: int = s.VM1) -> list[Case]:
    """Consumed by the agent."""
    return trap(name, vif, frame, Trap.L3_PROTOCOLS, trapped(frame, vif, B, 7))


TO_GW = advert(s.GATEWAY, "fd00::fe")
UNICAST = advert(s.VM2_MAC, "fd00::2")
FOR_ALL = advert(group_mac(ALL_NODES), ALL_NODES)
L2R = ((B, "l2_receives"),)
WELL_KNOWN = [
    *both("NA for all", FOR_ALL, "fd00::1", ALL_NODES),
    tx(
        "NA for another VM",
        s.VM1,
        UNICAST,
        s.VM2,
        UNICAST,
        ((B, "l2_encaps"),),
        ((B, s.VM2_MAC),),
    ),
    *trap(
        "NA for the gateway",
        s.VM1,
        TO_GW,
        Trap.L3_PROTOCOLS,
        trapped(TO_GW, s.VM1, B, 7),
        L2R,
        ((B, s.GATEWAY),),
    ),
    *to_agent("RS", rs()),
    spread("RS, tagged: bridged", rs(tagged=(tag(),)), "fe80::a", "ff02::2", count=False),
    *to_agent("DHCPv6", dhcp6(), s.DHCP),
]

INSIDE = ((0, "receives"), (B, "vrf_translates"))
FAR_ASKS = ns("fd00::1", src="fd00::3", mac=s.REMOTE_MAC)
FAR_ANSWER = na(FAR_ASKS, s.VM1_MAC, "fd00::1", src="fd00::3")
ANSWER_PORT = port_of(hash6("fd00::1", "fd00::3", B, ports=(0, 0), proto=58))
LOCAL = ((B, "l2_mcast_composites"), (B, "encap_composites"), *((B, "l2_encaps"),) * 3)


def by_tunnel(name: str, frame: bytes, count: bool = True) -> Case:
    """A question of another host that all local VMs of blue hear."""
    counts = (*INSIDE, *(((B, "arp_physical_flood"),) if count else ()), *LOCAL)
    copies = [copy(s.VM1, frame), copy(s.VM2, frame), copy(s.UUF, frame)]
    lost = (Drop.INVALID_NH,)
    return flood(name, s.FABRIC, vxlan(5001, frame), copies, lost, counts, ((B, BROADCAST),))


TUNNEL = [
    tx(
        "tunnelled: a VM of this host, answered by the tunnel",
        s.FABRIC,
        vxlan(5001, FAR_ASKS),
        s.FABRIC,
        sent_vxlan(5001, FAR_ANSWER, ANSWER_PORT, id=0),
        (*INSIDE, (B, "arp_physical_stitch"), (B, "vxlan_tunnels")),
        ((B, s.REMOTE_MAC),),
    ),
    by_tunnel("tunnelled: no VM of this host", ns("fd00::3", src="fd00::9", mac=s.REMOTE_MAC)),
    by_tunnel("tunnelled: no route", ns("fd00:ffff::", src="fd00::3", mac=s.REMOTE_MAC)),
    by_tunnel("tunnelled: DAD", ns("fd00::1", src="::", mac=s.REMOTE_MAC), count=False),
    drop(
        "tunnelled: the gateway",
        s.FABRIC,
        vxlan(5001, ns("fd00::fe", src="fd00::3", mac=s.REMOTE_MAC)),
        Drop.INVALID_ARP,
        INSIDE,
    ),
]


def up(name: str, frame: bytes) -> Case:
    """From the wire to the host."""
    return tx(name, s.FABRIC, frame, s.HOST, frame)


def down(name: str, frame: bytes) -> Case:
    """From the host to the wire."""
    return tx(name, s.HOST, frame, s.FABRIC, frame)


def of_host(target: str, **more: str) -> bytes:
    """A solicitation of the host's stack."""
    return ns(target, src=more.get("src", SELF_IP6), mac=s.NIC_MAC)


HOSTED = ns("2001:db8::a", src=FAR_IP6, mac=s.FAR_MAC)
PROXIED = of_host("2001:db8::9")
WIRE_NA = advert(s.NIC_MAC, SELF_IP6, mac=s.FAR_MAC, src=FAR_IP6)
WRONG = ns("2001:db8::1", src=FAR_IP6, mac=s.FAR_MAC, hops=64)
UNDERLAY = [
    up("wire: for the host", ns(SELF_IP6, src=FAR_IP6, mac=s.FAR_MAC)),
    up("wire: P, but no VM of this host", ns("2001:db8::9", src=FAR_IP6, mac=s.FAR_MAC)),
    up("wire: DAD, though P", ns("2001:db8::a", src="::", mac=s.FAR_MAC)),
    tx(
        "wire: P, a VM of this host",
        s.FABRIC,
        HOSTED,
        s.FABRIC,
        na(HOSTED, s.NIC_MAC, "2001:db8::a", src=FAR_IP6),
    ).with_agent(),
    up("X, wire: P, a VM of this host", HOSTED).headless(),
    replace(
        trap("wire: NA", s.FABRIC, WIRE_NA, Trap.L3_PROTOCOLS, trapped(WIRE_NA, s.FABRIC, 0, 7))[0],
        copies=(copy(s.HOST, WIRE_NA),),
    ),
    tx(
        "X, wire: NA: for the host's address",
        s.FABRIC,
        WIRE_NA,
        s.HOST,
        WIRE_NA,
        ((0, "receives"),),
    ).headless(),
    drop("wire: NS, hop limit 64", s.FABRIC, WRONG, Drop.INVALID_ARP).with_agent(),
    up("X, wire: NS, hop limit 64", WRONG).headless(),
    down("host asks: no P", of_host(FAR_IP6)),
    down("host asks: DAD, though P", of_host("2001:db8::9", src="::")),
    tx(
        "host asks: P",
        s.HOST,
        PROXIED,
        s.HOST,
        na(PROXIED, s.NIC_MAC, "2001:db8::9", src=SELF_IP6),
    ).with_agent(),
    down("X, host asks: P", PROXIED).headless(),
    down("host: NA", advert(s.FAR_MAC, FAR_IP6, mac=s.NIC_MAC, src=SELF_IP6)),
]
# its ports are in the hash
_FRAME = dhcp6()
_SPORT = port_of(hash6("fe80::a", "ff02::1:2", B, ports=(546, 547)))
DHCP_WITHOUT = flood(
    "DHCPv6, a vif that does not trap it: bridged",
    s.VM1,
    _FRAME,
    [
        copy(s.VM2, _FRAME),
        copy(s.UUF, _FRAME),
        copy(s.FABRIC, sent_vxlan(5001, _FRAME, _SPORT, id=0)),
        copy(s.FABRIC, sent_vxlan(5001, _FRAME, _SPORT, id=0, dst=OTHER_IP)),
    ],
    LOST,
    REPLICATED,
    ((B, BROADCAST),),
)

CASES = rows(VM_ASKS, MALFORMED, WELL_KNOWN, [DHCP_WITHOUT], TUNNEL, UNDERLAY)
