# SPDX-License-Identifier: Apache-2.0
"""MACs and addresses that a running agent learns: kept while they speak, forgotten after."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from ipaddress import ip_network

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import ARP, Ether

from tests.system.helpers import unique
from vrouter.agent import daemon
from vrouter.agent.config import Config, Services
from vrouter.agent.daemon import Agent
from vrouter.agent.desired.records import AddressPair, Interface, Network, Subnet
from vrouter.agent.services import addresses, learning
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.instance import Instance, find_instance
from vrouter.dpcore.names import BridgeFlag, NhType
from vrouter.dpcore.records import BridgeEntry
from vrouter.host import netns
from vrouter.lab import build, topology
from vrouter.lab.topology import Lab

OWN, TALKS, SILENT = "02:00:0a:09:00:01", "02:99:00:00:00:01", "02:99:00:00:00:02"
DEVICE, FAR_END = "tapl", "tapl-vm"
AGE = 4.0
NETWORK = Network(
    name="learns",
    vni=901,
    mac_learning=True,
    unknown_unicast_flood=True,
    subnets=(Subnet(prefix="10.9.0.0/24", gateway="10.9.0.254"),),
)
PORT = Interface(
    name="nested",
    network="learns",
    device=DEVICE,
    mac=OWN,
    addresses=("10.9.0.1",),
    allowed_address_pairs=(
        AddressPair(prefix="10.9.0.50/32", mac=TALKS),
        AddressPair(prefix="10.9.0.51/32", mac=SILENT),
    ),
)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    made = build.up(topology.plan("one-host", unique("l"), stage=2), lambda line: None)
    with netns.enter(made.netns("h1")):
        subprocess.run(f"ip link add {DEVICE} type veth peer name {FAR_END}".split(), check=True)
        for name in (DEVICE, FAR_END):
            subprocess.run(f"ip link set {name} up".split(), check=True)
    yield made
    build.down(made.id, lambda line: None)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The times of minutes are seconds."""
    monkeypatch.setattr(learning, "AGE", AGE)
    monkeypatch.setattr(addresses, "FORGET_AFTER", AGE)
    for name in ("_HEARD", "_SWEEP"):
        monkeypatch.setattr(daemon, name, 1)


def run(lab: Lab, story: Callable[[Agent, Instance, socket.socket], Awaitable[None]]) -> None:
    """A story with an agent whose tables have the port, and the VM's end of its wire."""
    instance = find_instance(lab.instance("h1"))

    async def whole() -> None:
        agent = Agent(instance, Config(services=Services(rate=1, burst=1)))
        await agent.start()
        try:
            await agent.put([NETWORK, PORT], "api")
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
                wire.bind((FAR_END, 0))
                await story(agent, instance, wire)
        finally:
            await agent.stop()

    with netns.enter(lab.netns("h1")):
        asyncio.run(whole())


def entry(instance: Instance, mac: str) -> BridgeEntry | None:
    with DpCore.open(instance) as core:
        found = [one for one in core.bridge.items() if one.mac.hex(":") == mac]
        return found[0] if found else None


def learnt(instance: Instance, mac: str) -> bool:
    """Whether a MAC is known to be behind the port."""
    found = entry(instance, mac)
    if found is None or found.flags & BridgeFlag.MAC_NEW:
        return False
    with DpCore.open(instance) as core:
        nexthop = core.nexthops.get(found.nh)
    return nexthop is not None and nexthop.type == NhType.ENCAP


def says(wire: socket.socket, mac: str) -> None:
    address = "10.9.0.50" if mac == TALKS else "10.9.0.51"
    wire.send(bytes(Ether(src=mac, dst=OWN) / IP(src=address, dst="10.9.0.1") / UDP()))


async def until(holds: Callable[[], bool], seconds: float = 15.0) -> None:
    for _ in range(int(seconds * 10)):
        if holds():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("it does not come")


async def teach(instance: Instance, wire: socket.socket, mac: str) -> None:
    """Speak until it is learnt; what is over the agent's rate is told of anew later."""

    def heard() -> bool:
        says(wire, mac)
        return learnt(instance, mac)

    await until(heard)


def test_who_speaks_stays_and_who_is_silent_goes(lab: Lab, impatient: None) -> None:
    async def story(agent: Agent, instance: Instance, wire: socket.socket) -> None:
        await teach(instance, wire, TALKS)
        await teach(instance, wire, SILENT)
        loop = asyncio.get_running_loop()
        end = loop.time() + 2.5 * AGE
        while loop.time() < end:
            says(wire, TALKS)
            await asyncio.sleep(0.3)
            assert learnt(instance, TALKS)
        assert entry(instance, SILENT) is None
        await until(lambda: entry(instance, TALKS) is None)

    run(lab, story)


def test_a_mark_that_nobody_answered_for_goes(lab: Lab, impatient: None) -> None:
    """Of two that speak at once the second is over the agent's rate."""

    async def story(agent: Agent, instance: Instance, wire: socket.socket) -> None:
        says(wire, TALKS)
        says(wire, SILENT)
        await until(lambda: learnt(instance, TALKS))
        stuck = entry(instance, SILENT)
        assert stuck is not None and stuck.flags & BridgeFlag.MAC_NEW
        assert agent.counters()["mac-learning"]["rate-limited"] == 1
        await until(lambda: entry(instance, SILENT) is None, seconds=4)
        says(wire, SILENT)
        await until(lambda: learnt(instance, SILENT))

    run(lab, story)


def test_what_the_agent_before_had_learnt_ages(lab: Lab, impatient: None) -> None:
    async def learns(agent: Agent, instance: Instance, wire: socket.socket) -> None:
        says(wire, TALKS)
        await until(lambda: learnt(instance, TALKS))
        said = ARP(op=1, hwsrc=TALKS, psrc="10.9.0.50", pdst="10.9.0.50")
        wire.send(bytes(Ether(src=TALKS, dst="ff:ff:ff:ff:ff:ff") / said))
        await until(lambda: has_route(instance))

    async def forgets(agent: Agent, instance: Instance, wire: socket.socket) -> None:
        assert learnt(instance, TALKS) and has_route(instance)
        await until(lambda: entry(instance, TALKS) is None and not has_route(instance))

    run(lab, learns)
    run(lab, forgets)


def has_route(instance: Instance) -> bool:
    with DpCore.open(instance) as core:
        return any(one.prefix == ip_network("10.9.0.50/32") for one in core.inet.items())
