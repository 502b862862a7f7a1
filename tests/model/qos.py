# SPDX-License-Identifier: Apache-2.0
"""QoS: forwarding classes, and the marks that they put on packets."""

import struct

from .const import ETH_IPV4, ETH_IPV6
from .packet import Packet
from .state import ForwardingClass
from .wire import BadPacketError, parse_ipv4


def class_of(packet: Packet) -> ForwardingClass | None:
    """The forwarding class of a packet, whose queue and priority it gets.

    The map is that of the ingress vif; IP looks up its DSCP, another frame its 802.1p, which may
    be that of a tag that is off already. A
    mirror's copy and what has our outer header already have no class.
    """
    qos = packet.state.qos_maps.get(packet.vif.qos)
    if qos is None or packet.mirrored or packet.encapped:
        return None
    head = packet.l2
    if head.proto in (ETH_IPV4, ETH_IPV6):
        if len(packet.l3_data) < 2:
            return None
        number = qos.dscp[tos_of(head.proto, packet.l3_data) >> 2]
    elif packet.priority is not None:
        number = qos.dot1p[packet.priority]
    elif head.tagged:
        number = qos.dot1p[packet.frame[14] >> 5]
    else:
        return None
    found = packet.state.classes.get(number)
    if found is not None:
        packet.marks = found.queue + 1, found.dot1p
    return found


def tos_of(proto: int, data: bytes) -> int:
    """TOS or traffic class."""
    if proto == ETH_IPV6:
        return (data[0] << 4 | data[1] >> 4) & 0xFF
    return data[1]


def mark(packet: Packet) -> None:
    """Write the DSCP of its class into a packet that goes into no tunnel; ECN stays."""
    found = class_of(packet)
    if found is None:
        return
    head, data = packet.frame[: packet.l2.length], packet.l3_data
    if packet.l2.proto == ETH_IPV6:
        word = int.from_bytes(data[:2], "big") & 0xF03F | found.dscp << 6
        packet.frame = head + word.to_bytes(2, "big") + data[2:]
    elif packet.l2.proto == ETH_IPV4:
        try:
            parse_ipv4(data)
        except BadPacketError:
            return
        packet.frame = head + _with_tos(data, found.dscp << 2 | data[1] & 3)


def _with_tos(data: bytes, tos: int) -> bytes:
    """An IPv4 packet with another TOS, the checksum adjusted (RFC 1624), not recomputed."""
    if data[1] == tos:
        return data
    old, new = data[0] << 8 | data[1], data[0] << 8 | tos
    total = (~int.from_bytes(data[10:12], "big") & 0xFFFF) + (~old & 0xFFFF)
    total = (total & 0xFFFF) + (total >> 16) + new
    total = (total & 0xFFFF) + (total >> 16)
    return data[:1] + bytes([tos]) + data[2:10] + struct.pack("!H", ~total & 0xFFFF) + data[12:]
