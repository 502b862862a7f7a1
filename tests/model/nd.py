# SPDX-License-Identifier: Apache-2.0
"""Neighbour discovery and DHCPv6: the rules of ARP, but that a solicitation for duplicate address
detection is only bridged, and that nothing traps a solicitation."""

from dataclasses import dataclass

from . import arp, l2
from .const import (
    DHCP6_CLIENT,
    ICMP6_NA,
    ICMP6_NS,
    ICMP6_RS,
    PROTO_ICMPV6,
    PROTO_UDP,
    Drop,
    RouteFlag,
    Trap,
    VifFlag,
    VifType,
)
from .packet import Outcome, Packet
from .wire import IPV6_LEN, BadPacketError, IPv6, advertisement, parse_ipv6, upper_layer

WELL_KNOWN = b"\xff\x02"
SOURCE_LL, TARGET_LL = 1, 2
MAX_OPTIONS = 6


class BadNdError(Exception):
    """An ND message that is truncated or that RFC 4861 forbids."""


@dataclass(frozen=True, slots=True)
class Nd:
    """A solicitation, an advertisement (with their target and what follows it) or a router
    solicitation."""

    type: int
    src: bytes
    dst: bytes
    target: bytes = b""
    options: bytes = b""

    @property
    def dad(self) -> bool:
        """Whether the sender asks because it wants the address for itself."""
        return self.src in (bytes(16), self.target)

    def mac_of(self, kind: int) -> bytes | None:
        """The MAC in the first option of a kind, among the first six; None without one, or if an
        option before it has no length (RFC 4861, 4.6)."""
        rest = self.options
        for _ in range(MAX_OPTIONS):
            if len(rest) < 8 or not rest[1]:
                return None
            if rest[:2] == bytes([kind, 1]):
                return rest[2:8]
            rest = rest[rest[1] * 8 :]
        return None


def parse(packet: Packet) -> Nd | None:
    """The ND message in an IPv6 frame, behind extension headers too; None if there is none.

    A frame whose IPv6 header is invalid holds none, nor does a fragment (RFC 6980). BadNdError
    for a message that must not be believed.
    """
    try:
        ip = parse_ipv6(packet.l3_data)
    except BadPacketError:
        return None
    upper = _upper(packet, ip)
    if upper is None or upper[0] != PROTO_ICMPV6:
        return None
    end = packet.l2.length + IPV6_LEN + ip.payload_len
    message = packet.frame[upper[1] : end]
    if not message or message[0] not in (ICMP6_RS, ICMP6_NS, ICMP6_NA):
        return None
    return _checked(ip, message)


def _checked(ip: IPv6, message: bytes) -> Nd:
    least = 8 if message[0] == ICMP6_RS else 24
    if ip.hop_limit != 255 or len(message) < least or message[1]:
        raise BadNdError
    if message[0] == ICMP6_RS:
        return Nd(ICMP6_RS, ip.src, ip.dst)
    target = message[8:24]
    if target[0] == 0xFF or ip.src[0] == 0xFF:
        raise BadNdError
    return Nd(message[0], ip.src, ip.dst, target, message[24:])


def _upper(packet: Packet, ip: IPv6) -> tuple[int, int] | None:
    return upper_layer(packet.frame, packet.l2.length + IPV6_LEN, ip.next_header)


def from_vm(packet: Packet) -> Outcome:
    """IPv6 from a Virtual vif: what asks for the router or an address is trapped or answered."""
    try:
        nd = parse(packet)
    except BadNdError:
        return packet.drop(Drop.INVALID_ARP)
    if nd is not None and nd.type == ICMP6_NA and packet.l2.multicast:
        packet.trap_copy(Trap.L3_PROTOCOLS)
        return arp.flood_of_vm(packet)
    if nd is not None and nd.type == ICMP6_NS and not nd.dad:
        return _ask_of_vm(packet, nd)
    router = nd is not None and nd.type == ICMP6_RS and nd.dst.startswith(WELL_KNOWN)
    if not packet.l2.tagged and (router or (nd is None and _is_dhcp(packet))):
        return packet.trap(Trap.L3_PROTOCOLS)
    return l2.plain(packet)


