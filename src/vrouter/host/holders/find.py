# SPDX-License-Identifier: Apache-2.0
"""Look everywhere for who holds a NIC."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from vrouter.host.holders import firewall, managers, programs, services, stacked
from vrouter.host.holders.dhclient import Client
from vrouter.host.holders.finding import Finding
from vrouter.host.netlink import Link, Netlink
from vrouter.host.nic.snapshot import Snapshot

_OURS = frozenset({"vr_entry"})  # dp-core's program at the netdevices, bpf/vrouter.bpf.c


@dataclass(frozen=True)
class Holders:
    """What was found, what blocks first; the DHCP clients that follow the address to vhost0."""

    findings: list[Finding]
    clients: list[Client]

    @property
    def blocking(self) -> list[Finding]:
        """Those because of which the take-over is refused."""
        return [one for one in self.findings if one.blocks]


def is_home() -> bool:
    """Whether the thread is in the machine's own network namespace, that of process 1."""
    try:
        return os.stat("/proc/1/ns/net").st_ino == os.stat("/proc/thread-self/ns/net").st_ino
    except OSError:  # process 1 is hidden: a container, whose namespace is all there is
        return True


def find(links: Netlink, nic: Link, snapshot: Snapshot, root: Path = Path("/")) -> Holders:
    """Who holds NIC `nic` of the calling thread's namespace. Reads only."""
    managed, clients = managers.find(snapshot, root, home=is_home())
    followed = frozenset(client.pid for client in clients)
    findings = [
        *stacked.find(links, nic),
        *managed,
        *firewall.find(nic.name),
        *services.find(nic.name, nic.ifindex, root, followed),
        *programs.find(nic, _OURS),
    ]
    return Holders(sorted(findings, key=lambda one: not one.blocks), clients)
