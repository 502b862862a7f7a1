# SPDX-License-Identifier: Apache-2.0
"""The header on pkt0 against the reference model's, and the dispatch of traps to services."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import pytest
from tests.model.wire import AGENT_HDR, ether

from vrouter.agent import agent_hdr
from vrouter.agent.lanes import OTHER
from vrouter.agent.pkt0 import FAILED, LIMITED, UNKNOWN, Limits, Pkt0
from vrouter.agent.plan.numbers import ROUTER_MAC
from vrouter.agent.services.base import Action, Count, ForgetMac, Inject, Port, Transmit, Trap

FRAME = bytes(range(60))


def trapped(vif: int = 7, reason: int = 4, frame: bytes = FRAME) -> bytes:
    head = AGENT_HDR.pack(vif, 3, reason, 11, 12, 13, 14, 15, 16)
    return ether(ROUTER_MAC, ROUTER_MAC, 0x0800) + head + frame


def test_a_trap_is_read_as_the_model_writes_it() -> None:
    assert agent_hdr.unpack(trapped()) == (7, 3, 4, (11, 12, 13, 14, 15, 16), FRAME)


def test_what_is_sent_is_a_trap_of_the_model() -> None:
    head = AGENT_HDR.pack(5, 2, 1, 0, 0, 0, 0, 0, 0)
    assert agent_hdr.pack(1, 5, 2, FRAME) == ether(ROUTER_MAC, ROUTER_MAC, 0x0800) + head + FRAME


@pytest.mark.parametrize(
    "packet",
    [b"", trapped()[:57], bytes(6) + trapped()[6:], trapped()[:12] + b"\x86\xdd" + trapped()[14:]],
)
def test_what_is_no_trap(packet: bytes) -> None:
    assert agent_hdr.unpack(packet) is None


@dataclass
class Answers:
    """A service that takes one reason."""

    name: str
    reason: int
    actions: tuple[Action, ...] = ()
    seen: list[Trap] = field(default_factory=list)
    told: dict[tuple[int, bytes], int] = field(default_factory=dict)

    def handle(self, trap: Trap) -> Iterable[Action] | None:
        if trap.reason != self.reason:
            return None
        self.seen.append(trap)
        return self.actions

    def macs(self) -> Iterable[tuple[int, bytes]]:
        return ((3, FRAME[:6]),) if self.reason == 4 else ()

    def heard(self, packets: Mapping[tuple[int, bytes], int], now: float) -> None:
        self.told = dict(packets)

    def tick(self, now: float) -> Iterable[Action]:
        return ()

    def port_up(self, port: Port, now: float) -> Iterable[Action]:
        return ()


class Breaks(Answers):
    def handle(self, trap: Trap) -> Iterable[Action] | None:
        raise ZeroDivisionError


class Nobody:
    router_mac = ROUTER_MAC

    def port(self, vif: int) -> None:
        return None


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    os.close(read)
    os.close(write)


def served(
    write: int, *services: Answers, rate: float = 100, burst: float = 100
) -> tuple[Pkt0, list[Action]]:
    learnt: list[Action] = []
    return Pkt0(write, Nobody(), services, learnt.append, Limits(rate, burst)), learnt  # type: ignore[arg-type]


def test_the_first_that_knows_it_takes_it(pipe: tuple[int, int]) -> None:
    first, second = Answers("first", 4), Answers("second", 4)
    other = Answers("other", 9)
    pkt0, _ = served(pipe[1], other, first, second)
    pkt0.take(trapped(), 1.0)
    assert [len(one.seen) for one in (other, first, second)] == [0, 1, 0]
    assert first.seen[0].vif == 7 and first.seen[0].frame == FRAME
    pkt0.take(trapped(reason=2), 1.0)
    pkt0.take(b"short", 1.0)
    assert pkt0.counts == {("pkt0", UNKNOWN): 1, ("pkt0", "malformed"): 1}


def test_actions_are_carried_out(pipe: tuple[int, int]) -> None:
    forget = ForgetMac(3, bytes(6))
    actions = (Transmit(5, FRAME), Inject(6, 2, FRAME), Count("one", "answered"), forget)
    pkt0, learnt = served(pipe[1], Answers("one", 4, actions))
    pkt0.take(trapped(), 1.0)
    sent = os.read(pipe[0], 4096)
    assert sent == agent_hdr.pack(0, 5, 0, FRAME) + agent_hdr.pack(1, 6, 2, FRAME)
    assert pkt0.counts["one", "answered"] == 1 and learnt == [forget]


def test_a_port_has_its_share_and_no_other_pays_for_it(pipe: tuple[int, int]) -> None:
    one = Answers("one", 4, (Count("one", "answered"),))
    pkt0, _ = served(pipe[1], one, rate=10, burst=5)
    for _ in range(20):
        pkt0.take(trapped(vif=7), 1.0)
    pkt0.take(trapped(vif=8), 1.0)
    assert pkt0.counts == {("one", "answered"): 6, (OTHER, LIMITED): 15}
    assert len(one.seen) == 6, "what is above the rate costs no service's time"
    pkt0.take(trapped(vif=7), 1.25)  # two tokens came in the meantime
    pkt0.take(trapped(vif=7), 1.25)
    pkt0.take(trapped(vif=7), 1.25)
    assert pkt0.counts == {("one", "answered"): 8, (OTHER, LIMITED): 16}


def test_one_that_breaks_is_counted_and_the_next_packet_is_served(pipe: tuple[int, int]) -> None:
    pkt0, _ = served(pipe[1], Breaks("bad", 4))
    pkt0.take(trapped(), 1.0)
    pkt0.take(trapped(), 1.0)
    assert pkt0.counts["bad", FAILED] == 2


def test_who_asks_for_macs_is_told_how_often_they_spoke(pipe: tuple[int, int]) -> None:
    one = Answers("one", 4)
    pkt0, _ = served(pipe[1], Answers("other", 9), one)
    assert pkt0.macs() == [(3, FRAME[:6])]
    pkt0.heard({(3, FRAME[:6]): 12})
    assert one.told == {(3, FRAME[:6]): 12}
