# SPDX-License-Identifier: Apache-2.0
"""TCP that is handed on to a service namespace."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from tests.unit.services.rig import ROUTER, ROUTER_LL, VM1, VM1_LL, Rig, World, only, results

from vrouter.agent.services import all_services
from vrouter.agent.services.base import Action, Later
from vrouter.agent.services.tcp import WAITING_PER_PORT
from vrouter.dpcore.names import TrapReason

MAC = "02:00:5e:00:01:00"
SERVICE = 40


class Keeper:
    """Namespaces that are made when somebody waits for it. works: whether they can be."""

    mac = bytes.fromhex(MAC.replace(":", ""))

    def __init__(self, works: bool = True) -> None:
        self.works = works
        self.there: set[int] = set()
        self.met: set[tuple[int, Any, bytes, int]] = set()

    def vif(self, vrf: int) -> int | None:
        return SERVICE if vrf in self.there else None

    async def make(self, vrf: int) -> int | None:
        if self.works:
            self.there.add(vrf)
        return self.vif(vrf)

    def knows(self, vrf: int, address: Any, mac: bytes, vif: int) -> bool:
        return (vrf, address, mac, vif) in self.met

    async def meet(self, vrf: int, address: Any, mac: bytes, vif: int) -> bool:
        self.met.add((vrf, address, mac, vif))
        return True

    def rows(self) -> Iterable[dict[str, str | int | float]]:
        return [{"vrf": vrf} for vrf in self.there]


def rig(keeper: Keeper) -> Rig:
    world = World()
    return Rig(world, all_services(world, keeper=keeper))


def syn(target: str = "10.1.1.1", **fields: Any) -> Any:
    head = Ether(src=VM1, dst=ROUTER)
    if ":" in target:
        return head / IPv6(src=fields.pop("src", "fd00:1::a"), dst=target) / TCP(dport=53)
    return head / IP(src="10.1.1.10", dst=target) / TCP(dport=fields.pop("dport", 53))


def run(actions: Iterable[Action]) -> list[Action]:
    async def wait() -> list[Action]:
        (later,) = [one for one in actions if isinstance(one, Later)]
        return list(await later.work)

    return asyncio.run(wait())


def test_the_first_packet_waits_for_the_namespace() -> None:
    made = rig(Keeper())
    sent = made.send(syn(), reason=TrapReason.NEXTHOP)
    assert results(sent) == []
    actions = run(sent)
    frame = only(actions, SERVICE)
    assert results(actions) == ["tcp: handed on"]
    assert (frame.dst, frame.src) == (MAC, ROUTER)
    assert bytes(frame)[14:54] == bytes(syn()[IP]), "as it was"
    again = made.send(syn(), reason=TrapReason.NEXTHOP)
    assert bytes(only(again, SERVICE)) == bytes(frame)
    assert made.remembered("tcp", 0.0) == [{"vrf": 2}]


def test_tags_are_the_ports_own() -> None:
    keeper = Keeper()
    keeper.there.add(2)
    tagged = Ether(src=VM1, dst=ROUTER) / Dot1Q(vlan=5) / syn()[IP]
    frame = only(rig(keeper).send(tagged, reason=TrapReason.NEXTHOP), SERVICE)
    assert Dot1Q not in frame and frame[TCP].dport == 53


def test_few_packets_of_a_port_wait() -> None:
    keeper = Keeper(works=False)
    made = rig(keeper)
    waiting = [made.send(syn(), reason=TrapReason.NEXTHOP) for _ in range(WAITING_PER_PORT)]
    assert results(made.send(syn(), reason=TrapReason.NEXTHOP)) == ["tcp: too many waiting"]
    for one in waiting:
        assert results(run(one)) == ["tcp: no namespace"]
    keeper.works = True
    assert only(run(made.send(syn(), reason=TrapReason.NEXTHOP)), SERVICE)


def test_no_namespace() -> None:
    actions = run(rig(Keeper(works=False)).send(syn(), reason=TrapReason.NEXTHOP))
    assert results(actions) == ["tcp: no namespace"]


def test_a_link_local_source_is_met_first() -> None:
    keeper = Keeper()
    keeper.there.add(2)
    made = rig(keeper)
    packet = syn(ROUTER_LL, src=VM1_LL)
    assert only(run(made.send(packet, reason=TrapReason.NEXTHOP)), SERVICE)[IPv6].src == VM1_LL
    assert only(made.send(packet, reason=TrapReason.NEXTHOP), SERVICE)
    assert only(made.send(syn("fd00:1::1"), reason=TrapReason.NEXTHOP), SERVICE)


@pytest.mark.parametrize("reason", [TrapReason.ZERO_TTL, TrapReason.HANDLE_DF])
def test_what_is_no_packet_to_us_is_not_handed_on(reason: int) -> None:
    keeper = Keeper()
    keeper.there.add(2)
    actions = rig(keeper).raw(bytes(syn()), reason=reason, params=(1400,)) or []
    assert not [one for one in results(actions) if one.startswith("tcp")]
    assert rig(keeper).raw(bytes(syn()), vif=9, reason=TrapReason.NEXTHOP) is None
