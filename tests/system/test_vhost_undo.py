# SPDX-License-Identifier: Apache-2.0
"""Going back: what others changed meanwhile, reboots, confirmation, kills, two commands at once."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.system.helpers import SOURCE, Vrouter, wait_until
from tests.system.vhosts import NIC_MAC, Host
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.errors import Busy, Refused, VrouterError
from vrouter.dpcore.loader import load, unload
from vrouter.dpcore.sizes import SMALL
from vrouter.host import devices, netns, vhost
from vrouter.host.netlink import Netlink
from vrouter.host.takeover import guard, state


def _notes(lines: list[str]) -> str:
    return "\n".join(line for line in lines if line.startswith("note: "))


def test_what_was_changed_since_is_left_and_told(host: Host) -> None:
    before = host.snapshot()
    host.up()
    for command in (
        "ip addr add 10.0.9.9/24 dev vhost0",
        "ip route add 10.66.0.0/16 via 10.0.0.2",
        "ip addr del fd00::1/64 dev vhost0",
        "ip addr add 10.0.8.8/24 dev nic",
        "sysctl -w net.ipv4.conf.nic.arp_ignore=1",
        "ip link set nic mtu 1400",
    ):
        host.sh(command)

    notes = _notes(host.down())

    assert "vhost0 has got address 10.0.9.9/24 since: it goes with vhost0" in notes
    assert "vhost0 has got route 10.66.0.0/16 via 10.0.0.2 since" in notes
    assert "vhost0 had lost address fd00::1/64: nic has it again, as before" in notes
    assert "nic has got address 10.0.8.8/24 since: left as it is" in notes
    assert "sysctl ipv4/conf/arp_ignore of nic was 0, is 1: left as it is" in notes
    assert "MTU of nic has changed since: left as it is" in notes
    for command in (
        "ip addr del 10.0.8.8/24 dev nic",
        "sysctl -w net.ipv4.conf.nic.arp_ignore=0",
        "ip link set nic mtu 1450",
    ):
        host.sh(command)
    assert host.snapshot() == before


def test_another_route_in_the_place_of_an_old_one_is_left(host: Host) -> None:
    host.up()
    host.sh("ip addr add 10.9.0.1/24 dev nic")
    host.sh("ip route append 10.77.0.0/16 via 10.9.0.2 dev nic table 77 metric 9")
    notes = _notes(host.down())
    assert "nic has another route 10.77.0.0/16 via 10.0.0.2 table 77 metric 9 now" in notes
    shown = host.sh("ip route show table 77")
    assert "10.77.0.0/16 via 10.9.0.2 dev nic" in shown
    assert "10.0.0.2" not in shown


def _reboot(host: Host, configure: str) -> None:
    """As after a reboot: other ifindexes, no vhost0, no dp-core; the machine sets up its NIC."""
    file = state.path(host.instance)
    data: dict[str, Any] = json.loads(file.read_text())
    data["before"]["boot"] = "an-earlier-one"
    data["home"] = True  # a namespace of the test's own does not outlive a real one
    file.write_text(json.dumps(data))
    with netns.enter(host.name), Netlink() as links:
        unload(host.instance)
        for name in ("vhost0", "nic", "pkt1", "pkt2", "pkt3"):
            links.delete(name)
        links.add_veth("shift", "shifti")
        there = str(netns.path(host.neighbour))
        links.add_veth("nic", "far", mac=NIC_MAC, mtu=1450, peer_netns=there)
        links.up("nic")
    with netns.enter(host.neighbour), Netlink() as links:
        links.add_address("far", "10.0.0.2", 24)
        links.up("far")
    host.there("ip addr add fd00::2/64 dev far nodad")
    for command in configure.strip().splitlines():
        host.sh(command)


def _after(host: Host) -> None:
    with netns.enter(host.name):
        load(host.instance, SMALL)
        with DpCore.open(host.instance) as core:
            devices.ensure_packet_devices(core)
        with Netlink() as links:
            links.delete("shift")


def _nic_lines(host: Host) -> list[str]:
    """What the snapshot says of the NIC, without ifindexes."""
    lines = [re.sub(r"^\d+: |@if\d+", "", line) for line in host.snapshot()]
    return [re.sub(r"link-netns .*|link-netnsid.*", "", line) for line in lines if "nic" in line]


@pytest.mark.parametrize("configured", ["", "ip addr add 10.0.0.1/24 brd + dev nic"])
def test_down_after_a_reboot_restores_what_is_missing(host: Host, configured: str) -> None:
    host.sh("ip neigh add 10.0.0.77 lladdr 02:00:00:00:00:77 dev nic nud permanent")
    host.sh("ip rule add pref 1000 iif nic lookup 77")
    host.sh("ip route add 10.55.0.0/16 nexthop via 10.0.0.2 nexthop via 10.0.0.4")
    before = _nic_lines(host)
    host.up()
    try:
        _reboot(host, configured)
        with netns.enter(host.name):
            assert vhost.physical_of(host.instance) is None
            host.down()
        host.sh("ip link del shift")
        now = _nic_lines(host)
        assert [line for line in before if line not in now] == []
        assert host.reaches()
        with netns.enter(host.name):
            assert host.down() == ["vhost0 is not up: nothing to do"]
    finally:
        _after(host)


def test_after_a_reboot_with_other_addresses_nothing_old_comes_back(host: Host) -> None:
    host.up()
    try:
        _reboot(host, "ip addr add 192.0.2.1/24 dev nic")
        with netns.enter(host.name):
            notes = _notes(host.down())
        assert "nic was given other addresses at boot: the old ones are not put back" in notes
        assert "10.0.0.1" not in host.sh("ip addr")
    finally:
        _after(host)


def test_up_after_a_reboot_takes_what_the_boot_has_set(host: Host) -> None:
    host.up()
    try:
        _reboot(host, "ip addr add 192.0.2.1/24 dev nic")
        _after(host)
        assert "nic was set up anew at boot: what was saved before is dropped" in host.up()
        assert "192.0.2.1/24" in host.sh("ip addr show vhost0")
        host.down()
        assert "192.0.2.1/24" in host.sh("ip addr show nic")
        assert "10.0.0.1" not in host.sh("ip addr")
    finally:
        host.sh("ip link show nic")


def test_state_of_a_namespace_that_is_gone_is_not_used(host: Host) -> None:
    host.up()
    file = state.path(host.instance)
    data = json.loads(file.read_text())
    host.down()
    data["cookie"] += 1
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(data))
    assert vhost.physical_of(host.instance) is None
    assert host.down() == ["vhost0 is not up: nothing to do"]
    assert not file.exists()


def test_a_damaged_state_is_told_and_changes_nothing(host: Host) -> None:
    host.up()
    file = state.path(host.instance)
    good = file.read_text()
    file.write_text(good[:-20])
    before = host.snapshot()
    with pytest.raises(VrouterError, match="give the NIC its addresses by hand"):
        host.down()
    assert host.snapshot() == before
    file.write_text(good)
    host.down()


def test_unconfirmed_it_is_taken_back(host: Host) -> None:
    before = host.snapshot()
    lines = host.up(confirm_within=2.0)
    assert lines[-1].startswith("run `vrouter vhost confirm` within 2 s")
    assert "10.0.0.1" in host.sh("ip addr show vhost0")
    wait_until(lambda: host.snapshot() == before)
    assert "nobody confirmed" in (host.instance.run_dir / guard.LOG).read_text()


def test_confirmed_it_stays(host: Host) -> None:
    host.up(confirm_within=2.0)
    assert vhost.confirm(host.instance) == ["vhost0 stays in the place of nic"]
    time.sleep(3)
    assert vhost.physical_of(host.instance) == "nic"
    assert "nothing changed" in vhost.confirm(host.instance)[0]
    host.down()
    with pytest.raises(Refused, match="nothing to confirm"):
        vhost.confirm(host.instance)


_CODE = "import sys; from vrouter.tools.vrouter import main; sys.exit(main(sys.argv[1:]))"


def _login(host: Host, *args: str) -> subprocess.Popen[bytes]:
    """A shell in a session of its own that runs `vrouter vhost ...` and stays, as a login does."""
    script = '"$@"; exec sleep 600'
    command = ["sh", "-c", script, "sh", sys.executable, "-c", _CODE, "vhost", *args]
    return subprocess.Popen(
        command,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "VROUTER_NAME": host.instance.name},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_unconfirmed_it_is_taken_back_though_the_login_was_killed(host: Host) -> None:
    before = host.snapshot()
    login = _login(host, "up", "--physical", "nic", "--confirm", "4", "--force")
    wait_until(lambda: vhost.physical_of(host.instance) == "nic")
    os.killpg(login.pid, signal.SIGKILL)
    login.wait()
    assert "10.0.0.1" in host.sh("ip addr show vhost0")
    wait_until(lambda: host.snapshot() == before)


_SYSTEMD_RUN = """#!/bin/sh
echo "$@" >>"$0.log"
while case "$1" in --setenv=*) export "${1#--setenv=}" ;; esac; [ "${1#--}" != "$1" ]; do shift; done
exec "$@"
"""


def test_where_systemd_runs_the_guard_is_a_unit(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = tmp_path / "systemd-run"
    fake.write_text(_SYSTEMD_RUN)
    fake.chmod(0o755)
    monkeypatch.setattr(guard, "_SYSTEMD", tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    before = host.snapshot()
    host.up(confirm_within=1.0)
    asked = (tmp_path / "systemd-run.log").read_text()
    assert "--quiet --collect --pipe --unit=vrouter-guard-" in asked
    wait_until(lambda: host.snapshot() == before)
    # one that cannot start units does not keep us from having a guard
    fake.write_text("#!/bin/sh\nexit 1\n")
    host.up(confirm_within=1.0)
    wait_until(lambda: host.snapshot() == before)


def test_a_command_that_is_process_1_ends(host: Host) -> None:
    """As in a container: its guard is none of systemd's."""
    before = host.snapshot()
    alone = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    for words in (("up", "--physical", "nic", "--force"), ("down",)):
        subprocess.run(
            [*alone, sys.executable, "-c", _CODE, "vhost", *words],
            env={**os.environ, "PYTHONPATH": str(SOURCE), "VROUTER_NAME": host.instance.name},
            stdin=subprocess.DEVNULL,
            timeout=30,
            check=True,
        )
        assert (vhost.physical_of(host.instance) == "nic") is (words[0] == "up")
    assert host.snapshot() == before


