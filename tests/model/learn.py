# SPDX-License-Identifier: Apache-2.0
"""Learning from who speaks. It changes the state: what is learnt is known for the next packet.

The parameter of the traps, the entry's index, is 0 here: the model has no indexes.
"""

from dataclasses import replace

from .const import BROADCAST, ETH_ARP, NhType, Trap
from .packet import Packet
from .state import BridgeEntry
from .wire import BadPacketError, parse_arp

_NOWHERE = BridgeEntry(0, bytes(6), 0)


def mac(packet: Packet) -> None:
    """A sender that no entry has gets one that leads where broadcasts go; the agent is told.

    It is told once of one that speaks from elsewhere than its entry says. Without an agent
    nothing is learnt.
    """
    state, source = packet.state, packet.l2.src
    if state.agent_silent or packet.vif_of(state.agent_vif) is None or source[0] & 1:
        return
    entry = state.bridge.get((packet.vrf, source))
    if entry is None:
        everybody = state.bridge.get((packet.vrf, BROADCAST))
        learnt = replace(
            everybody or _NOWHERE, vrf=packet.vrf, mac=source, new=True, flood_dhcp=False
        )
        state.bridge[packet.vrf, source] = learnt
        packet.trap_copy(Trap.MAC_LEARN)
    elif not entry.new and not entry.moved and not _from(packet, entry.nh):
        state.bridge[packet.vrf, source] = replace(entry, moved=True)
        packet.trap_copy(Trap.MAC_MOVE)


def _from(packet: Packet, nh_id: int) -> bool:
    nh = packet.state.valid_nexthop(nh_id)
    if nh is not None and nh.type == NhType.ENCAP:
        return not packet.tunnelled and nh.oif == packet.vif.idx
    if nh is not None and nh.type == NhType.TUNNEL:
        return packet.outer_src == nh.dip
    return True


def is_new_neighbour(packet: Packet) -> bool:
    """Whether it is ARP of a sender whose host route is missing, or has another MAC."""
    if packet.l2.proto != ETH_ARP:
        return False
    try:
        arp = parse_arp(packet.l3_data)
    except BadPacketError:
        return False
    if arp.spa == bytes(4):
        return False
    found = packet.state.lookup(packet.vrf, arp.spa)
    if found is None or found.prefix.prefixlen != 32:
        return True
    entry = packet.state.stitched(found)
    return entry is None or entry.mac != arp.sha
