# SPDX-License-Identifier: Apache-2.0
"""ARP: a case for every row of the rules, by the vif that it comes by."""

from __future__ import annotations

from dataclasses import replace

from scapy.layers.l2 import ARP

from tests.model.const import BROADCAST, Drop, Trap
from tests.model.packet import Copy
from tests.model.state import mac

from . import states as s
from .frames import OTHER_IP, eth, reply, request, sent_vxlan, text, trapped, vxlan
from .table import Case, Names, copy, drop, flood, rows, trap, trap_copy, tx

B, R = s.BLUE, s.RED_VRF
LOST = (Drop.INVALID_NH, Drop.INVALID_NH, Drop.INVALID_VNID)
REPLICATED: Names = (
    (B, "l2_mcast_composites"),
    (B, "encap_composites"),
    (B, "evpn_composites"),
    *((B, "l2_encaps"),) * 2,
    *((B, "vxlan_tunnels"),) * 2,
)
NO_HASH = 52000


def tunnels(frame: bytes) -> list[Copy]:
    """Copies for the remote hosts of blue: ARP has no entropy and no IP id."""
    return [
        copy(s.FABRIC, sent_vxlan(5001, frame, NO_HASH, id=0)),
        copy(s.FABRIC, sent_vxlan(5001, frame, NO_HASH, id=0, dst=OTHER_IP)),
    ]


def flooded(name: str, frame: bytes, first: tuple[Copy, ...] = ()) -> Case:
    """ARP of vm1 that goes to all of blue."""
    copies = [*first, copy(s.VM2, frame), copy(s.UUF, frame), *tunnels(frame)]
    counts = ((B, "arp_virtual_flood"), *REPLICATED)
    return flood(name, s.VM1, frame, copies, LOST, counts, ((B, BROADCAST),))


def answered(name: str, vif: int, ask: bytes, by: bytes, counter: str = "") -> Case:
    """A request that is answered out of the vif it came by."""
    asked = ARP(ask[14:42])
    sha, spa, tpa = bytes.fromhex(asked.hwsrc.replace(":", "")), asked.psrc, asked.pdst
    answer = ARP(op=2, hwsrc=text(by), psrc=tpa, hwdst=text(sha), pdst=spa)
    sent = eth(ask[6:12], by, answer) + ask[42:]
    return tx(name, vif, ask, vif, sent, ((B, counter),) if counter else ())


def spoiled(at: int, value: bytes) -> bytes:
    """A request with a field overwritten."""
    frame = request("10.1.1.2")
    return frame[:at] + value + frame[at + len(value) :]


GRATUITOUS = request("10.1.1.6", spa="10.1.1.6")
PROBE = request("10.1.1.6", spa="0.0.0.0")
ALL_REPLY = reply(BROADCAST, "10.1.1.2")
TO_GW = reply(s.GATEWAY, "10.1.1.254")
RED_ASK = request("10.1.1.2")


def trap_and_flood(name: str, frame: bytes) -> list[Case]:
    """Both, and without an agent the trap alone is lost."""
    both = flooded(name, frame, (trap_copy(Trap.ARP, trapped(frame, s.VM1, B, 2)),))
    alone = replace(flooded(f"{name}, no agent", frame), lost=(*LOST, Drop.TRAP_NO_IF))
    return [both.with_agent(), alone.headless()]


