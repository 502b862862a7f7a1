# SPDX-License-Identifier: Apache-2.0
"""vr_route_req: routes, and the bridge table."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Final

from vrouter.dpcore.inet import InetTable
from vrouter.dpcore.inet6 import Inet6Table
from vrouter.dpcore.names import LABEL_NONE, BridgeFlag, Family, NhType, RouteFlag
from vrouter.dpcore.records import BridgeEntry, IPNetwork, Route
from vrouter.sandesh import convert
from vrouter.sandesh.codec import Message, Template, encode
from vrouter.sandesh.context import Context, Handlers, Object, response
from vrouter.sandesh.dumps import Dump
from vrouter.sandesh.errors import invalid, missing
from vrouter.sandesh.schema import ADD, DEL, DUMP, GET, RESPONSE, schemas

NAME = "vr_route_req"
_LENGTHS: Final = {Family.INET: 4, Family.INET6: 16}
_LABEL_BITS: Final = 0xFFFFFF
_OF_A_ROW: Final = (
    *("rtr_vrf_id", "rtr_prefix", "rtr_prefix_len", "rtr_label_flags", "rtr_label", "rtr_nh_id"),
    *("rtr_replace_plen", "rtr_index"),
)
_OF_A_STITCHED_ROW: Final = (*_OF_A_ROW[:6], "rtr_mac", *_OF_A_ROW[6:])


def add(context: Context, request: Message) -> None:
    """Adds the route or MAC, or changes it."""
    family = _family(request)
    context.check_router(request.rtr_rid)
    kind = context.need_nexthop(request.rtr_nh_id, missing)
    if family == Family.BRIDGE:
        _add_bridge(context, request)
        return
    prefix = _prefix(request, family)
    flags = RouteFlag(0) | (request.rtr_label_flags & convert.NONE16)
    label = request.rtr_label & _LABEL_BITS if flags & RouteFlag.LABEL_VALID else None
    if label is None and kind == NhType.TUNNEL:  # as upstream
        raise invalid(f"{prefix} leads into a tunnel: it needs a label (rtr_label_flags 1)")
    route = Route(
        vrf=request.rtr_vrf_id,
        prefix=prefix,
        nh=request.rtr_nh_id,
        label=label,
        flags=flags,
        bridge=_stitched(context, request),
    )
    _table(context, family).put_many((route,))


def _add_bridge(context: Context, request: Message) -> None:
    flags = BridgeFlag(0) | (request.rtr_label_flags & convert.NONE16)
    label = request.rtr_label & _LABEL_BITS if flags & BridgeFlag.LABEL_VALID else None
    mac = convert.mac_of(request.rtr_mac, "rtr_mac")
    context.core.bridge.put(
        request.rtr_vrf_id, mac, request.rtr_nh_id, label=label, flags=int(flags)
    )


def _stitched(context: Context, request: Message) -> int:
    """The index of the MAC that ARP for the route is answered with."""
    if not any(request.rtr_mac):
        return 0
    mac = convert.mac_of(request.rtr_mac, "rtr_mac")
    context.core.check_vrf(request.rtr_vrf_id)
    entry = context.core.bridge.get(request.rtr_vrf_id, mac)
    if entry is None:
        raise missing(f"rtr_mac {mac.hex(':')} is not in VRF {request.rtr_vrf_id}: add it first")
    return entry.index


def delete(context: Context, request: Message) -> None:
    """Removes the route or MAC. What remains for its range the table finds by itself."""
    family = _family(request)
    context.check_router(request.rtr_rid)
    if family == Family.BRIDGE:
        context.core.bridge.delete(request.rtr_vrf_id, convert.mac_of(request.rtr_mac, "rtr_mac"))
    else:
        _table(context, family).delete(request.rtr_vrf_id, _prefix(request, family))


def get(context: Context, request: Message) -> Object:
    """What a packet to the prefix takes: the longest prefix that holds all of it."""
    family = _family(request)
    context.check_router(request.rtr_rid)
    context.core.check_vrf(request.rtr_vrf_id)
    if family == Family.BRIDGE:
        mac = convert.mac_of(request.rtr_mac, "rtr_mac")
        entry = context.core.bridge.get(request.rtr_vrf_id, mac)
        if entry is None:
            raise missing(f"{mac.hex(':')} is not in the bridge table of VRF {request.rtr_vrf_id}")
        return NAME, _bridge_fields(entry)
    prefix = _prefix(request, family)
    found = _table(context, family).covering(request.rtr_vrf_id, prefix)
    fields = {
        **response(NAME)[1],
        "rtr_vrf_id": request.rtr_vrf_id,
        "rtr_family": int(family),
        "rtr_prefix": prefix.network_address.packed,
        "rtr_prefix_len": prefix.prefixlen,
        "rtr_label": -1,
        "rtr_index": -1,
    }
    if found is None:
        return NAME, fields
    label = found.label
    fields |= {
        "rtr_replace_plen": found.prefix.prefixlen,
        "rtr_nh_id": found.nh,
        "rtr_label": -1 if label is None else label,
        "rtr_label_flags": int(found.flags),
        "rtr_index": found.bridge or -1,
        "rtr_mac": context.core.changes.mac_of(found.bridge) or b"",
    }
    return NAME, fields


# ---- DUMP -----------------------------------------------------------------------------


def dump(context: Context, request: Message) -> Dump:
    """The routes or MACs of a VRF, by address and prefix length, or by MAC."""
    family, vrf = _family(request), request.rtr_vrf_id
    context.check_router(request.rtr_rid)
    context.core.check_vrf(vrf)
    scope, version = (NAME, int(family), vrf), context.core.changes.done
    if family == Family.BRIDGE:
        return Dump(
            scope,
            lambda: list(context.core.bridge.items(vrf)),
            lambda entry: entry.mac,
            request.rtr_marker[: convert.MAC] if any(request.rtr_marker) else None,
            lambda entry: encode(NAME, _bridge_fields(entry)),
            version,
        )
    length = _LENGTHS[family]
    marker = (bytes(request.rtr_marker[:length]), request.rtr_marker_plen)
    start = not any(marker[0]) and marker[1] <= 0
    if not start and len(marker[0]) != length:
        raise invalid(f"rtr_marker has {len(marker[0])} bytes: an address has {length}")
    return Dump(
        scope,
        lambda: _table(context, family).rows(vrf),
        lambda row: (row[:length], row[length]),
        None if start else marker,
        _row_encoder(context, vrf, family),
        version,
    )


@cache
def _packs(family: Family) -> tuple[Callable[..., bytes], Callable[..., bytes]]:
    """What packs rows: routes without a MAC, and with one."""
    values = {
        **schemas()[NAME].defaults,
        "h_op": RESPONSE,
        "rtr_family": int(family),
        "rtr_prefix": bytes(_LENGTHS[family]),
    }
    plain = Template(NAME, [*values.values()], _OF_A_ROW)
    values["rtr_mac"] = bytes(convert.MAC)
    return plain.pack, Template(NAME, [*values.values()], _OF_A_STITCHED_ROW).pack


def _row_encoder(context: Context, vrf: int, family: Family) -> Any:
    """Encodes a row of InetTable.rows or Inet6Table.rows."""
    length = _LENGTHS[family]
    unpack = _table(context, family).unpack_row
    mac_of = context.core.changes.mac_of
    plain, stitched = _packs(family)

    def made(row: bytes) -> bytes:
        nh, label, bridge, flags = unpack(row)
        plen = row[length]
        if label == LABEL_NONE:
            label = -1
        mac = mac_of(bridge) if bridge else None
        if mac is None:
            return plain((vrf, row[:length], plen, flags, label, nh, plen, bridge or -1))
        return stitched((vrf, row[:length], plen, flags, label, nh, mac, plen, bridge))

    return made


def _bridge_fields(entry: BridgeEntry) -> dict[str, Any]:
    return {
        **response(NAME)[1],
        "rtr_vrf_id": entry.vrf,
        "rtr_family": int(Family.BRIDGE),
        "rtr_mac": entry.mac,
        "rtr_nh_id": entry.nh,
        "rtr_label": -1 if entry.label is None else entry.label,
        "rtr_label_flags": int(entry.flags),
        "rtr_index": entry.index,
    }


# ---- parts ----------------------------------------------------------------------------


def _family(request: Message) -> Family:
    for family in (Family.INET, Family.INET6, Family.BRIDGE):
        if request.rtr_family == family:
            return family
    raise invalid(f"rtr_family {request.rtr_family}: 2 (INET), 7 (BRIDGE) or 10 (INET6)")


def _table(context: Context, family: Family) -> InetTable | Inet6Table:
    return context.core.inet if family == Family.INET else context.core.inet6


def _prefix(request: Message, family: Family) -> IPNetwork:
    """The prefix; bits beyond its length do not count, as upstream's tree ignores them."""
    length, packed = _LENGTHS[family], request.rtr_prefix
    if len(packed) < length or any(packed[length:]):
        raise invalid(f"rtr_prefix has {len(packed)} bytes: an address has {length}")
    if not 0 <= request.rtr_prefix_len <= 8 * length:
        raise invalid(f"rtr_prefix_len {request.rtr_prefix_len}: 0 to {8 * length}")
    address = (bytes(packed[:length]), request.rtr_prefix_len)
    if family == Family.INET:
        return IPv4Network(address, strict=False)
    return IPv6Network(address, strict=False)


HANDLERS: Handlers = {NAME: {ADD: add, DEL: delete, GET: get, DUMP: dump}}
