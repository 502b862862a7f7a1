# SPDX-License-Identifier: Apache-2.0
"""vr_mirror_req: where copies of packets go."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from vrouter.dpcore.names import MirrorFlag
from vrouter.dpcore.records import Mirror
from vrouter.sandesh.codec import Message, encode
from vrouter.sandesh.context import Context, Handlers, Object, response
from vrouter.sandesh.dumps import Dump
from vrouter.sandesh.errors import invalid, missing, unsupported
from vrouter.sandesh.schema import ADD, DEL, DUMP, GET

NAME = "vr_mirror_req"
_DYNAMIC: Final = int(MirrorFlag.DYNAMIC)
_MARKED_DELETE: Final = 0x2
_HW_ASSISTED: Final = 0x4
_NO_METADATA: Final = bytes((0xFF, 0))  # upstream's empty list


def add(context: Context, request: Message) -> None:
    """Adds or changes a mirror; its nexthop must be there."""
    context.check_router(request.mirr_rid)
    if request.mirr_flags & _HW_ASSISTED:
        raise unsupported("mirr_flags 4: no NIC copies for us; leave the flag and mirr_vlan out")
    if request.mirr_flags & ~(_DYNAMIC | _MARKED_DELETE):
        raise invalid(f"mirr_flags {request.mirr_flags:#x}: there are 1 (dynamic) and 2")
    context.need_nexthop(request.mirr_nhid)
    dynamic = bool(request.mirr_flags & _DYNAMIC)
    with context.core.lock():
        old = context.core.mirrors.get(request.mirr_index)
        kept = old.metadata if old is not None and old.dynamic else _NO_METADATA
        context.core.mirrors.put(
            Mirror(
                index=request.mirr_index,
                nh=request.mirr_nhid,
                vni=_vni(request, dynamic),
                dynamic=dynamic,
                metadata=kept if dynamic else b"",
            )
        )


def _vni(request: Message, dynamic: bool) -> int | None:
    """-1: none; a dynamic mirror has none, and senders that fill in every field say 0 then."""
    vni = int(request.mirr_vni)
    return None if vni == -1 or (dynamic and vni == 0) else vni


def delete(context: Context, request: Message) -> None:
    """Removes a mirror."""
    context.check_router(request.mirr_rid)
    context.core.mirrors.delete(request.mirr_index)


def get(context: Context, request: Message) -> Object:
    """One mirror."""
    context.check_router(request.mirr_rid)
    found = context.core.mirrors.get(request.mirr_index)
    if found is None:
        raise missing(f"there is no mirror {request.mirr_index}")
    return NAME, _fields(found, _users(context))


def dump(context: Context, request: Message) -> Dump:
    """All mirrors, by index."""
    context.check_router(request.mirr_rid)
    users = _users(context)
    return Dump(
        NAME,
        lambda: list(context.core.mirrors.items()),
        lambda mirror: mirror.index,
        None if request.mirr_marker < 0 else request.mirr_marker,
        lambda mirror: encode(NAME, _fields(mirror, users)),
    )


def _users(context: Context) -> Counter[int | None]:
    return Counter(vif.mirror for vif in context.core.vifs.items())


def _fields(mirror: Mirror, users: Counter[int | None]) -> dict[str, Any]:
    return dict(
        response(
            NAME,
            mirr_index=mirror.index,
            mirr_nhid=mirror.nh,
            mirr_users=1 + users[mirror.index],
            mirr_flags=_DYNAMIC if mirror.dynamic else 0,
            mirr_vni=-1 if mirror.vni is None else mirror.vni,
        )[1]
    )


HANDLERS: Handlers = {NAME: {ADD: add, DEL: delete, GET: get, DUMP: dump}}
