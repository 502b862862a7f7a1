# SPDX-License-Identifier: Apache-2.0
"""What is measured: a way from one VM to another, whoever forwards it."""

from __future__ import annotations

from dataclasses import dataclass

from vrouter.host import netns, offload
from vrouter.lab.topology import NIC, VM_DEVICE, Lab

WIRES = ("tso", "plain", "plain gro")


@dataclass(frozen=True)
class End:
    """A VM: its namespace (by name), its device in there, its addresses (text)."""

    netns: str
    device: str
    ip: str
    mac: str


@dataclass(frozen=True)
class Route:
    """From `source` to `target`; `hosts` are the namespaces with an end of the wire each."""

    source: End
    target: End
    hosts: tuple[str, ...]

    @property
    def back(self) -> Route:
        """The same way in the other direction."""
        return Route(self.target, self.source, self.hosts)


def lab_route(lab: Lab, source: str, target: str) -> Route:
    """The way between two VMs of a lab, or of what has the same nodes."""
    ends = [
        End(lab.netns(vm.name), VM_DEVICE, vm.ip, vm.mac) for vm in map(lab.vm, (source, target))
    ]
    return Route(ends[0], ends[1], tuple(lab.netns(host.name) for host in lab.hosts))


class Wire:
    """The offloads of a topology's wire, on both of its ends.

    "tso": as a veth comes, which is what a NIC with segmentation and checksum offload does;
    "plain": without any; "plain gro": the same with GRO, as every driver of a plain NIC has.
    """

    def __init__(self, hosts: tuple[str, ...]) -> None:
        self._hosts = hosts
        self._fresh: list[dict[str, bool]] = []
        for host in hosts:
            with netns.enter(host):
                self._fresh.append(offload.get(NIC))

    def set(self, wire: str) -> None:
        """Make it one of WIRES."""
        for host, fresh in zip(self._hosts, self._fresh, strict=True):
            with netns.enter(host):
                # the kernel refuses to be told about features that are fixed
                now = offload.get(NIC)
                offload.put(NIC, {name: on for name, on in fresh.items() if now[name] != on})
                if wire != "tso":
                    offload.make_plain(NIC)
                offload.put(NIC, {"rx-gro": wire == "plain gro"})
