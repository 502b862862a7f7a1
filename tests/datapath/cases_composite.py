# SPDX-License-Identifier: Apache-2.0
"""Replication: who gets a copy, in which order, and what is wrong with the others."""

from __future__ import annotations

from dataclasses import replace

from scapy.layers.inet import IP
from scapy.packet import Raw

from tests.model.const import BROADCAST, Drop, Trap
from tests.model.packet import Copy
from tests.model.state import mac

from . import states as s
from .frames import (
    OTHER_IP,
    eth,
    injected,
    ip,
    mplsoudp,
    sent_mplsogre,
    sent_mplsoudp,
    sent_vxlan,
    tag,
    trapped,
    usual_port,
    vxlan,
)
from .frames6 import udp6
from .table import Case, Names, copy, drop, flood, rows, trap_copy

B, R, M = s.BLUE, s.RED_VRF, s.MCAST
GROUP = mac("01:00:5e:00:00:05")
FRAME = eth(BROADCAST, s.VM1_MAC, ip("10.1.1.255"))
TO_GROUP = eth(GROUP, s.VM1_MAC, ip("10.1.1.255"))
TAGGED = eth(BROADCAST, s.VM1_MAC, tag(), ip("10.1.1.255"))
PORT = usual_port("10.1.1.255")
LOST = (Drop.INVALID_NH, Drop.INVALID_NH, Drop.INVALID_VNID)


def counts(vrf: int, encaps: int, vxlans: int, udps: int = 0, gres: int = 0) -> Names:
    """Counters of a replication from a VM, with so many copies of each kind."""
    kinds = {
        "l2_mcast_composites": 1,
        "encap_composites": 1,
        "evpn_composites": 1,
        "l2_encaps": encaps,
        "vxlan_tunnels": vxlans,
        "udp_mpls_tunnels": udps,
        "gre_mpls_tunnels": gres,
    }
    return tuple((vrf, name) for name, times in kinds.items() for _ in range(times))


def blue(name: str, vif: int, frame: bytes, local: tuple[int, ...]) -> Case:
    """What the broadcast entry of blue makes of a VM's frame."""
    copies = [copy(one, frame) for one in local] + [
        copy(s.FABRIC, sent_vxlan(5001, frame, PORT)),
        copy(s.FABRIC, sent_vxlan(5001, frame, PORT, dst=OTHER_IP)),
    ]
    return flood(name, vif, frame, copies, LOST, counts(B, len(local), 2), ((B, BROADCAST),))


def forty(frame: bytes, port: int) -> list[Copy]:
    """The members 0 to 39 of nexthop 56: VXLAN, MPLSoUDP and MPLSoGRE in turn."""
    return [
        *(copy(s.FABRIC, sent_vxlan(5000 + i, frame, port)) for i in range(0, 40, 3)),
        *(copy(s.FABRIC, sent_mplsoudp(5000 + i, frame, port)) for i in range(1, 40, 3)),
        *(copy(s.FABRIC, sent_mplsogre(5000 + i, frame)) for i in range(2, 40, 3)),
    ]


def by_forty(name: str, frame: bytes) -> Case:
    """What the broadcast entry of the VRF for multicast makes of a frame of vm2."""
    return flood(
        name,
        s.VM2,
        frame,
        [copy(s.NARROW, frame), *forty(frame, usual_port("10.1.1.255", M))],
        (Drop.INVALID_NH, Drop.INVALID_NH, Drop.INVALID_IF, Drop.INVALID_IF),
        counts(M, 1, 14, 13, 13),
        ((M, BROADCAST),),
    )


