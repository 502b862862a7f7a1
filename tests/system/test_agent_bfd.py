# SPDX-License-Identifier: Apache-2.0
"""BFD sessions of the desired state with BIRD in a VM."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.system import agents as helper
from tests.system.helpers import unique, wait_until
from vrouter.api import client
from vrouter.dpcore.instance import find_instance
from vrouter.host import netns
from vrouter.lab import agents, build, node, topology
from vrouter.lab.topology import Lab

GATEWAY, GATEWAY6 = "10.1.1.254", "fd00:10:1:1::fe"
PEER, PEER6 = "10.1.1.1", "fd00:10:1:1::1"
CONF = """router id 10.1.1.1;
protocol device {{ }}
protocol bfd {{
  interface "eth0" {{ min rx interval 1 s; min tx interval 1 s; idle tx interval 1 s; }};
{neighbours}
}}
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    made = build.up(
        topology.plan("two-hosts", unique("b"), encap="vxlan", control="agent"), lambda line: None
    )
    try:
        yield made
        log = (agents.folder(made, "h1") / "agent.log").read_text()
        assert "Traceback" not in log, log
    finally:
        build.down(made.id, lambda line: None)


def api(lab: Lab, method: str, path: str, body: Any = None) -> Any:
    place = str(find_instance(lab.instance("h1")).run_dir / "api.sock")
    status, answer = client.call(place, method, path, body)
    assert status == 200, answer
    return answer


def state(lab: Lab, name: str) -> dict[str, Any]:
    return dict(api(lab, "GET", f"/v1/bfd/{name}?state=1")["state"])


def is_up(lab: Lab, name: str) -> bool:
    return bool(state(lab, name)["state"] == "up")


class Bird:
    """BIRD in vm1, with BFD to these addresses."""

    def __init__(self, lab: Lab, folder: Path, *neighbours: str) -> None:
        lines = [f'  neighbor {one} dev "eth0";' for one in neighbours]
        (folder / "conf").write_text(CONF.format(neighbours="\n".join(lines)))
        self._control = folder / "control"
        command = f"bird -f -c {folder}/conf -s {self._control} -P {folder}/pid"
        with netns.enter(lab.netns("vm1")):
            self._process = subprocess.Popen(command.split())
        wait_until(self._control.exists)

    def sessions(self) -> dict[str, str]:
        """The state of each, by address."""
        said = subprocess.run(
            ["birdc", "-s", str(self._control), "show", "bfd", "sessions"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        rows = [line.split() for line in said.splitlines() if "eth0" in line]
        return {row[0]: row[2] for row in rows}

    def end(self, number: int = signal.SIGKILL) -> None:
        """Stop it."""
        self._process.send_signal(number)
        self._process.wait()


@contextlib.contextmanager
def bird(lab: Lab, folder: Path, *neighbours: str) -> Iterator[Bird]:
    one = Bird(lab, folder, *neighbours)
    try:
        yield one
    finally:
        with contextlib.suppress(ProcessLookupError):
            one.end()


@pytest.fixture
def sessions(lab: Lab) -> Iterator[None]:
    fields = {"interface": "vm1", "min_tx": 1000, "min_rx": 1000, "multiplier": 3}
    api(lab, "PUT", "/v1/bfd/four", {**fields, "peer": PEER})
    api(lab, "PUT", "/v1/bfd/six", {**fields, "peer": PEER6})
    yield
    for name in ("four", "six"):
        api(lab, "DELETE", f"/v1/bfd/{name}")


def test_up_with_bird_and_down_when_it_is_killed(lab: Lab, sessions: None, tmp_path: Path) -> None:
    with bird(lab, tmp_path, GATEWAY, GATEWAY6) as peer:
        wait_until(lambda: set(peer.sessions().values()) == {"Up"}, seconds=30)
        for name, local in (("four", GATEWAY), ("six", GATEWAY6)):
            wait_until(partial(is_up, lab, name))
            assert state(lab, name)["local"] == local
        listed = node.call(lab, "h1", ["vrouter", "get", "bfd", "--name", lab.instance("h1")])
        assert f"four  vm1        {PEER}" in listed.stdout and " up" in listed.stdout
        peer.end()
        # three intervals of a second without a packet
        wait_until(lambda: state(lab, "four")["state"] == "down", seconds=10)
        assert state(lab, "four")["why"] == "nothing was heard of it in time"
    with bird(lab, tmp_path, GATEWAY, GATEWAY6):
        wait_until(lambda: is_up(lab, "four") and is_up(lab, "six"), 30)


def test_bird_sees_that_the_session_is_taken_away(lab: Lab, sessions: None, tmp_path: Path) -> None:
    with bird(lab, tmp_path, GATEWAY) as peer:
        wait_until(lambda: peer.sessions() == {GATEWAY: "Up"}, seconds=30)
        api(lab, "DELETE", "/v1/bfd/four")
        wait_until(lambda: peer.sessions() == {GATEWAY: "Down"}, seconds=10)
        api(lab, "PUT", "/v1/bfd/four", {"interface": "vm1", "peer": PEER})
        wait_until(lambda: peer.sessions() == {GATEWAY: "Up"}, seconds=30)


def test_the_agent_is_killed_and_the_next_has_the_session(
    lab: Lab, sessions: None, tmp_path: Path
) -> None:
    with bird(lab, tmp_path, GATEWAY) as peer:
        wait_until(lambda: peer.sessions() == {GATEWAY: "Up"}, seconds=30)
        helper.kill(lab, "h1")
        agents.start(lab, lab.host("h1"))
        wait_until(partial(is_up, lab, "four"), seconds=30)
        assert peer.sessions() == {GATEWAY: "Up"}


def test_a_vm_may_begin_one_where_the_network_says_so(lab: Lab, tmp_path: Path) -> None:
    network = api(lab, "GET", "/v1/network/blue")
    network.pop("name")
    with bird(lab, tmp_path, GATEWAY) as peer:
        api(lab, "PUT", "/v1/network/blue", {**network, "bfd": True})
        wait_until(lambda: peer.sessions() == {GATEWAY: "Up"}, seconds=30)
        # the peer may be up a packet before the agent
        wait_until(lambda: api(lab, "GET", "/v1/status")["services"]["bfd"].get("up", 0) >= 1)
        api(lab, "PUT", "/v1/network/blue", network)


def test_a_session_waits_for_its_port(lab: Lab, sessions: None) -> None:
    vm1 = api(lab, "GET", "/v1/interface/vm1")
    vm1.pop("name")
    api(lab, "PUT", "/v1/interface/vm1", {**vm1, "enabled": False})
    assert state(lab, "four")["state"] == "waiting"
    assert state(lab, "four")["why"] == "vm1 is not active: it is disabled"
    api(lab, "PUT", "/v1/interface/vm1", vm1)
    wait_until(lambda: state(lab, "four")["state"] == "down")


def test_introspection_shows_it(lab: Lab, sessions: None) -> None:
    code = (
        "import json, urllib.request as u; "
        "print(u.urlopen('http://127.0.0.1:8085/desired/bfd').read().decode())"
    )
    found = json.loads(node.call(lab, "h1", ["python3", "-c", code]).stdout)["items"]
    assert [one["name"] for one in found] == ["four", "six"]
    # nobody has answered; before the first second is over it waits to be made
    assert {one["state"]["state"] for one in found} <= {"down", "waiting"}
