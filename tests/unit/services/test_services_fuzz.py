# SPDX-License-Identifier: Apache-2.0
"""Nothing that a VM sends raises, is answered to somebody else, or fills the agent.

$VR_SEED repeats a run; $VR_SOAK_PACKETS says how many the long run sends.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterable

import dpkt
import pytest
from tests.unit.services.fuzz import GRAMMARS, Grammar, seed, spoil
from tests.unit.services.rig import FABRIC, ROUTER, V4, VM1, Rig, World

from vrouter.agent.services import all_services
from vrouter.agent.services.addresses import PER_PORT
from vrouter.agent.services.base import Action, Count, Later, Transmit
from vrouter.agent.services.dns_forward import is_answer
from vrouter.agent.services.membership import GROUPS_PER_PORT, SOURCES_PER_GROUP
from vrouter.agent.services.wire import checksum, ethernet, ipv4, ipv6, udp
from vrouter.dpcore.names import TrapReason

COUNT = 20_000
SOAK_COUNT = int(os.environ.get("VR_SOAK_PACKETS", "1000000"))
_ROUTER = bytes.fromhex(ROUTER.replace(":", ""))
_PORT = bytes.fromhex(VM1.replace(":", ""))
_REASONS = (TrapReason.L3_PROTOCOLS, TrapReason.ARP, TrapReason.NEXTHOP, TrapReason.MAC_IP_LEARNING)
# of all services; what a packet holds must not get into a counter's name
MOST_RESULTS = 80


class Spoiling:
    """A forwarder whose answers are spoiled, too."""

    def __init__(self, r: random.Random) -> None:
        self._r = r

    async def ask(self, query: bytes, *, stream: bool = False) -> bytes | None:
        answer = query[:2] + b"\x81\x80" + query[4:] + bytes(self._r.randrange(900))
        spoilt = spoil(self._r, answer, [query])
        return answer if is_answer(query, spoilt) else None


def finished(actions: Iterable[Action]) -> list[Action]:
    """With what forwarded queries give."""
    done: list[Action] = []
    for one in actions:
        if not isinstance(one, Later):
            done.append(one)
            continue
        try:
            one.work.send(None)
        except StopIteration as end:
            done += end.value
    return done


def check_sent(frame: bytes, asker: bytes) -> None:
    """It is a frame of the router's, with right checksums, for who asked, the port, or a group."""
    assert 60 <= len(frame) <= 1514
    read = dpkt.ethernet.Ethernet(frame)
    assert read.src == _ROUTER
    assert read.dst in (asker, _PORT) or read.dst[0] & 1
    eth = ethernet.read(frame)
    if eth.kind == ethernet.IPV4:
        four = ipv4.read(eth.payload)
        assert four.source in (V4("10.1.1.1"), V4("10.1.1.2"))
        if four.proto == udp.PROTO:
            udp.read(four.payload, four.source, four.target)
        else:
            assert not checksum.checksum(four.payload)
    elif eth.kind == ethernet.IPV6:
        six = ipv6.read(eth.payload)
        if six.proto == udp.PROTO:
            udp.read(six.payload, six.source, six.target)
        else:
            head = checksum.pseudo(six.source, six.target, ipv6.ICMP, len(six.payload))
            assert not checksum.checksum(head + six.payload)
    else:
        assert eth.kind == ethernet.ARP


def run(grammar: Grammar, number: int, count: int) -> Counter[tuple[str, str]]:
    """Sends `count` packets; how they ended."""
    r = random.Random(number)
    world = World()
    rig = Rig(world, all_services(world, Spoiling(r)))
    ended: Counter[tuple[str, str]] = Counter()
    now = 1000.0
    for n in range(count):
        base = r.choice(grammar.bases)
        payload = base if r.random() < 0.1 else spoil(r, base, grammar.bases)
        frame = grammar.wrap(payload[:1400], r.random() < 0.9)
        if r.random() < 0.02:
            frame = spoil(r, frame, [frame])[:1514]
        vif = FABRIC if r.random() < 0.01 else 1
        reason = r.choice(_REASONS) if r.random() < 0.1 else TrapReason.L3_PROTOCOLS
        now += r.random() * 0.2
        try:
            actions = finished(rig.raw(frame, vif=vif, reason=reason, now=now) or ())
            if n % 64 == 0:
                actions += rig.tick(now)
        except Exception as error:
            pytest.fail(
                f"seed {number}, packet {n}: {frame.hex()} (vif {vif}, {reason!r}): {error!r}"
            )
        for one in actions:
            if isinstance(one, Count):
                ended[one.service, one.result] += 1
            elif isinstance(one, Transmit):
                assert one.vif == 1
                check_sent(one.frame, frame[6:12])
    check_bounds(rig)
    return ended


def check_bounds(rig: Rig) -> None:
    """What is kept of strangers is little."""
    assert len(rig.get("arp")._table) <= PER_PORT
    for name in ("igmp", "mld"):
        for groups in rig.get(name).members.ports.values():
            assert len(groups) <= GROUPS_PER_PORT
            assert all(len(one.sources) <= SOURCES_PER_GROUP for one in groups.values())
    assert not any(rig.get("dns").resolver.in_flight.values())
    assert len(rig.get("dhcp").declined) <= 1 >= len(rig.get("dhcp6").declined)


def check(name: str, number: int, count: int) -> None:
    print(f"VR_SEED={number}")
    grammar = GRAMMARS[name]
    ended = run(grammar, number, count)
    assert len(ended) < MOST_RESULTS, ended
    past = sum(
        times
        for (service, result), times in ended.items()
        if service in grammar.service and result not in grammar.first
    )
    assert past > count / 2, f"too few get past the first checks: {ended}"


@pytest.mark.parametrize("name", sorted(GRAMMARS))
def test_spoiled_packets(name: str) -> None:
    check(name, seed(), COUNT)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", sorted(GRAMMARS))
def test_spoiled_packets_for_long(name: str) -> None:
    check(name, seed(soak=True), SOAK_COUNT)
