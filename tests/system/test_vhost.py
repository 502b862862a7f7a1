# SPDX-License-Identifier: Apache-2.0
"""vhost0 in the place of a NIC: what the host notices of it, and that it can be undone."""

from __future__ import annotations

import contextlib
import os
import subprocess

import pytest

from tests.system.helpers import wait_until
from tests.system.vhosts import NIC_MAC, Host
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.errors import DeviceError, Refused, VrouterError
from vrouter.dpcore.names import VifFlag, VifType
from vrouter.host import devices, netns, rtnl, vhost
from vrouter.host.netlink import Netlink
from vrouter.host.takeover import up


def _ping(host: Host, count: int) -> subprocess.Popen[str]:
    command = ["ping", "-n", "-q", "-i", "0.01", "-W", "2", "-c", str(count), "10.0.0.1"]
    with netns.enter(host.neighbour):
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_load_makes_the_packet_devices(host: Host) -> None:
    with netns.enter(host.name), Netlink() as links:
        for name in ("pkt1", "pkt2", "pkt3"):
            link = links.need(name)
            assert (link.mtu, link.up) == (65535, False)
    with DpCore.open(host.instance) as core:
        found = {vif.idx: (vif.name, vif.type, vif.vrf) for vif in core.vifs.items()}
        assert found == {
            4350: ("pkt3", VifType.STATS, 65535),
            4351: ("pkt1", VifType.STATS, 65535),
        }
        assert devices.ensure_packet_devices(core) == []


def test_up_moves_everything_and_down_gives_it_back(host: Host) -> None:
    before = host.snapshot()

    assert host.up()

    with netns.enter(host.name), Netlink() as links:
        outer, nic = links.need("vhost0"), links.need("nic")
        assert (outer.mac, outer.mtu, outer.up) == (NIC_MAC, 1450, True)
        assert nic.up
        assert links.need("pkt1").up
    assert "inet" not in host.sh("ip -o addr show nic")
    shown = host.sh("ip -o addr show vhost0")
    assert "10.0.0.1/24 brd 10.0.0.255" in shown
    assert "secondary dynamic vhost0:x" in shown
    assert "fd00::1/64" in shown
    assert "10.77.0.0/16 via 10.0.0.2 dev vhost0 metric 9" in host.sh("ip route show table 77")
    assert "default via fd00::2 dev vhost0" in host.sh("ip -6 route")
    with DpCore.open(host.instance) as core:
        physical, inner = core.vifs.by_name("nic"), core.vifs.by_name("vhost0")
        assert physical is not None
        assert inner is not None
        assert physical.flags & VifFlag.XCONNECT
        assert inner.flags & VifFlag.XCONNECT
        assert physical.flags & VifFlag.VHOST_PHYS
        assert inner.xconnect == physical.idx
        assert (physical.idx, inner.idx) == (nic.ifindex, outer.ifindex)
    assert "0% packet loss" in host.sh("ping -c 3 -i 0.05 10.0.0.2")

    assert host.down()
    assert host.snapshot() == before
    assert "0% packet loss" in host.sh("ping -c 3 -i 0.05 10.0.0.2")


def test_twice_changes_nothing(host: Host) -> None:
    host.up()
    once = host.snapshot()
    assert host.up() == ["vhost0 is up on nic already"]
    assert host.snapshot() == once
    host.down()
    before = host.snapshot()
    assert host.down() == ["vhost0 is not up: nothing to do"]
    assert host.snapshot() == before


def test_no_packet_is_lost_on_the_way(host: Host) -> None:
    process = _ping(host, 500)
    for _ in range(4):
        host.up()
        host.down()
    host.up()
    output = process.communicate(timeout=30)[0]
    assert "500 received" in output, output


def test_what_is_resolved_stays_resolved(host: Host) -> None:
    assert "0% packet loss" in host.sh("ping -c 1 10.0.0.2")
    host.sh("ip neigh add 10.0.0.77 lladdr 02:00:00:00:00:77 dev nic nud permanent")
    host.up()
    shown = host.sh("ip neigh show dev vhost0")
    assert "10.0.0.77 lladdr 02:00:00:00:00:77 PERMANENT" in shown
    assert "10.0.0.2 lladdr" in shown
    host.down()
    shown = host.sh("ip neigh show dev nic")
    assert "10.0.0.77 lladdr 02:00:00:00:00:77 PERMANENT" in shown
    assert "10.0.0.2 lladdr" in shown


def test_a_failing_step_rolls_back(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    before = host.snapshot()
    real = rtnl.RtSocket.batch

    def fail(socket: rtnl.RtSocket, requests: list[rtnl.Request]) -> None:
        real(socket, requests[:-2])
        raise OSError(28, "No space left on device", "add a route")

    monkeypatch.setattr(rtnl.RtSocket, "batch", fail)
    with pytest.raises(VrouterError, match=r"cannot add a route: No space left.*nic is as it was"):
        host.up()
    assert host.snapshot() == before
    with DpCore.open(host.instance) as core:
        assert [vif.name for vif in core.vifs.items()] == ["pkt3", "pkt1"]


@pytest.mark.parametrize("step", ["_make", "_attach", "_move"])
def test_killed_half_way_it_is_put_right(
    host: Host, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = host.snapshot()
    child = os.fork()
    if child == 0:  # dies behind `step` as by kill -9
        with contextlib.suppress(BaseException):
            real = getattr(up.TakeOver, step)

            def die(self: up.TakeOver) -> None:
                real(self)
                os._exit(9)

            setattr(up.TakeOver, step, die)
            host.up()
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    wait_until(lambda: host.snapshot() == before)  # the guard did it
    host.up()
    assert "0% packet loss" in host.sh("ping -c 3 -i 0.05 10.0.0.2")
    host.down()
    assert host.snapshot() == before


def test_what_cannot_be_is_refused_in_one_line(host: Host) -> None:
    with pytest.raises(DeviceError, match="no netdevice eth9"):
        vhost.up(host.instance, "eth9")
    with pytest.raises(DeviceError, match="lo cannot be the physical device"):
        vhost.up(host.instance, "lo")
    host.up()
    with pytest.raises(Refused, match="stands for nic already"):
        vhost.up(host.instance, "pkt2")
