# SPDX-License-Identifier: Apache-2.0
"""Hosts on one underlay and guests behind them, built by hand through vrouter.dpcore.

            fabric (a kernel bridge)
         h1 ----- h2 ----- h3 ...        each: NIC eth0 behind vhost0, a vRouter of its own
       guests   guests   guests          a guest is a namespace behind a veth

For what the lab's fixed plan has no room for: many hosts, several encapsulations side by side,
far ends that are no vRouter.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import subprocess
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from types import TracebackType

from tests.system.helpers import unique
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.instance import Instance
from vrouter.dpcore.loader import load, unload
from vrouter.dpcore.names import Family, NhFlag, NhType, VifFlag, VifType
from vrouter.dpcore.records import Member, Nexthop, Route, Vif
from vrouter.dpcore.sizes import SMALL
from vrouter.host import devices, netns, vhost
from vrouter.host.netlink import Netlink

BROADCAST = b"\xff" * 6
ROUTER_MAC = bytes.fromhex("00005e000100")
TUNNEL_FLAG = {
    "vxlan": NhFlag.TUNNEL_VXLAN,
    "mplsoudp": NhFlag.TUNNEL_UDP_MPLS,
    "mplsogre": NhFlag.TUNNEL_GRE,
}
GUEST_MTU = 1400
NIC = "eth0"


@dataclass(frozen=True)
class Guest:
    """A VM: device `device` of namespace `netns`; behind vif `vif`, reached by nexthop `nh`."""

    netns: str
    device: str
    mac: bytes
    ip: str
    vrf: int
    vif: int
    nh: int


class Host:
    """A namespace with a NIC on the fabric and a loaded vRouter."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.netns = world.namespace(f"h{number}")
        self.ip = f"172.29.0.{number}"
        self.mac = bytes((2, 0, 0, 0, 9, number))
        self.instance = Instance(self.netns)
        self._ids = itertools.count(20)
        world.plug_in(self.netns, NIC, self.mac)
        with netns.enter(self.netns):
            with Netlink() as links:
                links.add_address(NIC, self.ip, 24)
            world.on_exit(_forget, self.instance)
            load(self.instance, SMALL)
            vhost.up(self.instance, NIC)
        self.core = world.enter(DpCore.open(self.instance))
        devices.ensure_packet_devices(self.core)
        self.nic = self._vif(NIC)
        self.vhost = self._vif(vhost.VHOST)
        self.receive = self.put(type=NhType.RECEIVE, oif=self.vhost)
        own = IPv4Network(f"{self.ip}/32")
        self.core.inet.put(Route(vrf=0, prefix=own, nh=self.receive))

    def _vif(self, name: str) -> int:
        found = self.core.vifs.by_name(name)
        assert found is not None
        return found.idx

    def put(self, **fields: object) -> int:
        """Add a nexthop under the next free id; its id."""
        return self.core.nexthops.put(Nexthop(id=next(self._ids), **fields)).id  # type: ignore[arg-type]

    def guest(
        self,
        vrf: int,
        last: int,
        *,
        space: str | None = None,
        device: str = "eth0",
        flags: VifFlag = VifFlag.UNKNOWN_UC_FLOOD,
    ) -> Guest:
        """A guest 10.1.0.LAST in `vrf`, in a namespace of its own or in `space`."""
        home = space or self.world.namespace("vm")
        mac, ip = bytes((2, 0, 10, 1, 0, last)), f"10.1.0.{last}"
        tap = f"tap{vrf}-{last}"
        with netns.enter(self.netns), Netlink() as links:
            links.add_veth(
                tap, device, peer_mac=mac, mtu=GUEST_MTU, peer_netns=str(netns.path(home))
            )
            links.up(tap)
            with netns.enter(home), Netlink() as inside:
                inside.add_address(device, ip, 24)
                inside.up(device)
            link = links.need(tap)
            vif = self.core.vifs.add(
                Vif(
                    idx=self.core.vifs.free_idx(link.ifindex),
                    name=tap,
                    type=VifType.VIRTUAL,
                    vrf=vrf,
                    mac=ROUTER_MAC,
                    flags=flags | VifFlag.L2 | VifFlag.L3,
                    os_ifindex=link.ifindex,
                    ifindex=link.ifindex,
                    peer=True,
                )
            )
        nexthop = self.put(type=NhType.ENCAP, family=Family.BRIDGE, vrf=vrf, oif=vif.idx)
        self.core.bridge.put(vrf, mac, nexthop)
        return Guest(home, device, mac, ip, vrf, vif.idx, nexthop)

    def tunnel(self, ip: str, mac: bytes, encap: str) -> int:
        """A nexthop that sends to the host of that underlay address; its id."""
        return self.put(
            type=NhType.TUNNEL,
            flags=NhFlag.VALID | TUNNEL_FLAG[encap],
            oif=self.nic,
            sip=IPv4Address(self.ip),
            dip=IPv4Address(ip),
            rewrite=mac + self.mac + b"\x08\x00",
        )

    def accept(self, label: int, vrf: int) -> None:
        """What arrives with VNI 5000 + `label`, or with MPLS label `label`, belongs to `vrf`."""
        flags = NhFlag.VALID | NhFlag.UNKNOWN_UC_FLOOD
        nexthop = self.put(type=NhType.VRF_TRANSLATE, family=Family.BRIDGE, flags=flags, vrf=vrf)
        self.core.vxlan.put(5000 + label, nexthop)
        self.core.mpls.put(label, nexthop)

    def flood(self, vrf: int, local: list[Guest], remote: list[Member]) -> None:
        """The broadcast entry of `vrf`: local guests, and tunnels with their labels."""
        there = tuple(Member(nh=guest.nh) for guest in local)
        top = []
        for flag, members in (
            (NhFlag.COMPOSITE_ENCAP, there),
            (NhFlag.COMPOSITE_EVPN, tuple(remote)),
        ):
            top.append(self._composite(flag, vrf, members))
        whole = tuple(Member(nh=one) for one in top)
        self.core.bridge.put(vrf, BROADCAST, self._composite(NhFlag.MULTICAST, vrf, whole))

    def _composite(self, kind: NhFlag, vrf: int, members: tuple[Member, ...]) -> int:
        flags = NhFlag.VALID | kind
        family = Family.BRIDGE
        return self.put(type=NhType.COMPOSITE, family=family, flags=flags, vrf=vrf, members=members)


