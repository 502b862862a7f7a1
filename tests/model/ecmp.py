# SPDX-License-Identifier: Apache-2.0
"""Equal-cost paths: which member of a composite a packet's flow takes."""

import struct
from dataclasses import dataclass, replace

from . import nexthop
from .const import (
    ETH_IPV4,
    ETH_IPV6,
    PROTO_ICMP,
    PROTO_ICMPV6,
    PROTO_SCTP,
    PROTO_TCP,
    PROTO_UDP,
    Drop,
    HashField,
    NhFlag,
    NhType,
)
from .hash import hash_two, hashlittle
from .packet import Outcome, Packet
from .state import Nexthop
from .wire import BadPacketError, parse_ipv4

ICMP_ERRORS = (3, 11)


@dataclass(frozen=True, slots=True)
class Flow:
    """What a flow is known by, but for its ingress. Ports are two bytes as they stand in the
    packet; of ICMP: the identifier of an echo, and the type as a little-endian number."""

    family: int
    proto: int
    src: bytes
    dst: bytes
    sport: bytes = bytes(2)
    dport: bytes = bytes(2)

    def key(self, nh_id: int) -> bytes:
        """The bytes that are hashed: 20 for IPv4, 44 for IPv6."""
        head = struct.pack("<BBH", self.family, self.proto, 0) + self.sport + self.dport
        return head + struct.pack("<I", nh_id) + self.src + self.dst

    def only(self, fields: int) -> "Flow":
        """The flow without the fields that do not count (0: all count)."""
        if not fields:
            return self
        none = bytes(len(self.src))
        return Flow(
            self.family,
            self.proto if fields & HashField.PROTO else 0,
            self.src if fields & HashField.SIP else none,
            self.dst if fields & HashField.DIP else none,
            self.sport if fields & HashField.SPORT else bytes(2),
            self.dport if fields & HashField.DPORT else bytes(2),
        )


def is_ecmp(nh: Nexthop) -> bool:
    """Whether the composite is one of which a packet takes one member."""
    ecmp = NhFlag.COMPOSITE_ECMP | NhFlag.COMPOSITE_LU_ECMP
    return nh.type == NhType.COMPOSITE and bool(nh.flags & ecmp)


def pick(packet: Packet, nh: Nexthop) -> Outcome:
    """Go on with one member, chosen by the hash of the packet's flow.

    A member whose nexthop is not there is a hole: the hash picks again among the others. The
    label of the member takes the place of the route's, but not in a label-unicast composite.
    No members, none of them there, or a further ECMP composite: INVALID_NH.
    """
    packet.count_vrf("ecmp_composites")
    if not nh.members:
        return packet.drop(Drop.INVALID_NH)
    number = flow_hash(packet, nh)
    member = nh.members[number % len(nh.members)]
    active = [one for one in nh.members if packet.state.valid_nexthop(one.nh) is not None]
    if not active:
        return packet.drop(Drop.INVALID_NH)
    if member not in active:
        member = active[number % len(active)]
    chosen = packet.state.valid_nexthop(member.nh)
    if chosen is None or is_ecmp(chosen):
        return packet.drop(Drop.INVALID_NH)
    if not nh.has(NhFlag.COMPOSITE_LU_ECMP):
        packet.label = member.label
    return nexthop.apply(packet, member.nh)


def flow_hash(packet: Packet, nh: Nexthop) -> int:
    """lookup3 of the flow's key; of what is no IP packet, of the Ethernet header without its tag
    and the VRF."""
    flow = flow_of(packet.l2.proto, packet.l3_data)
    if flow is None:
        head = packet.frame[:12] + packet.l2.proto.to_bytes(2, "big")
        return hash_two(hashlittle(head, 0), packet.vrf)
    return hashlittle(flow.only(nh.hash_fields).key(_ingress(packet, nh)), 0)


def _ingress(packet: Packet, nh: Nexthop) -> int:
    """The nexthop that stands for where the packet came from.

    The one of the vif; for what the fabric brought, the one that the label named (without a
    label, this composite), and if that delivers to a vif, the one of that vif.
    """
    if not packet.from_fabric:
        return packet.vif.nh_id
    named = nh.id if packet.label_nh is None else packet.label_nh
    found = packet.state.valid_nexthop(named)
    if found is None or found.type not in (NhType.ENCAP, NhType.RECEIVE):
        return named
    vif = packet.vif_of(found.oif)
    return named if vif is None else vif.nh_id


def flow_of(proto: int, data: bytes) -> Flow | None:
    """The flow of an L3 packet; None if it is no valid IP packet."""
    if proto == ETH_IPV4:
        return _flow4(data)
    if proto == ETH_IPV6 and len(data) >= 40 and data[0] >> 4 == 6:
        return _flow6(data)
    return None


def _flow4(data: bytes) -> Flow | None:
    try:
        ip = parse_ipv4(data)
    except BadPacketError:
        return None
    flow = Flow(2, ip.proto, ip.src, ip.dst)
    if ip.fragment:
        return flow
    l4 = data[ip.header_len :]
    if ip.proto == PROTO_ICMP and l4[:1] and l4[0] in ICMP_ERRORS:
        quoted = l4[8:]
        if len(quoted) >= 20 and quoted[0] >> 4 == 4:
            back = Flow(2, quoted[9], quoted[16:20], quoted[12:16])
            return _quoted(back, quoted[(quoted[0] & 15) * 4 :])
    return _with_ports(flow, l4)


def _flow6(data: bytes) -> Flow:
    flow = Flow(10, data[6], data[8:24], data[24:40])
    l4 = data[40:]
    if data[6] == PROTO_ICMPV6 and l4[:1] and l4[0] < 128:
        quoted = l4[8:]
        if len(quoted) >= 40 and quoted[0] >> 4 == 6:
            back = Flow(10, quoted[6], quoted[24:40], quoted[8:24])
            return _quoted(back, quoted[40:])
    return _with_ports(flow, l4)


def _quoted(back: Flow, l4: bytes) -> Flow:
    """The flow that an ICMP error speaks of: what it quotes went the other way."""
    there = _with_ports(back, l4)
    if back.proto in (PROTO_ICMP, PROTO_ICMPV6):
        return there
    return replace(there, sport=there.dport, dport=there.sport)


def _with_ports(flow: Flow, l4: bytes) -> Flow:
    icmp = PROTO_ICMP if flow.family == 2 else PROTO_ICMPV6
    if flow.proto in (PROTO_TCP, PROTO_UDP, PROTO_SCTP) and len(l4) >= 4:
        return replace(flow, sport=l4[:2], dport=l4[2:4])
    if flow.proto == icmp and len(l4) >= 6:
        request, answer = (8, 0) if flow.family == 2 else (128, 129)
        if l4[0] in (request, answer):
            return replace(flow, sport=l4[4:6], dport=answer.to_bytes(2, "little"))
        return replace(flow, dport=l4[0].to_bytes(2, "little"))
    return flow
