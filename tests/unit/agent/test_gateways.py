# SPDX-License-Identifier: Apache-2.0
"""Gateways of the desired state: what may be, and what becomes of them in the tables."""

from __future__ import annotations

from ipaddress import ip_network

import msgspec
import pytest
from tests.unit.agent.builders import BLUE, interface, rig

from vrouter.agent.desired.records import Gateway, Network, StaticRoute
from vrouter.agent.facade import Rejected
from vrouter.agent.facts import Device
from vrouter.agent.plan.entries import compare
from vrouter.dpcore.names import NhType, VifType

OUT = Gateway(
    name="out",
    network="blue",
    device="vgw0",
    subnets=("10.1.1.0/24",),
    routes=("0.0.0.0/0", "::/0"),
    label=1700,
)
MAC = bytes.fromhex("0200000000aa")
RED = Network(name="red")


def test_a_gateway_waits_for_its_pair() -> None:
    made = rig("tap1")
    made.change(BLUE, interface(1), OUT)
    nothing = made.planner.wanted()
    assert not any(vif.type == VifType.GATEWAY for vif in nothing.vif.values())
    made.facts.devices["vgw0"] = Device(30, "vgw0", MAC)
    made.planner.replan(made.planner.of_devices(["vgw0"]))
    assert not compare(nothing, made.planner.wanted())
    made.facts.devices["vgw0i"] = Device(31, "vgw0i")
    made.planner.replan(made.planner.of_devices(["vgw0i"]))
    whole = made.planner.wanted()
    vrf = made.ids.get("VRF", "network/blue") or 0
    (vif,) = [one for one in whole.vif.values() if one.type == VifType.GATEWAY]
    assert (vif.name, vif.ifindex, vif.os_ifindex, vif.vrf, vif.mac) == ("vgw0", 31, 30, vrf, MAC)
    nexthop = whole.nexthop[vif.nh_id]
    assert (nexthop.type, nexthop.oif, nexthop.rewrite[:6]) == (NhType.ENCAP, vif.idx, MAC)
    for prefix in OUT.routes:
        assert whole.route[vrf, ip_network(prefix)].nh == nexthop.id
    assert whole.mpls[1700] == nexthop.id
    made.change(gone=(("gateway", "out"),))
    assert not any(one.oif == vif.idx for one in made.planner.wanted().nexthop.values())
    assert made.ids.keys("vif") == ["interface/vm1"]


def test_it_follows_its_network() -> None:
    made = rig("vgw0", "vgw0i")
    made.change(BLUE, RED, OUT)
    made.change(msgspec.structs.replace(OUT, network="red", label=0))
    vrf = made.ids.get("VRF", "network/red")
    whole = made.planner.wanted()
    found = {key[0] for key, one in whole.route.items() if str(key[1]) == "0.0.0.0/0" and key[0]}
    assert found == {vrf}
    assert {vif.vrf for vif in whole.vif.values() if vif.type == VifType.GATEWAY} == {vrf}
    label = made.ids.get("label", "gateway/out/l3")
    assert label in whole.mpls and 1700 not in whole.mpls


@pytest.mark.parametrize(
    ("values", "where", "why"),
    [
        ({"device": "vgw0123456789ab"}, "device", "up to 14"),
        ({"device": "a/b"}, "device", "letters, digits"),
        ({"device": "tap1"}, "device", "interface vm1's already"),
        ({"device": "tap"}, "device", "device tapi is interface vm2's already"),
        ({"subnets": ("::/0",)}, "subnets[0]", "the host's own default route"),
        ({"subnets": ("10.1.1.1/24",)}, "subnets[0]", "host bits set"),
        ({"subnets": ("10.1.1.0/24", "10.1.1.0/24")}, "subnets[1]", "is here twice"),
        ({"subnets": (), "routes": ()}, "subnets", "nothing would lead through it"),
        ({"routes": ("10.1.1.1/32",)}, "routes[0]", "10.1.1.1/32 is interface vm1's already"),
        ({"routes": ("10.9.0.0/16",)}, "routes[0]", "10.9.0.0/16 is route r's already"),
        ({"network": "green"}, "network", "there is no network green"),
        ({"label": 3}, "label", "3 is not 16 to"),
        ({"name": "other"}, "device", "device vgw0 is gateway out's already"),
        ({"name": "other", "device": "vgw1", "network": "red"}, "subnets[0]",
         "the host's route to 10.1.1.0/24 is gateway out's already"),
    ],
)  # fmt: skip
def test_what_is_refused(values: dict[str, object], where: str, why: str) -> None:
    made = rig("tap1")
    other = StaticRoute(name="r", network="blue", prefix="10.9.0.0/16", next_hop="discard")
    made.change(BLUE, RED, interface(1), interface(2, device="tapi"), other)
    if "name" in values:
        made.change(OUT)
    with pytest.raises(Rejected) as caught:
        made.change(msgspec.structs.replace(OUT, **values))
    found = [one for one in caught.value.problems if one.path == f"gateway[0].{where}"]
    assert any(why in one.why for one in found), caught.value.problems
