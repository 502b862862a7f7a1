# SPDX-License-Identifier: Apache-2.0
"""Whose a trapped packet most likely is, at a glance: what its rate is counted by before anybody
takes time for it. The services themselves look closer, and may think otherwise."""

from __future__ import annotations

from typing import Final

from vrouter.dpcore.names import TrapReason

OTHER: Final = "other"
_BY_REASON: Final[dict[int, str]] = {
    TrapReason.MAC_LEARN: "mac-learning",
    TrapReason.MAC_MOVE: "mac-learning",
    TrapReason.MAC_IP_LEARNING: "address-learning",
    TrapReason.BFD: "bfd",
    TrapReason.HANDLE_DF: "icmp-error",
    TrapReason.ZERO_TTL: "icmp-error",
}
_ARP, _IPV4, _IPV6 = b"\x08\x06", b"\x08\x00", b"\x86\xdd"
_TAGS: Final = (b"\x81\x00", b"\x88\xa8")
_ICMP, _IGMP, _TCP, _UDP, _ICMP6, _HOP_BY_HOP = 1, 2, 6, 17, 58, 0
_BY_PROTO: Final = {_ICMP: "icmp", _IGMP: "igmp", _TCP: "tcp"}
# UDP by its target port; what nobody serves is answered by an ICMP error
_BY_PORT: Final = {53: "dns", 67: "dhcp", 547: "dhcp6", 3784: "bfd"}
_UNSERVED: Final = "icmp-error"
_BY_TYPE: Final = {
    128: "icmp6",
    130: "mld",
    131: "mld",
    132: "mld",
    133: "ra",
    135: "nd",
    136: "nd",
    143: "mld",
}


def lane(reason: int, frame: bytes) -> str:
    """The name of a packet service, "tcp", or OTHER. frame: from its Ethernet header on; any
    bytes will do."""
    known = _BY_REASON.get(reason)
    if known is not None:
        return known
    at = 12
    while frame[at : at + 2] in _TAGS and at < 20:
        at += 4
    kind, start = frame[at : at + 2], at + 2
    if kind == _ARP:
        return "arp"
    if kind == _IPV4 and len(frame) >= start + 20:
        return _inet(frame, start)
    if kind == _IPV6 and len(frame) >= start + 40:
        return _inet6(frame, start)
    return OTHER


def _inet(frame: bytes, start: int) -> str:
    proto = frame[start + 9]
    if proto != _UDP:
        return _BY_PROTO.get(proto, OTHER)
    return _udp(frame, start + (frame[start] & 15) * 4)


def _inet6(frame: bytes, start: int) -> str:
    proto, at = frame[start + 6], start + 40
    if proto == _HOP_BY_HOP and len(frame) >= at + 2:
        proto, at = frame[at], at + (frame[at + 1] + 1) * 8
    if proto == _UDP:
        return _udp(frame, at)
    if proto == _ICMP6 and len(frame) > at:
        return _BY_TYPE.get(frame[at], OTHER)
    return "tcp" if proto == _TCP else OTHER


def _udp(frame: bytes, at: int) -> str:
    return _BY_PORT.get(int.from_bytes(frame[at + 2 : at + 4]), _UNSERVED)
