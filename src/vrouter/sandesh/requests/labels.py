# SPDX-License-Identifier: Apache-2.0
"""vr_mpls_req and vr_vxlan_req: incoming labels and VNIs."""

from __future__ import annotations

from contextlib import suppress

from vrouter.dpcore.errors import NoSuchEntry
from vrouter.sandesh.codec import Message, encode
from vrouter.sandesh.context import Context, Handlers, Object, response
from vrouter.sandesh.dumps import Dump
from vrouter.sandesh.errors import invalid, missing
from vrouter.sandesh.schema import ADD, DEL, DUMP, GET

MPLS = "vr_mpls_req"
VXLAN = "vr_vxlan_req"


def add_label(context: Context, request: Message) -> None:
    """Adds or changes a label; its nexthop must be there."""
    context.check_router(request.mr_rid)
    context.need_nexthop(request.mr_nhid)
    context.core.mpls.put(request.mr_label, request.mr_nhid)


def delete_label(context: Context, request: Message) -> None:
    """Removes a label; one that is not there is gone already."""
    context.check_router(request.mr_rid)
    _check_label(context, request)
    with suppress(NoSuchEntry):
        context.core.mpls.delete(request.mr_label)


def get_label(context: Context, request: Message) -> Object:
    """One label."""
    context.check_router(request.mr_rid)
    _check_label(context, request)
    nh = context.core.mpls.get(request.mr_label)
    if nh is None:
        raise missing(f"there is no label {request.mr_label}")
    return response(MPLS, mr_label=request.mr_label, mr_nhid=nh)


def dump_labels(context: Context, request: Message) -> Dump:
    """All labels, ascending."""
    context.check_router(request.mr_rid)
    return Dump(
        MPLS,
        lambda: list(context.core.mpls.items()),
        lambda row: row[0],
        None if request.mr_marker < 0 else request.mr_marker,
        lambda row: encode(MPLS, response(MPLS, mr_label=row[0], mr_nhid=row[1])[1]),
    )


def _check_label(context: Context, request: Message) -> None:
    if not 0 <= request.mr_label < context.core.mpls.size:
        raise invalid(f"mr_label {request.mr_label}: labels are 0 to {context.core.mpls.size - 1}")


def add_vni(context: Context, request: Message) -> None:
    """Adds or changes a VNI; its nexthop must be there."""
    context.check_router(request.vxlanr_rid)
    context.need_nexthop(request.vxlanr_nhid)
    context.core.vxlan.put(request.vxlanr_vnid, request.vxlanr_nhid)


def delete_vni(context: Context, request: Message) -> None:
    """Removes a VNI; one that is not there is gone already."""
    context.check_router(request.vxlanr_rid)
    with suppress(NoSuchEntry):
        context.core.vxlan.delete(request.vxlanr_vnid)


def get_vni(context: Context, request: Message) -> Object:
    """One VNI."""
    context.check_router(request.vxlanr_rid)
    nh = context.core.vxlan.get(request.vxlanr_vnid)
    if nh is None:
        raise missing(f"there is no VNI {request.vxlanr_vnid}")
    return response(VXLAN, vxlanr_vnid=request.vxlanr_vnid, vxlanr_nhid=nh)


def dump_vnis(context: Context, request: Message) -> Dump:
    """All VNIs, ascending; the marker is the VNI itself, 0 at the beginning."""
    context.check_router(request.vxlanr_rid)
    return Dump(
        VXLAN,
        lambda: list(context.core.vxlan.items()),
        lambda row: row[0],
        None if request.vxlanr_vnid <= 0 else request.vxlanr_vnid,
        lambda row: encode(VXLAN, response(VXLAN, vxlanr_vnid=row[0], vxlanr_nhid=row[1])[1]),
    )


HANDLERS: Handlers = {
    MPLS: {ADD: add_label, DEL: delete_label, GET: get_label, DUMP: dump_labels},
    VXLAN: {ADD: add_vni, DEL: delete_vni, GET: get_vni, DUMP: dump_vnis},
}
