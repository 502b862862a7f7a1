# SPDX-License-Identifier: Apache-2.0
"""The desired state, in the field's terms: one struct per kind of object.

These are what a TOML file, the port API and the CNI plugin give, as text and numbers: MACs
"02:00:0a:01:01:01", addresses and prefixes as `ipaddress` prints them. `checks.py` says whether
they are good, alone and together; what is stored has passed it, in canonical form.
An object is named by `name` within its kind; names never change.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

Encapsulation = Literal["mplsoudp", "mplsogre", "vxlan"]
Forwarding = Literal["l2", "l3", "l2l3"]


class Record(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """An object of the desired state. `kind`: its name in files, tools and the API."""

    kind: ClassVar[str]
    name: str


class HostRoute(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A classless static route told by DHCP (option 121, RFC 3442)."""

    prefix: str
    next_hop: str


class Subnet(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """A prefix of a network, and what its VMs are told by DHCP and router advertisements.

    gateway: the address that dp-core and the agent answer for ("" none). dns: the resolver's
    address, answered by the agent too ("" : the gateway's). servers, ntp: addresses handed out
    instead of (dns) or besides. lease_time: seconds. dhcp: IPv4: whether DHCPv4 answers;
    IPv6: stateful DHCPv6 (otherwise SLAAC with stateless DHCPv6, which needs a /64).
    """

    prefix: str
    gateway: str = ""
    dns: str = ""
    dns_servers: tuple[str, ...] = ()
    ntp_servers: tuple[str, ...] = ()
    domain: str = ""
    host_routes: tuple[HostRoute, ...] = ()
    dhcp: bool = True
    lease_time: int = 86_400


class Network(Record, frozen=True, kw_only=True):
    """A virtual network, which is a VRF on each host.

    uuid: upstream's vn-id ("" none). vni: VNID on the wire (0: none: no VXLAN, and tunnels
    need labels). flood_label: MPLS label by which other hosts send broadcast here
    (0: given by the agent). forwarding: l2 bridges, l3 routes (ARP and ND always answered with
    the router's MAC), l2l3 both. igmp: the agent is the querier of
    the ports, by IGMP and MLD, and hears what they join. bfd: VMs may begin
    BFD sessions with the gateway. mtu: told to VMs (0: what fits the fabric).
    """

    kind: ClassVar[str] = "network"
    uuid: str = ""
    vni: int = 0
    flood_label: int = 0
    forwarding: Forwarding = "l2l3"
    unknown_unicast_flood: bool = False
    mac_learning: bool = False
    igmp: bool = False
    bfd: bool = False
    subnets: tuple[Subnet, ...] = ()
    mtu: int = 0


class AddressPair(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """An allowed address pair: a prefix that the port may also use, with its own MAC or `mac`."""

    prefix: str
    mac: str = ""


class Interface(Record, frozen=True, kw_only=True):
    """A virtual-machine interface (VMI): a port of this host.

    device: the netdevice (tap or veth) that carries it ("" : a port of that `uuid` brings it);
    with `parent` (name of another interface) and `vlan` it is a sub-interface on that one's
    device instead. network: name of its network. mac: the guest's. addresses: of the network's
    subnets, the first of each version is the one DHCP gives. label, l2_label: MPLS labels by which
    other hosts reach it routed and bridged (0: given by the agent).
    vm, vm_uuid, project, hostname: whose port it is; hostname ("" : vm, else name) is what DNS
    and DHCP option 12 say. enabled: a disabled port neither sends nor receives.
    """

    kind: ClassVar[str] = "interface"
    uuid: str = ""
    network: str
    device: str = ""
    mac: str
    addresses: tuple[str, ...] = ()
    allowed_address_pairs: tuple[AddressPair, ...] = ()
    parent: str = ""
    vlan: int = 0
    label: int = 0
    l2_label: int = 0
    vm: str = ""
    vm_uuid: str = ""
    project: str = ""
    hostname: str = ""
    enabled: bool = True
    dhcp_server: bool = False
    router: bool = False
    peer_netns: bool = False


class Host(Record, frozen=True, kw_only=True):
    """A remote host and the tunnels to it.

    address: of its vhost0. encapsulations: in order of preference; the first that a packet's
    network and endpoint can use (VXLAN needs a VNI, MPLS a label) is used. mac: of its vhost0
    for L3 VXLAN's inner header ("" : the one that the kernel resolved for `address`, when it is
    a neighbour).
    """

    kind: ClassVar[str] = "host"
    address: str
    encapsulations: tuple[Encapsulation, ...] = ("mplsoudp", "mplsogre", "vxlan")
    mac: str = ""


class Endpoint(Record, frozen=True, kw_only=True):
    """An interface of a network on a remote host: how it is reached.

    label, l2_label: MPLS labels that `host` gave it, routed and bridged; 0 none.
    """

    kind: ClassVar[str] = "endpoint"
    network: str
    host: str
    mac: str
    addresses: tuple[str, ...] = ()
    label: int = 0
    l2_label: int = 0


class Membership(Record, frozen=True, kw_only=True):
    """A remote host takes part in a network: broadcast of the network goes there.

    flood_label: the label that `host` wants broadcast with (0: VXLAN by the VNI).
    """

    kind: ClassVar[str] = "membership"
    network: str
    host: str
    flood_label: int = 0


class StaticRoute(Record, frozen=True, kw_only=True):
    """A prefix of a network behind an address of it (an interface here or an endpoint), behind
    `host` with `label`, or (`next_hop` "discard") nowhere."""

    kind: ClassVar[str] = "route"
    network: str
    prefix: str
    next_hop: str = ""
    host: str = ""
    label: int = 0


class LinkLocal(Record, frozen=True, kw_only=True):
    """A link-local service (169.254.0.0/16): TCP to `address`:`port` as VMs see it, relayed to
    `target` (an address or a host's name):`target_port` (0: as `port`) from this host.

    metadata: the target is Nova's metadata API, which is told whose VM asks (upstream knows that
    service by its name, "metadata").
    """

    kind: ClassVar[str] = "link-local"
    address: str
    port: int
    target: str = ""
    target_port: int = 0
    metadata: bool = False


class Bfd(Record, frozen=True, kw_only=True):
    """A BFD session (RFC 5881) with the VM behind `interface`, from its network's gateway.

    peer: the VM's address. min_tx, min_rx: milliseconds; how often it is sent to at most, and
    wants to be heard of. multiplier: of what is sent in vain, after how many the VM takes the
    gateway for gone. passive: nothing is sent before the VM speaks.
    """

    kind: ClassVar[str] = "bfd"
    interface: str
    peer: str
    min_tx: int = 1000
    min_rx: int = 1000
    multiplier: int = 3
    passive: bool = False


class Gateway(Record, frozen=True, kw_only=True):
    """A way between a network and the host's own stack.

    device: the host's end of it, a veth that the agent makes. subnets: prefixes that the host
    reaches by it, in the network. routes: prefixes of the network that lead out by it, to the
    host ("0.0.0.0/0": all that the network does not know). label: MPLS label by which other
    hosts send what they want led out (0: given by the agent).
    """

    kind: ClassVar[str] = "gateway"
    network: str
    device: str
    subnets: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    label: int = 0


KINDS: dict[str, type[Record]] = {
    one.kind: one
    for one in (
        Network,
        Interface,
        Host,
        Endpoint,
        Membership,
        StaticRoute,
        LinkLocal,
        Gateway,
        Bfd,
    )
}
