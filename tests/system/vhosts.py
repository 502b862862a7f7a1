# SPDX-License-Identifier: Apache-2.0
"""A host whose NIC is taken over, and its neighbour behind the wire."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterator
from typing import Any

from tests.system.helpers import unique, wait_until
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.instance import Instance
from vrouter.dpcore.loader import load, unload
from vrouter.dpcore.sizes import SMALL
from vrouter.host import devices, netns, vhost
from vrouter.host.holders import Holders
from vrouter.host.netlink import Netlink

NOBODY = Holders([], [])
NIC_MAC = bytes.fromhex("020000000001")
MTU = 1450
ON_THE_NIC = """
ip addr add 10.0.0.1/24 brd + dev nic
ip addr add 10.0.0.3/24 dev nic label nic:x valid_lft 5000 preferred_lft 3000
ip addr add fd00::1/64 dev nic nodad
ip route add default via 10.0.0.2
ip route add 10.77.0.0/16 via 10.0.0.2 table 77 metric 9
ip -6 route add default via fd00::2
"""
_SHOWN = (
    "ip -o addr", "ip route show table all", "ip -6 route show table all", "ip -o link",
    "ip rule", "ip -6 rule", "ip neigh show nud permanent", "ip neigh show proxy",
    "tc qdisc show dev nic", "sysctl -a --pattern net.ipv[46].(conf|neigh).nic.",
)  # fmt: skip


class Host:
    """A namespace with a NIC `nic`, its neighbour behind the wire, and a loaded vRouter."""

    def __init__(self, name: str, neighbour: str) -> None:
        self.name = name
        self.neighbour = neighbour
        self.instance = Instance(f"{name}-vr")

    def sh(self, command: str) -> str:
        """Run a command in the host; its output."""
        with netns.enter(self.name):
            return subprocess.run(
                command.split(), check=True, capture_output=True, text=True
            ).stdout

    def there(self, command: str) -> str:
        """Run a command in the neighbour; its output, whatever its exit code."""
        with netns.enter(self.neighbour):
            return subprocess.run(
                command.split(), check=False, capture_output=True, text=True
            ).stdout

    def up(self, **options: Any) -> list[str]:
        """vhost0 in the place of `nic`, which is known to be held by nobody."""
        return vhost.up(self.instance, "nic", **{"holders": NOBODY, **options})

    def down(self) -> list[str]:
        """And back."""
        return vhost.down(self.instance)

    def snapshot(self) -> list[str]:
        """All that a take-over may touch; without what runs on by itself."""
        text = "".join(self.sh(command) for command in _SHOWN)
        text = re.sub(r"\d+sec", "Nsec", text)
        # a device of ours that was up once keeps the qdisc that it got then
        text = re.sub(r"^(\d+: pkt\d.*) qdisc no\w+ ", r"\1 ", text, flags=re.MULTILINE)
        return sorted(text.splitlines())

    def reaches(self) -> bool:
        """Whether the neighbour, which knows nothing of it any more, reaches the host."""
        self.there("ip neigh flush all")
        four = self.there("ping -c 1 -W 1 10.0.0.1")
        six = self.there("ping -6 -c 1 -W 1 fd00::1")
        return " 0% packet loss" in four and " 0% packet loss" in six

    @contextlib.contextmanager
    def wired(self, mtu: int = MTU, lines: str = ON_THE_NIC) -> Iterator[None]:
        """The NIC and its wire exist and are configured inside the block."""
        with netns.enter(self.name), Netlink() as links:
            there = str(netns.path(self.neighbour))
            links.add_veth("nic", "far", mac=NIC_MAC, mtu=mtu, peer_netns=there)
            links.up("nic")
        with netns.enter(self.neighbour), Netlink() as links:
            links.add_address("far", "10.0.0.2", 24)
            links.up("far")
        self.there("ip addr add fd00::2/64 dev far nodad")
        try:
            for command in lines.strip().splitlines():
                self.sh(command)
            if "fd00::1/64" in lines:
                # the kernel makes it in its own time
                wait_until(lambda: "local fd00::1 " in self.sh("ip -6 route show table local"))
            yield
        finally:
            self._clean()

    def _clean(self) -> None:
        for name in (self.name, self.neighbour):
            for pid in netns.processes(name):
                subprocess.run(["kill", "-9", str(pid)], check=False, capture_output=True)
        with contextlib.suppress(Exception):
            vhost.down(self.instance)
        vhost.forget(self.instance)
        with netns.enter(self.name), Netlink() as links:
            links.delete("nic")
            links.delete("vhost0")
            for family in ("-4", "-6"):
                command = ["ip", family, "rule", "del", "pref", "1000"]
                while not subprocess.run(command, check=False, capture_output=True).returncode:
                    pass


@contextlib.contextmanager
def host() -> Iterator[Host]:
    """A host with a loaded vRouter, and no NIC yet."""
    made = Host(unique("ns"), unique("ns"))
    try:
        for name in (made.name, made.neighbour):
            netns.create(name)
            with netns.enter(name), Netlink() as links:
                # static addresses only: no link-local ones that come at their own time
                for scope in ("all", "default"):
                    netns.sysctl(f"net/ipv6/conf/{scope}/addr_gen_mode", 1)
                links.up("lo")
        with netns.enter(made.name):
            load(made.instance, SMALL)
            with DpCore.open(made.instance) as core:
                devices.ensure_packet_devices(core)
        yield made
    finally:
        vhost.forget(made.instance)
        unload(made.instance)
        for name in (made.name, made.neighbour):
            netns.delete(name)