FROM_VM = [
    blue("broadcast", s.VM1, FRAME, (s.VM2, s.UUF)),
    blue("multicast takes the broadcast entry", s.VM1, TO_GROUP, (s.VM2, s.UUF)),
    blue("a tag goes along", s.VM1, TAGGED, (s.VM2, s.UUF)),
    blue("a sender that is no member", s.NO_PROXY, FRAME, (s.VM1, s.VM2, s.UUF)),
    by_forty("a VRF for multicast, a list of 40, three kinds of tunnels", FRAME),
    by_forty("the same with a tag, which the kernel notes when copies come in again", TAGGED),
    flood(
        "leaves of both kinds in the top composite itself",
        s.RED,
        FRAME,
        [
            copy(s.VM1, FRAME),
            copy(s.FABRIC, sent_vxlan(5001, FRAME, usual_port("10.1.1.255", R))),
        ],
        (Drop.INVALID_NH, Drop.INVALID_NH),
        counts(R, 1, 1),
        ((R, BROADCAST),),
    ),
]
OF_HOST = eth(s.FAR_MAC, s.NIC_MAC, ip("172.30.0.12", src="172.30.0.1"))
HOST_PORT = usual_port("172.30.0.12", M, src="172.30.0.1")
# copies for the other kinds of tunnels come in again by the host's vif
BY_HOST = flood(
    "the host's packet, replicated into three kinds of tunnels",
    s.HOST,
    OF_HOST,
    [copy(s.VM2, OF_HOST), copy(s.NARROW, OF_HOST), *forty(OF_HOST, HOST_PORT)],
    (Drop.INVALID_NH, Drop.INVALID_NH, Drop.INVALID_IF, Drop.INVALID_IF),
    ((0, "vrf_translates"), (M, "uuc_floods"), *counts(M, 2, 14, 13, 13)),
    ((M, BROADCAST),),
).with_agent()
LONG = eth(BROADCAST, s.VM1_MAC, ip("10.1.1.255", size=1430))
TOO_LONG = flood(
    "copies that do not fit in their tunnels",
    s.VM1,
    LONG,
    [copy(s.VM2, LONG), copy(s.UUF, LONG)],
    (*LOST, Drop.TOO_BIG, Drop.TOO_BIG),
    counts(B, 2, 2),
    ((B, BROADCAST),),
)
LONG_DF = eth(
    BROADCAST, s.VM1_MAC, IP(src="10.1.1.1", dst="10.1.1.255", flags="DF") / Raw(bytes(1440))
)
LONG6 = eth(BROADCAST, s.VM1_MAC, udp6("ff05::77", size=1430))
NOT_TO_BE_CUT = [
    flood(
        f"copies that do not fit, and must not be cut: {what}",
        s.VM1,
        frame,
        [copy(s.VM2, frame), copy(s.UUF, frame)],
        (*LOST, Drop.MCAST_DF_BIT, Drop.MCAST_DF_BIT),
        counts(B, 2, 2),
        ((B, BROADCAST),),
    )
    for what, frame in (("DF", LONG_DF), ("IPv6", LONG6))
]
LOCAL: Names = (
    (0, "receives"),
    (B, "l2_mcast_composites"),
    (B, "encap_composites"),
    *((B, "l2_encaps"),) * 3,
)


def arrived(name: str, packet: bytes, frame: bytes = FRAME) -> Case:
    """A frame out of a tunnel: all VMs of this host, no tunnel."""
    copies = [copy(vif, frame) for vif in (s.VM1, s.VM2, s.UUF)]
    return flood(name, s.FABRIC, packet, copies, (Drop.INVALID_NH,), LOCAL)


BY_TUNNEL = [
    arrived("by VXLAN, named by the VNI", vxlan(5003, FRAME)),
    arrived("by VXLAN, unicast all the same", vxlan(5003, TO_GROUP), TO_GROUP),
    arrived("by MPLSoUDP, the top composite", mplsoudp(1003, FRAME)),
    arrived("by MPLSoUDP, an Encap composite", mplsoudp(1009, FRAME)),
    flood(
        "by MPLSoUDP, an EVPN composite: nobody",
        s.FABRIC,
        mplsoudp(1010, FRAME),
        [],
        (),
        ((0, "receives"), (B, "l2_mcast_composites")),
    ),
    flood(
        "by VXLAN and the broadcast entry",
        s.FABRIC,
        vxlan(5001, FRAME),
        [copy(vif, FRAME) for vif in (s.VM1, s.VM2, s.UUF)],
        (Drop.INVALID_NH,),
        (*LOCAL, (B, "vrf_translates")),
        ((B, BROADCAST),),
    ),
]
BY_AGENT = [
    flood(
        "no members",
        s.AGENT,
        injected(FRAME, 500, 5, 1),
        [],
        (),
        ((5, "l2_mcast_composites"),),
        ((5, BROADCAST),),
    ),
    replace(
        flood(
            "the agent is a member",
            s.AGENT,
            injected(FRAME, s.RED, 6, 1),
            [copy(s.VM1, FRAME), trap_copy(Trap.NEXTHOP, trapped(FRAME, s.RED, 6, 4))],
            (),
            (
                (6, "l2_mcast_composites"),
                (6, "encap_composites"),
                *((6, "l2_encaps"),) * 2,
            ),
            ((6, BROADCAST),),
        ),
        blamed=s.RED,
    ),
    drop("no broadcast entry", s.AGENT, injected(FRAME, 500, 4, 1), Drop.L2_NO_ROUTE),
]

CASES = rows(
    FROM_VM, BY_HOST, TOO_LONG, NOT_TO_BE_CUT, BY_TUNNEL, [case.with_agent() for case in BY_AGENT]
)
