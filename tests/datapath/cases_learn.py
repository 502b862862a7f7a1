# SPDX-License-Identifier: Apache-2.0
"""Learning: who is new or has moved is told to the agent once. The rows follow one another."""

from __future__ import annotations

from dataclasses import replace

from tests.model.const import Drop, Trap
from tests.model.state import mac

from . import states as s
from .frames import FAR_IP, OTHER_IP, eth, ip, reply, request, trapped, vxlan
from .table import Case, drop, rows, trap, trap_copy, tx

B = s.BLUE
L2 = ((B, "l2_encaps"),)
TO_VM2 = ((B, s.VM2_MAC),)
NEW, FAR_NEW, SOON_GROUP = (mac(f"02:aa:00:00:00:0{last}") for last in range(1, 4))
GROUP = mac("03:aa:00:00:00:01")


def of(src: bytes, vif: int = s.LEARNER) -> Case:
    """A frame to vm2 of which nothing is told."""
    frame = eth(s.VM2_MAC, src, ip("10.1.1.2"))
    return tx("", vif, frame, s.VM2, frame, L2, TO_VM2).with_agent()


def told(name: str, case: Case, reason: Trap, vif: int, inside: bytes) -> Case:
    """The same, and a copy for the agent."""
    copy = trap_copy(reason, trapped(inside, vif, B, int(reason)))
    return replace(case, name=name, copies=(copy,))


def named(name: str, case: Case) -> Case:
    return replace(case, name=name)


FRAME = of(NEW).frame
MOVED = of(s.VM1_MAC).frame
INSIDE = eth(s.VM2_MAC, FAR_NEW, ip("10.1.1.2"))


def by_tunnel(inside: bytes, source: str = FAR_IP) -> Case:
    """A frame to vm2 that another host brings to a network where senders are learnt."""
    counts = ((0, "receives"), (B, "vrf_translates"), *L2)
    frame = vxlan(5010, inside, src=source)
    return tx("", s.FABRIC, frame, s.VM2, inside, counts, TO_VM2).with_agent()


BY_TUNNEL = by_tunnel(INSIDE)
AT_HOME = eth(s.VM2_MAC, s.REMOTE_MAC, ip("10.1.1.2"))

MACS = [
    told("a sender that nobody knows", of(NEW), Trap.MAC_LEARN, s.LEARNER, FRAME),
    named("its second frame", of(NEW)),
    named("it is not moved before the agent has placed it", of(NEW, s.VM1)),
    told("a sender of another vif", of(s.VM1_MAC), Trap.MAC_MOVE, s.LEARNER, MOVED),
    named("its second frame there", of(s.VM1_MAC)),
    named("a sender that is where it is", of(s.IN_LEARNER)),
    named("the gateway's MAC is no sender's", of(s.GATEWAY)),
    named("a group is no sender", of(GROUP)),
    named("a vif that does not learn", of(SOON_GROUP, s.VM1)),
    told("a sender that nobody knows, by a tunnel", BY_TUNNEL, Trap.MAC_LEARN, s.FABRIC, INSIDE),
    named("its second frame by the tunnel", BY_TUNNEL),
    named("a sender that is behind the tunnel that it comes by", by_tunnel(AT_HOME)),
    told(
        "a sender of another tunnel", by_tunnel(AT_HOME, OTHER_IP), Trap.MAC_MOVE, s.FABRIC, AT_HOME
    ),
]
HEADLESS = [replace(of(NEW), name="no agent: nothing is learnt").headless()]

KNOWN = reply(s.VM2_MAC, "10.1.1.2")
OTHER_MAC = reply(s.VM2_MAC, "10.1.1.2", sha=s.VM2_MAC)
NO_ROUTE = reply(s.VM2_MAC, "10.1.1.2", spa="10.1.1.200")
COVERED = reply(s.VM2_MAC, "10.1.1.2", spa="10.1.2.1")
NOT_STITCHED = reply(s.VM2_MAC, "10.1.1.2", spa="10.1.1.4")
PROBE = reply(s.VM2_MAC, "10.1.1.2", spa="0.0.0.0")
ASK = request("10.1.1.2", spa="10.1.1.200")


def learnt(name: str, frame: bytes) -> list[Case]:
    sent = trapped(frame, s.NEIGHBOUR, B, 19)
    return trap(name, s.NEIGHBOUR, frame, Trap.MAC_IP_LEARNING, sent)


NEIGHBOURS = [
    tx("ARP of a sender that is known", s.NEIGHBOUR, KNOWN, s.VM2, KNOWN, L2, TO_VM2),
    tx("ARP without an address", s.NEIGHBOUR, PROBE, s.VM2, PROBE, L2, TO_VM2),
    tx("IP is not looked at", s.NEIGHBOUR, FRAME, s.VM2, FRAME, L2, TO_VM2),
    drop("malformed ARP is no sender's", s.NEIGHBOUR, KNOWN[:30], Drop.INVALID_ARP),
    *learnt("ARP of a sender with another MAC", OTHER_MAC),
    *learnt("ARP of a sender without route", NO_ROUTE),
    *learnt("ARP of a sender with a shorter route", COVERED),
    *learnt("ARP of a sender whose route has no MAC", NOT_STITCHED),
    *learnt("an ARP request likewise", ASK),
]

CASES = rows(MACS, HEADLESS, NEIGHBOURS)
