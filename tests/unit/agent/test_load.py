# SPDX-License-Identifier: Apache-2.0
"""A desired state as TOML: what is taken, and everything that is wrong with a bad one."""

from __future__ import annotations

from pathlib import Path

import pytest

from vrouter.agent.desired import load
from vrouter.agent.desired.records import Interface, Network
from vrouter.agent.facade import Rejected

GOOD = """
[[network]]
name = "blue"
vni = 5001
subnets = [{ prefix = "10.1.1.0/24", gateway = "10.1.1.254" }]

[[interface]]
name = "vm1"
network = "blue"
device = "tap1"
mac = "02:00:0a:01:01:01"
addresses = ["10.1.1.1"]
"""
WRONG = """
[[network]]
vni = "5001"
security_group = "web"
subnets = [{ prefix = "10.1.1.0/24", gatway = "10.1.1.254" }, 7]

[[interface]]
name = "vm1"
network = "blue"
mac = "02:00:0a:01:01:01"
addresses = ["10.1.1.1", 5]
enabled = "yes"

[[vm]]
name = "x"
"""


def problems(text: str, path: Path) -> dict[str, str]:
    path.write_text(text)
    with pytest.raises(Rejected) as caught:
        load.read_file(path)
    return {one.path: one.why for one in caught.value.problems}


def test_a_good_file(tmp_path: Path) -> None:
    path = tmp_path / "state.toml"
    path.write_text(GOOD)
    network, port = load.read_file(path)
    assert isinstance(network, Network) and network.subnets[0].gateway == "10.1.1.254"
    assert isinstance(port, Interface) and port.addresses == ("10.1.1.1",)


def test_everything_that_is_wrong_is_told(tmp_path: Path) -> None:
    found = problems(WRONG, tmp_path / "state.toml")
    assert set(found) == {
        "vm",
        "network[0].name",
        "network[0].vni",
        "network[0].security_group",
        "network[0].subnets[0].gatway",
        "network[0].subnets[1]",
        "interface[0].addresses[1]",
        "interface[0].enabled",
    }
    assert found["network[0].name"] == "is missing"
    assert "come later" in found["network[0].security_group"]
    assert "did you mean gateway" in found["network[0].subnets[0].gatway"]
    assert found["network[0].vni"] == "expected `int`, got `str`"


@pytest.mark.parametrize("text", ["[[network", 'network = "x"', "[network]\nname = 'x'"])
def test_what_is_no_desired_state(text: str, tmp_path: Path) -> None:
    assert problems(text, tmp_path / "state.toml")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="No such file"):
        load.read_file(tmp_path / "nothing.toml")


def test_one_object() -> None:
    made = load.read_object("network", {"name": "blue"})
    assert made == Network(name="blue")
    with pytest.raises(Rejected, match=r"network.name: is missing"):
        load.read_object("network", {})
    with pytest.raises(Rejected, match="there is no such key"):
        load.read_object("vlan", {})
