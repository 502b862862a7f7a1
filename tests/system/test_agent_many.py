# SPDX-License-Identifier: Apache-2.0
"""Many ports one by one, as an orchestrator brings them: the tables are those of all at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from functools import partial

import msgspec
import pytest

from tests.system.helpers import unique
from vrouter.agent.apply import Applier
from vrouter.agent.config import Config
from vrouter.agent.daemon import Agent
from vrouter.agent.desired.records import Interface, Network, Record, StaticRoute, Subnet
from vrouter.agent.facade import Rejected
from vrouter.agent.plan.entries import Entries, compare
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.errors import Refused
from vrouter.dpcore.instance import Instance, find_instance
from vrouter.host import netns
from vrouter.host.ports import delete, make_tap
from vrouter.lab import build, node, topology
from vrouter.lab.topology import Lab

COUNT = 150
BIG = Network(name="big", vni=900, subnets=(Subnet(prefix="10.8.0.0/16", gateway="10.8.255.254"),))


def port(number: int) -> Interface:
    last = f"{number >> 8}.{number & 255}"
    return Interface(
        name=f"p{number}",
        network="big",
        device=f"tap{number}",
        mac=f"02:00:0a:08:{number >> 8:02x}:{number & 255:02x}",
        addresses=(f"10.8.{last}",),
    )


PORTS = [port(number) for number in range(1, COUNT + 1)]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    made = build.up(topology.plan("one-host", unique("a"), stage=2), lambda line: None)
    with netns.enter(made.netns("h1")):
        for one in PORTS:
            make_tap(one.device, vnet_hdr=False)
    # the gateway is resolved, so that it does not change the tables meanwhile
    assert node.call(made, "h1", ["ping", "-q", "-c", "1", "172.30.0.2"]).returncode == 0
    yield made
    build.down(made.id, lambda line: None)


def tables(instance: Instance) -> Entries:
    with DpCore.open(instance) as core:
        return Applier(core).have()


def test_one_by_one_is_all_at_once_and_nothing_is_left(lab: Lab) -> None:
    instance = find_instance(lab.instance("h1"))

    async def story() -> tuple[Entries, ...]:
        agent = Agent(instance, Config())
        await agent.start()
        try:
            before = tables(instance)
            await agent.put([BIG], "api")
            for one in PORTS:
                await agent.put([one], "api")
                state = agent.port_state(one.name)
                assert state is not None and state.active, state
            single = tables(instance)
            await agent.put([msgspec.structs.replace(PORTS[0], enabled=False)], "api")
            await agent.put([PORTS[0]], "api")
            again = tables(instance)
            for one in PORTS:
                await agent.delete([("interface", one.name)])
            await agent.delete([("network", "big")])
            empty = tables(instance)
            await agent.put([BIG, *PORTS], "api")
            return before, single, again, empty, tables(instance)
        finally:
            await agent.stop()

    with netns.enter(lab.netns("h1")):
        before, single, again, empty, bulk = asyncio.run(story())
    assert len(single.vif) == COUNT + 3
    assert not compare(before, empty)
    assert not compare(single, again)
    assert not compare(single, bulk)  # each got the numbers back that it had


def test_parts_of_a_port_come_and_go_with_it(lab: Lab) -> None:
    """A sub-interface by VLAN: with its parent, without it, and when the device is another."""
    instance = find_instance(lab.instance("h1"))
    parent = port(700)
    child = f"{parent.device}.100"
    part = Interface(
        name="part",
        network="big",
        parent=parent.name,
        vlan=100,
        mac="02:00:0a:09:00:01",
        addresses=("10.8.9.1",),
    )

    async def story() -> None:
        agent = Agent(instance, Config())
        await agent.start()
        try:
            await agent.put([BIG], "api")
            before = tables(instance)
            await agent.put([parent, part], "api")
            assert tables(instance) == before
            for _ in range(2):
                made = await agent._run(make_tap, parent.device)
                # the agent may still hold the device that has just gone
                await _until(partial(_stands_on, instance, child, made.ifindex))
                await _until(lambda: _active(agent, "part"))
                found = {vif.name: vif for vif in tables(instance).vif.values()}
                assert found[child].parent == found[parent.device].idx
                assert (found[child].vlan, found[child].ovlan) == (100, 100)
                # one netdevice goes and another of its name comes, faster than events are read
                await agent._run(delete, parent.device)
            await _until(lambda: not _active(agent, "part"))
            await agent.delete([("interface", "part"), ("interface", parent.name)])
            assert not compare(before, tables(instance))
        finally:
            for name in ("part", parent.name):
                if agent.port_state(name) is not None:
                    await agent.delete([("interface", name)])
            await agent.stop()

    with netns.enter(lab.netns("h1")):
        asyncio.run(story())


def _stands_on(instance: Instance, name: str, ifindex: int) -> bool:
    return any(v.name == name and v.ifindex == ifindex for v in tables(instance).vif.values())


def _active(agent: Agent, name: str) -> bool:
    state = agent.port_state(name)
    return state is not None and state.active


async def _until(holds: Callable[[], bool]) -> None:
    for _ in range(200):
        if holds():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it does not come")


def test_what_does_not_fit_is_refused_and_changes_nothing(lab: Lab) -> None:
    """More routes than the table holds: the request is taken back whole, from the store too."""
    instance = find_instance(lab.instance("h1"))

    async def story() -> None:
        agent = Agent(instance, Config())
        await agent.start()
        try:
            await agent.put([BIG], "api")
            before = tables(instance)
            with DpCore.open(instance) as core:
                room = core.inet.size
            too_many: list[Record] = [
                StaticRoute(
                    name=f"r{number}",
                    network="big",
                    prefix=f"20.{number >> 16}.{number >> 8 & 255}.{number & 255}/32",
                    next_hop="discard",
                )
                for number in range(room + 1)
            ]
            with pytest.raises(Rejected, match="does not fit into dp-core"):
                await agent.put(too_many, "api")
            assert not compare(before, tables(instance))
            assert agent.all(StaticRoute) == []
        finally:
            await agent.stop()
        again = Agent(instance, Config())
        await again.start()
        try:
            assert again.all(StaticRoute) == [] and not compare(before, tables(instance))
        finally:
            await again.stop()

    with netns.enter(lab.netns("h1")):
        asyncio.run(story())


def test_a_busy_writer_keeps_nobody_from_the_agent(lab: Lab) -> None:
    """A change, or a disk, that takes its time: the agent goes on to be alive for dp-core."""
    instance = find_instance(lab.instance("h1"))

    async def story() -> float:
        agent = Agent(instance, Config())
        await agent.start()
        try:
            busy = asyncio.ensure_future(agent._run(time.sleep, 7))
            oldest = 0.0
            while not busy.done():
                beat = agent.tables.core.config.get().heartbeat
                oldest = max(oldest, time.clock_gettime(time.CLOCK_BOOTTIME) - beat / 1e9)
                await asyncio.sleep(0.1)
            return oldest
        finally:
            await agent.stop()

    with netns.enter(lab.netns("h1")):
        assert asyncio.run(story()) < 2.5


def test_a_port_that_cannot_be_written_leaves_its_netdevice(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = find_instance(lab.instance("h1"))
    mine = port(720)

    def fail(*_: object) -> None:
        raise Refused("somebody else writes")

    async def story() -> None:
        agent = Agent(instance, Config())
        await agent.start()
        await agent._run(make_tap, mine.device)
        try:
            await agent.put([BIG], "api")
            with monkeypatch.context() as patch:
                patch.setattr(agent.tables.applier, "apply", fail)
                with pytest.raises(Rejected, match="somebody else writes"):
                    await agent.put([mine], "api")
            assert agent.tables.core.vifs.ties.begun == []
        finally:
            await agent._run(delete, mine.device)
            await agent.stop()

    with netns.enter(lab.netns("h1")):
        asyncio.run(story())
