# SPDX-License-Identifier: Apache-2.0
"""What a lab is made of: plain records, and the plans of the labs.

two-hosts   h1 ------------------ wire ------------------ h2
       vm1  vm2  vm4                                   vm3  vm5

blue: vm1, vm2, vm3. red: vm4 and vm5, with vm1's and vm3's IP and MAC (overlapping tenants).

one-host    h1 ------------------ wire ------------------ gw

h1 has a vRouter at one of the stages of its bring-up; gw is its default gateway, plain Linux.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Any

from vrouter.dpcore.errors import UsageError

LABS = ("two-hosts", "one-host")
STAGES = (1, 2, 3)
ENCAPS = ("vxlan", "mplsoudp", "mplsogre")
FORWARDINGS = ("l2", "l3")
WIRES = ("tso", "plain")
CONTROLS = ("agent", "tables")
UNDERLAYS = ("4", "6")
NIC = "eth0"
VM_DEVICE = "eth0"
WIRE_MTU = 1500
ONE_HOST_MTU = 9001  # jumbo frames, as many a machine's NIC has them
VM_MTU = 1400  # the longest overhead, VXLAN's 70 bytes over IPv6, fits the wire
ROUTER_MAC = bytes.fromhex("00005e000100")
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


@dataclass(frozen=True)
class Host:
    """A host or gateway: its underlay addresses and its NIC's MAC (text)."""

    name: str
    number: int
    ip: str
    mac: str
    ip6: str = ""


@dataclass(frozen=True)
class Network:
    """A tenant's network: VRF `vrf` on every host, VNI for VXLAN, label of its flood tree."""

    name: str
    vrf: int
    vni: int
    flood_label: int
    subnet: str
    gateway: str
    subnet6: str = ""
    gateway6: str = ""


@dataclass(frozen=True)
class Vm:
    """A VM: a namespace behind a veth. Labels are those by which its host is asked for it."""

    name: str
    number: int
    host: str
    network: str
    ip: str
    mac: str
    l3_label: int
    l2_label: int
    ip6: str = ""

    @property
    def tap(self) -> str:
        """Name of the host's end of its veth."""
        return f"tap-{self.name}"


@dataclass(frozen=True)
class Lab:
    """A planned or built lab. `phase`: building, up or leaving; `pid`: who is at it.

    `stage`: how far the hosts' vRouters are brought up: 1 dp-core is loaded, 2 vhost0 stands in
    the NIC's place, 3 their agents run. `control`: who fills the tables of two-hosts: agents, or
    the lab itself.
    """

    id: str
    lab: str
    encap: str
    forwarding: str
    wire: str
    hosts: tuple[Host, ...]
    networks: tuple[Network, ...]
    vms: tuple[Vm, ...]
    gateways: tuple[Host, ...] = ()
    stage: int = 2
    phase: str = "building"
    pid: int = 0
    pid_start: int = 0
    underlay: str = "4"
    control: str = "tables"

    def netns(self, node: str) -> str:
        """Name of a node's network namespace."""
        return f"{self.id}-{node}"

    def instance(self, host: str) -> str:
        """Name of a host's vRouter."""
        return f"{self.id}-{host}"

    @property
    def nodes(self) -> list[str]:
        return [host.name for host in (*self.hosts, *self.gateways)] + [vm.name for vm in self.vms]

    @property
    def mtu(self) -> int:
        """MTU of the wire, bytes."""
        return ONE_HOST_MTU if self.lab == "one-host" else WIRE_MTU

    def host(self, name: str) -> Host:
        return next(host for host in self.hosts if host.name == name)

    def network(self, name: str) -> Network:
        return next(network for network in self.networks if network.name == name)

    def vm(self, name: str) -> Vm:
        return next(vm for vm in self.vms if vm.name == name)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Lab:
        values = dict(data)
        values["hosts"] = tuple(Host(**one) for one in data["hosts"])
        values["networks"] = tuple(Network(**one) for one in data["networks"])
        values["vms"] = tuple(Vm(**one) for one in data["vms"])
        values["gateways"] = tuple(Host(**one) for one in data["gateways"])
        return cls(**values)

    def describe(self) -> dict[str, Any]:
        """What `lab show --json` prints: every node by name, and how the lab was made."""
        nodes: dict[str, Any] = {}
        for host in self.hosts:
            nodes[host.name] = {
                "kind": "host",
                "ip": host.ip,
                "ip6": host.ip6,
                "mac": host.mac,
                "netns": self.netns(host.name),
                "instance": self.instance(host.name),
            }
        for gateway in self.gateways:
            nodes[gateway.name] = {
                "kind": "gateway",
                "ip": gateway.ip,
                "mac": gateway.mac,
                "netns": self.netns(gateway.name),
            }
        for vm in self.vms:
            nodes[vm.name] = {
                "kind": "vm",
                "host": vm.host,
                "network": vm.network,
                "ip": vm.ip,
                "ip6": vm.ip6,
                "mac": vm.mac,
                "netns": self.netns(vm.name),
            }
        return {
            "id": self.id,
            "lab": self.lab,
            "encap": self.encap,
            "forwarding": self.forwarding,
            "wire": self.wire,
            "stage": self.stage,
            "underlay": self.underlay,
            "control": self.control,
            "phase": self.phase,
            "nodes": nodes,
        }


