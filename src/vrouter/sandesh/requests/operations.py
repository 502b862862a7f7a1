# SPDX-License-Identifier: Apache-2.0
"""vrouter_ops, vr_mem_stats_req and vr_info_req: the vRouter as a whole."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from typing import Any, Final

from vrouter import __version__
from vrouter.dpcore.names import MAX_MIRRORS, NH_DISCARD
from vrouter.sandesh.codec import Message, encode
from vrouter.sandesh.context import Context, Handlers, Object, response
from vrouter.sandesh.dumps import Dump
from vrouter.sandesh.errors import unsupported
from vrouter.sandesh.schema import ADD, DUMP, GET, RESET

OPS = "vrouter_ops"
MEMORY = "vr_mem_stats_req"
INFO = "vr_info_req"
_NO_MORE: Final = -1  # "leave it as it is"
_SIZES: Final = (
    *("vo_mpls_labels", "vo_nexthops", "vo_bridge_entries", "vo_interfaces"),
    *("vo_mirror_entries", "vo_vrfs", "vo_bridge_used_entries", "vo_build_info"),
)
# maps by how their names begin, and the counter of upstream that means the same
_OBJECTS: Final = (
    ("vif_stats", "vms_interface_stats_object"),
    ("vif_drops", "vms_interface_stats_object"),
    ("vif_", "vms_interface_object"),
    ("nexthop_", "vms_nexthop_object"),
    ("member_", "vms_nexthop_component_object"),
    ("inet", "vms_mtrie_object"),
    ("bridge", "vms_bridge_mac_object"),
    ("mpls", "vms_btable_object"),
    ("vxlan", "vms_itable_object"),
    ("mirror_", "vms_mirror_object"),
    ("qos_map", "vms_qos_map_object"),
    ("fc_map", "vms_fc_object"),
    ("vrf_stats", "vms_mtrie_stats_object"),
    ("drop_stats", "vms_drop_stats_object"),
)
_OTHERS: Final = "vms_malloc_object"


def get(context: Context, request: Message) -> Object:
    """Versions and sizes."""
    context.check_router(request.vo_rid)
    return OPS, _state(context)


def _state(context: Context) -> dict[str, Any]:
    core = context.core
    record = core.instance.registered() or {}
    build = {
        "build-version": record.get("version", __version__),
        "build-id": record.get("object_sha256", "")[:12],
        "build-time": record.get("loaded_at", ""),
        "build-hostname": os.uname().nodename,
        "build-user": "root",
    }
    return dict(
        response(
            OPS,
            vo_mpls_labels=core.mpls.size,
            vo_nexthops=core.nexthops.size,
            vo_bridge_entries=core.bridge.limit,
            vo_bridge_used_entries=core.bridge.count(),
            vo_interfaces=core.vifs.size,
            vo_mirror_entries=MAX_MIRRORS,
            vo_vrfs=core.stats.vrf_count,
            vo_build_info=json.dumps({"build-info": [build]}),
        )[1]
    )


def change(context: Context, request: Message) -> None:
    """There is nothing to switch: what asks for what is so is fine, anything else refused."""
    context.check_router(request.vo_rid)
    state = _state(context)
    for field, value in request.fields.items():
        if field in ("h_op", "vo_rid") or field in _SIZES or not value or value == _NO_MORE:
            continue
        if isinstance(value, int) and value in (0xFFFFFFFF, state.get(field, 0)):
            continue
        raise unsupported(f"{field} cannot be set to {value!r}: the data plane has no such switch")


def reset(context: Context, request: Message) -> None:
    """Empties every table and counter; of the vifs those of type Stats stay.

    A NIC and its vhost0 stay joined until they are added again.
    """
    context.check_router(request.vo_rid)
    core = context.core
    with core.lock(), ExitStack() as last:
        made = {}
        for vif in core.vifs.items():
            device = context.devices.find(vif.name) if vif.parent is None else None
            if device is not None and device.ours:
                made[vif.idx] = vif.name
        core.vifs.reset(without=made)
        for name in made.values():
            last.callback(context.devices.remove, name)
        _empty(context)
        context.vrfs.clear()


def _empty(context: Context) -> None:
    core = context.core
    core.inet.clear()
    core.inet6.clear()
    core.bridge.clear()
    for label, _ in list(core.mpls.items()):
        core.mpls.delete(label)
    for vni, _ in list(core.vxlan.items()):
        core.vxlan.delete(vni)
    for mirror in list(core.mirrors.items()):
        core.mirrors.delete(mirror.index)
    for qos in list(core.qos.items()):
        core.qos.delete(qos.index)
    for fc in list(core.qos.class_items()):
        core.qos.delete_class(fc.id)
    for id in list(core.nexthops.ids()):
        if id != NH_DISCARD:
            core.nexthops.delete(id)
    core.stats.clear_drops()
    for vrf, _ in list(core.stats.vrfs()):
        core.stats.clear_vrf(vrf)
    for vif in core.vifs.items():
        core.vifs.clear_stats(vif.idx)


# ---- memory ---------------------------------------------------------------------------


def memory(context: Context, request: Message) -> Object:
    """Bytes of kernel memory by kind of object (upstream counts allocations)."""
    context.check_router(request.vms_rid)
    maps = context.core.memory()
    counts = dict.fromkeys((field for _, field in _OBJECTS), 0) | {_OTHERS: 0}
    for name, size in maps.items():
        field = next((field for start, field in _OBJECTS if name.startswith(start)), _OTHERS)
        counts[field] += size
    return response(MEMORY, vms_alloced=sum(maps.values()), **counts)


# ---- texts ----------------------------------------------------------------------------


def info(context: Context, request: Message) -> Object:
    """The version, as a text: of what upstream shows there the rest is DPDK's."""
    context.check_router(request.vdu_rid)
    if request.vdu_msginfo:
        raise unsupported(f"vdu_msginfo {request.vdu_msginfo}: there is only the version (0)")
    record = context.core.instance.registered() or {}
    sha = record.get("object_sha256", "")[:12]
    text = f"vRouter version: {record.get('version', '')} (dp-core object {sha})\n"
    return response(INFO, vdu_index=request.vdu_index, vdu_proc_info=text.encode())


def info_dump(context: Context, request: Message) -> Dump:
    """The same, as the only part of it."""
    made = encode(*info(context, request))
    return Dump(INFO, lambda: [0], lambda row: row, None, lambda row: made)


HANDLERS: Handlers = {
    OPS: {GET: get, ADD: change, RESET: reset},
    MEMORY: {GET: memory},
    INFO: {GET: info, DUMP: info_dump},
}
