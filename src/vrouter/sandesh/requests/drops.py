# SPDX-License-Identifier: Apache-2.0
"""vr_drop_stats_req: dropped packets by reason; vr_pkt_drop_log_req: each of them."""

from __future__ import annotations

from collections import Counter
from typing import Final

from vrouter.dpcore import libbpf
from vrouter.dpcore.names import DropReason
from vrouter.sandesh.codec import Message
from vrouter.sandesh.context import Context, Handlers, Object, response
from vrouter.sandesh.errors import unsupported
from vrouter.sandesh.schema import ADD, GET, RESET

STATS = "vr_drop_stats_req"
LOG = "vr_pkt_drop_log_req"
FIRST_OF_OURS: Final = 64
OURS: Final = "vds_misc"
"""The field of all reasons that upstream does not know: it never counts anything else here."""

_OTHER_NAMES: Final = {
    DropReason.INVALID: "vds_discard",
    DropReason.FRAGMENTS: "vds_frag_err",
    DropReason.NEW_FLOWS: "vds_drop_new_flow",
}


def field_of(reason: int) -> str:
    """The field in which a drop reason is counted."""
    if reason >= FIRST_OF_OURS or reason not in list(DropReason):
        return OURS
    known = DropReason(reason)
    return _OTHER_NAMES.get(known, f"vds_{known.name.lower()}")


def get(context: Context, request: Message) -> Object:
    """All counters, of all CPUs or of one, which a request numbers from 1."""
    context.check_router(request.vds_rid)
    context.settle()
    counts: Counter[str] = Counter()
    core = None if request.vds_core == 0 else request.vds_core - 1
    for reason, count in context.core.stats.drops(core).items():
        if count:
            counts[field_of(reason)] += count
    return response(STATS, vds_core=request.vds_core, **counts)


def reset(context: Context, request: Message) -> None:
    """Sets all counters to zero; those of the vifs stay."""
    context.check_router(request.vds_rid)
    if request.vds_core:
        raise unsupported("vds_core is set: the counters of all CPUs are cleared at once")
    context.settle()
    context.core.stats.clear_drops()


def log(context: Context, request: Message) -> Object:
    """That there is no log: `vrouter trace --drops` shows drops as they happen."""
    context.check_router(request.vdl_rid)
    return response(
        LOG,
        vdl_core=request.vdl_core,
        vdl_log_idx=request.vdl_log_idx,
        vdl_max_num_cores=libbpf.possible_cpus(),
    )


def set_log(context: Context, request: Message) -> None:
    """Refused, unless it asks for what is so: no log."""
    context.check_router(request.vdl_rid)
    fields = ("vdl_pkt_droplog_en", "vdl_pkt_droplog_sysctl_en", "vdl_pkt_droplog_min_sysctl_en")
    if any(getattr(request, field) > 0 for field in fields):
        raise unsupported("there is no drop log: see `vrouter trace --drops`")


HANDLERS: Handlers = {STATS: {GET: get, RESET: reset}, LOG: {GET: log, ADD: set_log}}
