# SPDX-License-Identifier: Apache-2.0
"""Learning: who is new or has moved is told to the agent once. The rows follow one another."""

from __future__ import annotations

from dataclasses import replace

from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptMTU,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrHopByHop,
    PadN,
)
from scapy.packet import Packet, Raw

from tests.model.const import Drop, Trap
from tests.model.state import mac

from . import states as s
from .frames import FAR_IP, OTHER_IP, eth, ip, reply, request, tag, text, trapped, vxlan
from .frames6 import OTHER_IP6, na, vxlan6
from .table import Case, drop, rows, trap, trap_copy, tx

B = s.BLUE
L2 = ((B, "l2_encaps"),)
TO_VM2 = ((B, s.VM2_MAC),)
NEW, FAR_NEW, SOON_GROUP = (mac(f"02:aa:00:00:00:0{last}") for last in range(1, 4))
GROUP = mac("03:aa:00:00:00:01")


def of(src: bytes, vif: int = s.LEARNER, tags: tuple[Packet, ...] = ()) -> Case:
    """A frame to vm2 of which nothing is told."""
    frame = eth(s.VM2_MAC, src, *tags, ip("10.1.1.2"))
    case = tx("", vif, frame, s.VM2, frame, L2, TO_VM2).with_agent()
    counted = vif == s.LEARNER and not src[0] & 1
    return replace(case, heard=((B, src),) if counted else ())


def told(name: str, case: Case, reason: Trap, vif: int, inside: bytes) -> Case:
    """The same, and a copy for the agent."""
    copy = trap_copy(reason, trapped(inside, vif, B, int(reason)))
    return replace(case, name=name, copies=(copy,))


def named(name: str, case: Case) -> Case:
    return replace(case, name=name)


# the kernel notes one after the other beside the frame
TAGS = ((tag(),), (tag(), tag()), (tag(), tag(), tag()))
FRAME = of(NEW).frame
MOVED = of(s.VM1_MAC).frame
INSIDE = eth(s.VM2_MAC, FAR_NEW, ip("10.1.1.2"))


def by_tunnel(inside: bytes, source: str = FAR_IP) -> Case:
    """A frame to vm2 that another host brings to a network where senders are learnt."""
    return by(vxlan(5010, inside, src=source), inside)


def by(frame: bytes, inside: bytes) -> Case:
    counts = ((0, "receives"), (B, "vrf_translates"), *L2)
    case = tx("", s.FABRIC, frame, s.VM2, inside, counts, TO_VM2).with_agent()
    return replace(case, heard=((B, inside[6:12]),))


BY_TUNNEL = by_tunnel(INSIDE)
AT_FAR6, MOVED6 = (
    eth(s.VM2_MAC, mac(f"02:00:0a:01:01:{last}"), ip("10.1.1.2")) for last in (28, 13)
)
AT_HOME = eth(s.VM2_MAC, s.REMOTE_MAC, ip("10.1.1.2"))

MACS = [
    told("a sender that nobody knows", of(NEW), Trap.MAC_LEARN, s.LEARNER, FRAME),
    *(
        told(f"likewise, behind {len(tags)} tags", one, Trap.MAC_LEARN, s.LEARNER, one.frame)
        for tags in TAGS
        for one in [of(mac(f"02:aa:00:00:01:0{len(tags)}"), tags=tags)]
    ),
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
    named(
        "a sender that is behind the IPv6 tunnel that it comes by",
        by(vxlan6(5010, AT_FAR6), AT_FAR6),
    ),
    told(
        "a sender of another IPv6 tunnel",
        by(vxlan6(5010, AT_FAR6, src=OTHER_IP6), AT_FAR6),
        Trap.MAC_MOVE,
        s.FABRIC,
        AT_FAR6,
    ),
    told(
        "a sender behind an IPv6 tunnel, by an IPv4 one",
        by_tunnel(MOVED6),
        Trap.MAC_MOVE,
        s.FABRIC,
        MOVED6,
    ),
]
HEADLESS = [
    replace(of(NEW), name="no agent: nothing is learnt", heard=()).headless(),
    named("no agent: who is known is counted", of(s.IN_LEARNER)).headless(),
    named("no agent: nor has anybody moved", of(s.VM1_MAC)).headless(),
]

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