def _forget(instance: Instance) -> None:
    unload(instance)
    # vhost0's way back: it goes with its namespace
    vhost.forget(instance)
    shutil.rmtree(instance.run_dir, ignore_errors=True)


def run_in(space: str, command: str, timeout: float = 60) -> str:
    """Run a command (words at blanks) in namespace `space`; its output. It must succeed."""
    with netns.enter(space):
        process = subprocess.Popen(
            command.split(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    try:
        output, _ = process.communicate(timeout=timeout)
    finally:
        process.kill()
    assert process.returncode == 0, f"{command}: {output}"
    return output


def label_for(encap: str, label: int) -> int:
    """The label or VNI under which Host.accept(label, ...) is reached."""
    return 5000 + label if encap == "vxlan" else label


class World:
    """Everything of one test module; a context manager that removes it whatever happened."""

    def __init__(self) -> None:
        self._spaces = contextlib.ExitStack()
        # ended before any namespace goes: a netdevice that dp-core is tied to as its namespace goes
        # keeps the lock of all netdevices from everybody for 15 ms, a thousand of them in one go
        self._stack = contextlib.ExitStack()
        self._numbers = itertools.count(1)
        self._ports = itertools.count(1)
        self.prefix = unique("w")
        self.fabric = ""

    def __enter__(self) -> World:
        try:
            self.fabric = self.namespace("fabric")
            with netns.enter(self.fabric), Netlink() as links:
                run_in(self.fabric, "ip link add br0 type bridge mcast_snooping 0")
                links.up("br0")
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def _close(self) -> None:
        with self._spaces:
            self._stack.close()

    def on_exit(self, function: object, *args: object) -> None:
        """Call `function` when the world ends, before its namespaces go; last come first served."""
        self._stack.callback(function, *args)  # type: ignore[arg-type]

    def enter(self, core: DpCore) -> DpCore:
        """Close `core` when the world ends."""
        return self._stack.enter_context(core)

    def namespace(self, what: str) -> str:
        """A new, silent namespace (no IPv6), lo up."""
        name = f"{self.prefix}-{what}" if what != "vm" else unique(f"{self.prefix}-vm")
        self._spaces.callback(netns.delete, name)
        netns.create(name)
        with netns.enter(name), Netlink() as links:
            for scope in ("all", "default"):
                netns.sysctl(f"net/ipv6/conf/{scope}/disable_ipv6", 1)
            links.up("lo")
        return name

    def plug_in(self, space: str, device: str, mac: bytes) -> None:
        """Device `device` of namespace `space` becomes a NIC on the fabric, up."""
        port = f"p{next(self._ports)}"
        with netns.enter(self.fabric), Netlink() as links:
            links.add_veth(port, device, peer_mac=mac, peer_netns=str(netns.path(space)))
            run_in(self.fabric, f"ip link set {port} master br0")
            links.up(port)
        with netns.enter(space), Netlink() as links:
            links.up(device)

    def host(self) -> Host:
        """One more host."""
        return Host(self, next(self._numbers))
