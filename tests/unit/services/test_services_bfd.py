# SPDX-License-Identifier: Apache-2.0
"""BFD: two of our ends against each other, and packets by hand."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from scapy.contrib.bfd import BFD
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from tests.unit.services.rig import ROUTER, VM1, Rig, frames, only, results, same_sums

from vrouter.agent.services.bfd import PER_PORT, Wanted
from vrouter.dpcore.names import TrapReason

DOWN, INIT, UP = 1, 2, 3
TRAP = {"reason": TrapReason.BFD}


def bfd(state: int = DOWN, *, src: str = "10.1.1.10", ttl: int = 255, **fields: Any) -> Any:
    head = Ether(src=VM1, dst=ROUTER) / IP(src=src, dst="10.1.1.1", ttl=ttl)
    values = {
        "sta": state,
        "my_discriminator": 5,
        "your_discriminator": 0,
        "min_tx_interval": 1_000_000,
        "min_rx_interval": 1_000_000,
        "detect_mult": 3,
        "flags": 0,
        **fields,
    }
    return head / UDP(sport=50000, dport=3784) / BFD(**values)


def allowing() -> Rig:
    rig = Rig()
    rig.get("bfd").configure([], ["red"])
    return rig


def states(rig: Rig) -> list[str]:
    return [one.state for one in rig.get("bfd").sessions()]


def test_a_vm_begins_a_session() -> None:
    rig = allowing()
    sent = only(rig.send(bfd(), **TRAP))
    assert same_sums(sent)
    assert (sent[IP].src, sent[IP].dst, sent[IP].ttl) == ("10.1.1.1", "10.1.1.10", 255)
    assert sent[UDP].dport == 3784 and sent[UDP].sport >= 49152
    said = sent[BFD]
    assert (said.version, said.sta, said.your_discriminator, said.detect_mult) == (1, INIT, 5, 3)
    assert (said.min_tx_interval, said.min_rx_interval, said.echo_rx_interval) == (10**6, 10**6, 0)
    mine = said.my_discriminator
    actions = rig.send(bfd(INIT, your_discriminator=mine), now=1001.0, **TRAP)
    assert only(actions)[BFD].sta == UP
    assert results(actions) == ["bfd: heard", "bfd: up"]
    assert states(rig) == ["up"]
    shown = {"vif": 1, "local": "10.1.1.1", "remote": "10.1.1.10", "state": "up", "diag": 0}
    assert rig.remembered("bfd", 1003.0) == [{**shown, "configured": 0, "seconds_in_state": 2.0}]


def test_silence_is_down_after_three_intervals_and_forgotten_after_a_minute() -> None:
    rig = allowing()
    mine = only(rig.send(bfd(), now=0.0))[BFD].my_discriminator
    rig.send(bfd(UP, your_discriminator=mine), now=1.0)
    assert "bfd: down" not in results(rig.tick(3.9))
    actions = rig.tick(4.0)
    assert "bfd: down" in results(actions)
    assert [one.diag for one in rig.get("bfd").sessions()] == [1]
    assert not [one for one in frames(rig.tick(6.0)) if BFD in one], "it is passive again"
    again = only(rig.send(bfd(my_discriminator=77), now=7.0))
    assert (again[BFD].sta, again[BFD].your_discriminator) == (INIT, 77)
    assert "bfd: down" in results(rig.tick(11.0))
    rig.tick(30.0)
    assert states(rig) == ["down"]
    rig.tick(71.0)
    assert states(rig) == []


def test_the_other_side_says_how_patient_to_be() -> None:
    """Its multiplier times the longer of our receive and its send interval (RFC 5880, 6.8.4)."""
    rig = allowing()
    slow: Any = {"detect_mult": 5, "min_tx_interval": 2_000_000}
    mine = only(rig.send(bfd(**slow), now=0.0))[BFD].my_discriminator
    rig.send(bfd(UP, your_discriminator=mine, **slow), now=1.0)
    assert "bfd: down" not in results(rig.tick(10.9))
    assert "bfd: down" in results(rig.tick(11.0))


def test_the_other_side_goes_down() -> None:
    for state, diag in ((DOWN, 3), (0, 3)):
        rig = allowing()
        mine = only(rig.send(bfd()))[BFD].my_discriminator
        rig.send(bfd(UP, your_discriminator=mine))
        rig.send(bfd(state, your_discriminator=mine))
        assert [(one.state, one.diag) for one in rig.get("bfd").sessions()] == [("down", diag)]


def test_a_poll_is_answered_at_once() -> None:
    rig = allowing()
    mine = only(rig.send(bfd()))[BFD].my_discriminator
    rig.send(bfd(UP, your_discriminator=mine))
    sent = only(rig.send(bfd(UP, your_discriminator=mine, flags="P")))
    assert sent[BFD].flags == "F"


def test_a_configured_session_speaks_first() -> None:
    """Two agents, each with the other as its VM."""
    here, there = Rig(), Rig()
    wanted = Wanted(1, ip_address("10.1.1.10"))
    here.get("bfd").configure([wanted])
    there.get("bfd").configure([Wanted(1, ip_address("10.1.1.10"), passive=True)])
    for now in range(10):
        for one, other in ((here, there), (there, here)):
            for frame in [f for f in frames(one.tick(float(now))) if BFD in f]:
                deliver(other, frame, float(now), one)
    assert states(here) == states(there) == ["up"]
    here.get("bfd").configure([wanted])
    assert states(here) == ["up"], "the same configuration changes nothing"
    here.get("bfd").configure([])
    assert states(here) == []


def deliver(rig: Rig, frame: Any, now: float, sender: Rig) -> None:
    """As the other's VM would have sent it; answers go back likewise."""
    frame = frame.copy()
    frame[IP].src, frame[IP].dst = "10.1.1.10", "10.1.1.1"
    frame.src, frame.dst = VM1, ROUTER
    del frame[IP].chksum, frame[UDP].chksum
    for answer in [f for f in frames(rig.send(frame, now=now, **TRAP)) if BFD in f]:
        deliver(sender, answer, now, rig)


