# SPDX-License-Identifier: Apache-2.0
"""Who may speak: the MACs and addresses that a vif with a table of them may use.

Besides what the table has: a MAC of it may use the link-local address made of it; what has no
address may ask for one (DHCP, ARP probe, duplicate address detection, router solicitation, IGMP
or MLD report). DHCP servers, routers and bridges must be trusted.
"""

import struct
from dataclasses import dataclass

from .const import (
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    EXT_AUTH,
    EXT_FRAGMENT,
    EXTENSIONS,
    PROTO_ICMPV6,
    PROTO_IGMP,
    PROTO_UDP,
    Drop,
)
from .packet import Packet
from .state import Pair
from .wire import BadPacketError, parse_arp, parse_ipv4

BPDUS = (
    bytes.fromhex("0180c2000000"),
    bytes.fromhex("0180c2000008"),
    bytes.fromhex("01000ccccccd"),
)
MLD, RS, RA, NS, NA, REDIRECT, MLD2 = 131, 133, 134, 135, 136, 137, 143
IGMP_REPORTS = 0x12, 0x16, 0x22  # of versions 1, 2, 3
MOST_EXTENSIONS = 6
MOST_OPTIONS = 6
NOBODY4, NOBODY6 = bytes(4), bytes(16)


def refuses(packet: Packet, pairs: tuple[Pair, ...]) -> Drop | None:
    """Why the vif may not send this packet, or None."""
    head = packet.l2
    if head.dst in BPDUS and "bridge" not in packet.vif.trusted:
        return Drop.BPDU
    check = {ETH_IPV4: _ipv4, ETH_ARP: _arp, ETH_IPV6: _ipv6}.get(head.proto)
    if check is not None:
        return check(packet, pairs, head.src)
    return None if _knows(pairs, head.src) else Drop.SOURCE_MAC


def _knows(pairs: tuple[Pair, ...], mac: bytes) -> bool:
    return any(pair.mac == mac for pair in pairs)


def _allows(pairs: tuple[Pair, ...], mac: bytes, address: bytes) -> bool:
    if len(address) == 16 and address == _link_local(mac):
        return _knows(pairs, mac)
    return any(pair.mac == mac and pair.covers(address) for pair in pairs)


def _link_local(mac: bytes) -> bytes:
    """fe80::/64 and the modified EUI-64 of the MAC (RFC 4291, appendix A)."""
    return b"\xfe\x80" + bytes(6) + bytes((mac[0] ^ 2,)) + mac[1:3] + b"\xff\xfe" + mac[3:]


def _why(pairs: tuple[Pair, ...], mac: bytes) -> Drop:
    return Drop.SOURCE_ADDRESS if _knows(pairs, mac) else Drop.SOURCE_MAC


def _ports(area: bytes) -> tuple[int, int]:
    """Source and destination of a UDP packet, whose whole header must be there."""
    if len(area) < 8:
        raise BadPacketError
    source, target = struct.unpack_from("!HH", area)
    return source, target


def _ipv4(packet: Packet, pairs: tuple[Pair, ...], mac: bytes) -> Drop | None:
    ip = parse_ipv4(packet.l3_data)
    ports = 0, 0
    if ip.proto == PROTO_UDP and ip.offset == 0:
        ports = _ports(packet.l3_data[ip.header_len : ip.total_len])
    if ip.src == NOBODY4:
        if not _knows(pairs, mac):
            return Drop.SOURCE_MAC
        area = packet.l3_data[ip.header_len : ip.total_len]
        igmp = ip.proto == PROTO_IGMP and ip.offset == 0 and len(area) >= 8
        # RFC 3376, 4.2.13: who has no address yet reports from 0.0.0.0
        report = igmp and area[0] in IGMP_REPORTS
        return None if report or ports == (68, 67) else Drop.SOURCE_ADDRESS
    if not _allows(pairs, mac, ip.src):
        return _why(pairs, mac)
    if ports[0] == 67 and "dhcp" not in packet.vif.trusted:
        return Drop.DHCP_SERVER
    return None


