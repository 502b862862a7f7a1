# SPDX-License-Identifier: Apache-2.0
"""Rules between objects: each refused for its reason, and nothing changed by what was refused."""

from __future__ import annotations

import msgspec
import pytest
from tests.unit.agent.builders import BLUE, FAR_HOST, endpoint, interface, membership

from vrouter.agent.desired.records import (
    AddressPair,
    Bfd,
    Host,
    LinkLocal,
    Network,
    Record,
    StaticRoute,
    Subnet,
)
from vrouter.agent.desired.state import Key, State
from vrouter.agent.facade import Rejected

RED = Network(name="red", vni=5002, subnets=(Subnet(prefix="10.1.1.0/24"),))


def filled() -> State:
    state = State()
    state.change([BLUE, RED, FAR_HOST, interface(1), endpoint(3), membership()], (), "api")
    return state


def with_(record: Record, **values: object) -> Record:
    return msgspec.structs.replace(record, **values)


def everything(state: State) -> list[tuple[Key, Record | None]]:
    return [(key, state.record(key)) for key in sorted(state.keys("api"))]


SUBNET = BLUE.subnets[0]
REFUSED: list[tuple[str, Record, str, str]] = [
    ("no network", interface(2, "green"), "interface[0].network", "there is no network green"),
    ("no host", endpoint(4, host="h9"), "endpoint[0].host", "there is no host h9"),
    ("MAC in use", interface(2, mac="02:00:0A:01:01:03"), "interface[0].mac", "endpoint far3's"),
    ("address in use", interface(2, addresses=("10.1.1.3",)), "interface[0].addresses[0]", "far3"),
    ("gateway's", interface(2, addresses=("10.1.1.254",)), "interface[0].addresses[0]", "blue's"),
    ("outside", interface(2, addresses=("10.9.1.2",)), "interface[0].addresses[0]", "no subnet"),
    ("net's own", interface(2, addresses=("10.1.1.0",)), "interface[0].addresses[0]", "no host's"),
    ("twice", interface(2, addresses=("10.1.1.2",) * 2), "interface[0].addresses[1]", "twice"),
    ("device in use", interface(2, device="tap1"), "interface[0].device", "interface vm1's"),
    ("no device", interface(2, device=""), "interface[0].device", "is missing"),
    ("group MAC", interface(2, mac="03:00:00:00:00:01"), "interface[0].mac", "group"),
    ("no MAC", interface(2, mac="02:00"), "interface[0].mac", "no MAC"),
    ("reserved label", interface(2, label=3), "interface[0].label", "16 to 1048575"),
    ("label twice", interface(2, label=77, l2_label=16), "", ""),
    ("VNI in use", Network(name="x", vni=5001), "network[0].vni", "network blue's"),
    ("VNI too large", Network(name="x", vni=1 << 24), "network[0].vni", "1 to 16777215"),
    ("flood label", Network(name="x", flood_label=1024), "network[0].flood_label", "16 to 1023"),
    (
        "overlap",
        Network(name="x", subnets=(SUBNET, Subnet(prefix="10.1.0.0/16"))),
        "network[0].subnets[1].prefix",
        "overlaps 10.1.1.0/24",
    ),
    (
        "gateway elsewhere",
        Network(name="x", subnets=(Subnet(prefix="10.1.1.0/24", gateway="10.2.1.1"),)),
        "network[0].subnets[0].gateway",
        "is not in 10.1.1.0/24",
    ),
    (
        "host bits",
        Network(name="x", subnets=(Subnet(prefix="10.1.1.1/24"),)),
        "network[0].subnets[0].prefix",
        "host bits",
    ),
    ("host twice", Host(name="h3", address="172.30.0.2"), "host[0].address", "host h2's"),
    ("name", Network(name="a/b"), "network[0].name", "no name"),
    (
        "pair",
        interface(2, allowed_address_pairs=(AddressPair(prefix="10.1.1.300/32"),)),
        "interface[0].allowed_address_pairs[0].prefix",
        "no prefix",
    ),
    ("VLAN alone", interface(2, vlan=5), "interface[0].vlan", "name its parent"),
    (
        "no parent",
        interface(2, parent="vm9", device="", vlan=5),
        "interface[0].parent",
        "there is no interface vm9",
    ),
    (
        "next hop",
        StaticRoute(name="r", network="blue", prefix="0.0.0.0/0", next_hop="10.1.1.9"),
        "route[0].next_hop",
        "no interface's or endpoint's",
    ),
    (
        "no next hop",
        StaticRoute(name="r", network="blue", prefix="0.0.0.0/0"),
        "route[0].next_hop",
        "say where",
    ),
    (
        "a subnet's own prefix",
        StaticRoute(name="r", network="blue", prefix="10.1.1.0/24", next_hop="discard"),
        "route[0].prefix",
        "network blue's",
    ),
    (
        "link-local",
        LinkLocal(name="m", address="10.0.0.1", port=80),
        "link-local[0].address",
        "not in 169.254.0.0/16",
    ),
    (
        "nobody serves it",
        LinkLocal(name="m", address="169.254.1.1", port=80),
        "link-local[0].target",
        "is missing",
    ),
    (
        "a target that is no host",
        LinkLocal(name="m", address="169.254.1.1", port=80, target="http://x/"),
        "link-local[0].target",
        "no address or host name",
    ),
    (
        "the device of a service namespace",
        interface(7, device="vrsvc12"),
        "interface[0].device",
        "leads to a service namespace",
    ),
    (
        "BFD of nobody",
        Bfd(name="b", interface="vm9", peer="10.1.1.1"),
        "bfd[0].interface",
        "there is no interface vm9",
    ),
    (
        "BFD elsewhere",
        Bfd(name="b", interface="vm1", peer="10.2.1.1"),
        "bfd[0].peer",
        "of no subnet of network blue",
    ),
    (
        "BFD too often",
        Bfd(name="b", interface="vm1", peer="10.1.1.1", min_tx=300),
        "bfd[0].min_tx",
        "300 is not 1000 to 4000000",
    ),
    (
        "BFD without patience",
        Bfd(name="b", interface="vm1", peer="10.1.1.1", multiplier=0),
        "bfd[0].multiplier",
        "0 is not 1 to 255",
    ),
    (
        "groups",
        StaticRoute(name="r", network="blue", prefix="224.0.0.0/4", next_hop="discard"),
        "route[0].prefix",
        "are groups",
    ),
]


