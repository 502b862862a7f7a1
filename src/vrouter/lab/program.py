# SPDX-License-Identifier: Apache-2.0
"""Fill a lab host's tables: what an agent would decide, written down by hand.

Numbers of nexthops follow upstream's convention: 1 Discard, 2 unused, 3 L2 Receive, then the
host's own; each network has 32 of its own above 64.

l2: MACs of the same network are bridged, ARP and ND are answered with the VM's own MAC (stitched).
l3: they are answered with the router's MAC 00:00:5e:00:01:00, so every packet is routed.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from vrouter.dpcore.core import DpCore
from vrouter.dpcore.errors import NoSuchEntry
from vrouter.dpcore.names import Family, NhFlag, NhType, RouteFlag
from vrouter.dpcore.records import IPNetwork, Member, Nexthop, Route, Vif
from vrouter.host.vhost import VHOST
from vrouter.lab.topology import NIC, ROUTER_MAC, Host, Lab, Network, Vm, mac_bytes

NH_DISCARD_COPY = 1
NH_L2_RECEIVE = 3
NH_VHOST = 5
_NH_TUNNELS = 16  # + 2 * number of the far host: L2 payload; one more: L3 VXLAN
_NH_NETWORKS = 64  # + 32 * VRF
_TRANSLATE, _FLOOD, _FLOOD_LOCAL, _FLOOD_REMOTE, _VMS = 0, 1, 2, 3, 8
BROADCAST = bytes([0xFF] * 6)
_IPV4, _IPV6, _ARP = b"\x08\x00", b"\x86\xdd", 0x0806
_TUNNEL_FLAGS = {
    "vxlan": NhFlag.TUNNEL_VXLAN,
    "mplsoudp": NhFlag.TUNNEL_UDP_MPLS,
    "mplsogre": NhFlag.TUNNEL_GRE,
}


def l3_encap(lab: Lab, vm: Vm) -> int:
    """Id of the nexthop that routes to a local VM; the next one bridges to it."""
    return _NH_NETWORKS + 32 * lab.network(vm.network).vrf + _VMS + 2 * vm.number


def _tunnel(host: Host, *, l3_vxlan: bool = False) -> int:
    return _NH_TUNNELS + 2 * host.number + int(l3_vxlan)


def _of_network(network: Network, what: int) -> int:
    return _NH_NETWORKS + 32 * network.vrf + what


def _alone(ip: str) -> IPNetwork:
    """The prefix of one address: /32 or /128."""
    return ip_network(ip)


@dataclass(frozen=True)
class _Programmer:
    core: DpCore
    lab: Lab
    host: Host

    @property
    def vxlan(self) -> bool:
        return self.lab.encap == "vxlan"

    @property
    def over_ipv6(self) -> bool:
        return self.lab.underlay == "6"

    def _route(self, route: Route) -> None:
        self.core.routes_of(route.prefix).put(route)

    def vif(self, name: str) -> Vif:
        found = self.core.vifs.by_name(name)
        if found is None:
            raise NoSuchEntry(f"{self.host.name} has no vif {name}")
        return found

    def others(self) -> list[Host]:
        return [host for host in self.lab.hosts if host != self.host]

    def vms(self, network: Network, *, local: bool) -> list[Vm]:
        here = self.host.name
        return [
            vm for vm in self.lab.vms if vm.network == network.name and (vm.host == here) == local
        ]

    def underlay(self) -> None:
        nexthops = self.core.nexthops
        nexthops.put(Nexthop(id=NH_DISCARD_COPY, type=NhType.DISCARD))
        nexthops.put(Nexthop(id=NH_L2_RECEIVE, type=NhType.L2_RECEIVE, family=Family.BRIDGE))
        vhost = self.vif(VHOST).idx
        nexthops.put(Nexthop(id=NH_VHOST, type=NhType.RECEIVE, oif=vhost))
        self._route(Route(vrf=0, prefix=_alone(self.host.ip), nh=NH_VHOST))
        if self.over_ipv6:
            self._route(Route(vrf=0, prefix=_alone(self.host.ip6), nh=NH_VHOST))
        for other in self.others():
            nexthops.put(self._tunnel_to(other, l3_vxlan=False))
            if self.vxlan:
                nexthops.put(self._tunnel_to(other, l3_vxlan=True))

    def _tunnel_to(self, other: Host, *, l3_vxlan: bool) -> Nexthop:
        extra = NhFlag.L3_VXLAN if l3_vxlan else NhFlag(0)
        ends = (self.host.ip6, other.ip6) if self.over_ipv6 else (self.host.ip, other.ip)
        macs = mac_bytes(other.mac) + mac_bytes(self.host.mac)
        return Nexthop(
            id=_tunnel(other, l3_vxlan=l3_vxlan),
            type=NhType.TUNNEL,
            family=Family.INET6 if self.over_ipv6 else Family.INET,
            flags=NhFlag.VALID | _TUNNEL_FLAGS[self.lab.encap] | extra,
            oif=self.vif(NIC).idx,
            sip=ip_address(ends[0]),
            dip=ip_address(ends[1]),
            rewrite=macs + (_IPV6 if self.over_ipv6 else _IPV4),
            rw_dst_mac=mac_bytes(other.mac) if l3_vxlan else None,
        )

    def network(self, network: Network) -> None:
        local = self.vms(network, local=True)
        for vm in local:
            self._local_nexthops(network, vm)
        self._flood_tree(network, local)
        self._way_in(network)
        self._gateway(network)
        for vm in local:
            nexthop = l3_encap(self.lab, vm)
            self._reach(network, vm, routed=nexthop, bridged=nexthop + 1)
            self.core.mpls.put(vm.l3_label, nexthop)
            self.core.mpls.put(vm.l2_label, nexthop + 1)
        for vm in self.vms(network, local=False):
            self._reach_remote(network, vm)

    def _local_nexthops(self, network: Network, vm: Vm) -> None:
        oif = self.vif(vm.tap).idx
        nexthop = l3_encap(self.lab, vm)
        self.core.nexthops.put(
            Nexthop(
                id=nexthop,
                type=NhType.ENCAP,
                vrf=network.vrf,
                oif=oif,
                encap_family=_ARP,
                rewrite=mac_bytes(vm.mac) + ROUTER_MAC + _IPV4,
            )
        )
        self.core.nexthops.put(
            Nexthop(
                id=nexthop + 1, type=NhType.ENCAP, family=Family.BRIDGE, vrf=network.vrf, oif=oif
            )
        )

    def _flood_tree(self, network: Network, local: list[Vm]) -> None:
        here = tuple(Member(nh=l3_encap(self.lab, vm) + 1) for vm in local)
        label = network.vni if self.vxlan else network.flood_label
        there = tuple(Member(nh=_tunnel(host), label=label) for host in self.others())
        top = (
            Member(nh=_of_network(network, _FLOOD_LOCAL)),
            Member(nh=_of_network(network, _FLOOD_REMOTE)),
        )
        for what, flag, members in (
            (_FLOOD_LOCAL, NhFlag.COMPOSITE_ENCAP, here),
            (_FLOOD_REMOTE, NhFlag.COMPOSITE_EVPN, there),
            (_FLOOD, NhFlag.MULTICAST, top),
        ):
            self.core.nexthops.put(
                Nexthop(
                    id=_of_network(network, what),
                    type=NhType.COMPOSITE,
                    family=Family.BRIDGE,
                    flags=NhFlag.VALID | flag,
                    vrf=network.vrf,
                    members=members,
                )
            )
        self.core.bridge.put(network.vrf, BROADCAST, _of_network(network, _FLOOD))

    def _way_in(self, network: Network) -> None:
        """What a VNI or a flood label that arrives from the fabric leads to."""
        translate = _of_network(network, _TRANSLATE)
        self.core.nexthops.put(
            Nexthop(id=translate, type=NhType.VRF_TRANSLATE, family=Family.BRIDGE, vrf=network.vrf)
        )
        if self.vxlan:
            self.core.vxlan.put(network.vni, translate)
        else:
            self.core.mpls.put(network.flood_label, _of_network(network, _FLOOD))

    def _gateway(self, network: Network) -> None:
        """Frames for the router leave the bridge: the VMs' gateway, and us as L3 VXLAN peer."""
        for mac in (ROUTER_MAC, mac_bytes(self.host.mac)):
            self.core.bridge.put(network.vrf, mac, NH_L2_RECEIVE)
        for gateway in (network.gateway, network.gateway6):
            self._route(
                Route(
                    vrf=network.vrf,
                    prefix=_alone(gateway),
                    nh=NH_L2_RECEIVE,
                    flags=RouteFlag.ARP_PROXY,
                )
            )

    def _reach_remote(self, network: Network, vm: Vm) -> None:
        far = self.lab.host(vm.host)
        self._reach(
            network,
            vm,
            routed=_tunnel(far, l3_vxlan=self.vxlan),
            bridged=_tunnel(far),
            route_label=network.vni if self.vxlan else vm.l3_label,
            bridge_label=network.vni if self.vxlan else vm.l2_label,
        )

    def _reach(
        self,
        network: Network,
        vm: Vm,
        *,
        routed: int,
        bridged: int,
        route_label: int | None = None,
        bridge_label: int | None = None,
    ) -> None:
        stitched = 0
        if self.lab.forwarding == "l2":
            entry = self.core.bridge.put(
                network.vrf, mac_bytes(vm.mac), bridged, label=bridge_label
            )
            stitched = entry.index
        flags = RouteFlag.ARP_PROXY
        if route_label is not None:
            flags |= RouteFlag.LABEL_VALID
        for address in (vm.ip, vm.ip6):
            self._route(
                Route(
                    vrf=network.vrf,
                    prefix=_alone(address),
                    nh=routed,
                    label=route_label,
                    flags=flags,
                    bridge=stitched,
                )
            )


def program(core: DpCore, lab: Lab, host: Host) -> None:
    """Write all tables of one host; its vifs must be there. Safe to repeat."""
    programmer = _Programmer(core, lab, host)
    with core.lock():
        programmer.underlay()
        for network in lab.networks:
            programmer.network(network)
