# SPDX-License-Identifier: Apache-2.0
"""What a nexthop must be like to be taken, by its type.

Upstream takes nearly anything and lets the data plane drop the packets; here a
request that cannot work is refused when it is made. A nexthop without the flag
Valid is a place holder (its ARP is not resolved yet): it may lack what a valid
one needs, and dp-core drops what reaches it.
"""

from __future__ import annotations

from .errors import BadValue, Refused
from .home import Home, check_label, check_mac
from .names import MAX_ECMP, NH_DISCARD, REWRITE_MAX, Family, HashField, NhFlag, NhType, VifType
from .records import Nexthop

_F = NhFlag
_LATER = {
    _F.TUNNEL_PBB: "PBB tunnels",
    _F.MPLS_O_MPLS: "MPLS over MPLS",
    _F.L2_CONTROL_WORD: "L2 control words",
    _F.UNDERLAY_ECMP: "underlay ECMP",
    _F.INDIRECT: "indirect nexthops",
    _F.CRYPT_TRAFFIC: "encrypted traffic",
}
_TUNNELS = _F.TUNNEL_GRE | _F.TUNNEL_UDP_MPLS | _F.TUNNEL_VXLAN | _F.TUNNEL_UDP
_ECMP = _F.COMPOSITE_ECMP | _F.COMPOSITE_LU_ECMP
_COMPOSITES = (
    _F.MULTICAST
    | _F.COMPOSITE_ENCAP
    | _F.COMPOSITE_EVPN
    | _F.COMPOSITE_FABRIC
    | _F.COMPOSITE_TOR
    | _ECMP
)
_KNOWN = int(sum(NhFlag))
_NEED_OIF = (NhType.RECEIVE, NhType.ENCAP, NhType.TUNNEL)


def check_nexthop(home: Home, nexthop: Nexthop) -> None:
    """Raises BadValue or Refused, with the reason, if `nexthop` cannot be taken."""
    if nexthop.id == NH_DISCARD:
        raise Refused("nexthop 0 is Discard and cannot be changed: use another id")
    home.check_nexthop(nexthop.id, "id")
    _check_kind(nexthop)
    _check_numbers(home, nexthop)
    _check_hash(nexthop)
    _check_oif(home, nexthop)
    if nexthop.type == NhType.TUNNEL:
        _check_tunnel(nexthop)
    if nexthop.type == NhType.COMPOSITE:
        _check_composite(home, nexthop)
    elif nexthop.members:
        raise BadValue("members", len(nexthop.members), "only a Composite has members")


def _check_hash(nexthop: Nexthop) -> None:
    if not nexthop.hash_fields:
        return
    if int(nexthop.hash_fields) & ~int(sum(HashField)):
        raise BadValue("hash_fields", hex(nexthop.hash_fields), "there are five fields, 0x1f")
    if nexthop.type != NhType.COMPOSITE or not nexthop.flags & _ECMP:
        raise BadValue("hash_fields", hex(nexthop.hash_fields), "only ECMP composites hash")


def _check_kind(nexthop: Nexthop) -> None:
    if nexthop.type not in list(NhType) or nexthop.type == NhType.DEAD:
        raise BadValue("type", int(nexthop.type), "types are 1 (Receive) to 8 (L2 Receive)")
    if nexthop.family not in list(Family):
        raise BadValue(
            "family", int(nexthop.family), "families are 2 (INET), 7 (BRIDGE) and 10 (INET6)"
        )
    if nexthop.type == NhType.RECEIVE and nexthop.family == Family.BRIDGE:
        raise BadValue(
            "family", int(nexthop.family), "a Receive nexthop is of family 2 (INET) or 10 (INET6)"
        )
    if int(nexthop.flags) & ~_KNOWN:
        raise BadValue("flags", hex(int(nexthop.flags) & ~_KNOWN), "nexthops have no such flag")
    for flag, what in _LATER.items():
        if nexthop.flags & flag:
            raise Refused(
                f"nexthop {nexthop.id}: {what} come later: tunnels MPLSoGRE, MPLSoUDP, VXLAN "
                "and UDP work"
            )


