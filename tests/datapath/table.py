# SPDX-License-Identifier: Apache-2.0
"""Cases written by hand: a packet, and all that must become of it.

What follows from the rules for every packet is not written out in each case: the ingress vif
counts it, every vif that something leaves by counts that, every drop counts once globally and
once on the ingress vif. The rest of the counters stands in the case, and is all there is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tests.model.const import Drop, Trap, Verdict
from tests.model.packet import Copy, Key, Outcome
from tests.model.state import State

from .rig import Rig, expected
from .states import AGENT, HEADLESS, WITH_AGENT


@dataclass(frozen=True)
class Case:
    """One packet. `vrf`: (VRF, counter) once for each count; `bridge`: (VRF, MAC) likewise;
    `heard`: whose own entry counts it; `lost`: reasons of copies that were not sent; `blamed`: the vif that drops count on.
    `part`: the Virtual VLAN vif that the frame is of, which counts it, `taken` bytes shorter.
    `marks`: transmit queue + 1 and priority."""

    name: str
    vif: int
    frame: bytes
    verdict: Verdict
    out: int | None = None
    reason: int = 0
    sent: bytes = b""
    copies: tuple[Copy, ...] = ()
    vrf: tuple[tuple[int, str], ...] = ()
    bridge: tuple[tuple[int, bytes], ...] = ()
    heard: tuple[tuple[int, bytes], ...] = ()
    lost: tuple[Drop, ...] = ()
    blamed: int | None = None
    part: int | None = None
    taken: int = 0
    marks: tuple[int, int] = (0, 0)
    states: tuple[str, ...] = (HEADLESS.name, WITH_AGENT.name)

    def counters(self) -> Counter[Key]:
        """All that the case must count."""
        counts: Counter[Key] = Counter()
        vif = self.vif if self.part is None else self.part
        counts["rx_packets", vif] += 1
        counts["rx_bytes", vif] += len(self.frame) - self.taken
        leaving = [(copy.vif, copy.frame) for copy in self.copies]
        if self.out is not None:
            leaving.append((self.out, self.sent))
        for out, frame in leaving:
            counts["tx_packets", out] += 1
            counts["tx_bytes", out] += len(frame)
        ended = (Drop(self.reason),) if self.verdict == Verdict.DROP else ()
        for reason in self.lost + ended:
            counts["drop", int(reason)] += 1
            counts["vif_drop", vif if self.blamed is None else self.blamed, int(reason)] += 1
        for vrf, name in self.vrf:
            counts["vrf", vrf, name] += 1
        for vrf, mac in self.bridge:
            counts["bridge", vrf, mac.hex()] += 1
        for vrf, mac in self.heard:
            counts["heard", vrf, mac.hex()] += 1
        return counts

    def with_agent(self) -> Case:
        """The case, with an agent only."""
        return replace(self, states=(WITH_AGENT.name,))

    def headless(self) -> Case:
        """The case, without an agent only."""
        return replace(self, states=(HEADLESS.name,))


def only(state: State, *cases: Case) -> list[Case]:
    """The cases, in that state only."""
    return [replace(case, states=(state.name,)) for case in cases]


Names = tuple[tuple[int, str], ...]
Macs = tuple[tuple[int, bytes], ...]


def tx(
    name: str, vif: int, frame: bytes, out: int, sent: bytes, vrf: Names = (), bridge: Macs = ()
) -> Case:
    """The packet leaves by `out` as `sent`."""
    return Case(name, vif, frame, Verdict.TX, out, 0, sent, vrf=vrf, bridge=bridge)


def drop(
    name: str, vif: int, frame: bytes, reason: Drop, vrf: Names = (), bridge: Macs = ()
) -> Case:
    """The packet is dropped."""
    return Case(name, vif, frame, Verdict.DROP, None, reason, vrf=vrf, bridge=bridge)


def trap(
    name: str, vif: int, frame: bytes, reason: Trap, sent: bytes, vrf: Names = (), bridge: Macs = ()
) -> list[Case]:
    """The packet goes to the agent as `sent`; without one it is dropped as TRAP_NO_IF."""
    case = Case(name, vif, frame, Verdict.TRAP, AGENT, reason, sent, vrf=vrf, bridge=bridge)
    without = drop(f"{name}, no agent", vif, frame, Drop.TRAP_NO_IF, vrf, bridge)
    return [case.with_agent(), without.headless()]


def flood(
    name: str,
    vif: int,
    frame: bytes,
    copies: list[Copy],
    lost: tuple[Drop, ...] = (),
    vrf: Names = (),
    bridge: Macs = (),
) -> Case:
    """Copies are sent, and the original is dropped as CLONED_ORIGINAL."""
    case = drop(name, vif, frame, Drop.CLONED_ORIGINAL, vrf, bridge)
    return replace(case, copies=tuple(copies), lost=lost)


def copy(vif: int, frame: bytes) -> Copy:
    """A copy that leaves by a vif."""
    return Copy(vif, Verdict.TX, 0, frame)


def trap_copy(reason: Trap, frame: bytes) -> Copy:
    """A copy for the agent."""
    return Copy(AGENT, Verdict.TRAP, reason, frame)


def _ordered(copies: Sequence[Copy]) -> list[Copy]:
    """Copies that are sent have an order; one for the agent may come at any time."""
    return sorted(copies, key=lambda one: one.kind)


def _seen(outcome: Outcome) -> tuple[object, ...]:
    copies = _ordered(outcome.copies)
    seen = outcome.verdict, outcome.out_vif, int(outcome.reason), outcome.frame
    return *seen, outcome.marks, copies


def check(one: Rig, case: Case) -> None:
    """The model and dp-core both do what the case says, and count what it says."""
    ended = case.verdict, case.out, int(case.reason), case.sent
    wanted = *ended, case.marks, _ordered(case.copies)
    counts = +case.counters()
    if case.vif not in one.state.vifs:
        counts = Counter({key: n for key, n in counts.items() if key[0] == "drop"})
    model = expected(one.state, case.vif, case.frame)
    assert _seen(model) == wanted, "the model"
    assert +model.counters == counts, "counters of the model"
    before = one.counters()
    found = one.outcome(case.vif, case.frame)
    assert _seen(found) == wanted, "dp-core"
    assert one.counters() - before == counts, "counters of dp-core"


def rows(*parts: Case | list[Case]) -> list[Case]:
    """The cases of one table; each has a name of its own."""
    flat = [case for part in parts for case in (part if isinstance(part, list) else [part])]
    names = [case.name for case in flat]
    assert len(set(names)) == len(names), [name for name in names if names.count(name) > 1]
    return flat
