# SPDX-License-Identifier: Apache-2.0
"""What the agent injects by pkt0, and the header that it does so with."""

from __future__ import annotations

from dataclasses import replace

from scapy.layers.l2 import Ether
from scapy.packet import Raw

from tests.model.const import BROADCAST, Drop
from tests.model.state import mac

from . import states as s
from .frames import (
    OTHER_IP,
    eth,
    injected,
    ip,
    reply,
    request,
    sent_vxlan,
    tag,
    usual_port,
    vxlan,
)
from .table import Case, Macs, Names, copy, drop, flood, rows, tx

SWITCH, ROUTE = 0, 1
B, R = s.BLUE, s.RED_VRF
FRAME = eth(s.VM2_MAC, s.GATEWAY, ip("10.1.1.2"))
TAGGED = eth(s.VM2_MAC, s.GATEWAY, tag(), ip("10.1.1.2"))
SHORT = eth(s.VM2_MAC, s.GATEWAY, type=0x88CC)
UNKNOWN = eth(mac("02:de:ad:00:00:01"), s.GATEWAY, ip("10.1.1.9"))
TUNNEL = vxlan(5001, eth(s.VM1_MAC, s.VM2_MAC, ip("10.1.1.1")))
TO_ALL = eth(BROADCAST, s.GATEWAY, ip("10.1.1.255"))
ASK = request("10.1.1.2", sha=s.GATEWAY, spa="10.1.1.254")
L2: Names = ((B, "l2_encaps"),)
TO_VM2: Macs = ((B, s.VM2_MAC),)
GATEWAY = eth(s.GATEWAY, s.GATEWAY, ip("10.1.1.2"))


def sent(name: str, frame: bytes, vif: int, out: bytes) -> Case:
    """A frame that the agent has sent out of a vif."""
    return tx(name, s.AGENT, injected(frame, vif, 0, SWITCH), vif, out)


def blamed(case: Case, vif: int) -> Case:
    """The same; drops count on the vif that the agent names."""
    return replace(case, blamed=vif)


def replicated(name: str, frame: bytes, vif: int, local: tuple[int, ...], arp: bool) -> Case:
    """A frame that the broadcast entry of blue takes."""
    port, ident = (52000, 0) if arp else (usual_port("10.1.1.255"), 7)
    copies = [copy(one, frame) for one in local] + [
        copy(s.FABRIC, sent_vxlan(5001, frame, port, id=ident)),
        copy(s.FABRIC, sent_vxlan(5001, frame, port, id=ident, dst=OTHER_IP)),
    ]
    lost = (Drop.INVALID_NH, Drop.INVALID_NH, Drop.INVALID_VNID)
    counts = (
        (B, "l2_mcast_composites"),
        (B, "encap_composites"),
        (B, "evpn_composites"),
        *((B, "l2_encaps"),) * len(local),
        *((B, "vxlan_tunnels"),) * 2,
    )
    packet = injected(frame, vif, B, ROUTE)
    return flood(name, s.AGENT, packet, copies, lost, counts, ((B, BROADCAST),))


ANSWER = reply(s.GATEWAY, "10.1.1.254", sha=s.VM2_MAC, spa="10.1.1.2")
NOT_IP = Ether(dst="00:00:5e:00:01:00", src="00:00:5e:00:01:00", type=0x0806)