def mac_bytes(text: str) -> bytes:
    """The six bytes of 02:00:..."""
    return bytes.fromhex(text.replace(":", ""))


def check_id(text: str) -> str:
    """A lab's id, as it was given; UsageError if it cannot name namespaces and instances."""
    if not _ID.fullmatch(text):
        raise UsageError(
            f"a lab's id is lower-case letters, digits and dashes, at most 31, not {text!r}"
        )
    return text


def plan(
    lab: str,
    lab_id: str,
    *,
    encap: str | None = None,
    forwarding: str | None = None,
    wire: str = "tso",
    underlay: str | None = None,
    stage: int | None = None,
    control: str | None = None,
) -> Lab:
    """The plan of lab `lab` under id `lab_id`; None is the lab's default. `underlay`: IP version
    of the tunnels.

    UsageError for an unknown lab or an option that it has no use for.
    """
    if lab not in LABS:
        raise UsageError(f"there is no lab {lab!r}; there are: {', '.join(LABS)}")
    check_id(lab_id)
    if lab == "one-host":
        if encap or forwarding or underlay or control:
            raise UsageError(
                "lab one-host has no tunnels: --encap, --forwarding, --underlay and --control are "
                "two-hosts'"
            )
        return _one_host(lab_id, wire, stage or 2)
    if stage is not None:
        raise UsageError("lab two-hosts has no stages: --stage is one-host's")
    made = _two_hosts(lab_id, encap or "vxlan", forwarding or "l2", wire, underlay or "4")
    if control == "tables":
        return replace(made, control=control, stage=2)
    return made


def _underlay(number: int, name: str) -> Host:
    mac = f"02:00:00:00:00:{number:02x}"
    return Host(name, number, f"172.30.0.{number}", mac, f"2001:db8:30::{number}")


def _one_host(lab_id: str, wire: str, stage: int) -> Lab:
    host, gateway = _underlay(1, "h1"), _underlay(2, "gw")
    return Lab(
        id=lab_id,
        lab="one-host",
        encap="vxlan",
        forwarding="l2",
        wire=wire,
        hosts=(host,),
        networks=(),
        vms=(),
        gateways=(gateway,),
        stage=stage,
    )


def _two_hosts(lab_id: str, encap: str, forwarding: str, wire: str, underlay: str) -> Lab:
    hosts = (_underlay(1, "h1"), _underlay(2, "h2"))
    subnet = IPv4Network("10.1.1.0/24")
    gateway = str(subnet.broadcast_address - 1)
    subnet6 = IPv6Network("fd00:10:1:1::/64")
    gateway6 = str(subnet6[0xFE])
    networks = tuple(
        Network(name, vrf, 5000 + vrf, 500 + vrf, str(subnet), gateway, str(subnet6), gateway6)
        for vrf, name in ((1, "blue"), (2, "red"))
    )
    places = (  # number, host, network, last byte of IP and MAC
        (1, "h1", "blue", 1),
        (2, "h1", "blue", 2),
        (3, "h2", "blue", 3),
        (4, "h1", "red", 1),
        (5, "h2", "red", 3),
    )
    vms = tuple(
        Vm(
            name=f"vm{number}",
            number=number,
            host=host,
            network=network,
            ip=str(IPv4Address(int(subnet.network_address) + last)),
            mac=f"02:00:0a:01:01:{last:02x}",
            l3_label=100 + number,
            l2_label=200 + number,
            ip6=str(subnet6[last]),
        )
        for number, host, network, last in places
    )
    return Lab(
        id=lab_id,
        lab="two-hosts",
        encap=encap,
        forwarding=forwarding,
        wire=wire,
        hosts=hosts,
        networks=networks,
        vms=vms,
        stage=3,
        underlay=underlay,
        control="agent",
    )
