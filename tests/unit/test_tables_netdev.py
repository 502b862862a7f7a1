# SPDX-License-Identifier: Apache-2.0
"""Facts about netdevices, asked of real ones."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest
from tests.unit.table_fixtures import ip, needs_root, new_netns

from vrouter.dpcore import netdev
from vrouter.dpcore.errors import DeviceError

pytestmark = needs_root


@pytest.fixture
def _here() -> Iterator[None]:
    with new_netns():
        yield


@pytest.fixture
def elsewhere(_here: None) -> Iterator[str]:
    """The process id of a process in another network namespace."""
    with subprocess.Popen(["unshare", "-n", "sleep", "60"]) as process:
        mine = os.stat("/proc/self/ns/net").st_ino
        while os.stat(f"/proc/{process.pid}/ns/net").st_ino == mine:
            pass
        yield str(process.pid)
        process.kill()


@pytest.mark.usefixtures("_here")
def test_facts_of_a_veth() -> None:
    ip("link add va address 02:00:00:00:00:01 mtu 1400 type veth peer name vb")
    assert netdev.name(netdev.index("va")) == "va"
    assert netdev.mac("va") == bytes.fromhex("020000000001")
    assert netdev.mtu("va") == 1400
    assert not netdev.is_up("va")
    ip("link set va up")
    assert netdev.is_up("va")
    assert netdev.driver("va") == "veth"
    assert netdev.veth_peer("va") == netdev.index("vb")
    assert netdev.tx_checksum("va")
    assert netdev.link_mode("va").speed == 10000
    assert netdev.exists(netdev.index("va"))
    assert not netdev.exists(4242)


@pytest.mark.usefixtures("_here")
def test_facts_of_others() -> None:
    assert netdev.mac("lo") == bytes(6)
    assert netdev.veth_peer("lo") is None
    assert netdev.link_mode("lo") == (None, None)
    ip("tuntap add t mode tap")
    assert netdev.driver("t") == "tun"
    assert netdev.veth_peer("t") is None
    assert not netdev.veth_peer_elsewhere("t")


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize(
    "ask",
    [netdev.index, netdev.mac, netdev.mtu, netdev.is_up, netdev.link_mode, netdev.tx_checksum,
     netdev.driver, netdev.veth_peer],
)  # fmt: skip
def test_a_device_that_is_not_there(ask: object) -> None:
    assert callable(ask)
    with pytest.raises(DeviceError, match="no netdevice none"):
        ask("none")
    with pytest.raises(DeviceError, match="no name of a netdevice"):
        ask("x" * 16)
    assert not netdev.veth_peer_elsewhere("none")
    with pytest.raises(DeviceError, match="index 4242"):
        netdev.name(4242)


@pytest.mark.usefixtures("_here")
def test_a_far_end_here_is_not_elsewhere() -> None:
    ip("link add va type veth peer name vb")
    assert not netdev.veth_peer_elsewhere("va")
    assert not netdev.veth_peer_elsewhere("vb")


def test_a_far_end_elsewhere(elsewhere: str) -> None:
    ip(f"link add va type veth peer name vb netns {elsewhere}")
    assert netdev.veth_peer_elsewhere("va")


def test_a_far_end_with_our_own_number(elsewhere: str) -> None:
    ip(f"link add va index 50 type veth peer name vb index 50 netns {elsewhere}")
    assert netdev.veth_peer("va") == 50
    assert netdev.veth_peer_elsewhere("va")


def test_a_stranger_with_the_far_ends_number(elsewhere: str) -> None:
    ip(f"link add va index 50 type veth peer name vb index 60 netns {elsewhere}")
    ip("link add vc index 60 type veth peer name vd")
    assert netdev.veth_peer_elsewhere("va")
    assert not netdev.veth_peer_elsewhere("vc")


def test_a_non_veth_with_the_far_ends_number(elsewhere: str) -> None:
    ip(f"link add va index 50 type veth peer name vb index 60 netns {elsewhere}")
    ip("link add ifb60 index 60 type ifb")
    assert netdev.veth_peer_elsewhere("va")
