# SPDX-License-Identifier: Apache-2.0
"""ARP: who answers, who floods, who passes it on; by the vif that it came by."""

from . import l2
from .const import (
    Drop,
    NhType,
    RouteFlag,
    Trap,
    VifFlag,
    VifType,
)
from .packet import Outcome, Packet
from .state import Route
from .wire import Arp, BadPacketError, arp_answer, parse_arp

LINK_LOCAL = bytes((169, 254))


def _parse(packet: Packet) -> Arp | None:
    try:
        return parse_arp(packet.l3_data)
    except BadPacketError:
        return None


def from_vm(packet: Packet) -> Outcome:
    """From a Virtual vif: answered if the route, or the vif, has the proxy flag; else flooded."""
    arp = _parse(packet)
    if arp is None:
        return packet.drop(Drop.INVALID_ARP)
    if arp.op == 2:
        if not packet.l2.multicast:
            return l2.bridge(packet)
        packet.trap_copy(Trap.ARP)
        return flood_of_vm(packet)
    if packet.l2.tagged:
        return flood_of_vm(packet)
    found = packet.state.lookup(packet.vrf, arp.tpa)
    if arp.gratuitous:
        if packet.vif.has(VifFlag.MAC_PROXY):
            return packet.drop(Drop.INVALID_ARP)
        if found is not None and found.has(RouteFlag.ARP_TRAP):
            packet.trap_copy(Trap.ARP)
        return flood_of_vm(packet)
    if packet.vif.has(VifFlag.NO_MAC_PROXY) and not is_gateway(packet, found):
        return packet.drop(Drop.INVALID_ARP)
    proxied = found is not None and found.has(RouteFlag.ARP_PROXY)
    if not proxied and not packet.vif.has(VifFlag.MAC_PROXY):
        return flood_of_vm(packet)
    entry = packet.state.stitched(found) if found is not None else None
    if entry is not None:
        packet.count_vrf("arp_virtual_stitch")
        return packet.send(packet.vif, arp_answer(packet.frame, entry.mac))
    if found is not None and found.has(RouteFlag.ARP_FLOOD):
        return flood_of_vm(packet)
    packet.count_vrf("arp_virtual_proxy")
    return packet.send(packet.vif, arp_answer(packet.frame, packet.vif.mac))


def flood_of_vm(packet: Packet) -> Outcome:
    """To all of the network, counted as asked by a VM."""
    packet.count_vrf("arp_virtual_flood")
    return l2.flood(packet)


def from_host(packet: Packet) -> Outcome:
    """From the host, not cross-connected: link-local and proxied targets are answered, and all
    of them by a Gateway."""
    arp = _parse(packet)
    if arp is None:
        return packet.drop(Drop.INVALID_ARP)
    if arp.op == 2 or arp.gratuitous:
        return packet.xconnect()
    found = packet.state.lookup(packet.vrf, arp.tpa)
    proxied = found is not None and found.has(RouteFlag.ARP_PROXY)
    if proxied or packet.vif.type == VifType.GATEWAY or arp.tpa.startswith(LINK_LOCAL):
        return packet.send(packet.vif, arp_answer(packet.frame, packet.vif.mac))
    return packet.xconnect()


def from_underlay(packet: Packet) -> Outcome:
    """From the wire, outside any tunnel: the host answers, the agent hears what it may learn.

    For a VM of this host the router answers; here that is whom the route leads to, in a tunnel
    whom the stitched MAC leads to: that is where the packets will go.
    """
    if packet.vif.has(VifFlag.XCONNECT):
        return packet.xconnect()
    arp = _parse(packet)
    if arp is None:
        return packet.drop(Drop.INVALID_ARP)
    if arp.op == 2 or arp.gratuitous:
        packet.xconnect_copy()
        return packet.trap(Trap.ARP)
    found = packet.state.lookup(packet.vrf, arp.tpa)
    if found is None or not found.has(RouteFlag.ARP_PROXY) or not to_vm(packet, found.nh):
        return packet.xconnect()
    return packet.send(packet.vif, arp_answer(packet.frame, packet.vif.mac))


def from_tunnel(packet: Packet) -> Outcome:
    """From another host inside the overlay: answered for VMs that live here, else flooded.

    Replies are bridged. An answer is bridged to the asker, and may go back by the tunnel that
    the request came by: it is a packet of this host.
    """
    arp = _parse(packet)
    if arp is None:
        return packet.drop(Drop.INVALID_ARP)
    if arp.op == 2:
        return l2.bridge(packet)
    if packet.l2.tagged or arp.gratuitous:
        return flood_of_fabric(packet, arp.spa)
    found = packet.state.lookup(packet.vrf, arp.tpa)
    if found is None:
        return flood_of_fabric(packet, arp.spa)
    entry = packet.state.stitched(found)
    if entry is None and found.has(RouteFlag.ARP_FLOOD):
        return flood_of_fabric(packet, arp.spa)
    if is_gateway(packet, found):
        return packet.drop(Drop.INVALID_ARP)
    if entry is None or not to_vm(packet, entry.nh):
        return flood_of_fabric(packet, arp.spa)
    packet.count_vrf("arp_physical_stitch")
    packet.frame = arp_answer(packet.frame, entry.mac)
    packet.outer_src, packet.uuc_flood, packet.not_to_vms = None, False, False
    return l2.bridge(packet, arp.sha)


def flood_of_fabric(packet: Packet, asker: bytes) -> Outcome:
    """To the VMs of this host, but not from another host's gateway: theirs is here."""
    packet.not_to_vms = is_gateway(packet, packet.state.lookup(packet.vrf, asker))
    packet.count_vrf("arp_physical_flood")
    return l2.flood(packet)


def is_gateway(packet: Packet, found: Route | None) -> bool:
    """Whether the route leads to the router itself, or to its agent."""
    nh = packet.state.valid_nexthop(found.nh) if found is not None else None
    if nh is None:
        return False
    return nh.type in (NhType.RECEIVE, NhType.L2_RECEIVE) or packet.state.is_agent(nh)


def to_vm(packet: Packet, nh_id: int) -> bool:
    """Whether the nexthop leads to a VM of this host."""
    nh = packet.state.valid_nexthop(nh_id)
    if nh is None or nh.type != NhType.ENCAP:
        return False
    vif = packet.vif_of(nh.oif)
    return vif is not None and vif.is_vm
