# SPDX-License-Identifier: Apache-2.0
"""vr_nexthop_req: the nexthops."""

from __future__ import annotations

import errno
from ipaddress import IPv6Address
from typing import Any

from vrouter.dpcore.names import NH_DISCARD, Family, HashField, NhFlag, NhType
from vrouter.dpcore.records import IPAddress, Member, Nexthop
from vrouter.sandesh import convert
from vrouter.sandesh.codec import Message, encode
from vrouter.sandesh.context import Context, Handlers, Object, refuse_set, response
from vrouter.sandesh.dumps import Dump
from vrouter.sandesh.errors import SandeshError, invalid, missing, unsupported
from vrouter.sandesh.schema import ADD, DEL, DUMP, GET

NAME = "vr_nexthop_req"
_SLOTS = 3  # of a nexthop's outgoing vifs; all but the first are for several underlays
_IP6 = 16
_WITH_OIF = (NhType.RECEIVE, NhType.ENCAP, NhType.TUNNEL, NhType.RESOLVE, NhType.L2_RECEIVE)


def add(context: Context, request: Message) -> None:
    """Adds the nexthop, or changes the one of that id."""
    context.check_router(request.nhr_rid)
    refuse_set(
        request,
        "the data plane has no such tunnel",
        *("nhr_pbb_mac", "nhr_crypt_traffic", "nhr_transport_label"),
    )
    try:
        kind, family = NhType(request.nhr_type), Family(request.nhr_family)
    except ValueError as error:
        raise invalid(str(error)) from None
    tunnel = kind == NhType.TUNNEL
    oif = _oif(context, request) if kind in _WITH_OIF else None
    context.core.nexthops.put(
        Nexthop(
            id=request.nhr_id,
            type=kind,
            family=family,
            flags=NhFlag(0) | request.nhr_flags,
            vrf=_vrf(context, request, oif),
            oif=oif,
            sip=_end(request, "nhr_tun_sip") if tunnel else None,
            dip=_end(request, "nhr_tun_dip") if tunnel else None,
            sport=convert.port_of(request.nhr_tun_sport) if tunnel else 0,
            dport=convert.port_of(request.nhr_tun_dport) if tunnel else 0,
            encap_family=request.nhr_encap_family & convert.NONE16,
            rewrite=_rewrite(request),
            rw_dst_mac=_mac(request.nhr_rw_dst_mac),
            members=_members(request) if kind == NhType.COMPOSITE else (),
            hash_fields=HashField(0) | (request.nhr_ecmp_config_hash & 0xFF),
        )
    )


def _oif(context: Context, request: Message) -> int | None:
    """The outgoing vif: the first slot's. Slots are valid or not where that is said."""
    slots = [*request.nhr_encap_oif_id[:_SLOTS]]
    valid = request.nhr_encap_valid
    if any(valid[: len(slots)]):
        slots = [one if said else -1 for one, said in zip(slots, valid, strict=False)]
    used = [one for one in slots if one >= 0]
    if len(used) > 1 and any(valid):
        raise unsupported("nhr_encap_oif_id names several vifs: there is one underlay")
    if not used:
        return None
    if context.core.vifs.get(used[0]) is None:
        raise SandeshError(errno.ENODEV, f"nhr_encap_oif_id {used[0]}: there is no such vif")
    return int(used[0])


def _vrf(context: Context, request: Message, oif: int | None) -> int:
    """The VRF of what arrives by a label; where none is named, that of the vif."""
    if request.nhr_vrf >= 0:
        return int(request.nhr_vrf)
    vif = None if oif is None else context.core.vifs.get(oif)
    return 0 if vif is None or vif.vrf == convert.NONE16 else vif.vrf


def _end(request: Message, field: str) -> IPAddress | None:
    """An outer address: a list of 16 bytes for IPv6, a number for IPv4."""
    packed = getattr(request, f"{field}6")
    if any(packed):
        if len(packed) != _IP6:
            raise invalid(f"{field}6 has {len(packed)} bytes: an IPv6 address has {_IP6}")
        return IPv6Address(packed)
    return convert.ip_of(getattr(request, field))


