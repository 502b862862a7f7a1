# SPDX-License-Identifier: Apache-2.0
"""Many live ports: each by the API, each VM with its lease and its gateway; how fast they come."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.system import agents as helper
from tests.system.helpers import unique
from tests.system.many_vms import Crowd, State, Vm
from vrouter.api import client
from vrouter.dpcore.instance import Instance
from vrouter.dpcore.sizes import Sizes
from vrouter.host import netns
from vrouter.host.ports import make_tap
from vrouter.lab import build, topology
from vrouter.lab.topology import Lab

LIVE, SOAK = 250, 4_000
# the limit is that of two quiet cores, times $VR_SLOW: 1 where it is measured
TIMED, SECONDS = 1_000, 20.0
SLOW = float(os.environ.get("VR_SLOW", "10"))
NETWORK = {
    "vni": 900,
    "subnets": [{"prefix": "10.8.0.0/16", "gateway": "10.8.255.254"}],
}


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    # the usual sizes, with labels for all
    monkeypatch.setattr(build, "SMALL", Sizes(nexthops=65536, labels=16384))
    made = build.up(topology.plan("one-host", unique("m"), stage=3), lambda line: None)
    yield made
    build.down(made.id, lambda line: None)


class Api:
    """The agent's API of the lab's host, a port of `number` by upstream's POST /port."""

    def __init__(self, lab: Lab) -> None:
        self._socket = Instance(lab.instance("h1")).run_dir / "api.sock"
        self.call("PUT", "/v1/network/big", NETWORK)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        status, answer = client.call(str(self._socket), method, path, body)
        assert status == 200, answer
        return answer

    def add(self, number: int) -> None:
        port = {
            "id": uuid(number),
            "instance-id": uuid(number),
            "ip-address": address(number),
            "ip6-address": "",
            "vn-id": "big",
            "display-name": f"vm{number}",
            "vm-project-id": "",
            "mac-address": mac(number).hex(":"),
            "system-name": f"tap{number}",
            "type": 0,
            "rx-vlan-id": -1,
            "tx-vlan-id": -1,
        }
        self.call("POST", "/port", port)

    def delete(self, number: int) -> None:
        self.call("DELETE", f"/port/{uuid(number)}")


def uuid(number: int) -> str:
    return f"00000000-0000-0000-0000-{number:012x}"


def mac(number: int) -> bytes:
    return bytes.fromhex("02000a08") + number.to_bytes(2)


def address(number: int) -> str:
    return f"10.8.{number >> 8}.{number & 255}"


def make_taps(lab: Lab, count: int) -> None:
    with netns.enter(lab.netns("h1")):
        for number in range(1, count + 1):
            make_tap(f"tap{number}", vnet_hdr=False)


def live(lab: Lab, count: int) -> None:
    make_taps(lab, count)
    api = Api(lab)
    crowd = Crowd()
    try:
        with netns.enter(lab.netns("h1")):
            for number in range(1, count + 1):
                crowd.join(Vm(f"tap{number}", mac(number)))
        start = time.monotonic()
        for number in range(1, count + 1):
            api.add(number)
        added = time.monotonic()
        served = crowd.serve(60 + count / 5)
        print(f"{count} ports: {added - start:.1f} s, leases: {time.monotonic() - added:.1f} s")
        found = {vm.device: (vm.state, vm.ip, vm.acks, vm.refused) for vm in crowd.vms}
        numbers = range(1, count + 1)
        wanted = {f"tap{n}": (State.DONE, address(n), 1, list[str]()) for n in numbers}
        late = {key: value for key, value in found.items() if value != wanted[key]}
        assert served and not late, late
        assert helper.differences(lab, "h1") == []
        # the agent dies; whoever renews is given what it had
        helper.kill(lab, "h1")
        helper.start(lab, lab.host("h1"))
        for vm in crowd.vms:
            vm.renew(time.monotonic())
        assert crowd.serve(60 + count / 5)
        assert {(vm.acks, *vm.refused) for vm in crowd.vms} == {(2,)}
        assert helper.differences(lab, "h1") == []
    finally:
        crowd.close()


@pytest.mark.timeout(300)
def test_each_gets_its_lease_and_reaches_its_gateway(lab: Lab) -> None:
    live(lab, LIVE)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_four_thousand_at_once(lab: Lab) -> None:
    live(lab, SOAK)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("clients", [8, 1])
def test_a_thousand_come_and_go(lab: Lab, clients: int) -> None:
    """Ports of devices that exist, a request each, of so many clients at a time."""
    make_taps(lab, TIMED)
    api = Api(lab)
    numbers = range(1, TIMED + 1)
    before = helper.tables(lab, "h1")
    spent = cpu_seconds(lab)
    with ThreadPoolExecutor(clients) as pool:
        start = time.monotonic()
        list(pool.map(api.add, numbers))
        added = time.monotonic()
        assert len(helper.tables(lab, "h1").vif) == len(before.vif) + TIMED
        deleting = time.monotonic()
        list(pool.map(api.delete, numbers))
        gone = time.monotonic()
    spent = cpu_seconds(lab) - spent
    print(
        f"{TIMED} ports by {clients} at a time: added in {added - start:.1f} s, removed in {gone - deleting:.1f} s; "
        f"the agent computed {spent:.1f} s"
    )
    assert helper.tables(lab, "h1") == before
    assert max(added - start, gone - deleting) < SECONDS * SLOW


def cpu_seconds(lab: Lab) -> float:
    """What the agent has computed until now."""
    stat = Path(f"/proc/{helper.agent_pid(lab, 'h1')}/stat").read_text()
    user, system = stat.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