def _is_dhcp(packet: Packet) -> bool:
    if not packet.vif.has(VifFlag.DHCP):
        return False
    try:
        ip = parse_ipv6(packet.l3_data)
    except BadPacketError:
        return False
    upper = _upper(packet, ip)
    if not ip.dst.startswith(WELL_KNOWN) or upper is None or upper[0] != PROTO_UDP:
        return False
    return packet.frame[upper[1] : upper[1] + 2] == DHCP6_CLIENT.to_bytes(2, "big")


def _ask_of_vm(packet: Packet, nd: Nd) -> Outcome:
    if packet.l2.tagged:
        return arp.flood_of_vm(packet)
    found = packet.state.lookup(packet.vrf, nd.target)
    if packet.vif.has(VifFlag.NO_MAC_PROXY) and not arp.is_gateway(packet, found):
        return packet.drop(Drop.INVALID_ARP)
    proxied = found is not None and found.has(RouteFlag.ARP_PROXY)
    if not proxied and not packet.vif.has(VifFlag.MAC_PROXY):
        return arp.flood_of_vm(packet)
    router = arp.is_gateway(packet, found)
    entry = packet.state.stitched(found) if found is not None else None
    if entry is not None:
        packet.count_vrf("arp_virtual_stitch")
        return packet.send(packet.vif, advertisement(packet.frame, nd.target, entry.mac, router))
    if found is not None and found.has(RouteFlag.ARP_FLOOD):
        return arp.flood_of_vm(packet)
    packet.count_vrf("arp_virtual_proxy")
    return packet.send(packet.vif, advertisement(packet.frame, nd.target, packet.vif.mac, router))


def from_tunnel(packet: Packet) -> Outcome:
    """IPv6 from another host inside the overlay: a solicitation for a VM of this host is
    answered, others are flooded."""
    try:
        nd = parse(packet)
    except BadNdError:
        return packet.drop(Drop.INVALID_ARP)
    if nd is None or nd.type != ICMP6_NS or nd.dad:
        return l2.bridge(packet)
    if packet.l2.tagged:
        return arp.flood_of_fabric(packet, nd.src)
    found = packet.state.lookup(packet.vrf, nd.target)
    if found is None:
        return arp.flood_of_fabric(packet, nd.src)
    entry = packet.state.stitched(found)
    if entry is None and found.has(RouteFlag.ARP_FLOOD):
        return arp.flood_of_fabric(packet, nd.src)
    if arp.is_gateway(packet, found):
        return packet.drop(Drop.INVALID_ARP)
    if entry is None or not arp.to_vm(packet, entry.nh):
        return arp.flood_of_fabric(packet, nd.src)
    packet.count_vrf("arp_physical_stitch")
    asker = packet.l2.src
    packet.frame = advertisement(packet.frame, nd.target, entry.mac, router=False)
    packet.outer_src, packet.uuc_flood, packet.not_to_vms = None, False, False
    return l2.bridge(packet, asker)


def from_underlay(packet: Packet, nd: Nd) -> Outcome:
    """ND on the wire, once the underlay speaks IPv6."""
    if nd.type == ICMP6_NA:
        packet.xconnect_copy()
        return packet.trap(Trap.L3_PROTOCOLS)
    if nd.type != ICMP6_NS or nd.dad:
        return packet.xconnect()
    found = packet.state.lookup(packet.vrf, nd.target)
    proxied = found is not None and found.has(RouteFlag.ARP_PROXY)
    if found is None or not proxied or not arp.to_vm(packet, found.nh):
        return packet.xconnect()
    return packet.send(packet.vif, advertisement(packet.frame, nd.target, packet.vif.mac, False))


def from_host(packet: Packet, nd: Nd) -> Outcome:
    """ND of the host's stack, once the underlay speaks IPv6: proxied targets are answered, and
    all that a Gateway vif asks for."""
    if nd.type != ICMP6_NS or nd.dad:
        return packet.xconnect()
    found = packet.state.lookup(packet.vrf, nd.target)
    proxied = found is not None and found.has(RouteFlag.ARP_PROXY)
    if not proxied and packet.vif.type != VifType.GATEWAY:
        return packet.xconnect()
    router = found is not None and arp.is_gateway(packet, found)
    return packet.send(packet.vif, advertisement(packet.frame, nd.target, packet.vif.mac, router))
