# SPDX-License-Identifier: Apache-2.0
"""Learning of MACs."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from tests.unit.services.rig import FABRIC, ROUTER, VM1, VM2, Rig, results

from vrouter.agent.services.base import ForgetAddress, ForgetMac, LearnAddress, LearnMac
from vrouter.agent.services.learning import MOVES, PER_PORT
from vrouter.dpcore.names import TrapReason

GUEST = "02:99:00:00:00:01"
LEARN = TrapReason.MAC_LEARN
MOVE = TrapReason.MAC_MOVE


def frame(mac: str = GUEST) -> Any:
    # a DHCP request as well: the trap's reason says what this copy is for
    return Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / IP() / UDP(sport=68, dport=67)


def learnt(actions: Any) -> list[tuple[int, str, int, int]]:
    return [
        (one.vrf, one.mac.hex(":"), one.vif, one.index)
        for one in actions
        if isinstance(one, LearnMac)
    ]


def forgotten(actions: Any) -> list[str]:
    return [one.mac.hex(":") for one in actions if isinstance(one, ForgetMac)]


def test_learnt_kept_by_traffic_and_forgotten() -> None:
    rig = Rig()
    actions = rig.send(frame(), reason=LEARN, params=(77,), now=0.0)
    assert learnt(actions) == [(2, GUEST, 1, 77)]
    assert results(actions) == ["mac-learning: learnt"]
    key = (2, bytes.fromhex(GUEST.replace(":", "")))
    assert list(rig.get("mac-learning").macs()) == [key]
    rig.get("mac-learning").heard({key: 5}, 200.0)
    assert not forgotten(rig.tick(400.0))
    rig.get("mac-learning").heard({key: 5, (2, b"other."): 1}, 450.0)
    assert rig.remembered("mac-learning", 210.0) == [
        {"vrf": 2, "mac": GUEST, "vif": 1, "moves": 0, "seconds_ago": 10.0}
    ]
    assert forgotten(rig.tick(500.0)) == [GUEST]
    assert not rig.get("mac-learning").learnt


def test_moves() -> None:
    rig = Rig()
    rig.send(frame(), reason=LEARN)
    actions = rig.send(frame(), vif=2, reason=MOVE, params=(77,))
    assert learnt(actions) == [(2, GUEST, 2, 77)]
    assert results(actions) == ["mac-learning: moved"]
    for n in range(MOVES - 1):
        rig.send(frame(), vif=1 + n % 2, reason=MOVE, now=1001.0 + n)
    last = rig.send(frame(), vif=1 + (MOVES - 1) % 2, reason=MOVE, now=1010.0)
    assert results(last) == ["mac-learning: moves too often"] and not learnt(last)
    later = rig.send(frame(), vif=1 + (MOVES - 1) % 2, reason=MOVE, now=1185.0)
    assert learnt(later)


def test_a_port_that_is_gone_takes_its_macs_along() -> None:
    rig = Rig()
    rig.send(frame(), reason=LEARN)
    del rig.world.live[1]
    assert forgotten(rig.tick(1001.0)) == [GUEST]


def test_bound() -> None:
    rig = Rig()
    for n in range(PER_PORT):
        rig.send(frame(f"02:99:00:00:01:{n:02x}"), reason=LEARN)
    refused = rig.send(frame("02:99:00:00:02:00"), reason=LEARN)
    assert results(refused) == ["mac-learning: too many macs"]
    assert forgotten(refused) == ["02:99:00:00:02:00"], "the entry that dp-core has made goes"
    assert learnt(rig.send(frame("02:99:00:00:02:00"), vif=2, reason=LEARN))


@pytest.mark.parametrize(
    ("mac", "how", "result"),
    [
        (ROUTER, {}, "claims the router"),
        (VM2, {}, "claims another port's"),
        (GUEST, {"vif": FABRIC}, "from the fabric"),
    ],
)
def test_what_is_not_learnt(mac: str, how: Any, result: str) -> None:
    actions = Rig().send(frame(mac), reason=MOVE, **how)
    assert results(actions) == [f"mac-learning: {result}"] and len(actions) == 1


def test_its_own_mac_comes_home() -> None:
    assert learnt(Rig().send(frame(VM1), reason=MOVE))


def test_what_an_earlier_agent_learnt_ages() -> None:
    rig = Rig()
    mac = bytes.fromhex(GUEST.replace(":", ""))
    address = LearnAddress(2, ip_address("10.1.1.100"), bytes.fromhex(VM1.replace(":", "")), 1)
    for one in rig.services:
        one.known([LearnMac(2, mac, 1), address], 1000.0)
    assert [row["mac"] for row in rig.remembered("mac-learning", 1000.0)] == [GUEST]
    assert [row["address"] for row in rig.remembered("address-learning", 1000.0)] == ["10.1.1.100"]
    gone = rig.tick(1060.0)
    assert [str(one.address) for one in gone if isinstance(one, ForgetAddress)] == ["10.1.1.100"]
    rig.get("mac-learning").heard({(2, mac): 9}, 1030.0)
    assert forgotten(rig.tick(1300.0)) == [GUEST], "what it said before counts for nothing"
