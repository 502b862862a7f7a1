# SPDX-License-Identifier: Apache-2.0
"""/metrics: the counters of dp-core and of the agent in Prometheus' text format."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from vrouter.dpcore.core import DpCore
from vrouter.dpcore.labels import VIF_TYPE_LABELS, drop_label
from vrouter.tools import vif_show
from vrouter.tools.instance_info import registered
from vrouter.tools.usage import Usage, table_usage

FILL_SECONDS = 30.0


@dataclass(frozen=True)
class AgentNumbers:
    """What the agent itself counts; names: of interfaces by vif."""

    ready: bool
    ports: int
    active: int
    services: Mapping[str, Mapping[str, int]]
    names: Mapping[int, str]


class Fill:
    """How full the tables are; counting a million entries takes a while, so the result is kept
    for `FILL_SECONDS`."""

    def __init__(self) -> None:
        self._counted: Sequence[Usage] = ()
        self._at = float("-inf")

    def get(self, core: DpCore) -> Sequence[Usage]:
        """The fill of each table, at most `FILL_SECONDS` old."""
        if time.monotonic() - self._at > FILL_SECONDS:
            self._counted = table_usage(core, registered(core.instance)["sizes"])
            self._at = time.monotonic()
        return self._counted


class _Numbers(Collector):
    def __init__(self, core: DpCore, agent: AgentNumbers, fill: Sequence[Usage]) -> None:
        self._core = core
        self._agent = agent
        self._fill = fill

    def collect(self) -> Iterable[Metric]:
        yield from self._vifs()
        yield from self._tables()
        yield from self._own()

    def _vifs(self) -> Iterator[Metric]:
        labels = ["vif", "device", "type", "interface"]
        units = ("packets", "bytes", "errors")
        families = {
            (way, unit): CounterMetricFamily(
                f"vrouter_vif_{way}_{unit}", f"{unit} that dp-core {verb} a vif", labels=labels
            )
            for way, verb in (("rx", "received from"), ("tx", "sent to"))
            for unit in units
        }
        by_vif = CounterMetricFamily(
            "vrouter_vif_drops", "packets that were dropped at a vif", labels=[*labels, "reason"]
        )
        for view in vif_show.views(self._core, list(self._core.vifs.items()), None):
            vif = view.vif
            interface = self._agent.names.get(vif.idx, "")
            values = [str(vif.idx), vif.name, VIF_TYPE_LABELS[vif.type], interface]
            for (way, unit), family in families.items():
                family.add_metric(values, getattr(view.stats, f"{way}_{unit}"))
            for reason, count in view.drops.items():
                if count:
                    by_vif.add_metric([*values, drop_label(reason)], count)
        yield from families.values()
        yield by_vif

    def _tables(self) -> Iterator[Metric]:
        drops = CounterMetricFamily("vrouter_drops", "dropped packets", labels=["reason"])
        for reason, count in self._core.stats.drops().items():
            drops.add_metric([drop_label(reason)], count)
        yield drops
        used = GaugeMetricFamily("vrouter_table_entries", "entries in a table", labels=["table"])
        limit = GaugeMetricFamily("vrouter_table_limit", "entries that fit", labels=["table"])
        size = GaugeMetricFamily("vrouter_table_bytes", "kernel memory", labels=["table"])
        for one in self._fill:
            used.add_metric([one.table], one.used)
            limit.add_metric([one.table], one.limit)
            size.add_metric([one.table], one.bytes)
        yield from (used, limit, size)

    def _own(self) -> Iterator[Metric]:
        agent = self._agent
        yield GaugeMetricFamily(
            "vrouter_agent_ready", "1: the agent's start is over", value=int(agent.ready)
        )
        ports = GaugeMetricFamily("vrouter_interfaces", "interfaces wanted", labels=["state"])
        ports.add_metric(["active"], agent.active)
        ports.add_metric(["waiting"], agent.ports - agent.active)
        yield ports
        services = CounterMetricFamily(
            "vrouter_service_packets",
            "packets of a packet service by how they ended",
            labels=["service", "result"],
        )
        for service, results in agent.services.items():
            for result, count in results.items():
                services.add_metric([service, result], count)
        yield services


def text(core: DpCore, agent: AgentNumbers, fill: Fill) -> bytes:
    """All metrics."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Numbers(core, agent, fill.get(core)))
    return generate_latest(registry)
