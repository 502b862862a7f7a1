# SPDX-License-Identifier: Apache-2.0
"""Real clients of the packet services, each in a VM's namespace, that write down what they got."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.system.helpers import wait_until
from vrouter.host import netns
from vrouter.lab import node
from vrouter.lab.topology import VM_DEVICE, Lab

_PACKET_ALL = 3
_UDHCPC = """#!/bin/sh
echo "$1 $interface ip=$ip/$mask router=$router dns=$dns domain=$domain lease=$lease mtu=$mtu" >>{log}
case $1 in bound) ip address replace $ip/$mask dev $interface;; esac
"""
_DHCLIENT = """#!/bin/sh
echo "$reason ip=$new_ip_address mask=$new_subnet_mask router=$new_routers dns=$new_domain_name_servers\
 domain=$new_domain_name lease=$new_dhcp_lease_time mtu=$new_interface_mtu\
 ip6=$new_ip6_address dns6=$new_dhcp6_name_servers search=$new_dhcp6_domain_search" >>{log}
case $reason in
BOUND) ip address replace $new_ip_address/24 dev $interface;;
BOUND6) ip address replace $new_ip6_address/128 dev $interface;;
esac
"""
_DHCPCD = """#!/bin/sh
echo "$reason ip=$new_ip_address mask=$new_subnet_mask router=$new_routers dns=$new_domain_name_servers\
 domain=$new_domain_name lease=$new_dhcp_lease_time mtu=$new_interface_mtu\
 ip6=$new_dhcp6_ia_na1_ia_addr1 dns6=$new_dhcp6_name_servers" >>{log}
"""
_DHCPCD_CONF = """duid ll
hostname
option domain_name_servers, domain_name, interface_mtu
option dhcp6_name_servers
noipv4ll
"""
_DHCLIENT_CONF = (
    "request subnet-mask, routers, domain-name, domain-name-servers, interface-mtu;\n"
    "initial-interval 1;\n"
)


def forget_addresses(lab: Lab, vm: str, *, sends_rs: bool = True) -> None:
    """The VM's device as a guest's own: no address but the link-local one that it makes."""
    with netns.enter(lab.netns(vm)):
        for scope in ("all", VM_DEVICE):
            netns.sysctl(f"net/ipv6/conf/{scope}/disable_ipv6", 0)
        values = {"addr_gen_mode": 0, "accept_ra": 1, "autoconf": 1, "accept_dad": 1}
        values["router_solicitations"] = 3 if sends_rs else 0
        for key, value in values.items():
            netns.sysctl(f"net/ipv6/conf/{VM_DEVICE}/{key}", value)
    for command in (
        f"ip address flush dev {VM_DEVICE}",
        f"ip link set {VM_DEVICE} down",
        f"ip link set {VM_DEVICE} up",
    ):
        assert node.call(lab, vm, command.split()).returncode == 0
    wait_until(lambda: "scope link" in addresses(lab, vm, "-6"))


def addresses(lab: Lab, vm: str, version: str) -> str:
    """What `ip address` says; version: -4 or -6. Tentative ones are left out."""
    command = ["ip", version, "-o", "address", "show", "dev", VM_DEVICE, "-tentative"]
    return node.call(lab, vm, command).stdout


class Client:
    """A running DHCP client; log: a line for each event."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def lines(self, *events: str) -> list[str]:
        """Its lines that begin with one of these words."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [line for line in lines if line.split(" ", 1)[0] in events]

    def first(self, *events: str, seconds: float = 30.0) -> str:
        """The first such line."""
        wait_until(lambda: bool(self.lines(*events)), seconds)
        return self.lines(*events)[0]

    def end(self) -> None:
        """Stop it and whatever it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()


@contextlib.contextmanager
def running(lab: Lab, vm: str, command: str, log: Path) -> Iterator[Client]:
    """A client for as long as the block lasts."""
    with netns.enter(lab.netns(vm)):
        process = subprocess.Popen(
            ["sh", "-c", f"exec {command}"],
            stdin=subprocess.DEVNULL,
            stdout=log.with_suffix(".out").open("w"),
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    client = Client(process, log)
    try:
        yield client
    finally:
        client.end()


def _script(folder: Path, text: str) -> tuple[Path, Path]:
    log = folder / "log"
    script = folder / "script"
    script.write_text(text.format(log=log))
    script.chmod(0o755)
    return script, log


def udhcpc(folder: Path) -> tuple[str, Path]:
    """busybox; command and log."""
    script, log = _script(folder, _UDHCPC)
    return f"busybox udhcpc -f -i {VM_DEVICE} -s {script} -O mtu -t 10 -T 1", log


def dhclient(folder: Path, version: int) -> tuple[str, Path]:
    """ISC's, for IPv4 or IPv6."""
    script, log = _script(folder, _DHCLIENT)
    conf = folder / "conf"
    conf.write_text(_DHCLIENT_CONF if version == 4 else "")
    files = f"-cf {conf} -lf {folder}/leases -pf {folder}/pid -sf {script}"
    return f"dhclient -{version} -d -v {files} {VM_DEVICE}", log


def dhcpcd(folder: Path, only: str = "") -> tuple[str, Path]:
    """dhcpcd for both, or `only` ipv6, with its own files hidden from the machine's."""
    script, log = _script(folder, _DHCPCD)
    conf = folder / "conf"
    conf.write_text(_DHCPCD_CONF + (f"{only}only\n" if only else ""))
    hide = "mkdir -p /var/lib/dhcpcd /run/dhcpcd && mount -t tmpfs none /var/lib/dhcpcd"
    hide += " && mount -t tmpfs none /run/dhcpcd"
    run = f"exec dhcpcd -B -d -f {conf} -c {script} {VM_DEVICE}"
    return f"unshare -m sh -c '{hide} && {run}'", log


class Wire:
    """A VM's device, for frames by hand."""

    def __init__(self, lab: Lab, vm: str) -> None:
        with netns.enter(lab.netns(vm)):
            self._socket = socket.socket(
                socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_PACKET_ALL)
            )
        self._socket.bind((VM_DEVICE, _PACKET_ALL))

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, frame: bytes) -> None:
        """Send a frame."""
        self._socket.send(frame)

    def received(self, seconds: float) -> list[bytes]:
        """What comes in within `seconds`, our own frames left out."""
        end = time.monotonic() + seconds
        frames = []
        while (left := end - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                frame, place = self._socket.recvfrom(65536)
            except TimeoutError:
                break
            if place[2] != socket.PACKET_OUTGOING:
                frames.append(frame)
        return frames
