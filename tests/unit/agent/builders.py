# SPDX-License-Identifier: Apache-2.0
"""A small desired state and the facts of a host, for tests that need no kernel."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from vrouter.agent.desired.ids import Ids
from vrouter.agent.desired.records import (
    Endpoint,
    Host,
    Interface,
    Membership,
    Network,
    Record,
    Subnet,
)
from vrouter.agent.desired.state import Key, State
from vrouter.agent.facts import Device, Fabric, Facts, KernelRoute
from vrouter.agent.plan.entries import Diff
from vrouter.agent.plan.numbers import spaces
from vrouter.agent.plan.planner import Planner

OWN = IPv4Address("172.30.0.1")
FAR = IPv4Address("172.30.0.2")
OWN_MAC = bytes.fromhex("020000000001")
FAR_MAC = bytes.fromhex("020000000002")

BLUE = Network(name="blue", vni=5001, subnets=(Subnet(prefix="10.1.1.0/24", gateway="10.1.1.254"),))
FAR_HOST = Host(name="h2", address=str(FAR))


def interface(number: int, network: str = "blue", **values: object) -> Interface:
    """Port number `number` of a network."""
    fields: dict[str, object] = {
        "name": f"vm{number}",
        "network": network,
        "device": f"tap{number}",
        "mac": f"02:00:0a:01:{number >> 8:02x}:{number & 255:02x}",
        "addresses": (f"10.1.1.{number}",),
        **values,
    }
    return Interface(**fields)  # type: ignore[arg-type]


def endpoint(number: int, **values: object) -> Endpoint:
    """Somebody on the far host."""
    fields: dict[str, object] = {
        "name": f"far{number}",
        "network": "blue",
        "host": "h2",
        "mac": f"02:00:0a:01:01:{number:02x}",
        "addresses": (f"10.1.1.{number}",),
        "label": 100 + number,
        "l2_label": 200 + number,
        **values,
    }
    return Endpoint(**fields)  # type: ignore[arg-type]


def membership(network: str = "blue") -> Membership:
    """The far host takes part in a network."""
    return Membership(name=f"{network}-h2", network=network, host="h2", flood_label=501)


def facts(*devices: str, resolved: bool = True) -> Facts:
    """A host with vhost0, pkt0 and these devices."""
    fabric = Fabric(
        nic=Device(2, "eth0", OWN_MAC),
        vhost=Device(10, "vhost0", OWN_MAC),
        inner=11,
        addresses=(OWN,),
        local=frozenset([OWN]),
        broadcasts=frozenset([IPv4Address("172.30.0.255")]),
        routes=(KernelRoute(IPv4Network("172.30.0.0/24"), None, by_vhost=True),),
        neighbours={FAR: FAR_MAC} if resolved else {},
    )
    found = {name: Device(100 + at, name) for at, name in enumerate(devices)}
    return Facts(fabric=fabric, pkt0=Device(12, "pkt0"), devices=found)


@dataclass
class Rig:
    """A planner and what it plans."""

    state: State
    ids: Ids
    facts: Facts
    planner: Planner

    def change(self, *puts: Record, gone: tuple[Key, ...] = ()) -> Diff:
        """Make a change; what it comes to."""
        change = self.state.change(puts, gone, "api")
        step = self.planner.replan(self.planner.of_change(change))
        self.ids.settle()
        return step.diff

    def everything(self) -> Diff:
        """Plan all anew."""
        return self.planner.replan(self.planner.all_units()).diff


def rig(*devices: str, resolved: bool = True) -> Rig:
    """An empty state on a host with these devices."""
    state, ids, known = State(), Ids(), facts(*devices, resolved=resolved)
    spaces(ids, vrfs=256, nexthops=4096, labels=5120)
    made = Rig(state, ids, known, Planner(state, ids, known))
    made.everything()
    return made
