# SPDX-License-Identifier: Apache-2.0
"""Learning from who speaks. It changes the state: what is learnt is known for the next packet.

The parameter of the traps, the entry's index, is 0 here: the model has no indexes.
"""

from dataclasses import replace

from . import nd
from .const import BROADCAST, ETH_ARP, ETH_IPV6, ICMP6_NA, ICMP6_RS, NhType, Trap
from .packet import Packet
from .state import BridgeEntry
from .wire import BadPacketError, parse_arp

_NOWHERE = BridgeEntry(0, bytes(6), 0)


def mac(packet: Packet) -> None:
    """A sender that no entry has gets one that leads where broadcasts go; the agent is told.

    It is told once of one that speaks from elsewhere than its entry says. Without an agent
    nothing is learnt. Each packet of a sender that has an entry is counted there.
    """
    state, source = packet.state, packet.l2.src
    if source[0] & 1:
        return
    entry = state.bridge.get((packet.vrf, source))
    headless = state.agent_silent or packet.vif_of(state.agent_vif) is None
    if entry is not None or not headless:
        packet.counters["heard", packet.vrf, source.hex()] += 1
    if headless:
        return
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
    """Whether ARP or ND tells of an address whose host route is missing, or has another MAC."""
    told = _told_by_nd(packet) if packet.l2.proto == ETH_IPV6 else _told_by_arp(packet)
    if told is None:
        return False
    address, mac = told
    found = packet.state.lookup(packet.vrf, address)
    if found is None or found.prefix.prefixlen != 8 * len(address):
        return True
    entry = packet.state.stitched(found)
    return entry is None or entry.mac != mac


def _told_by_arp(packet: Packet) -> tuple[bytes, bytes] | None:
    """The sender's address and MAC."""
    if packet.l2.proto != ETH_ARP:
        return None
    try:
        arp = parse_arp(packet.l3_data)
    except BadPacketError:
        return None
    return None if arp.spa == bytes(4) else (arp.spa, arp.sha)


def _told_by_nd(packet: Packet) -> tuple[bytes, bytes] | None:
    """Of a solicitation the sender's address and the MAC in its option, of an advertisement the
    target's. Who looks for duplicates of an address does not have it yet."""
    try:
        message = nd.parse(packet)
    except nd.BadNdError:
        return None
    if message is None or message.type == ICMP6_RS:
        return None
    if message.type == ICMP6_NA:
        address, mac = message.target, message.mac_of(nd.TARGET_LL)
    else:
        address, mac = message.src, message.mac_of(nd.SOURCE_LL)
    return None if mac is None or address == bytes(16) else (address, mac)
