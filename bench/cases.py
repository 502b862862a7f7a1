# SPDX-License-Identifier: Apache-2.0
"""What is measured, and how a series of rounds becomes one figure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from . import generator, tcp
from .paths import Route, Wire

KERNEL_BRIDGE = "kernel bridge"
KERNEL_VXLAN = "kernel bridge+vxlan"
PPS = "pps"


@dataclass(frozen=True)
class Case:
    """A way through dp-core: `encap` is that of its lab; `metrics` are measured in this order."""

    name: str
    about: str
    encap: str
    source: str
    target: str
    peer: str
    metrics: tuple[str, ...]


_TUNNEL_METRICS = ("tcp tso", "tcp plain", "tcp plain gro", PPS, f"{PPS} plain")
CASES = (
    Case("same-host", "two VMs of one host", "vxlan", "vm1", "vm2", KERNEL_BRIDGE, ("tcp", PPS)),
    *(
        Case(
            encap, f"two VMs of two hosts, {label}", encap, "vm1", "vm3", KERNEL_VXLAN,
            _TUNNEL_METRICS,
        )
        for encap, label in (
            ("vxlan", "VXLAN"),
            ("mplsoudp", "MPLSoUDP (the kernel has none: VXLAN is its peer)"),
            ("mplsogre", "MPLSoGRE (the kernel has none: VXLAN is its peer)"),
        )
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Side:
    """One of the two that are compared: its way and the wire that belongs to it."""

    route: Route
    wire: Wire


@dataclass(frozen=True)
class Effort:
    """How often and how long; `cpus`: sender's and receiver's; `sink`: a way to nowhere."""

    rounds: int
    seconds: float
    cpus: tuple[int, int]
    sink: Route


@dataclass
class Result:
    """A metric of a case: the values of all rounds.

    `sunk` is what the generator alone does in the same rounds, over a plain veth pair. Of packets
    only: `lost`, the largest part of them that did not arrive; `made`, what the generator does
    without a device to send into.
    """

    case: str
    metric: str
    unit: str
    peer: str
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    lost: float = 0.0
    made: list[float] = field(default_factory=list)
    sunk: list[float] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        """Ours to the peer's, round by round."""
        return [mine / other for mine, other in zip(self.ours, self.theirs, strict=True)]

    def to_json(self) -> dict[str, Any]:
        """Medians; the ratio is the median of the rounds' ratios, not the ratio of medians."""
        return {
            "case": self.case,
            "metric": self.metric,
            "unit": self.unit,
            "ours": round(median(self.ours), 3),
            "peers": {self.peer: round(median(self.theirs), 3)},
            "ratios": {self.peer: round(median(self.ratios), 3)},
        }


def measure(case: Case, metric: str, ours: Side, peer: Side, effort: Effort) -> Result:
    """Rounds of ours and the peer in turn. Raises VrouterError."""
    what, _, wire = metric.partition(" ")
    packets = what == PPS
    result = Result(case.name, metric, "packets/s" if packets else "Gbit/s", case.peer)
    for side in (ours, peer):
        side.wire.set(wire or "tso")
    one: Callable[[Side], float] = _packets(result, effort) if packets else _bits(effort)
    for _ in range(effort.rounds):
        result.ours.append(one(ours))
        result.theirs.append(one(peer))
        _generator_alone(result, effort)
    return result


def _generator_alone(result: Result, effort: Effort) -> None:
    # short: it varies little, and only says whether the figures beside it are the forwarder's
    seconds = min(0.5, effort.seconds)
    if not result.metric.startswith(PPS):
        result.sunk.append(tcp.measure(effort.sink, seconds, effort.cpus))
        return
    result.made.append(generator.made(effort.sink, seconds, effort.cpus[0]))
    sunk = generator.measure(effort.sink, seconds, effort.cpus[0])
    result.sunk.append(sunk.per_second)


def _bits(effort: Effort) -> Callable[[Side], float]:
    return lambda side: tcp.measure(side.route, effort.seconds, effort.cpus)


def _packets(result: Result, effort: Effort) -> Callable[[Side], float]:
    def one(side: Side) -> float:
        rate = generator.measure(side.route, effort.seconds, effort.cpus[0])
        result.lost = max(result.lost, rate.lost)
        return rate.per_second

    return one