@pytest.mark.parametrize(
    ("name", "record", "path", "why"), REFUSED, ids=[row[0] for row in REFUSED]
)
def test_refused(name: str, record: Record, path: str, why: str) -> None:
    state = filled()
    if not path:  # the rule that must not be there
        state.change([record], (), "api")
        return
    before = everything(state)
    with pytest.raises(Rejected) as caught:
        state.change([record], (), "api")
    found = {one.path: one.why for one in caught.value.problems}
    assert why in found[path], found
    assert everything(state) == before
    assert state.change([interface(5)], (), "api")  # and its claims are not kept


@pytest.mark.parametrize(
    ("key", "user"),
    [(("network", "blue"), "interface vm1"), (("host", "h2"), "endpoint far3")],
)
def test_what_is_needed_cannot_go(key: Key, user: str) -> None:
    state = filled()
    with pytest.raises(Rejected) as caught:
        state.change((), [key], "api")
    assert any(one.path.startswith(user) for one in caught.value.problems)
    assert state.record(key) is not None


def test_together_they_can_go() -> None:
    state = filled()
    keys = [("network", "blue"), ("interface", "vm1"), ("endpoint", "far3")]
    outcome = state.change((), [*keys, ("membership", "blue-h2")], "api").outcome()
    assert len(outcome.removed) == 4 and state.get(Network, "blue") is None


def test_the_other_network_may_have_the_same() -> None:
    state = filled()
    twin = interface(1, "red", name="vm1-red", device="tap2")
    assert state.change([twin], (), "api").outcome().added == (("interface", "vm1-red"),)


def test_an_address_may_move_in_one_change() -> None:
    state = filled()
    moved = interface(2, mac=endpoint(3).mac, addresses=endpoint(3).addresses)
    change = state.change([moved], [("endpoint", "far3")], "api")
    assert state.owner("mac", "blue", endpoint(3).mac) == ("interface", "vm2")
    state.undo(change)
    assert state.owner("mac", "blue", endpoint(3).mac) == ("endpoint", "far3")


def test_a_network_cannot_leave_its_ports_behind() -> None:
    state = filled()
    smaller = Network(name="blue", vni=5001, subnets=(Subnet(prefix="10.2.0.0/16"),))
    with pytest.raises(Rejected, match=r"interface vm1.addresses\[0\]: 10.1.1.1 is in no subnet"):
        state.change([smaller], (), "api")


def test_the_same_again_changes_nothing() -> None:
    state = filled()
    assert not state.change([BLUE, interface(1)], (), "api").outcome()
    assert state.change([with_(BLUE, mtu=1400)], (), "api").outcome().changed


def test_dry_is_checked_and_not_kept() -> None:
    state = filled()
    assert state.change([interface(9)], (), "api", dry=True).outcome().added
    assert state.record(("interface", "vm9")) is None


def test_stored_in_canonical_form() -> None:
    state = filled()
    state.change([interface(6, mac="02-00-0A-01-01-AA")], (), "file")
    found = state.record(("interface", "vm6"))
    assert found is not None and getattr(found, "mac", "") == "02:00:0a:01:01:aa"
    assert state.source(("interface", "vm6")) == "file"