STRANGER, COVERED6, BARE6 = "fd00::77", "fd00:2::1", "fd00::4"
SAYS = ICMPv6NDOptDstLLAddr(lladdr=text(s.VM1_MAC))
ASKS = ICMPv6NDOptSrcLLAddr(lladdr=text(s.VM1_MAC))
NONCE = Raw(b"\x0e\x01nonce.")


def message(inside: Packet, src: str, dst: str, *, hops: int = 255) -> bytes:
    """A message of vm1's MAC to vm2, by unicast."""
    return eth(s.VM2_MAC, s.VM1_MAC, IPv6(src=src, dst=dst, hlim=hops) / inside)


def says(of: str, *options: Packet, src: str | None = None) -> bytes:
    """An advertisement of an address."""
    inside: Packet = ICMPv6ND_NA(R=0, S=1, O=1, tgt=of)
    for option in options:
        inside /= option
    return message(inside, src or of, "fd00::2")


def asks(src: str, *options: Packet, target: str = "fd00::2") -> bytes:
    """A solicitation of an address."""
    inside: Packet = ICMPv6ND_NS(tgt=target)
    for option in options:
        inside /= option
    return message(inside, src, target)


def passes(name: str, frame: bytes) -> Case:
    return tx(name, s.NEIGHBOUR, frame, s.VM2, frame, L2, TO_VM2)


def answers(name: str, ask: bytes, src: str = STRANGER) -> Case:
    answer = na(ask, s.VM2_MAC, "fd00::2", src=src)
    return tx(name, s.NEIGHBOUR, ask, s.NEIGHBOUR, answer, ((B, "arp_virtual_stitch"),))


HOPS = IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * 4)])
BEHIND = message(HOPS / ICMPv6ND_NA(tgt=STRANGER) / SAYS, STRANGER, "fd00::2")
PLAIN = says(STRANGER, SAYS)
TAGGED = PLAIN[:12] + b"\x81\x00\x00\x07" + PLAIN[12:]
FORGED = message(ICMPv6ND_NA(tgt=STRANGER) / SAYS, STRANGER, "fd00::2", hops=64)
OF_VM2 = ICMPv6NDOptDstLLAddr(lladdr=text(s.VM2_MAC))

NEIGHBOURS6 = [
    passes("an advertisement of what is known", says("fd00::1", SAYS)),
    answers("a solicitation of what is known", asks("fd00::1", ASKS), "fd00::1"),
    *learnt("an advertisement with another MAC", says("fd00::1", OF_VM2)),
    *learnt("an advertisement without route", says(STRANGER, SAYS)),
    *learnt("an advertisement with a shorter route", says(COVERED6, SAYS)),
    *learnt("an advertisement whose route has no MAC", says(BARE6, SAYS)),
    *learnt("of a solicitation the sender", asks(STRANGER, ASKS)),
    *learnt("of an advertisement the target", says(STRANGER, SAYS, src="fd00::1")),
    *learnt("behind another option", says(STRANGER, ICMPv6NDOptMTU(), SAYS)),
    *learnt("the first of two", says("fd00::1", OF_VM2, SAYS)),
    *learnt("behind another header", BEHIND),
    passes("an advertisement without the option", says(STRANGER)),
    passes("an advertisement with the other option", says(STRANGER, ASKS)),
    answers("a solicitation with the other option", asks(STRANGER, SAYS)),
    answers("a solicitation without the option", asks(STRANGER)),
    passes("an option without length", says(STRANGER, Raw(bytes([14, 0]) + bytes(6)), SAYS)),
    passes("the seventh option", says(STRANGER, *[NONCE] * 6, SAYS)),
    *learnt("the sixth option", says(STRANGER, *[NONCE] * 5, SAYS)),
    passes("an option that is cut short", says(STRANGER, Raw(b"\x02\x01" + s.VM1_MAC[:5]))),
    *learnt("with a tag", TAGGED),
    passes("duplicate address detection teaches nothing", asks("::", ASKS, target="fd00::77")),
    drop("a malformed one is nobody's", s.NEIGHBOUR, FORGED, Drop.INVALID_ARP),
]

CASES = rows(MACS, HEADLESS, NEIGHBOURS, NEIGHBOURS6)