CASES = rows(
    [
        case.with_agent()
        for case in (
            sent("SWITCH: to a VM", FRAME, s.VM1, FRAME),
            sent("SWITCH: a tag stays", TAGGED, s.VM1, TAGGED),
            sent("SWITCH: to the fabric", FRAME, s.FABRIC, FRAME),
            sent("SWITCH: to the host, its MAC is not touched", FRAME, s.HOST, FRAME),
            sent("SWITCH: to the host, without tag", TAGGED, s.HOST, FRAME),
            sent("SWITCH: ARP", ASK, s.VM1, ASK),
            sent("SWITCH: padded to what the kernel wants", SHORT, s.VM1, SHORT + bytes(20)),
            drop(
                "SWITCH: a vif that is not there",
                s.AGENT,
                injected(FRAME, 500, 0, SWITCH),
                Drop.INVALID_IF,
            ),
            drop(
                "SWITCH: longer than the MTU",
                s.AGENT,
                injected(FRAME + bytes(700), s.NARROW, 0, SWITCH),
                Drop.TOO_BIG,
            ),
            tx(
                "ROUTE: as a VM",
                s.AGENT,
                injected(FRAME, s.VM1, B, ROUTE),
                s.VM2,
                FRAME,
                L2,
                TO_VM2,
            ),
            tx(
                "ROUTE: as pkt0, in the VRF that is named",
                s.AGENT,
                injected(FRAME, 500, B, ROUTE),
                s.VM2,
                FRAME,
                L2,
                TO_VM2,
            ),
            tx(
                "ROUTE: as pkt0 for the fabric",
                s.AGENT,
                injected(FRAME, s.FABRIC, B, ROUTE),
                s.VM2,
                FRAME,
                L2,
                TO_VM2,
            ),
            tx(
                "ROUTE: by the gateway",
                s.AGENT,
                injected(GATEWAY, 500, B, ROUTE),
                s.VM2,
                eth(s.VM2_MAC, s.GATEWAY, ip("10.1.1.2", ttl=63)),
                ((B, "l2_receives"), (B, "encaps")),
                ((B, s.GATEWAY),),
            ),
            drop(
                "ROUTE: unknown unicast as pkt0",
                s.AGENT,
                injected(UNKNOWN, 500, B, ROUTE),
                Drop.L2_NO_ROUTE,
            ),
            blamed(
                drop(
                    "ROUTE: unknown unicast as a VM",
                    s.AGENT,
                    injected(UNKNOWN, s.VM1, B, ROUTE),
                    Drop.L2_NO_ROUTE,
                ),
                s.VM1,
            ),
            drop(
                "ROUTE: a VRF that there is not",
                s.AGENT,
                injected(FRAME, 500, 65535, ROUTE),
                Drop.L2_NO_ROUTE,
            ),
            tx(
                "ROUTE: a tunnel packet for the host is not opened",
                s.AGENT,
                injected(
                    eth(mac("02:00:0a:01:01:0d"), s.GATEWAY, TUNNEL[14:], type=0x0800),
                    500,
                    B,
                    ROUTE,
                ),
                s.HOST,
                eth(mac("02:00:0a:01:01:0d"), s.GATEWAY, TUNNEL[14:], type=0x0800),
                ((B, "receives"),),
                ((B, mac("02:00:0a:01:01:0d")),),
            ),
            replicated("ROUTE: to all, as pkt0", TO_ALL, 500, (s.VM1, s.VM2, s.UUF), False),
            blamed(
                replicated("ROUTE: to all, as a VM", TO_ALL, s.VM1, (s.VM2, s.UUF), False), s.VM1
            ),
            replicated(
                "ROUTE: an ARP request of pkt0 is just a frame",
                ASK,
                500,
                (s.VM1, s.VM2, s.UUF),
                True,
            ),
            tx(
                "ROUTE: an ARP request as a VM is answered to it",
                s.AGENT,
                injected(ASK, s.VM1, B, ROUTE),
                s.VM1,
                ANSWER,
                ((B, "arp_virtual_stitch"),),
            ),
            *(
                drop(
                    f"command {command}",
                    s.AGENT,
                    injected(FRAME, s.VM1, B, command),
                    Drop.INVALID_PACKET,
                )
                for command in (2, 20, 99, 65535)
            ),
            drop(
                "one byte less than a header and a frame",
                s.AGENT,
                injected(SHORT, s.VM1, B, SWITCH)[:57],
                Drop.INVALID_PACKET,
            ),
            drop(
                "ARP instead of the agent's header",
                s.AGENT,
                bytes(NOT_IP / Raw(injected(FRAME, s.VM1, B, SWITCH)[14:])),
                Drop.INVALID_PACKET,
            ),
            drop(
                "the kernel's own IPv6 frames",
                s.AGENT,
                eth(s.GATEWAY, s.GATEWAY, b"\x60" + bytes(80), type=0x86DD),
                Drop.INVALID_PACKET,
            ),
        )
    ]
)
