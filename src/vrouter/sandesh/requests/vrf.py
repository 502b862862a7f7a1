# SPDX-License-Identifier: Apache-2.0
"""vr_vrf_req, vr_vrf_assign_req and vr_vrf_stats_req."""

from __future__ import annotations

from dataclasses import asdict
from typing import Final

from vrouter.dpcore.records import VrfStats
from vrouter.sandesh.codec import Message, encode
from vrouter.sandesh.context import Context, Handlers, Object, response
from vrouter.sandesh.dumps import Dump
from vrouter.sandesh.errors import invalid, missing, unsupported
from vrouter.sandesh.schema import ADD, DEL, DUMP, GET, RESET

VRF = "vr_vrf_req"
ASSIGN = "vr_vrf_assign_req"
STATS = "vr_vrf_stats_req"
_VALID: Final = 0x1
_HBF: Final = ((0x2, "vrf_hbfl_vif_idx"), (0x4, "vrf_hbfr_vif_idx"))
_INET: Final = 2


def add_vrf(context: Context, request: Message) -> None:
    """Adds a VRF."""
    context.check_router(request.vrf_rid)
    context.core.check_vrf(request.vrf_idx)
    for flag, field in _HBF:
        if request.vrf_flags & flag and getattr(request, field) != -1:
            raise unsupported(f"{field} is set: there are no host-based services")
    if request.vrf_flags & ~(_VALID | _HBF[0][0] | _HBF[1][0]):
        raise invalid(f"vrf_flags {request.vrf_flags:#x}: there are 1, 2 and 4")
    with context.core.lock():
        context.vrfs.add(request.vrf_idx)


def delete_vrf(context: Context, request: Message) -> None:
    """Removes a VRF. Its routes stay until they are removed."""
    context.check_router(request.vrf_rid)
    with context.core.lock():
        if request.vrf_idx not in context.vrfs:
            raise invalid(f"there is no VRF {request.vrf_idx}")
        context.vrfs.remove(request.vrf_idx)


def get_vrf(context: Context, request: Message) -> Object:
    """One VRF."""
    context.check_router(request.vrf_rid)
    if request.vrf_idx not in context.vrfs:
        raise missing(f"there is no VRF {request.vrf_idx}")
    return _vrf(request.vrf_idx)


def dump_vrfs(context: Context, request: Message) -> Dump:
    """All VRFs, ascending."""
    context.check_router(request.vrf_rid)
    return Dump(
        VRF,
        context.vrfs.all,
        lambda vrf: vrf,
        None if request.vrf_marker < 0 else request.vrf_marker,
        lambda vrf: encode(*_vrf(vrf)),
    )


def _vrf(vrf: int) -> Object:
    return response(VRF, vrf_idx=vrf, vrf_flags=_VALID, vrf_hbfl_vif_idx=-1, vrf_hbfr_vif_idx=-1)


# ---- VRFs of VLANs --------------------------------------------------------------------


def assign(context: Context, request: Message) -> None:
    """Refused: without service chains no vif has a VRF for each VLAN."""
    context.check_router(request.var_rid)
    _need_vif(context, request)
    raise unsupported("there are no service chains: a vif has one VRF")


def get_assigned(context: Context, request: Message) -> Object:
    """There is none to get."""
    context.check_router(request.var_rid)
    _need_vif(context, request)
    raise missing(f"VLAN {request.var_vlan_id} of vif {request.var_vif_index} has no VRF")


def dump_assigned(context: Context, request: Message) -> Dump:
    """There are none."""
    context.check_router(request.var_rid)
    _need_vif(context, request)
    return Dump(ASSIGN, list, lambda row: row, None, lambda row: None)


def _need_vif(context: Context, request: Message) -> None:
    if context.core.vifs.get(request.var_vif_index) is None:
        raise invalid(f"there is no vif {request.var_vif_index}")


# ---- counters -------------------------------------------------------------------------


def get_stats(context: Context, request: Message) -> Object:
    """The counters of a VRF."""
    context.check_router(request.vsr_rid)
    context.settle()
    return _stats(request.vsr_vrf, context.core.stats.vrf(request.vsr_vrf))


def dump_stats(context: Context, request: Message) -> Dump:
    """The counters of every VRF that has counted something."""
    context.check_router(request.vsr_rid)
    context.settle()
    return Dump(
        STATS,
        lambda: list(context.core.stats.vrfs()),
        lambda row: row[0],
        None if request.vsr_marker < 0 else request.vsr_marker,
        lambda row: encode(*_stats(*row)),
    )


def reset_stats(context: Context, request: Message) -> None:
    """Sets the counters of a VRF, or of all (-1), to zero."""
    context.check_router(request.vsr_rid)
    context.settle()
    stats = context.core.stats
    with context.core.lock():
        for vrf in [vrf for vrf, _ in stats.vrfs()] if request.vsr_vrf < 0 else [request.vsr_vrf]:
            stats.clear_vrf(vrf)


def _stats(vrf: int, stats: VrfStats) -> Object:
    counts = {f"vsr_{name}": count for name, count in asdict(stats).items()}
    return response(STATS, vsr_vrf=vrf, vsr_family=_INET, **counts)


HANDLERS: Handlers = {
    VRF: {ADD: add_vrf, DEL: delete_vrf, GET: get_vrf, DUMP: dump_vrfs},
    ASSIGN: {ADD: assign, DEL: assign, GET: get_assigned, DUMP: dump_assigned},
    STATS: {GET: get_stats, DUMP: dump_stats, RESET: reset_stats},
}
