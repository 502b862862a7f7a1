# SPDX-License-Identifier: Apache-2.0
"""vr_qos_map_req and vr_fc_map_req: QoS maps and forwarding classes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from vrouter.dpcore.errors import NoSuchEntry
from vrouter.dpcore.records import ForwardingClass, QosMap
from vrouter.sandesh.codec import Message, encode
from vrouter.sandesh.context import Context, Handlers, Object, response
from vrouter.sandesh.dumps import Dump
from vrouter.sandesh.errors import invalid, missing
from vrouter.sandesh.schema import ADD, DEL, DUMP, GET

MAP = "vr_qos_map_req"
CLASS = "vr_fc_map_req"
_MARKS: Final = (("dscp", "qmr_dscp"), ("exp", "qmr_mpls_qos"), ("dot1p", "qmr_dotonep"))
_OF_CLASS: Final = (
    ("dscp", "fmr_dscp"),
    ("exp", "fmr_mpls_qos"),
    ("dot1p", "fmr_dotonep"),
    ("queue", "fmr_queue_id"),
)


def add_map(context: Context, request: Message) -> None:
    """Adds a map, or changes those of its marks that the request names."""
    context.check_router(request.qmr_rid)
    table = context.core.qos
    with context.core.lock():
        wanted = table.get(request.qmr_id) or QosMap(index=request.qmr_id)
        for name, field in _MARKS:
            keys, classes = getattr(request, field), getattr(request, f"{field}_fc_id")
            if len(keys) != len(classes):
                raise invalid(f"{field} has {len(keys)} elements, {field}_fc_id {len(classes)}")
            values = list(getattr(wanted, name))
            for key, fc in zip(keys, classes, strict=True):
                if key >= len(values):
                    raise invalid(f"{field} {key}: marks are 0 to {len(values) - 1}")
                values[key] = fc
            change: dict[str, Any] = {name: tuple(values)}
            wanted = replace(wanted, **change)
        table.put(wanted)


def delete_map(context: Context, request: Message) -> None:
    """Removes a map; one that is not there is gone already."""
    context.check_router(request.qmr_rid)
    _check_map(context, request)
    with suppress(NoSuchEntry):
        context.core.qos.delete(request.qmr_id)


def get_map(context: Context, request: Message) -> Object:
    """One map, all of its marks."""
    context.check_router(request.qmr_rid)
    _check_map(context, request)
    found = context.core.qos.get(request.qmr_id)
    if found is None:
        raise missing(f"there is no QoS map {request.qmr_id}")
    return MAP, _map_fields(found)


def dump_maps(context: Context, request: Message) -> Dump:
    """All maps, by index."""
    context.check_router(request.qmr_rid)
    return Dump(
        MAP,
        lambda: list(context.core.qos.items()),
        lambda one: one.index,
        None if request.qmr_marker < 0 else request.qmr_marker,
        lambda one: encode(MAP, _map_fields(one)),
    )


def _check_map(context: Context, request: Message) -> None:
    if request.qmr_id >= context.core.qos.size:
        raise invalid(f"qmr_id {request.qmr_id}: maps are 0 to {context.core.qos.size - 1}")


def _map_fields(one: QosMap) -> dict[str, Any]:
    fields = dict(response(MAP, qmr_id=one.index)[1])
    for name, field in _MARKS:
        values = getattr(one, name)
        fields[field] = bytes(range(len(values)))
        fields[f"{field}_fc_id"] = bytes(values)
    return fields


# ---- forwarding classes ---------------------------------------------------------------


def add_classes(context: Context, request: Message) -> None:
    """Adds or changes classes; all of them are right, or none is written."""
    context.check_router(request.fmr_rid)
    ids = request.fmr_id
    lists = [getattr(request, field) for _, field in _OF_CLASS]
    if not ids or any(len(one) != len(ids) for one in lists):
        raise invalid("fmr_id, fmr_dscp, fmr_mpls_qos, fmr_dotonep, fmr_queue_id differ in length")
    names = [name for name, _ in _OF_CLASS]
    classes = [
        ForwardingClass(id=id, **dict(zip(names, values, strict=True)))
        for id, *values in zip(ids, *lists, strict=True)
    ]
    context.core.qos.put_classes(classes)


def delete_class(context: Context, request: Message) -> None:
    """Removes the first class that is named."""
    context.check_router(request.fmr_rid)
    with suppress(NoSuchEntry):
        context.core.qos.delete_class(_first(context, request))


def get_class(context: Context, request: Message) -> Object:
    """The first class that is named."""
    context.check_router(request.fmr_rid)
    found = context.core.qos.get_class(_first(context, request))
    if found is None:
        raise missing(f"there is no forwarding class {request.fmr_id[0]}")
    return CLASS, _class_fields(found)


def dump_classes(context: Context, request: Message) -> Dump:
    """All classes, by number."""
    context.check_router(request.fmr_rid)
    return Dump(
        CLASS,
        lambda: list(context.core.qos.class_items()),
        lambda one: one.id,
        None if request.fmr_marker < 0 else request.fmr_marker,
        lambda one: encode(CLASS, _class_fields(one)),
    )


def _first(context: Context, request: Message) -> int:
    size = context.core.qos.classes
    if not request.fmr_id or not 0 <= request.fmr_id[0] < size:
        raise invalid(f"fmr_id {list(request.fmr_id)}: classes are 0 to {size - 1}")
    return int(request.fmr_id[0])


def _class_fields(one: ForwardingClass) -> dict[str, Any]:
    marks = {field: bytes((getattr(one, name),)) for name, field in _OF_CLASS}
    return dict(response(CLASS, fmr_id=(one.id,), **marks)[1])


HANDLERS: Handlers = {
    MAP: {ADD: add_map, DEL: delete_map, GET: get_map, DUMP: dump_maps},
    CLASS: {ADD: add_classes, DEL: delete_class, GET: get_class, DUMP: dump_classes},
}