def test_the_command_confirms_and_forgets(host: Host, vrouter: Vrouter) -> None:
    def run(*args: str) -> subprocess.CompletedProcess[str]:
        return vrouter("vhost", *args, VROUTER_NAME=host.instance.name)

    done = run("up", "--physical", "nic")
    assert (done.returncode, "nobody renews it" in done.stderr) == (3, True)
    done = run("up", "--physical", "nic", "--force", "--confirm", "60")
    assert "run `vrouter vhost confirm` within 60 s" in done.stdout
    assert "vhost0 stays in the place of nic" in run("confirm").stdout
    assert json.loads(run("confirm", "--json").stdout)["changed"] is False
    assert "give address 10.0.0.1/24 to nic" in run("down").stdout
    assert run("confirm").returncode == 3
    assert json.loads(run("down", "--json").stdout)["changed"] is False
    assert "forgot" in run("down", "--forget").stdout


def test_without_a_guard_nothing_is_changed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    before = host.snapshot()
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(VrouterError, match="cannot start the guard of the take-over"):
        host.up()
    assert host.snapshot() == before


def test_a_route_that_both_have_is_given_back(host: Host) -> None:
    """As a kill in the moment of moving leaves it: the kernel makes one of two equal IPv6 routes."""
    before = host.snapshot()
    host.up()
    host.sh("ip -6 addr add fd00::1/64 dev nic nodad")
    host.sh("ip -6 route append default via fd00::2 dev nic metric 1024")
    shown = host.sh("ip -6 route show default")
    assert "nexthop via fd00::2 dev nic" in shown and "nexthop via fd00::2 dev vhost0" in shown
    host.down()
    assert host.snapshot() == before


