# SPDX-License-Identifier: Apache-2.0
"""The door for upstream's tools that the agent keeps open, and what outside writers come to."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import agents as helper
from tests.system.helpers import unique, wait_until
from tests.system.pings import pinging
from vrouter.agent.config import Sandesh
from vrouter.agent.door import kept_open
from vrouter.api import client
from vrouter.dpcore.instance import Instance
from vrouter.dpcore.names import NhFlag, NhType
from vrouter.host import netns
from vrouter.lab import agents, build, topology
from vrouter.lab.topology import Lab
from vrouter.sandesh import ADD, DEL, RESET, Client

OURS = {"eth0", "vhost0", "pkt0"}
NETWORK = {"subnets": [{"prefix": "10.9.9.0/24", "gateway": "10.9.9.254"}]}
FOREIGN_NH, FOREIGN_LABEL = 900, 1900
PREFIX = bytes([10, 200, 0, 0])


class Host:
    """h1 of a lab whose agent keeps a door open in `folder`."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.folder = folder
        self.place = agents.folder(lab, "h1")
        self.api = str(Instance(lab.instance("h1")).run_dir / "api.sock")

    def start(self) -> None:
        """Start the agent, and wait for its door."""
        self.run(self.folder)
        wait_until(self.is_open)

    def run(self, folder: Path) -> None:
        """Start the agent with a door in `folder`."""
        self.place.mkdir(mode=0o700, parents=True, exist_ok=True)
        config = self.place / "agent.toml"
        config.write_text(f'[sandesh]\nsock_dir = "{folder}"\nfar_netns = "nobody"\n')
        arguments = ["--name", self.lab.instance("h1"), "--config", str(config)]
        agents.run(self.lab.netns("h1"), arguments, self.place / "agent.log")

    def is_open(self) -> bool:
        with contextlib.suppress(OSError), Client(self.folder):
            return True
        return False

    def vifs(self) -> set[str]:
        """The names of all vifs but pkt1 and pkt3, by the door."""
        with Client(self.folder) as door:
            names = {one.vifr_name for one in door.dump("vr_interface_req")}
        return names - {"pkt1", "pkt3"}

    def door_pid(self) -> int:
        """The process of the door, 0 while there is none."""
        for pid in netns.processes(self.lab.netns("h1")):
            with contextlib.suppress(OSError):
                if b"vrouter.agent.door" in Path("/proc", str(pid), "cmdline").read_bytes():
                    return pid
        return 0

    def put(self, name: str) -> None:
        """Add a network."""
        status, answer = client.call(self.api, "PUT", f"/v1/network/{name}", NETWORK)
        assert status == 200, answer


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    lab = build.up(topology.plan("one-host", unique("w"), stage=2), lambda line: None)
    made = Host(lab, tmp_path_factory.mktemp("door"))
    try:
        made.start()
        yield made
        assert "Traceback" not in (made.place / "agent.log").read_text()
    finally:
        build.down(lab.id, lambda line: None)


def test_it_opens_and_is_opened_again(host: Host) -> None:
    agent = helper.agent_pid(host.lab, "h1")
    assert host.vifs() == OURS
    door = host.door_pid()
    os.kill(door, signal.SIGKILL)
    wait_until(lambda: host.is_open() and host.door_pid() not in (0, door))
    assert host.vifs() == OURS
    assert helper.agent_pid(host.lab, "h1") == agent


def test_what_others_write_stays_until_everything_is_compared(host: Host) -> None:
    """The agent does not hear of it, and leaves it alone as long as it writes changes; its next
    start removes what is not its own, and puts back what is."""
    before = helper.tables(host.lab, "h1")
    host.put("one")
    mine = helper.tables(host.lab, "h1").mpls
    label = next(iter(mine))
    with Client(host.folder) as door:
        door.request("vr_nexthop_req", ADD, nhr_id=FOREIGN_NH, nhr_type=int(NhType.DISCARD),
                     nhr_family=2, nhr_flags=int(NhFlag.VALID))  # fmt: skip
        door.request("vr_mpls_req", ADD, mr_label=FOREIGN_LABEL, mr_nhid=FOREIGN_NH)
        door.request("vr_route_req", ADD, rtr_family=2, rtr_vrf_id=40, rtr_nh_id=FOREIGN_NH,
                     rtr_prefix=PREFIX, rtr_prefix_len=16)  # fmt: skip
        door.request("vr_mpls_req", DEL, mr_label=label)
    host.put("two")
    after = helper.tables(host.lab, "h1")
    assert FOREIGN_NH in after.nexthop and FOREIGN_LABEL in after.mpls
    assert any(vrf == 40 for vrf, _ in after.route)
    assert label not in after.mpls and after.nexthop.keys() > before.nexthop.keys()
    helper.kill(host.lab, "h1")
    wait_until(lambda: not host.door_pid())
    host.start()
    left = helper.tables(host.lab, "h1")
    assert FOREIGN_NH not in left.nexthop and FOREIGN_LABEL not in left.mpls
    assert not any(vrf == 40 for vrf, _ in left.route)
    assert left.mpls[label] == mine[label]
    assert helper.differences(host.lab, "h1") == []


def test_after_a_reset_the_agent_writes_everything_again(host: Host) -> None:
    with pinging(host.lab.netns("h1"), "172.30.0.2") as out:
        with Client(host.folder) as door:
            door.request("vrouter_ops", RESET)
        wait_until(lambda: host.vifs() == OURS)
        time.sleep(0.5)
    assert helper.differences(host.lab, "h1") == []
    assert out.answered == out.sent > 100
    assert helper.answered(host.lab, "gw", "172.30.0.1") == 5


def test_a_busy_door_does_not_hold_up_the_agent(host: Host) -> None:
    """Clients that ask without pause, and one that writes, take none of its time."""
    stop = threading.Event()
    asked = []

    def ask(number: int) -> None:
        with Client(host.folder) as door:
            while not stop.is_set():
                if number:
                    asked.append(len(list(door.dump("vr_nexthop_req"))))
                else:
                    door.request("vr_mpls_req", ADD, mr_label=FOREIGN_LABEL, mr_nhid=1)

    def middle(name: str, count: int, dumps: int = 0) -> float:
        took: list[float] = []
        while len(took) < count or len(asked) < dumps:
            start = time.monotonic()
            host.put(f"{name}{len(took)}")
            took.append(time.monotonic() - start)
        return sorted(took)[len(took) // 2]

    quiet = middle("quiet", 10)
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
    for one in threads:
        one.start()
    try:
        busy = middle("busy", 40, dumps=10)
    finally:
        stop.set()
        for one in threads:
            one.join()
    # a door that shared its interpreter, or kept the writers' lock, would hold up all of them
    assert busy < 0.3 + 10 * quiet, (busy, quiet)


def test_a_folder_that_is_none_is_told(
    host: Host,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And tried again: whoever mends it need not start the agent anew."""
    folder = tmp_path / "door"
    folder.write_text("")

    async def keep() -> None:
        async with kept_open(Instance(host.lab.instance("h1")), Sandesh(sock_dir=str(folder))):
            while "has ended (3)" not in caplog.text:
                await asyncio.sleep(0.05)
            folder.unlink()
            while not (folder / "dpdk_netlink").exists():
                await asyncio.sleep(0.05)
        assert not (folder / "dpdk_netlink").exists()

    asyncio.run(asyncio.wait_for(keep(), 30))
    assert f"cannot use {folder}: " in capfd.readouterr().err