VM = [
    answered("P, stitched", s.VM1, request("10.1.1.2"), s.VM2_MAC, "arp_virtual_stitch"),
    answered(
        "P, stitched, asked by unicast",
        s.VM1,
        request("10.1.1.2", dst=s.VM2_MAC),
        s.VM2_MAC,
        "arp_virtual_stitch",
    ),
    answered(
        "P, stitched to a MAC elsewhere",
        s.VM1,
        request("10.1.1.3"),
        s.REMOTE_MAC,
        "arp_virtual_stitch",
    ),
    answered(
        "P: what stands behind the request stays",
        s.VM1,
        request("10.1.1.2") + bytes(18),
        s.VM2_MAC,
        "arp_virtual_stitch",
    ),
    answered("P, not stitched", s.VM1, request("10.1.1.4"), s.GATEWAY, "arp_virtual_proxy"),
    answered("P, the gateway", s.VM1, request("10.1.1.254"), s.GATEWAY, "arp_virtual_proxy"),
    flooded("P and F, not stitched", request("10.1.1.5")),
    flooded("T without P: not trapped", request("10.1.1.6")),
    flooded("no P", request("10.1.2.1")),
    flooded("no route", request("192.0.2.1")),
    flooded("no P, asked by unicast", request("192.0.2.1", dst=s.VM2_MAC)),
    flooded("tagged, though P", request("10.1.1.2", tagged=True)),
    flooded("gratuitous, no T", request("10.1.1.1", spa="10.1.1.1")),
    *trap_and_flood("gratuitous, T", GRATUITOUS),
    *trap_and_flood("a probe, T", PROBE),
    *trap_and_flood("a multicast reply", ALL_REPLY),
    drop("Proxy vif: gratuitous", s.PROXY, request("10.1.1.1", spa="10.1.1.1"), Drop.INVALID_ARP),
    answered("Proxy vif: no route", s.PROXY, request("192.0.2.1"), s.GATEWAY, "arp_virtual_proxy"),
    answered("Proxy vif: stitched", s.PROXY, request("10.1.1.2"), s.VM2_MAC, "arp_virtual_stitch"),
    drop("Mnp vif: not the gateway", s.NO_PROXY, request("10.1.1.2"), Drop.INVALID_ARP),
    drop("Mnp vif: no route", s.NO_PROXY, request("192.0.2.1"), Drop.INVALID_ARP),
    answered(
        "Mnp vif: the gateway", s.NO_PROXY, request("10.1.1.254"), s.GATEWAY, "arp_virtual_proxy"
    ),
    tx(
        "a reply to another VM",
        s.VM1,
        reply(s.VM2_MAC, "10.1.1.2"),
        s.VM2,
        reply(s.VM2_MAC, "10.1.1.2"),
        ((B, "l2_encaps"),),
        ((B, s.VM2_MAC),),
    ),
    drop("a reply to nobody", s.VM1, reply(mac("02:de:ad:00:00:01"), "10.1.1.9"), Drop.L2_NO_ROUTE),
    *trap(
        "a reply to the gateway",
        s.VM1,
        TO_GW,
        Trap.ARP,
        trapped(TO_GW, s.VM1, B, 2),
        ((B, "l2_receives"),),
        ((B, s.GATEWAY),),
    ),
    flood(
        "another network's broadcast entry",
        s.RED,
        RED_ASK,
        [
            copy(s.VM1, RED_ASK),
            copy(s.FABRIC, sent_vxlan(5001, RED_ASK, NO_HASH, id=0)),
        ],
        (Drop.INVALID_NH, Drop.INVALID_NH),
        (
            (R, "arp_virtual_flood"),
            (R, "l2_mcast_composites"),
            (R, "encap_composites"),
            (R, "evpn_composites"),
            (R, "l2_encaps"),
            (R, "vxlan_tunnels"),
        ),
        ((R, BROADCAST),),
    ),
    *(
        drop(f"malformed: {name}", s.VM1, frame, Drop.INVALID_ARP)
        for name, frame in {
            "hardware type": spoiled(14, b"\0\6"),
            "protocol": spoiled(16, b"\x86\xdd"),
            "length of MAC": spoiled(18, b"\7"),
            "length of address": spoiled(19, b"\x10"),
            "op 0": spoiled(20, b"\0\0"),
            "op 3": spoiled(20, b"\0\3"),
            "27 bytes": request("10.1.1.2")[:-1],
            "none at all": request("10.1.1.2")[:14],
            "27 bytes behind a tag": request("10.1.1.2", tagged=True)[:-1],
        }.items()
    ),
]

GATEWAY_KNOWN = [
    case.with_agent()
    for case in (
        answered(
            "the agent as the gateway", s.VM1, request("10.1.1.11"), s.GATEWAY, "arp_virtual_proxy"
        ),
        answered(
            "Mnp vif: the agent as the gateway",
            s.NO_PROXY,
            request("10.1.1.11"),
            s.GATEWAY,
            "arp_virtual_proxy",
        ),
    )
]
ELSEWHERE = request("10.1.1.2")
STRANGER = mac("02:de:ad:00:00:02")
# the answer goes to whom the request names, not to whom its Ethernet header names
NAMED = tx(
    "answered to the MAC in the request",
    s.VM1,
    ELSEWHERE[:6] + STRANGER + ELSEWHERE[12:],
    s.VM1,
    reply(s.VM1_MAC, "10.1.1.1", sha=s.VM2_MAC, spa="10.1.1.2"),
    ((B, "arp_virtual_stitch"),),
)

