# SPDX-License-Identifier: Apache-2.0
"""ARP: answers, announcements, probes, learning of allowed addresses."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pytest
from scapy.layers.l2 import ARP, Dot1Q, Ether
from tests.unit.services.rig import (
    FABRIC,
    PORT1,
    PORT2,
    PORT3,
    ROUTER,
    VM1,
    VM2,
    VM3,
    Rig,
    frames,
    only,
    results,
)

from vrouter.agent.desired.records import AddressPair
from vrouter.agent.services.addresses import PER_PORT
from vrouter.agent.services.base import ForgetAddress, Inject, LearnAddress
from vrouter.dpcore.names import TrapReason


def arp(mac: str = VM1, **fields: Any) -> Any:
    fields = {"hwsrc": mac, "psrc": "10.1.1.10", "pdst": "10.1.1.1", "op": 1, **fields}
    return Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / ARP(**fields)


def heard(mac: str, address: str) -> Any:
    return Ether(src=mac, dst=ROUTER) / ARP(
        op=2, hwsrc=mac, psrc=address, hwdst=ROUTER, pdst="10.1.1.1"
    )


@pytest.mark.parametrize("target", ["10.1.1.1", "10.1.1.2"])
def test_gateway_and_resolver_are_answered(target: str) -> None:
    actions = Rig().send(arp(pdst=target))
    reply = only(actions)
    assert (reply.src, reply.dst) == (ROUTER, VM1)
    assert (reply[ARP].op, reply[ARP].hwsrc, reply[ARP].psrc) == (2, ROUTER, target)
    assert (reply[ARP].hwdst, reply[ARP].pdst) == (VM1, "10.1.1.10")
    assert results(actions) == ["arp: answered"]


@pytest.mark.parametrize(
    ("vif", "packet", "result"),
    [
        (1, arp(pdst="10.1.1.11"), "not for the network"),
        (1, arp(psrc="10.1.1.1", pdst="10.1.1.1"), "claims an address of the network"),
        (1, arp(op=2, psrc="10.1.1.2"), "claims an address of the network"),
        (1, arp(hwsrc=VM2), "sender differs from frame"),
        (1, arp(op=3), "arp operation"),
        (1, arp(hwtype=6), "arp kind"),
        (1, arp(hwlen=8), "arp kind"),
        (1, arp(psrc="224.0.0.1"), "arp sender"),
        (1, arp(psrc="10.1.1.10", pdst="10.1.1.10"), "heard"),
        (3, arp(VM3, psrc="10.2.1.10", pdst="10.2.1.10"), "heard"),
        (3, arp(VM3, psrc="0.0.0.0", pdst="10.2.1.10"), "not for the network"),
        (3, arp(VM3, psrc="10.2.1.10", pdst="10.3.0.1"), "not for the network"),
        (FABRIC, arp(), "from the fabric"),
    ],
)
def test_what_is_not_answered(vif: int, packet: Any, result: str) -> None:
    actions = Rig().send(packet, vif=vif)
    assert results(actions) == [f"arp: {result}"]
    assert len(actions) == 1


def test_a_network_that_only_routes_answers_for_all_others() -> None:
    reply = only(Rig().send(arp(VM3, psrc="10.2.1.10", pdst="10.2.1.77"), vif=3), 3)
    assert (reply[ARP].hwsrc, reply[ARP].psrc) == (ROUTER, "10.2.1.77")


def test_its_own_pair_is_not_answered_for() -> None:
    rig = Rig()
    pair = (AddressPair(prefix="10.2.1.96/28"),)
    interface = msgspec.structs.replace(PORT3.interface, allowed_address_pairs=pair)
    rig.world.live[3] = dataclasses.replace(PORT3, interface=interface)
    asked = arp(VM3, psrc="10.2.1.10", pdst="10.2.1.97")
    assert results(rig.send(asked, vif=3)) == ["arp: not for the network"]
    other = arp(VM3, psrc="10.2.1.10", pdst="10.2.1.112")
    assert results(rig.send(other, vif=3)) == ["arp: answered"]


def test_a_tag_comes_back() -> None:
    packet = Ether(src=VM1, dst="ff:ff:ff:ff:ff:ff") / Dot1Q(vlan=7, prio=3)
    packet /= ARP(hwsrc=VM1, psrc="10.1.1.10", pdst="10.1.1.1")
    reply = only(Rig().send(packet))
    assert (reply[Dot1Q].vlan, reply[Dot1Q].prio, reply[ARP].op) == (7, 3, 2)


def test_gateways_are_announced_when_a_port_comes_up() -> None:
    said = [one[ARP] for one in frames(Rig().up(PORT1)) if ARP in one]
    announced = [one for one in said if one.psrc == one.pdst]
    assert sorted(one.psrc for one in announced) == ["10.1.1.1", "10.1.1.2"]
    assert {one.hwsrc for one in announced} == {ROUTER}
    assert not [one for one in frames(Rig().up(PORT3), 3) if ARP in one]


def test_a_pair_is_probed_learnt_probed_again_and_forgotten() -> None:
    rig = Rig()
    probes = [
        one[ARP] for one in frames(rig.up(PORT1)) if ARP in one and one[ARP].psrc != one[ARP].pdst
    ]
    assert [(one.psrc, one.pdst) for one in probes] == [("10.1.1.1", "10.1.1.100")]
    actions = rig.send(heard(VM1, "10.1.1.100"), now=1001)
    learnt = [one for one in actions if isinstance(one, LearnAddress)]
    assert [(one.vrf, str(one.address), one.mac.hex(":"), one.vif) for one in learnt] == [
        (2, "10.1.1.100", VM1, 1)
    ]
    assert rig.remembered("address-learning", 1001.5) == [
        {"vrf": 2, "address": "10.1.1.100", "mac": VM1, "vif": 1, "seconds_ago": 0.5}
    ]
    assert results(rig.send(heard(VM1, "10.1.1.100"), now=1002)) == ["arp: refreshed"]
    asked = [(one.dst, one[ARP].pdst) for one in frames(rig.tick(1033)) if ARP in one]
    assert asked == [(VM1, "10.1.1.100")]
    assert not [one for one in frames(rig.tick(1034)) if ARP in one], "not every second"
    gone = [one for one in rig.tick(1062) if isinstance(one, ForgetAddress)]
    assert [(one.vrf, str(one.address)) for one in gone] == [(2, "10.1.1.100")]
    again = [one[ARP].pdst for one in frames(rig.tick(1063)) if ARP in one]
    assert again == ["10.1.1.100"], "the pair is asked about again"


def test_a_pair_moves_to_the_port_that_claims_it() -> None:
    rig = Rig()
    rig.send(heard(VM1, "10.1.1.100"))
    gratuitous = arp(VM2, psrc="10.1.1.100", pdst="10.1.1.100")
    actions = rig.send(gratuitous, vif=2, reason=TrapReason.ARP, now=1005)
    assert [one.vif for one in actions if isinstance(one, LearnAddress)] == [2]
    assert results(rig.send(heard(VM2, "10.1.1.77"), vif=2)) == ["arp: heard"]
    del rig.world.live[2]
    gone = [one for one in rig.tick(1006) if isinstance(one, ForgetAddress)]
    assert [str(one.address) for one in gone] == ["10.1.1.100"]


def test_a_port_learns_a_bounded_number_of_addresses() -> None:
    rig = Rig()
    made = [f"10.1.3.{n}" for n in range(256)]
    ended = [results(rig.send(heard(VM1, one)))[0] for one in made]
    assert ended.count("arp: learnt") == PER_PORT
    rig.send(heard(VM1, "10.1.1.100"))
    assert results(rig.send(heard(VM1, "10.1.1.100"))) == ["arp: too many addresses"]


def test_learning_of_addresses_answers_or_passes_on() -> None:
    rig = Rig()
    how = {"reason": TrapReason.MAC_IP_LEARNING}
    actions = rig.send(arp(psrc="10.1.1.50"), **how)
    assert [str(one.address) for one in actions if isinstance(one, LearnAddress)] == ["10.1.1.50"]
    assert only(actions)[ARP].psrc == "10.1.1.1"
    other = rig.send(arp(psrc="10.1.1.50", pdst="10.1.1.60"), **how)
    assert [one.frame for one in other if isinstance(one, Inject)] == [
        bytes(arp(psrc="10.1.1.50", pdst="10.1.1.60"))
    ]
    own = rig.send(arp(pdst="10.1.1.60"), **how)
    assert results(own) == ["address-learning: known"] and isinstance(own[-1], Inject)
    refused = {
        "10.1.1.1": "claims an address of the network",
        "10.1.1.11": "claims another port's",
        "10.7.7.7": "not of the network",
        "0.0.0.0": "not of the network",
    }
    for address, why in refused.items():
        assert results(rig.send(arp(psrc=address), **how)) == [f"address-learning: {why}"]
    rig.world.live[2] = PORT2
    gone = [str(one.address) for one in rig.tick(1061) if isinstance(one, ForgetAddress)]
    assert gone == ["10.1.1.50"]