def _arp(packet: Packet, pairs: tuple[Pair, ...], mac: bytes) -> Drop | None:
    """The Ethernet source is known, and the sender has what it claims, or probes for."""
    if not _knows(pairs, mac):
        return Drop.SOURCE_MAC
    try:
        arp = parse_arp(packet.l3_data)
    except BadPacketError:
        return Drop.INVALID_ARP
    claimed = arp.tpa if arp.spa == NOBODY4 else arp.spa
    return None if _allows(pairs, arp.sha, claimed) else Drop.SOURCE_ARP


@dataclass(frozen=True, slots=True)
class _Upper:
    """What stands behind the IPv6 headers: its protocol, and what part of it there is."""

    proto: int
    data: bytes
    fragment: bool = False
    later: bool = False


def _upper(data: bytes) -> _Upper:
    if len(data) < 40 or data[0] >> 4 != 6:
        raise BadPacketError
    length, proto = struct.unpack_from("!HB", data, 4)
    if 40 + length > len(data):
        raise BadPacketError
    area, fragment = data[40 : 40 + length], False
    for _ in range(MOST_EXTENSIONS):
        if proto not in EXTENSIONS:
            break
        if len(area) < 8:
            raise BadPacketError
        size = 8 if proto == EXT_FRAGMENT else (area[1] + 1) * 8
        if proto == EXT_AUTH:
            size = (area[1] + 2) * 4
        if proto == EXT_FRAGMENT:
            fragment = True
            if int.from_bytes(area[2:4], "big") >> 3:
                return _Upper(area[0], b"", fragment=True, later=True)
        if size > len(area):
            # only allowed to end exactly where the packet does
            raise BadPacketError
        proto, area = area[0], area[size:]
    if proto in EXTENSIONS:
        raise BadPacketError
    return _Upper(proto, area, fragment)


def _ipv6(packet: Packet, pairs: tuple[Pair, ...], mac: bytes) -> Drop | None:
    data = packet.l3_data
    upper = _upper(data)
    source = data[8:24]
    known = _knows(pairs, mac) if source == NOBODY6 else _allows(pairs, mac, source)
    if not known:
        return _why(pairs, mac)
    if upper.proto == PROTO_ICMPV6 and not upper.later:
        return _icmp6(packet, pairs, mac, upper)
    if source == NOBODY6:
        return Drop.SOURCE_ADDRESS
    if upper.proto == PROTO_UDP and not upper.later:
        server = _ports(upper.data)[0] == 547
        return Drop.DHCP_SERVER if server and "dhcp" not in packet.vif.trusted else None
    return None


def _icmp6(packet: Packet, pairs: tuple[Pair, ...], mac: bytes, upper: _Upper) -> Drop | None:
    if len(upper.data) < 8:
        raise BadPacketError
    kind, source = upper.data[0], packet.l3_data[8:24]
    if kind in (RA, REDIRECT):
        return None if "router" in packet.vif.trusted else Drop.ROUTER
    if kind in (RS, NS, NA):
        if upper.fragment or (kind == NA and source == NOBODY6):
            return Drop.SOURCE_ND
        return _neighbour(pairs, mac, source, upper.data)
    return Drop.SOURCE_ADDRESS if source == NOBODY6 and kind not in (MLD, MLD2) else None


def _neighbour(pairs: tuple[Pair, ...], mac: bytes, source: bytes, data: bytes) -> Drop | None:
    """Who says, or is about to say, that an address is its own must be allowed to use it."""
    speaks_for = None if source == NOBODY6 else source
    if data[0] == RS:
        return _options(pairs, speaks_for, data[8:])
    if len(data) < 24:
        raise BadPacketError
    target = data[8:24]
    if (data[0] == NA or source == NOBODY6) and not _allows(pairs, mac, target):
        return Drop.SOURCE_ND
    return _options(pairs, target if data[0] == NA else speaks_for, data[24:])


def _options(pairs: tuple[Pair, ...], address: bytes | None, data: bytes) -> Drop | None:
    """Each link-layer address that is given is allowed to use the address, if there is one."""
    for _ in range(MOST_OPTIONS):
        if not data:
            return None
        if len(data) < 8 or not data[1]:
            raise BadPacketError
        if data[0] in (1, 2) and (address is None or not _allows(pairs, data[2:8], address)):
            return Drop.SOURCE_ND
        if data[1] * 8 > len(data):
            raise BadPacketError
        data = data[data[1] * 8 :]
    return Drop.SOURCE_ND if data else None