H_ASK = request("172.30.0.77", sha=s.NIC_MAC, spa="172.30.0.1")
H_OWN = request("172.30.0.1", sha=s.NIC_MAC, spa="172.30.0.1")
H_REPLY = reply(s.FAR_MAC, "172.30.0.2", sha=s.NIC_MAC, spa="172.30.0.1")
HOST = [
    tx("host: a request", s.HOST, H_ASK, s.FABRIC, H_ASK),
    tx("host: gratuitous", s.HOST, H_OWN, s.FABRIC, H_OWN),
    tx("host: a reply", s.HOST, H_REPLY, s.FABRIC, H_REPLY),
    answered("host: link-local", s.HOST, request("169.254.1.1", sha=s.NIC_MAC), s.NIC_MAC),
    answered("host: link-local, routed", s.HOST, request("169.254.7.7", sha=s.NIC_MAC), s.NIC_MAC),
    answered("host: P", s.HOST, request("172.30.0.9", sha=s.NIC_MAC), s.NIC_MAC),
    drop("host: malformed", s.HOST, spoiled(20, b"\0\3"), Drop.INVALID_ARP),
]

F_ASK = request("172.30.0.1", sha=s.FAR_MAC, spa="172.30.0.2")
F_OWN = request("172.30.0.2", sha=s.FAR_MAC, spa="172.30.0.2")
F_REPLY = reply(s.NIC_MAC, "172.30.0.1", sha=s.FAR_MAC, spa="172.30.0.2")
F_STITCHED = request("172.30.0.11", sha=s.FAR_MAC, spa="172.30.0.2")
F_ELSE = request("172.30.0.9", sha=s.FAR_MAC, spa="172.30.0.2")


def both(name: str, frame: bytes) -> Case:
    """The host's stack and the agent get it."""
    case = trap(name, s.FABRIC, frame, Trap.ARP, trapped(frame, s.FABRIC, 0, 2))[0]
    return replace(case, copies=(copy(s.HOST, frame),))


UNDERLAY = [
    tx("fabric: for the host, no P: its stack answers", s.FABRIC, F_ASK, s.HOST, F_ASK),
    tx("fabric: P, but no VM of this host", s.FABRIC, F_ELSE, s.HOST, F_ELSE),
    tx(
        "fabric: P, stitched to a VM of this host, but routed elsewhere",
        s.FABRIC,
        F_STITCHED,
        s.HOST,
        F_STITCHED,
    ),
    answered(
        "fabric: P, a VM of this host",
        s.FABRIC,
        request("172.30.0.10", sha=s.FAR_MAC, spa="172.30.0.2"),
        s.NIC_MAC,
    ),
    both("fabric: a reply", F_REPLY),
    both("fabric: gratuitous", F_OWN),
    drop("fabric: malformed", s.FABRIC, spoiled(20, b"\0\3"), Drop.INVALID_ARP),
]

BY_TUNNEL: Names = ((0, "receives"), (B, "vrf_translates"))
INNER = (*BY_TUNNEL, (B, "arp_physical_flood"), (B, "l2_mcast_composites"))


def inside(frame: bytes) -> bytes:
    """The frame as it comes from the other host, in network blue."""
    return vxlan(5001, frame)


def asks(target: str, spa: str = "10.1.1.3", **more: bool) -> bytes:
    """A request of a VM of the other host."""
    return request(target, sha=s.REMOTE_MAC, spa=spa, tagged=more.get("tagged", False))


def to_vms(name: str, frame: bytes) -> Case:
    """It reaches all VMs of this host, and no tunnel."""
    copies = [copy(vif, frame) for vif in (s.VM1, s.VM2, s.UUF)]
    counts = (*INNER, (B, "encap_composites"), *((B, "l2_encaps"),) * 3)
    lost = (Drop.INVALID_NH,)
    return flood(name, s.FABRIC, inside(frame), copies, lost, counts, ((B, BROADCAST),))


