# SPDX-License-Identifier: Apache-2.0
"""The reading half of `vif`."""

from __future__ import annotations

import argparse
import os
import socket
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING

from vrouter.dpcore.devstats import tx_dropped
from vrouter.dpcore.errors import NoSuchEntry, NotLoaded, Refused, UsageError
from vrouter.dpcore.names import VifFeature, VifType
from vrouter.tools.common import emit_json, emit_lines, open_core
from vrouter.tools.linkinfo import speed_duplex
from vrouter.tools.render_stats import drop_json, drop_lines
from vrouter.tools.render_vif import (
    HEADING,
    VifView,
    entry_json,
    entry_lines,
    lost,
    rate_lines,
    rates_of,
)

if TYPE_CHECKING:
    from vrouter.dpcore.core import DpCore
    from vrouter.dpcore.records import Vif, VifStats


def find_vif(core: DpCore, text: str) -> Vif:
    """The vif of that number, of that device name, or written as vif0/N; else NoSuchEntry."""
    digits = text.removeprefix("vif0/")
    found = core.vifs.get(int(digits)) if digits.isdecimal() else core.vifs.by_name(text)
    if found is None:
        raise NoSuchEntry(f"no vif {text}; `vif --list` shows all")
    return found


def _find_by_ifindex(core: DpCore, text: str) -> Vif:
    """The vif of the netdevice that Linux numbers so; of a vhost pair either end will do."""
    if not text.isdecimal():
        raise UsageError(f"--kernel takes an ifindex, not '{text}'; leave --kernel out for a name")
    for vif in core.vifs.items():
        if int(text) in (vif.os_ifindex, vif.ifindex):
            return vif
    raise NoSuchEntry(f"no vif of netdevice {text}; `vif --list --json` shows each os_ifindex")


def show(args: argparse.Namespace) -> None:
    """`vif --list` and `vif --get`."""
    with open_core(args) as core:
        find = _find_by_ifindex if args.kernel else find_vif
        vifs = list(core.vifs.items()) if args.list else [find(core, args.get)]
        if args.rate:
            _show_rates(core, vifs, args)
            return
        found = list(views(core, vifs, args.core))
    if args.json:
        objects = [entry_json(view) for view in found]
        if args.get_drop_stats:
            objects[0]["drop_reasons"] = drop_json(found[0].drops)
            objects[0]["refused_by_device"] = found[0].refused
        emit_json(objects if args.list else objects[0])
        return
    emit_lines([HEADING])
    for view in found:
        lines = [*entry_lines(view), ""]
        if args.get_drop_stats:
            lines += [*drop_lines(view.drops, {view.vif.name: view.refused}), ""]
        emit_lines(lines)


_RATE_SECONDS = 1.0


def _show_rates(core: DpCore, vifs: list[Vif], args: argparse.Namespace) -> None:
    """What the vifs carry, measured over a second; a vif that goes meanwhile is left out."""

    def counted() -> dict[int, tuple[VifStats, int]]:
        found = {}
        for vif in vifs:
            with suppress(NoSuchEntry):
                drops = lost(core.vifs.drops(vif.idx))
                found[vif.idx] = core.vifs.stats(vif.idx, args.core), drops
        return found

    start, before = time.monotonic(), counted()
    time.sleep(_RATE_SECONDS)
    after = counted()
    seconds = time.monotonic() - start
    rates = {
        vif: rates_of(before[vif.idx], after[vif.idx], seconds)
        for vif in vifs
        if vif.idx in before and vif.idx in after
    }
    if args.json:
        objects = [{"vif": f"vif0/{vif.idx}", "name": vif.name, **rates[vif]} for vif in rates]
        emit_json(objects if args.list else objects[0])
    else:
        emit_lines(rate_lines({f"vif0/{vif.idx}": (vif.name, rates[vif]) for vif in rates}))


def views(core: DpCore, vifs: list[Vif], cpu: int | None) -> Iterable[VifView]:
    """What there is to show of `vifs`: counters (of one CPU or of all), drops, links, sources."""
    refs = Counter(nexthop.oif for nexthop in core.nexthops.items())
    checked = [vif for vif in vifs if vif.features & VifFeature.SOURCES]
    sources = core.sources.all() if checked else {}
    with namespace_of(core):
        refused = tx_dropped()
        for vif in vifs:
            physical = vif.type == VifType.PHYSICAL
            yield VifView(
                vif=vif,
                stats=core.vifs.stats(vif.idx, cpu),
                drops=core.vifs.drops(vif.idx),
                refused=refused.get(device_of(vif), 0),
                link=speed_duplex(vif.name) if physical else None,
                ref=1 + refs[vif.idx],
                sources=sources.get(vif.idx, ()) if vif in checked else None,
            )


def device_of(vif: Vif) -> str:
    """The name of the netdevice that dp-core sends to; empty if that is gone."""
    try:
        return socket.if_indextoname(vif.ifindex)
    except OSError:
        return ""


def refused_by_devices(core: DpCore) -> dict[str, int]:
    """What the netdevices of all vifs refused to send after dp-core's verdict, by name."""
    with namespace_of(core):
        refused = tx_dropped()
        names = {vif.name: device_of(vif) for vif in core.vifs.items() if vif.parent is None}
    return {name: refused[device] for name, device in names.items() if refused.get(device)}


def namespace_of(core: DpCore) -> AbstractContextManager[None]:
    """The instance's namespace; ours, where that is gone: the tables can still be read."""
    try:
        fd = core.instance.open_netns()
    except (NotLoaded, Refused):
        return nullcontext()
    if fd is None:
        return nullcontext()
    os.close(fd)
    return core.instance.enter_netns()
