# SPDX-License-Identifier: Apache-2.0
"""Routing: look-up of the destination address in a VRF."""

from . import nexthop
from .const import ETH_IPV4, MAX_LOOKUPS, Drop, NhType, Trap
from .packet import Outcome, Packet
from .wire import decrement_ttl, parse_ipv4

KEEPS_TTL = (NhType.VRF_TRANSLATE, NhType.RECEIVE, NhType.DISCARD)


def route(packet: Packet) -> Outcome:
    """Route an IPv4 packet in its VRF: INVALID_PROTOCOL for another one, DISCARD for a miss.

    A miss counts as a route to Discard. The TTL goes down by one unless the nexthop only looks
    up again, receives, drops, or is the agent.
    """
    if packet.l2.proto != ETH_IPV4:
        return packet.drop(Drop.INVALID_PROTOCOL)
    ip = parse_ipv4(packet.l3_data)
    packet.lookups += 1
    if packet.lookups > MAX_LOOKUPS:
        return packet.drop(Drop.PKT_LOOP)
    found = packet.state.lookup(packet.vrf, ip.dst)
    if found is None:
        packet.count_vrf("discards")
        return packet.drop(Drop.DISCARD)
    packet.label = found.label
    packet.l3 = True
    nh = packet.state.valid_nexthop(found.nh)
    if nh is not None and nh.type not in KEEPS_TTL and not packet.state.is_agent(nh):
        if ip.ttl <= 1:
            return packet.trap(Trap.ZERO_TTL)
        head = packet.l2.length
        packet.frame = packet.frame[:head] + decrement_ttl(packet.frame[head:])
    packet.frame = packet.frame[:12] + ETH_IPV4.to_bytes(2, "big") + packet.l3_data
    return nexthop.apply(packet, found.nh)
