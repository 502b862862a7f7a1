# SPDX-License-Identifier: Apache-2.0
"""Bridging: look-up of the destination MAC in a VRF."""

from . import arp, nd, nexthop
from .const import BROADCAST, ETH_ARP, ETH_IPV6, MAX_LOOKUPS, VRF_NONE, Drop, VifFlag
from .packet import Outcome, Packet
from .state import BridgeEntry


def bridge_input(packet: Packet) -> Outcome:
    """A frame of a VM, or one that the agent injects: ARP and ND by their table, the rest is
    bridged.

    These rules are those of a VM's vif; what the agent sends as pkt0's own is bridged.
    """
    head = packet.l2
    if head.proto == ETH_ARP and packet.vif.is_vm:
        return arp.from_vm(packet)
    if head.proto == ETH_IPV6 and packet.vif.is_vm:
        return nd.from_vm(packet)
    return plain(packet)


def plain(packet: Packet) -> Outcome:
    """A frame of this host, bridged by its MAC."""
    return flood_group(packet) if packet.l2.multicast else bridge(packet)


def flood(packet: Packet) -> Outcome:
    """Send to the broadcast entry; at the vif, a VRF for multicast takes the place of its own."""
    if packet.vif.mcast_vrf != VRF_NONE and not packet.tunnelled:
        packet.vrf = packet.vif.mcast_vrf
    return bridge(packet, BROADCAST)


def flood_group(packet: Packet) -> Outcome:
    """A frame for a group: its own entry if IGMP is heard on the vif and there is one."""
    if packet.vif.has(VifFlag.IGMP):
        vrf = packet.vrf
        if packet.vif.mcast_vrf != VRF_NONE and not packet.tunnelled:
            vrf = packet.vif.mcast_vrf
        if (vrf, packet.l2.dst) in packet.state.bridge:
            packet.vrf = vrf
            return bridge(packet, packet.l2.dst)
    return flood(packet)


def bridge(packet: Packet, mac: bytes | None = None) -> Outcome:
    """Look up the destination (or `mac`) in the packet's VRF and apply what it names.

    After the first look-up groups have no entries of their own. Unknown unicast goes to the
    broadcast entry if the ingress vif, or the VRF translate nexthop that brought it to this VRF,
    allows it.
    """
    packet.lookups += 1
    if packet.lookups > MAX_LOOKUPS:
        return packet.drop(Drop.PKT_LOOP)
    if mac is None:
        mac = BROADCAST if packet.l2.multicast else packet.l2.dst
    entry = packet.state.bridge.get((packet.vrf, mac))
    if entry is None and _floods(packet) and mac != BROADCAST:
        packet.count_vrf("uuc_floods")
        entry = packet.state.bridge.get((packet.vrf, BROADCAST))
    if entry is None:
        return packet.drop(Drop.L2_NO_ROUTE)
    return _hit(packet, entry)


def _hit(packet: Packet, entry: BridgeEntry) -> Outcome:
    packet.counters["bridge", entry.vrf, entry.mac.hex()] += 1
    packet.label = entry.label
    packet.l3 = False
    return nexthop.apply(packet, entry.nh)


def _floods(packet: Packet) -> bool:
    return packet.uuc_flood or packet.vif.has(VifFlag.UNKNOWN_UC_FLOOD)
