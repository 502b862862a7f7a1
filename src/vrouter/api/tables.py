# SPDX-License-Identifier: Apache-2.0
"""dp-core's tables as introspection shows them: the JSON of the tools, with links.

Everything here runs on a thread of its own (`Reader`), so that a dump of a million routes keeps
no packet of the agent waiting.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from vrouter.api.errors import ApiError
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.instance import Instance
from vrouter.dpcore.names import VRF_NONE
from vrouter.tools import render_nh, render_rt, render_stats, vif_show
from vrouter.tools.render_vif import entry_json as vif_json
from vrouter.tools.rt_show import stitch_of

T = TypeVar("T")
Json = dict[str, Any]
DEFAULT_LIMIT = 1000
MAX_LIMIT = 100_000


class Reader:
    """An opened dp-core on one thread; opened anew when a load has put other tables there."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._core: DpCore | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="introspect")

    async def run(self, work: Callable[[DpCore], T]) -> T:
        """What `work` makes of the tables. Raises NotLoaded and what `work` raises."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._call, work)

    def _call(self, work: Callable[[DpCore], T]) -> T:
        if self._core is not None and not self._core.is_current():
            self._core.close()
            self._core = None
        if self._core is None:
            self._core = DpCore.open(self._instance)
        return work(self._core)

    def close(self) -> None:
        """End the thread and close the tables."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        if self._core is not None:
            self._core.close()


def page(items: Iterable[Json], path: str, offset: int, limit: int) -> Json:
    """`limit` items from `offset` on, and where the next ones are (null: these are the last)."""
    found = list(itertools.islice(items, offset, offset + limit + 1))
    more = len(found) > limit
    following = f"{path}?offset={offset + limit}&limit={limit}" if more else None
    return {"items": found[:limit], "next": following}


def _linked(entry: Json, **links: str | None) -> Json:
    return {**entry, "links": {name: url for name, url in links.items() if url is not None}}


def _url(kind: str, number: int | None) -> str | None:
    return None if number is None else f"/{kind}/{number}"


def vifs(core: DpCore, idx: int | None, names: Mapping[int, str]) -> list[Json]:
    """All vifs, or one; `names`: of the desired state's interfaces by vif."""
    found = list(core.vifs.items())
    if idx is not None:
        found = [vif for vif in found if vif.idx == idx]
    return [
        {
            **_linked(
                vif_json(view),
                self=f"/interfaces/{view.vif.idx}",
                vrf=_url("vrfs", view.vif.vrf if view.vif.vrf != VRF_NONE else None),
                nexthop=_url("nexthops", view.vif.nh_id or None),
                xconnect=_url("interfaces", view.vif.xconnect),
                parent=_url("interfaces", view.vif.parent),
            ),
            "interface": names.get(view.vif.idx),
            "drop_reasons": [
                one
                for one in render_stats.drop_json(core.vifs.drops(view.vif.idx))
                if one["packets"]
            ],
        }
        for view in vif_show.views(core, found, None)
    ]


def vrfs(core: DpCore, networks: Mapping[int, str], vrf: int | None) -> list[Json]:
    """Every VRF that a vif or a network has, or that has counted something; or one."""
    stats = dict(core.stats.vrfs())
    numbers = {vif.vrf for vif in core.vifs.items() if vif.vrf != VRF_NONE}
    shown = sorted(numbers | set(stats) | set(networks)) if vrf is None else [vrf]
    return [
        _linked(
            {
                "vrf": vrf,
                "network": networks.get(vrf),
                "counters": render_stats.vrf_json(vrf, stats.get(vrf) or core.stats.vrf(vrf)),
            },
            self=f"/vrfs/{vrf}",
            inet=f"/vrfs/{vrf}/inet",
            inet6=f"/vrfs/{vrf}/inet6",
            bridge=f"/vrfs/{vrf}/bridge",
        )
        for vrf in shown
    ]


def routes(core: DpCore, vrf: int, family: str) -> Iterable[Json]:
    """The routes of a VRF: family inet, inet6 or bridge."""
    back = f"/vrfs/{vrf}"
    if family == "bridge":
        for entry in core.bridge.items(vrf):
            nexthop = _url("nexthops", entry.nh)
            yield _linked(render_rt.bridge_json(entry), vrf=back, nexthop=nexthop)
        return
    stitch = stitch_of(core)
    table = core.inet if family == "inet" else core.inet6
    for route in table.items(vrf):
        nexthop = _url("nexthops", route.nh)
        yield _linked(render_rt.inet_json(route, stitch), vrf=back, nexthop=nexthop)


def nexthops(core: DpCore, id: int | None) -> Iterable[Json]:
    """All nexthops, or one."""
    counts = core.nexthops.ref_counts()
    if id is None:
        found = list(core.nexthops.items())
    else:
        one = core.nexthops.get(id)
        found = [one] if one is not None else []
    for nh in found:
        shown = render_nh.entry_json(nh, counts[nh.id])
        shown["members"] = [
            {**member, "link": _url("nexthops", member["nh"])} for member in shown["members"]
        ]
        oif = _url("interfaces", nh.oif)
        yield _linked(shown, self=f"/nexthops/{nh.id}", vrf=_url("vrfs", nh.vrf), interface=oif)


def labels(core: DpCore, kind: str) -> Iterable[Json]:
    """Incoming labels ("labels") or VNIDs ("vxlans") and where they lead."""
    table = core.mpls if kind == "labels" else core.vxlan
    name = "label" if kind == "labels" else "vnid"
    for number, nh in table.items():
        yield _linked(
            {name: number, "nh": nh}, self=f"/{kind}/{number}", nexthop=_url("nexthops", nh)
        )


def drops(core: DpCore) -> list[Json]:
    """Dropped packets of the whole instance by reason."""
    return list(render_stats.drop_json(core.stats.drops()))


def one(found: Iterable[Json], what: str) -> Json:
    """The only item. ApiError 404 when there is none."""
    for item in found:
        return item
    raise ApiError(404, f"there is no {what}")
