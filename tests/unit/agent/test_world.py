# SPDX-License-Identifier: Apache-2.0
"""The MTU that ports are told."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Address

import msgspec
import pytest
from tests.unit.agent.builders import BLUE, FAR_HOST, rig

from vrouter.agent.desired.records import Host
from vrouter.agent.facts import Device
from vrouter.agent.world import LiveWorld, mtu_of

OVER4, OVER6 = 9000 - 50, 9000 - 70
FAR6 = Host(name="h6", address="fd00::6")


@pytest.mark.parametrize(
    ("hosts", "ipv6_only", "told"),
    [
        ([], False, OVER4),
        ([FAR_HOST], False, OVER4),
        ([FAR_HOST, FAR6], False, OVER6),
        ([], True, OVER6),
    ],
)
def test_what_fits_the_fabric(hosts: list[Host], ipv6_only: bool, told: int) -> None:
    made = rig()
    made.change(BLUE, *hosts)
    assert made.facts.fabric is not None
    made.facts.devices["eth0"] = Device(2, "eth0", mtu=9000)
    if ipv6_only:
        made.facts.fabric = replace(made.facts.fabric, addresses=(IPv6Address("fd00::1"),))
    vrf = made.ids.get("VRF", "network/blue")
    assert vrf is not None
    world = LiveWorld(made.state, made.ids, made.planner)
    assert mtu_of(BLUE, made.planner) == world.mtu(vrf) == told
    assert mtu_of(msgspec.structs.replace(BLUE, mtu=1400), made.planner) == 1400


def test_a_fabric_that_is_not_known() -> None:
    made = rig()
    assert mtu_of(BLUE, made.planner) == 0
    made.facts.fabric = None
    assert mtu_of(BLUE, made.planner) == 0