def _rewrite(request: Message) -> bytes:
    """The bytes of the L2 header; nhr_encap_len says how many of them count."""
    raw, length = request.nhr_encap, request.nhr_encap_len
    return bytes(raw[:length] if length > 0 else raw)


def _mac(raw: bytes) -> bytes | None:
    return convert.mac_of(raw, "nhr_rw_dst_mac") if any(raw) else None


def _members(request: Message) -> tuple[Member, ...]:
    nexthops, labels = request.nhr_nh_list, request.nhr_label_list
    if labels and len(labels) != len(nexthops):
        raise invalid(f"nhr_label_list has {len(labels)} elements, nhr_nh_list {len(nexthops)}")
    labels = labels or (-1,) * len(nexthops)
    return tuple(
        Member(nh=nh, label=None if label < 0 else label)
        for nh, label in zip(nexthops, labels, strict=True)
        if nh >= 0
    )


def delete(context: Context, request: Message) -> None:
    """Removes the nexthop."""
    context.check_router(request.nhr_rid)
    with context.core.lock():
        if context.core.nexthops.get(request.nhr_id) is None:
            raise invalid(f"there is no nexthop {request.nhr_id}")
        if request.nhr_id == NH_DISCARD:
            raise invalid("nexthop 0 is Discard and always exists")
        context.core.nexthops.delete(request.nhr_id)


def get(context: Context, request: Message) -> Object:
    """One nexthop."""
    context.check_router(request.nhr_rid)
    found = context.core.nexthops.get(request.nhr_id)
    if found is None:
        raise missing(f"there is no nexthop {request.nhr_id}")
    return NAME, _fields(found, context.references()[found.id])


def dump(context: Context, request: Message) -> Dump:
    """All nexthops, by id."""
    context.check_router(request.nhr_rid)
    table = context.core.nexthops
    marker = None if request.nhr_marker < 0 else request.nhr_marker
    counts = context.references()

    def made(id: int) -> bytes | None:
        found = table.get(id)
        return None if found is None else encode(NAME, _fields(found, counts[id]))

    return Dump(NAME, lambda: list(table.ids()), lambda id: id, marker, made)


def _fields(nexthop: Nexthop, references: int) -> dict[str, Any]:
    rewrite = nexthop.rewrite
    found: dict[str, Any] = {
        **response(NAME)[1],
        "nhr_type": int(nexthop.type),
        "nhr_family": int(nexthop.family),
        "nhr_id": nexthop.id,
        "nhr_vrf": nexthop.vrf,
        "nhr_flags": int(nexthop.flags),
        "nhr_ref_cnt": references,
        "nhr_encap_family": nexthop.encap_family,
        "nhr_encap_len": len(rewrite),
        "nhr_encap": rewrite,
        "nhr_encap_crypt_oif_id": -1,
    }
    if nexthop.type in _WITH_OIF:
        there = nexthop.oif is not None
        found["nhr_encap_oif_id"] = (nexthop.oif if there else -1, -1, -1)
        found["nhr_encap_valid"] = (int(there), 0, 0)
    if nexthop.type == NhType.TUNNEL:
        found |= _tunnel(nexthop)
    if nexthop.type == NhType.COMPOSITE:
        labels = (-1 if one.label is None else one.label for one in nexthop.members)
        found["nhr_nh_list"] = tuple(one.nh for one in nexthop.members)
        found["nhr_label_list"] = tuple(labels)
        found["nhr_nh_count"] = len(nexthop.members)
        found["nhr_ecmp_config_hash"] = int(nexthop.hash_fields)
    return found


def _tunnel(nexthop: Nexthop) -> dict[str, Any]:
    found: dict[str, Any] = {
        "nhr_tun_sport": convert.port_number(nexthop.sport),
        "nhr_tun_dport": convert.port_number(nexthop.dport),
        "nhr_rw_dst_mac": nexthop.rw_dst_mac or b"",
    }
    for field, address in (("nhr_tun_sip", nexthop.sip), ("nhr_tun_dip", nexthop.dip)):
        if isinstance(address, IPv6Address):
            found[f"{field}6"] = address.packed
        else:
            found[field] = convert.ip_number(address)
    return found


HANDLERS: Handlers = {NAME: {ADD: add, DEL: delete, GET: get, DUMP: dump}}
