# SPDX-License-Identifier: Apache-2.0
"""A leased address is carried on by its owner: dhclient and ifupdown, as they are."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.helpers import SOURCE, wait_until
from tests.system.vhosts import Host
from vrouter.host import netns

PACKAGING = Path(__file__).parents[2] / "packaging"
_RENEW = 3  # seconds (T1): the shortest lease of dnsmasq is two minutes
_CODE = "import sys; from vrouter.tools.vrouter import main; sys.exit(main())"
_INSIDE = """
set -e
mount --bind "$1" /etc/network
mkdir -p /run/network
mount -t tmpfs none /run/network
mount -t tmpfs none /var/lib/dhcp
mount -t tmpfs none /usr/local/bin
cp "$1/vrouter" /usr/local/bin/vrouter
echo ready
exec sleep 600
"""


class Room:
    """A host with a folder /etc/network and lease files of its own."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.host = host
        self.folder = folder
        for hook in ("if-pre-up.d", "if-up.d", "if-down.d", "if-post-down.d"):
            (folder / hook).mkdir(parents=True)
        for hook in ("if-pre-up.d", "if-post-down.d"):
            script = (PACKAGING / "ifupdown/vrouter").read_text()
            (folder / hook / "vrouter").write_text(script)
            (folder / hook / "vrouter").chmod(0o755)
        # ifup gives its hooks an environment of their own
        wrapper = folder / "vrouter"
        wrapper.write_text(
            f"#!/bin/sh\nPYTHONPATH={SOURCE} VROUTER_NAME={host.instance.name} exec "
            f"{sys.executable} -c '{_CODE}' \"$@\"\n"
        )
        wrapper.chmod(0o755)
        command = ["unshare", "-m", "sh", "-c", _INSIDE, "sh", str(folder)]
        with netns.enter(host.name):
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it."""
        enter = ["nsenter", "-m", "-n", "-t", str(self._process.pid)]
        return subprocess.run(
            [*enter, *command.split()], text=True, timeout=60, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def do(self, command: str) -> str:
        """The same; it must succeed."""
        done = self.run(command)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def clients(self) -> list[str]:
        """Command lines of the dhclients that run here."""
        found = []
        for pid in netns.processes(self.host.name):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
                if (
                    "dhclient" in words[0]
                    and "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
                ):
                    found.append(" ".join(words))
            except (OSError, IndexError):
                continue
        return found

    def lease(self, device: str) -> tuple[str, int]:
        """Leased address and how long it is valid; ("", 0) when there is none."""
        words = self.host.sh(f"ip -4 -o addr show dev {device} dynamic").split()
        if "inet" not in words:
            return "", 0
        valid = int(words[words.index("valid_lft") + 1].removesuffix("sec"))
        return words[words.index("inet") + 1], valid

    def close(self) -> None:
        """End what runs in it."""
        for pid in netns.processes(self.host.name):
            subprocess.run(["kill", "-9", str(pid)], check=False, capture_output=True)
        self._process.wait()


@pytest.fixture
def room(loaded_host: Host, tmp_path: Path) -> Iterator[Room]:
    resolv = Path("/etc/resolv.conf").read_bytes()
    with loaded_host.wired(lines=""):
        command = [
            "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--port=0", "--interface=far",
            "--bind-interfaces", "--dhcp-range=10.0.0.50,10.0.0.60,255.255.255.0,2m",
            "--dhcp-option=3,10.0.0.2", "--dhcp-option=6", "--dhcp-option=12",
            f"--dhcp-option=58,{_RENEW}", f"--dhcp-leasefile={tmp_path}/leases", "--pid-file",
            "--user=root", "--no-hosts", "--no-ping", "--dhcp-authoritative",
        ]  # fmt: skip
        with netns.enter(loaded_host.neighbour):
            server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        made = Room(loaded_host, tmp_path / "network")
        try:
            yield made
        finally:
            made.close()
            server.kill()
            server.wait()
            for file in ("nic", "vhost0"):
                Path(f"/run/dhclient.{file}.pid").unlink(missing_ok=True)
    assert Path("/etc/resolv.conf").read_bytes() == resolv


def _renewed(room: Room, device: str, address: str) -> None:
    """The lease on `device` is still of that address and is renewed in time."""
    wait_until(lambda: room.lease(device)[1] < 119)
    wait_until(lambda: room.lease(device)[1] >= 119)
    assert room.lease(device)[0] == address


def test_dhclient_follows_the_address_and_comes_back(room: Room) -> None:
    (room.folder / "interfaces").write_text("iface nic inet dhcp\n")
    room.do("ifup nic")
    address, _ = room.lease("nic")
    (before,) = room.clients()
    assert address.startswith("10.0.0.5") and before.endswith(" nic")

    said = room.do("vrouter vhost up --physical nic")

    assert "stop dhclient -4 on nic" in said
    assert "start dhclient -4 on vhost0 with the lease of nic" in said
    assert room.lease("nic")[0] == ""
    assert room.lease("vhost0")[0] == address
    (now,) = room.clients()
    assert now.endswith(" vhost0") and "-lf /var/lib/dhcp/dhclient.vhost0.leases" in now
    _renewed(room, "vhost0", address)
    assert "default via 10.0.0.2 dev vhost0" in room.host.sh("ip route")

    room.do("vrouter vhost down")

    assert room.lease("nic")[0] == address
    (again,) = room.clients()
    assert again.split()[-1] == "nic" and "/var/lib/dhcp/dhclient.nic.leases" in again
    _renewed(room, "nic", address)
    assert "default via 10.0.0.2 dev nic" in room.host.sh("ip route")
    room.do("ifdown nic")
    assert room.clients() == [] and room.lease("nic")[0] == ""


def test_a_lease_survives_an_up_that_was_killed(room: Room) -> None:
    (room.folder / "interfaces").write_text("iface nic inet dhcp\n")
    room.do("ifup nic")
    address, _ = room.lease("nic")
    room.do("vrouter vhost up --physical nic --confirm 1")
    wait_until(lambda: room.lease("nic")[0] == address and len(room.clients()) == 1)
    assert room.clients()[0].endswith(" nic")
    _renewed(room, "nic", address)


def test_a_dhclient_run_by_a_supervisor_is_refused(room: Room) -> None:
    enter = ["nsenter", "-m", "-n", "-t", str(room._process.pid)]
    with subprocess.Popen(
        [*enter, "dhclient", "-d", "nic"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as client:
        wait_until(lambda: room.lease("nic")[0] != "")
        done = room.run("vrouter vhost up --physical nic")
        assert done.returncode == 3
        assert "is run by a supervisor" in done.stdout
        assert "10.0.0.5" in room.lease("nic")[0]
        client.kill()


def test_a_client_that_takes_its_address_along_is_refused(room: Room, tmp_path: Path) -> None:
    script = tmp_path / "bound"
    script.write_text(
        '#!/bin/sh\n[ "$1" = bound ] && ip addr add $ip/24 dev $interface valid_lft $lease '
        "preferred_lft $lease\n"
    )
    script.chmod(0o755)
    enter = ["nsenter", "-m", "-n", "-t", str(room._process.pid)]
    with subprocess.Popen(
        [*enter, "busybox", "udhcpc", "-f", "-i", "nic", "-s", str(script)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as client:
        wait_until(lambda: room.lease("nic")[0] != "")
        done = room.run("vrouter vhost up --physical nic")
        assert done.returncode == 3
        assert "udhcpc (process" in done.stdout and "run dhclient instead" in done.stdout
        assert "10.0.0.5" in room.lease("nic")[0]
        client.kill()


def test_ifup_and_ifdown_vhost0_with_a_lease(room: Room) -> None:
    (room.folder / "interfaces").write_text(
        "iface nic inet manual\niface vhost0 inet dhcp\n    vrouter-physical nic\n"
    )
    room.do("ifup nic")
    room.do("ifup vhost0")
    assert room.lease("vhost0")[0].startswith("10.0.0.5")
    assert "0% packet loss" in room.do("ping -c 1 10.0.0.2")
    room.do("ifdown vhost0")
    assert room.clients() == []
    assert "vhost0" not in room.host.sh("ip link")


def test_ifup_and_ifdown_vhost0_with_a_fixed_address(room: Room) -> None:
    (room.folder / "interfaces").write_text(
        "iface vhost0 inet static\n    vrouter-physical nic\n    address 10.0.0.1/24\n"
        "    gateway 10.0.0.2\n"
    )
    room.do("ifup vhost0")
    assert "10.0.0.1/24" in room.host.sh("ip addr show vhost0")
    assert "default via 10.0.0.2 dev vhost0" in room.host.sh("ip route")
    assert "0% packet loss" in room.do("ping -c 1 10.0.0.2")
    room.do("ifdown vhost0")
    assert "vhost0" not in room.host.sh("ip link")
    (room.folder / "interfaces").write_text("iface eth9 inet manual\n    vrouter-physical nic\n")
    done = room.run("ifup eth9")
    assert done.returncode != 0 and "belongs to vhost0, not to eth9" in done.stdout


def test_the_units_are_sound(tmp_path: Path) -> None:
    vrouter = Path(sys.executable).parent / "vrouter"
    for unit in sorted((PACKAGING / "systemd").iterdir()):
        text = unit.read_text().replace("/usr/bin/vrouter", str(vrouter))
        (tmp_path / unit.name.replace("@", "@eth0")).write_text(text)
    units = [str(one) for one in sorted(tmp_path.iterdir())]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SYSTEMD_LOG_LEVEL": "info"},
    )
    said = [line for line in done.stderr.splitlines() if "vrouter-" in line]
    assert (done.returncode, said) == (0, [])
