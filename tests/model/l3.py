# SPDX-License-Identifier: Apache-2.0
"""Routing: look-up of the destination address in a VRF."""

from collections.abc import Callable

from . import nexthop
from .const import ETH_IPV4, ETH_IPV6, MAX_LOOKUPS, Drop, NhType, Trap, VifType
from .packet import Outcome, Packet
from .state import Route
from .wire import decrement_hop_limit, decrement_ttl, parse_ipv4, parse_ipv6

Miss = Callable[[], Outcome]
KEEPS_TTL = (NhType.VRF_TRANSLATE, NhType.RECEIVE, NhType.DISCARD)


def route(packet: Packet) -> Outcome:
    """Route an IP packet in its VRF: INVALID_PROTOCOL for another one, DISCARD for a miss.

    A miss counts as a route to Discard.
    """
    if packet.l2.proto not in (ETH_IPV4, ETH_IPV6):
        return packet.drop(Drop.INVALID_PROTOCOL)
    return route_or(packet, lambda: _discard(packet))


def _discard(packet: Packet) -> Outcome:
    packet.count_vrf("discards")
    return packet.drop(Drop.DISCARD)


def route_or(packet: Packet, otherwise: Miss) -> Outcome:
    """Route an IP packet in its VRF; without a route `otherwise` says what becomes of it.

    TTL or hop limit goes down by one unless the nexthop only looks up again, receives, drops, or is
    the agent; and unless the host itself sends the packet.
    """
    proto, head = packet.l2.proto, packet.l2.length
    if proto == ETH_IPV4:
        v4 = parse_ipv4(packet.l3_data)
        dst, ttl, decrement = v4.dst, v4.ttl, decrement_ttl
    else:
        v6 = parse_ipv6(packet.l3_data)
        dst, ttl, decrement = v6.dst, v6.hop_limit, decrement_hop_limit
    packet.lookups += 1
    if packet.lookups > MAX_LOOKUPS:
        return packet.drop(Drop.PKT_LOOP)
    found = packet.state.lookup(packet.vrf, dst)
    if found is None:
        return otherwise()
    packet.label = found.label
    packet.l3 = True
    if _forwards(packet, found):
        if ttl <= 1:
            return packet.trap(Trap.ZERO_TTL)
        packet.frame = packet.frame[:head] + decrement(packet.frame[head:])
    packet.frame = packet.frame[:12] + proto.to_bytes(2, "big") + packet.l3_data
    return nexthop.apply(packet, found.nh)


def is_hosts_own(packet: Packet) -> bool:
    """Whether the host sends it itself, which has set its TTL, and resolved its MAC."""
    return packet.vif.type == VifType.HOST and packet.lookups == 1


def _forwards(packet: Packet, found: Route) -> bool:
    if is_hosts_own(packet):
        return False
    nh = packet.state.valid_nexthop(found.nh)
    return nh is not None and nh.type not in KEEPS_TTL and not packet.state.is_agent(nh)
