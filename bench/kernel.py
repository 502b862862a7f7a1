# SPDX-License-Identifier: Apache-2.0
"""The peer: the nodes of a lab joined by the kernel's own bridge and VXLAN device.

Set up as a controller sets it up, the fastest way that the kernel has for it: every MAC and
neighbour is static, the VXLAN device learns nothing and sends no UDP checksum (as dp-core).
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from vrouter.dpcore.errors import VrouterError
from vrouter.host import netns
from vrouter.host.netlink import Netlink
from vrouter.host.ports import Port, make_veth
from vrouter.lab.topology import NIC, VM_DEVICE, VM_MTU, WIRE_MTU, Host, Lab, Vm, mac_bytes

VXLAN_PORT = 4789
BRIDGE, TUNNEL = "br0", "vxlan0"
NETWORK = "blue"


def vms(lab: Lab) -> list[Vm]:
    """The VMs that the peer has: those of one network, since a bridge is one network."""
    return [vm for vm in lab.vms if vm.network == NETWORK]


@contextmanager
def peer(lab: Lab) -> Iterator[None]:
    """Build the peer under the names of (unbuilt) lab `lab`; remove it at the end."""
    nodes = [host.name for host in lab.hosts] + [vm.name for vm in vms(lab)]
    try:
        for node in nodes:
            _node(lab.netns(node))
        _wire(lab)
        for host in lab.hosts:
            _bridge(lab, host)
        yield
    finally:
        for node in nodes:
            with suppress(OSError):
                netns.delete(lab.netns(node))


def _node(name: str) -> None:
    netns.create(name)
    with netns.enter(name), Netlink() as links:
        for scope in ("all", "default"):
            netns.sysctl(f"net/ipv6/conf/{scope}/disable_ipv6", 1)
        links.up("lo")


def _wire(lab: Lab) -> None:
    left, right = lab.hosts
    with netns.enter(lab.netns(left.name)), Netlink() as links:
        links.add_veth(
            NIC,
            NIC,
            mac=mac_bytes(left.mac),
            peer_mac=mac_bytes(right.mac),
            mtu=WIRE_MTU,
            peer_netns=str(netns.path(lab.netns(right.name))),
        )
    for host in lab.hosts:
        with netns.enter(lab.netns(host.name)), Netlink() as links:
            links.add_address(NIC, host.ip, 24)
            links.up(NIC)


def _bridge(lab: Lab, host: Host) -> None:
    name = lab.netns(host.name)
    network = lab.network(NETWORK)
    far = next(other for other in lab.hosts if other != host)
    _ip(
        name,
        f"neigh replace {far.ip} lladdr {far.mac} dev {NIC} nud permanent",
        f"link add {BRIDGE} type bridge",
        f"link add {TUNNEL} type vxlan id {network.vni} dstport {VXLAN_PORT} dev {NIC}"
        f" local {host.ip} nolearning noudpcsum",
        f"link set {TUNNEL} master {BRIDGE} up",
        f"link set {BRIDGE} up",
    )
    _bridge_tool(name, f"fdb append 00:00:00:00:00:00 dev {TUNNEL} dst {far.ip} self permanent")
    for vm in vms(lab):
        if vm.host == host.name:
            _local_vm(lab, vm, name)
        else:
            _bridge_tool(name, f"fdb replace {vm.mac} dev {TUNNEL} master static")
            _bridge_tool(name, f"fdb replace {vm.mac} dev {TUNNEL} dst {far.ip} self permanent")


def _local_vm(lab: Lab, vm: Vm, name: str) -> None:
    network = lab.network(vm.network)
    port = Port(
        netns=lab.netns(vm.name),
        device=VM_DEVICE,
        mac=mac_bytes(vm.mac),
        ip=vm.ip,
        prefix=int(network.subnet.partition("/")[2]),
        gateway=network.gateway,
        mtu=VM_MTU,
    )
    with netns.enter(name):
        make_veth(vm.tap, port)
    _ip(name, f"link set {vm.tap} master {BRIDGE}")
    _bridge_tool(name, f"fdb replace {vm.mac} dev {vm.tap} master static")


def _ip(name: str, *lines: str) -> None:
    for line in lines:
        _tool("ip", name, line)


def _bridge_tool(name: str, line: str) -> None:
    _tool("bridge", name, line)


def _tool(tool: str, name: str, line: str) -> None:
    done = subprocess.run(
        [tool, "-n", name, *line.split()], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise VrouterError(f"cannot build the kernel's side: {tool} {line}: {done.stderr.strip()}")
