# SPDX-License-Identifier: Apache-2.0
"""The agent is killed at random moments while VMs talk, ports come and leases are renewed."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.system import agents as helper
from tests.system.helpers import unique, wait_until
from tests.system.many_vms import Crowd, State, Vm
from tests.system.pings import pinging
from tests.system.traffic import Traffic
from vrouter.api import client
from vrouter.dpcore.instance import Instance
from vrouter.host import netns
from vrouter.host.ports import delete, make_tap
from vrouter.lab import build, node, topology
from vrouter.lab.topology import Lab

KILLS = 10
SOAK_KILLS = int(os.environ.get("VR_SOAK_KILLS", "200"))
PORTS = 60  # addresses .100 to .159; the oldest goes when another comes
RENEW = 0.2  # seconds


def two_hosts(encap: str) -> Iterator[Lab]:
    made = topology.plan("two-hosts", unique("a"), encap=encap, control="agent")
    yield build.up(made, lambda line: None)
    build.down(made.id, lambda line: None)


@pytest.fixture
def lab() -> Iterator[Lab]:
    yield from two_hosts("mplsoudp")


@pytest.fixture(params=["vxlan", "mplsoudp"])
def each_lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    yield from two_hosts(request.param)


class Guests:
    """VMs on taps of h1: ports come and go by the API all the time, leases are renewed."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._socket = str(Instance(lab.instance("h1")).run_dir / "api.sock")
        self._crowd = Crowd()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._guard, args=(work,)) for work in
                         (self._come, self._renew)]  # fmt: skip
        self.errors: list[BaseException] = []
        self.acknowledged: list[int] = []
        self.renewed = 0

    def __enter__(self) -> Guests:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        # what waits for an answer gets it from the agent that is there now
        try:
            assert not self.errors, self.errors
            assert self._crowd.serve(20), [vm for vm in self._crowd.vms if vm.state != State.DONE]
        finally:
            self._crowd.close()

    def check(self) -> None:
        """No port that was acknowledged is forgotten, no lease is another than before."""
        for number in self.acknowledged:
            status, answer = client.call(self._socket, "GET", f"/port/{_uuid(number)}")
            assert status == 200 and answer["active"], answer
        for vm in self._crowd.vms:
            number = int(vm.device.removeprefix("tap-g"))
            assert (vm.ip, vm.refused) == (_address(number), []), vm
        assert len(self._crowd.vms) == len(self.acknowledged) == PORTS
        assert self.renewed > PORTS

    def leave(self) -> None:
        """Take all of them away."""
        for number in list(self.acknowledged):
            self._call("DELETE", f"/port/{_uuid(number)}", None)
            with netns.enter(self._lab.netns("h1")):
                delete(_device(number))

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            while not self._stop.is_set():
                work()
                self._stop.wait(0.02)
        except BaseException as error:
            self.errors.append(error)

    def _come(self) -> None:
        """One port more; once all have come, one is taken away and added again."""
        number = len(self.acknowledged)
        fresh = number < PORTS
        number = number if fresh else random.randrange(PORTS)
        if not fresh:
            self._call("DELETE", f"/port/{_uuid(number)}", None)
        elif self._lab_has_no(number):
            with netns.enter(self._lab.netns("h1")):
                make_tap(_device(number), vnet_hdr=False)
                self._crowd.join(Vm(_device(number), _mac(number)))
        self._call("POST", "/port", _port(number))
        if fresh:
            self.acknowledged.append(number)

    def _lab_has_no(self, number: int) -> bool:
        return all(vm.device != _device(number) for vm in self._crowd.vms)

    def _call(self, method: str, path: str, body: object) -> None:
        """As an orchestrator: again and again until it is acknowledged."""
        end = time.monotonic() + 30
        while True:
            try:
                status, answer = client.call(self._socket, method, path, body)
            except client.NoAgent:
                status, answer = 0, "no agent"
            if status == 200:
                return
            assert status in (0, 503) and time.monotonic() < end, (method, path, status, answer)
            time.sleep(0.02)

    def _renew(self) -> None:
        now = time.monotonic()
        for vm in self._crowd.vms:
            if vm.state is State.DONE and now - vm.asked > RENEW:
                vm.renew(now)
                self.renewed += 1
        self._crowd.step()


def _uuid(number: int) -> str:
    return f"00000000-0000-0000-0000-{0xC000 + number:012x}"


def _mac(number: int) -> bytes:
    return bytes.fromhex("02000a0102") + bytes((number,))


def _device(number: int) -> str:
    return f"tap-g{number}"


def _address(number: int) -> str:
    return f"10.1.1.{100 + number}"


def _port(number: int) -> dict[str, object]:
    texts = {"id": _uuid(number), "instance-id": _uuid(number), "vn-id": "blue"}
    texts |= {"ip-address": _address(number), "ip6-address": "", "vm-project-id": ""}
    texts |= {"display-name": f"guest{number}", "system-name": _device(number)}
    texts |= {"mac-address": _mac(number).hex(":")}
    return {**texts, "type": 0, "rx-vlan-id": -1, "tx-vlan-id": -1}


def first_use(lab: Lab) -> None:
    """With the agent dead: destinations that vm2 has never asked for, or has forgotten."""
    node.call(lab, "vm2", ["ip", "neigh", "flush", "dev", "eth0"])
    for address in (lab.vm("vm3").ip, lab.vm("vm3").ip6, lab.vm("vm1").ip):
        assert helper.answered(lab, "vm2", address, 3) == 3, address


def storm(lab: Lab, kills: int) -> None:
    r = random.Random()
    host = lab.host("h1")
    helper.resolved(lab, "h1")
    helper.resolved(lab, "h2")
    before = helper.tables(lab, "h1")
    guests = Guests(lab)
    with (
        Traffic(lab, "vm1", "vm3") as traffic,
        pinging(lab.netns("vm1"), "10.1.1.2") as local,
        pinging(lab.netns("h2"), "172.30.0.1") as host_own,
        guests,
    ):
        for number in range(kills):
            time.sleep(r.random())
            helper.kill(lab, "h1")
            if number % 5 == 0:
                first_use(lab)
            helper.start(lab, host)
        wait_until(lambda: bool(guests.errors) or len(guests.acknowledged) == PORTS, 120)
    guests.check()
    assert helper.differences(lab, "h1") == []
    assert (traffic.lost, traffic.doubled) == ([[], []], [0, 0])
    for pings in (local, host_own):
        assert pings.sent == pings.answered and pings.sent > 500
    print(f"{kills} kills, {traffic.sent} datagrams each way, {guests.renewed} renewals")
    guests.leave()
    assert helper.tables(lab, "h1") == before


@pytest.mark.timeout(300)
def test_killed_ten_times(lab: Lab) -> None:
    storm(lab, KILLS)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_killed_two_hundred_times(each_lab: Lab) -> None:
    storm(each_lab, SOAK_KILLS)