ANSWER = reply(s.REMOTE_MAC, "10.1.1.3", sha=s.VM1_MAC, spa="10.1.1.1")
ANSWER_9 = reply(s.REMOTE_MAC, "10.1.1.3", sha=s.VM1_MAC, spa="10.1.9.1")


def kept_from_vms(name: str, frame: bytes) -> Case:
    """ARP of another host's gateway: no VM of this host sees it."""
    return flood(name, s.FABRIC, inside(frame), [], (), INNER, ((B, BROADCAST),))


R_REPLY = reply(s.VM1_MAC, "10.1.1.1", sha=s.REMOTE_MAC, spa="10.1.1.3")
R_GW = reply(s.GATEWAY, "10.1.1.254", sha=s.REMOTE_MAC, spa="10.1.1.3")
TUNNELLED = [
    tx(
        "tunnel: a VM of this host is answered for, into the tunnel",
        s.FABRIC,
        inside(asks("10.1.1.1")),
        s.FABRIC,
        sent_vxlan(5001, ANSWER, NO_HASH, id=0),
        (*BY_TUNNEL, (B, "arp_physical_stitch"), (B, "vxlan_tunnels")),
        ((B, s.REMOTE_MAC),),
    ),
    drop(
        "tunnel: the asker's MAC is not known",
        s.FABRIC,
        inside(request("10.1.1.1", sha=mac("02:de:ad:00:00:01"), spa="10.1.1.3")),
        Drop.L2_NO_ROUTE,
        (*BY_TUNNEL, (B, "arp_physical_stitch")),
    ),
    drop("tunnel: the gateway", s.FABRIC, inside(asks("10.1.1.254")), Drop.INVALID_ARP, BY_TUNNEL),
    to_vms("tunnel: F, not stitched", asks("10.1.1.5")),
    to_vms("tunnel: a VM of yet another host", asks("10.1.1.3", "10.1.1.5")),
    to_vms("tunnel: not stitched", asks("10.1.1.4")),
    to_vms("tunnel: no route", asks("192.0.2.1")),
    to_vms("tunnel: routed to a VM of this host, but stitched elsewhere", asks("10.1.9.2")),
    tx(
        "tunnel: stitched to a VM of this host, though routed elsewhere",
        s.FABRIC,
        inside(asks("10.1.9.1")),
        s.FABRIC,
        sent_vxlan(5001, ANSWER_9, NO_HASH, id=0),
        (*BY_TUNNEL, (B, "arp_physical_stitch"), (B, "vxlan_tunnels")),
        ((B, s.REMOTE_MAC),),
    ),
    kept_from_vms("tunnel: the other host's gateway asks", asks("192.0.2.1", "10.1.1.254")),
    kept_from_vms("tunnel: the other host's gateway tells", asks("10.1.1.254", "10.1.1.254")),
    kept_from_vms(
        "tunnel: the other host's agent asks", asks("192.0.2.1", "10.1.1.11")
    ).with_agent(),
    drop(
        "tunnel: for the agent as the gateway",
        s.FABRIC,
        inside(asks("10.1.1.11")),
        Drop.INVALID_ARP,
        BY_TUNNEL,
    ).with_agent(),
    to_vms("tunnel: gratuitous, though T", asks("10.1.1.6", "10.1.1.6")),
    to_vms("tunnel: a probe for a VM of this host", asks("10.1.1.1", "0.0.0.0")),
    to_vms("tunnel: tagged", asks("10.1.1.1", tagged=True)),
    tx(
        "tunnel: a reply",
        s.FABRIC,
        inside(R_REPLY),
        s.VM1,
        R_REPLY,
        (*BY_TUNNEL, (B, "l2_encaps")),
        ((B, s.VM1_MAC),),
    ),
    *trap(
        "tunnel: a reply to the gateway",
        s.FABRIC,
        inside(R_GW),
        Trap.ARP,
        trapped(R_GW, s.FABRIC, B, 2),
        (*BY_TUNNEL, (B, "l2_receives")),
        ((B, s.GATEWAY),),
    ),
    drop("tunnel: malformed", s.FABRIC, inside(spoiled(20, b"\0\3")), Drop.INVALID_ARP, BY_TUNNEL),
]

CASES = rows(VM, GATEWAY_KNOWN, NAMED, [case.with_agent() for case in HOST + UNDERLAY], TUNNELLED)