def test_how_often_we_speak() -> None:
    rig = Rig()
    rig.get("bfd").configure([Wanted(1, ip_address("10.1.1.10"), min_tx=5.0)])
    times = [now for now in range(60) if any(BFD in one for one in frames(rig.tick(float(now))))]
    gaps = {b - a for a, b in zip(times, times[1:])}  # noqa: B905, RUF007
    assert gaps <= {4, 5} and len(times) > 10
    rig.send(bfd(min_rx_interval=0), now=100.0)
    assert not [one for one in frames(rig.tick(160.0)) if BFD in one], "it wants none"


@pytest.mark.parametrize(
    ("packet", "result"),
    [
        (bfd(ttl=254), "from further away"),
        (bfd(version=2), "bfd version"),
        (bfd(detect_mult=0), "bfd multiplier"),
        (bfd(flags="M"), "bfd multipoint"),
        (bfd(my_discriminator=0), "bfd discriminator"),
        (bfd(UP), "bfd discriminator"),
        (bfd(len=99), "short bfd"),
        (bfd(your_discriminator=9), "unknown discriminator"),
        (bfd(src="10.1.1.77"), "not the port's address"),
    ],
)
def test_what_is_not_taken(packet: Any, result: str) -> None:
    actions = allowing().send(packet, **TRAP)
    assert results(actions) == [f"bfd: {result}"] and len(actions) == 1


def test_where_it_is_not_allowed() -> None:
    assert results(Rig().send(bfd(), **TRAP)) == ["bfd: not allowed"]


def test_few_sessions_of_a_port() -> None:
    rig = allowing()
    for n in range(PER_PORT + 1):
        packet = bfd(src=f"10.1.3.{n}", my_discriminator=n + 1)
        last = results(rig.send(packet, **TRAP))
    assert last == ["bfd: too many sessions"]
    assert len(states(rig)) == PER_PORT


def test_over_ipv6() -> None:
    rig = allowing()
    head = Ether(src=VM1, dst=ROUTER) / IPv6(src="fd00:1::a", dst="fd00:1::1", hlim=255)
    sent = only(rig.send(head / UDP(sport=50000, dport=3784) / bfd()[BFD], **TRAP))
    assert same_sums(sent) and (sent[IPv6].hlim, sent[BFD].sta) == (255, INIT)
