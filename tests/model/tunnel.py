# SPDX-License-Identifier: Apache-2.0
"""Encapsulation: MPLSoGRE, MPLSoUDP and VXLAN, over IPv4 or IPv6."""

from . import mss, qos
from .const import (
    ETH_IPV4,
    ETH_IPV6,
    GRE_MPLS,
    PROTO_GRE,
    PROTO_UDP,
    SPORT_FIRST,
    SPORT_MPLS_NO_HASH,
    SPORT_RANGE,
    SPORT_VXLAN_NO_HASH,
    TTL,
    UDP_MPLS,
    UDP_VXLAN,
    VXLAN_I,
    Drop,
    Family,
    NhFlag,
)
from .hash import hashword
from .packet import Built, Packet
from .state import Nexthop, Vif
from .wire import Inner, mpls, outer_ipv4, outer_ipv6, parse_inner, udp

COUNTERS = {
    NhFlag.TUNNEL_GRE: "gre_mpls_tunnels",
    NhFlag.TUNNEL_UDP_MPLS: "udp_mpls_tunnels",
    NhFlag.TUNNEL_VXLAN: "vxlan_tunnels",
}


def kind_of(nh: Nexthop) -> NhFlag | None:
    """Which tunnel the nexthop is; with several flags the first of GRE, MPLSoUDP, VXLAN."""
    return next((kind for kind in COUNTERS if nh.has(kind)), None)


def _hash(packet: Packet, inner: Inner) -> int | None:
    if inner.hash_words is None:
        return None
    *words, proto = inner.hash_words
    return hashword([*words, proto | packet.vrf], packet.state.hash_seed)


def entropy_port(packet: Packet, inner: Inner, without: int) -> int:
    """The outer UDP source port: equal for packets of one flow; `without` if not valid IP."""
    value = _hash(packet, inner)
    return without if value is None else SPORT_FIRST + (value * SPORT_RANGE >> 32)


def flow_label(packet: Packet, inner: Inner) -> int:
    """The outer IPv6 flow label: likewise; 0 if not valid IP."""
    return (_hash(packet, inner) or 0) & 0xFFFFF


def tunnel(
    packet: Packet,
    nh: Nexthop,
    *,
    vni: int | None = None,
    wrapped: bool = False,
    clamp: bool = False,
) -> Built:
    """The packet in the tunnel's outer headers, and the vif that it leaves by.

    `wrapped`: behind the label stand a zero control word and the headers of a VXLAN packet with
    `vni` (multicast frames on the fabric's tree). `clamp`: its MSS is kept to what fits, if it is
    a SYN.
    """
    if packet.outer_src == nh.dip:
        return Drop.PKT_LOOP
    kind = kind_of(nh)
    if kind is None:
        return Drop.INVALID_NH
    if packet.label is None:
        return Drop.INVALID_VNID if kind == NhFlag.TUNNEL_VXLAN else Drop.INVALID_LABEL
    if wrapped and vni is None:
        return Drop.INVALID_VNID
    vif = packet.vif_of(nh.oif)
    if vif is None:
        return Drop.INVALID_IF
    if kind == NhFlag.TUNNEL_VXLAN and packet.l3 and not nh.has(NhFlag.L3_VXLAN):
        return Drop.INVALID_NH
    if clamp:
        mss.from_vm(packet, _overhead(packet, nh, kind), vif)
    inner = parse_inner(packet.l2.proto, packet.l3_data)
    proto = PROTO_GRE if kind == NhFlag.TUNNEL_GRE else PROTO_UDP
    data = packet.l3_data if packet.l3 else packet.frame
    tos, exp = _marks(packet, inner)
    if vni is not None:
        data = _wrap(packet, nh, inner, vni, data, tos)
    payload = _payload(packet, nh, kind, vif, inner, packet.label, data, exp)
    outer = _outer(packet, nh, proto, inner, payload, tos)
    packet.count_vrf(COUNTERS[kind])
    return vif, nh.rewrite[:12].ljust(12, b"\0") + ether_type(nh).to_bytes(2, "big") + outer


def ether_type(nh: Nexthop) -> int:
    """Of the outer header."""
    return ETH_IPV6 if nh.family == Family.INET6 else ETH_IPV4


def _outer(
    packet: Packet, nh: Nexthop, proto: int, inner: Inner, payload: bytes, tos: int
) -> bytes:
    if nh.family == Family.INET6:
        return outer_ipv6(proto, flow_label(packet, inner), nh.sip, nh.dip, payload, tos)
    return outer_ipv4(proto, inner.ident, nh.sip, nh.dip, payload, tos)


def plain_udp(packet: Packet, nh: Nexthop) -> bytes:
    """An IP packet with the packet, or metadata and the frame, in plain UDP."""
    inner = parse_inner(packet.l2.proto, packet.l3_data)
    data = packet.l3_data if packet.l3 else packet.metadata + packet.frame
    tos, _ = _marks(packet, inner)
    body = udp(nh.sport, nh.dport, data)
    return _outer(packet, nh, PROTO_UDP, inner, body, tos)


def _marks(packet: Packet, inner: Inner) -> tuple[int, int]:
    """TOS of the outer header and EXP of the label: of the forwarding class, else the DSCP of the
    packet inside, and 0. Congestion marks are not copied."""
    found = qos.class_of(packet)
    if found is not None:
        return found.dscp << 2, found.exp
    return inner.tos & 0xFC, 0


def _wrap(packet: Packet, nh: Nexthop, inner: Inner, vni: int, frame: bytes, tos: int) -> bytes:
    head = VXLAN_I.to_bytes(4, "big") + (vni << 8).to_bytes(4, "big")
    vxlan = udp(entropy_port(packet, inner, SPORT_MPLS_NO_HASH), UDP_VXLAN, head + frame)
    sip, dip = (bytes(4),) * 2 if nh.family == Family.INET6 else (nh.sip, nh.dip)
    return bytes(4) + outer_ipv4(PROTO_UDP, inner.ident, sip, dip, vxlan, tos)


def _overhead(packet: Packet, nh: Nexthop, kind: NhFlag) -> int:
    """Bytes from the outer IP header to the inner L3 header; of tags, none."""
    ip_len = 40 if nh.family == Family.INET6 else 20
    tunnel_len = {NhFlag.TUNNEL_VXLAN: 16, NhFlag.TUNNEL_UDP_MPLS: 12}.get(kind, 8)
    ethernet = 0 if packet.l3 and kind != NhFlag.TUNNEL_VXLAN else 14
    return ip_len + tunnel_len + ethernet


def _payload(
    packet: Packet,
    nh: Nexthop,
    kind: NhFlag,
    vif: Vif,
    inner: Inner,
    label: int,
    behind: bytes,
    exp: int,
) -> bytes:
    if kind == NhFlag.TUNNEL_VXLAN:
        frame = packet.frame
        if nh.has(NhFlag.L3_VXLAN):
            frame = nh.rw_dst_mac + vif.mac + frame[12:]
        head = VXLAN_I.to_bytes(4, "big") + (label << 8).to_bytes(4, "big")
        return udp(entropy_port(packet, inner, SPORT_VXLAN_NO_HASH), UDP_VXLAN, head + frame)
    ttl = (inner.ttl or TTL) if packet.l3 else TTL
    data = mpls(label, ttl, exp) + behind
    if kind == NhFlag.TUNNEL_GRE:
        return GRE_MPLS.to_bytes(4, "big") + data
    return udp(entropy_port(packet, inner, SPORT_MPLS_NO_HASH), UDP_MPLS, data)
