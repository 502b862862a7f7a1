# SPDX-License-Identifier: Apache-2.0
"""What is for the agent whoever it is addressed to, and what else the agent is told apart by."""

import struct

from .const import (
    ETH_IPV4,
    ETH_IPV6,
    PROTO_ICMPV6,
    PROTO_IGMP,
    PROTO_UDP,
    UDP_BFD,
    Trap,
    VifFlag,
)
from .packet import Packet
from .wire import IPV6_LEN, BadPacketError, parse_ipv4, parse_ipv6, upper_layer

DHCP4, DHCP6 = (68, 67), (546, 547)
MLD = (130, 131, 132, 143)


def _udp(packet: Packet) -> bytes | None:
    """A UDP packet from its header on; None for later fragments and behind IPv6 extensions."""
    data = packet.l3_data
    if packet.l2.proto == ETH_IPV4:
        try:
            ip = parse_ipv4(data)
        except BadPacketError:
            return None
        if ip.proto != PROTO_UDP or ip.offset or ip.total_len < ip.header_len + 8:
            return None
        return data[ip.header_len :]
    if packet.l2.proto != ETH_IPV6 or len(data) < 48 or data[0] >> 4 != 6:
        return None
    length, proto = struct.unpack_from("!HB", data, 4)
    return data[40:] if proto == PROTO_UDP and length >= 8 else None


def is_service(packet: Packet) -> bool:
    """A DHCP request, if the vif traps DHCP and the sender's is not flooded; IGMP and MLD, if it
    traps IGMP."""
    udp = _udp(packet)
    if packet.vif.has(VifFlag.DHCP) and udp is not None:
        wanted = DHCP4 if packet.l2.proto == ETH_IPV4 else DHCP6
        entry = packet.state.bridge.get((packet.vrf, packet.l2.src))
        flooded = entry is not None and entry.flood_dhcp
        if struct.unpack_from("!HH", udp) == wanted and not flooded:
            return True
    if not packet.vif.has(VifFlag.IGMP):
        return False
    try:
        if packet.l2.proto == ETH_IPV4:
            return parse_ipv4(packet.l3_data).proto == PROTO_IGMP
        return packet.l2.proto == ETH_IPV6 and _is_mld(packet)
    except BadPacketError:
        return False


def _is_mld(packet: Packet) -> bool:
    """Behind extension headers too. BadPacketError without a valid IPv6 header."""
    ip = parse_ipv6(packet.l3_data)
    start = packet.l2.length + IPV6_LEN
    upper = upper_layer(packet.frame, start, ip.next_header)
    if upper is None or upper[0] != PROTO_ICMPV6:
        return False
    message = packet.frame[upper[1] : start + ip.payload_len]
    return message[:1] != b"" and message[0] in MLD


def agent_reason(packet: Packet) -> tuple[Trap, int]:
    """What a packet for the agent as a gateway is: BFD, with its state, or any other."""
    udp = _udp(packet)
    if udp is None or len(udp) < 10 or int.from_bytes(udp[2:4], "big") != UDP_BFD:
        return Trap.NEXTHOP, 0
    return Trap.BFD, udp[9] >> 6