def _die(function: Callable[[], object]) -> int:
    """Runs it in a child process; its pid."""
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            function()
        finally:
            os._exit(0)
    return child


def _kill_at_random(host: Host, rounds: int, seed: int) -> None:
    chance = random.Random(seed)
    before = host.snapshot()
    lasts = {host.up: _seconds(host.up), host.down: _seconds(host.down)}
    for number in range(rounds):
        victim = host.down if number % 3 == 2 else host.up
        if victim == host.down:
            host.up()
        child = _die(victim)
        time.sleep(chance.uniform(0, 1.2 * lasts[victim]))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert host.reaches() or _reaches_soon(host), f"round {number}"
        host.down()
        assert host.snapshot() == before, f"round {number}"


def _seconds(function: Callable[[], object]) -> float:
    start = time.monotonic()
    function()
    return time.monotonic() - start


def _reaches_soon(host: Host) -> bool:
    wait_until(host.reaches)
    return True


def test_killed_at_random_instants_it_works_and_can_be_undone(host: Host) -> None:
    _kill_at_random(host, 10, seed=1)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_killed_at_a_hundred_random_instants(host: Host) -> None:
    _kill_at_random(host, 100, seed=2)


def test_the_second_command_waits_and_says_for_whom(host: Host) -> None:
    said: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, host.instance.name],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None and holder.stdin is not None
        holder.stdout.readline()

        def say(line: str) -> None:
            said.append(line)
            assert holder.stdin is not None
            holder.stdin.close()  # now it lets go

        assert vhost.down(host.instance, say=say) == ["vhost0 is not up: nothing to do"]
    assert f"is being changed by process {holder.pid}" in said[0]
    assert said[0].startswith("waiting up to 30 s")


_HOLD = """
import sys
from vrouter.dpcore.instance import Instance
with Instance(sys.argv[1]).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_second_command_is_refused_when_the_first_takes_too_long(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vhost, "_PATIENCE", 0.2)
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, host.instance.name],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(Busy, match=f"process {holder.pid}"):
            host.up()
        assert holder.stdin is not None
        holder.stdin.close()


def test_two_ups_at_once_are_one_after_the_other(host: Host, vrouter: Vrouter) -> None:
    results: list[subprocess.CompletedProcess[str]] = []

    def call() -> None:
        args = ("vhost", "up", "--physical", "nic", "--force")
        results.append(vrouter(*args, VROUTER_NAME=host.instance.name))

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.returncode for one in results] == [0, 0], results
    assert sum("vhost0 is up on nic already" in one.stdout for one in results) == 1