def _check_numbers(home: Home, nexthop: Nexthop) -> None:
    home.check_vrf(nexthop.vrf)
    if len(nexthop.rewrite) > REWRITE_MAX:
        raise BadValue("rewrite", nexthop.rewrite.hex(), f"longer than {REWRITE_MAX} bytes")
    if nexthop.rw_dst_mac is not None:
        check_mac(nexthop.rw_dst_mac, "rw_dst_mac")
    for field in ("sport", "dport", "encap_family"):
        value = getattr(nexthop, field)
        if not 0 <= value < 1 << 16:
            raise BadValue(field, value, "not an integer of 16 bits")


def _check_oif(home: Home, nexthop: Nexthop) -> None:
    if nexthop.oif is None:
        routed = nexthop.type == NhType.TUNNEL and nexthop.flags & _F.TUNNEL_UDP
        if nexthop.type in _NEED_OIF and nexthop.flags & _F.VALID and not routed:
            raise BadValue("oif", None, f"a nexthop of type {nexthop.type.name} needs a vif")
    elif not home.words("vif_index").get(nexthop.oif):
        raise BadValue("oif", nexthop.oif, "there is no such vif: add it first")
    elif nexthop.type == NhType.TUNNEL and _vif_type(home, nexthop.oif) == VifType.VIRTUAL_VLAN:
        raise BadValue("oif", nexthop.oif, "no tunnel leads through a Virtual VLAN vif")


def _vif_type(home: Home, idx: int) -> int:
    slot = home.words("vif_index").get(idx)
    return int(home.layout("vr_vif").unpack(home.array("vif_slots").get(slot))["type"])


def _check_tunnel(nexthop: Nexthop) -> None:
    if (nexthop.flags & _TUNNELS).bit_count() > 1:
        raise BadValue(
            "flags", hex(nexthop.flags), "a tunnel is one of MPLSoGRE, MPLSoUDP, VXLAN and UDP"
        )
    _check_versions(nexthop)
    if not nexthop.flags & _F.VALID:
        return
    for field in ("sip", "dip"):
        if not getattr(nexthop, field):
            raise BadValue(field, None, "a tunnel needs both outer addresses")
    if nexthop.flags & _F.TUNNEL_UDP:
        if not nexthop.dport:
            raise BadValue("dport", 0, "a UDP tunnel needs the port of the analyzer")
        return
    if len(nexthop.rewrite) != 14:
        raise BadValue(
            "rewrite", nexthop.rewrite.hex(), "a tunnel needs an Ethernet header of 14 bytes"
        )
    if nexthop.flags & _F.L3_VXLAN and nexthop.rw_dst_mac is None:
        raise BadValue("rw_dst_mac", None, "L3 VXLAN needs the MAC of the remote router")


def _check_versions(nexthop: Nexthop) -> None:
    wanted = 6 if nexthop.family == Family.INET6 else 4
    for field in ("sip", "dip"):
        address = getattr(nexthop, field)
        if address is not None and address.version != wanted:
            raise BadValue(
                field,
                str(address),
                f"a tunnel of family {nexthop.family.name} has IPv{wanted} addresses",
            )
        if address is not None and address.is_multicast:
            raise BadValue(field, str(address), "the ends of a tunnel are single hosts")


def _check_composite(home: Home, nexthop: Nexthop) -> None:
    kinds = nexthop.flags & _COMPOSITES
    if kinds.bit_count() != 1 and kinds != _ECMP:
        raise BadValue(
            "flags",
            hex(nexthop.flags),
            "a composite is one of Multicast, Encap, EVPN, Fabric, TOR and ECMP",
        )
    if nexthop.flags & _ECMP and len(nexthop.members) > MAX_ECMP:
        raise BadValue("members", len(nexthop.members), f"ECMP takes up to {MAX_ECMP}")
    size = home.words("nexthop_index").size
    for member in nexthop.members:
        if not 0 <= member.nh < size:
            home.check_nexthop(member.nh, "member")
        if member.label is not None:
            check_label(member.label)
        if member.nh == nexthop.id:
            raise BadValue("member", member.nh, "a composite cannot be its own member")
