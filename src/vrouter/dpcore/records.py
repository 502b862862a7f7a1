# SPDX-License-Identifier: Apache-2.0
"""What the tables hold, as Python sees it: one frozen dataclass per kind of entry.

Numbers are plain integers (host order), addresses are `ipaddress` objects, MACs
6 bytes in wire order. None stands for "there is none", never a magic number.
Use `dataclasses.replace` to derive one from another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, Self

from .names import (
    VRF_NONE,
    BridgeFlag,
    Family,
    HashField,
    NhFlag,
    NhType,
    RouteFlag,
    VifFeature,
    VifFlag,
    VifTransport,
    VifType,
)

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

ZERO_MAC = bytes(6)
NO_VIF_FLAGS = VifFlag(0)
NO_FEATURES = VifFeature(0)
NO_ROUTE_FLAGS = RouteFlag(0)
NO_BRIDGE_FLAGS = BridgeFlag(0)
ALL_FIELDS = HashField(0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Vif:
    """One port of dp-core.

    ifindex: the netdevice that dp-core receives on and sends to; os_ifindex: the one
    that `name` names (they differ for vhost0, where ifindex is the inner end of the
    pair). vrf 65535: none. mcast_vrf 65535: as vrf. xconnect: idx of the partner.
    peer: `ifindex` is a veth whose far end is in another network namespace.
    gateway, gateway6: the router's addresses towards the guest, sources of ICMP errors to it.
    mtu 0: the default of the type. qos -1: set by an agent that wants none.
    features: SOURCES and SUBVIFS follow from other tables, not from a request.
    parent, vlan, ovlan, src_macs: of a Virtual VLAN vif, whose ifindex and os_ifindex are its
    parent's: frames of that VLAN, and of those senders if there are any, and the VLAN that
    it sends with. mirror: index of the mirror that the flags MIRROR_RX and MIRROR_TX send
    copies to.
    """

    idx: int
    name: str
    type: VifType
    ifindex: int
    os_ifindex: int
    vrf: int = 0
    mac: bytes = ZERO_MAC
    flags: VifFlag = NO_VIF_FLAGS
    nh_id: int = 0
    ip: IPv4Address | None = None
    ip6: IPv6Address | None = None
    mcast_vrf: int = VRF_NONE
    xconnect: int | None = None
    vlan: int | None = None
    ovlan: int | None = None
    parent: int | None = None
    qos: int = 0
    mirror: int | None = None
    transport: VifTransport = VifTransport.ETH
    peer: bool = False
    mtu: int = 0
    features: VifFeature = NO_FEATURES
    src_macs: tuple[bytes, ...] = ()
    gateway: IPv4Address | None = None
    gateway6: IPv6Address | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A MAC that a vif may use, and a prefix that it may use with it.

    prefix None: the MAC alone, for what has no IP address, DHCP requests and the
    link-local address made of it.
    """

    mac: bytes
    prefix: IPv4Network | IPv6Network | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A component of a composite nexthop; label: MPLS label or VNI."""

    nh: int
    label: int | None = None


@lru_cache(1 << 16)
def member(nh: int, label: int | None = None) -> Member:
    """A Member, the same object for the same values: long lists of them are quick to compare."""
    return Member(nh=nh, label=label)


@dataclass(frozen=True, kw_only=True, slots=True)
class Nexthop:
    """What happens to a packet next.

    oif: idx of the vif it leaves by. sip, dip: outer addresses of a Tunnel, both of one
    version; family is INET6 for IPv6.
    encap_family: an EtherType, for display. rewrite: the L2 header (dmac, smac, type)
    that an Encap or Tunnel puts on, at most 32 bytes. rw_dst_mac: MAC of the remote
    router (L3 VXLAN). members: of a Composite. hash_fields: of an ECMP composite, what is
    hashed of a packet (0: all).
    """

    id: int
    type: NhType
    family: Family = Family.INET
    flags: NhFlag = NhFlag.VALID
    vrf: int = 0
    oif: int | None = None
    sip: IPAddress | None = None
    dip: IPAddress | None = None
    sport: int = 0
    dport: int = 0
    encap_family: int = 0
    rewrite: bytes = b""
    rw_dst_mac: bytes | None = None
    members: tuple[Member, ...] = ()
    hash_fields: HashField = ALL_FIELDS


@dataclass(frozen=True, kw_only=True, slots=True)
class Mirror:
    """Where copies go: to nexthop `nh`; with `vni` into VXLAN; `dynamic`: behind `metadata`
    (2 to 16 bytes, by default upstream's empty list) in plain UDP."""

    index: int
    nh: int
    vni: int | None = None
    dynamic: bool = False
    metadata: bytes = b""


@dataclass(frozen=True, kw_only=True, slots=True)
class ForwardingClass:
    """How packets are marked (DSCP, MPLS EXP, 802.1p), and the queue they take."""

    id: int
    dscp: int = 0
    exp: int = 0
    dot1p: int = 0
    queue: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class QosMap:
    """Forwarding class by DSCP (64), MPLS EXP (8) and 802.1p (8)."""

    index: int
    dscp: tuple[int, ...] = (0,) * 64
    exp: tuple[int, ...] = (0,) * 8
    dot1p: tuple[int, ...] = (0,) * 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """An inet or inet6 route, as its prefix says. bridge: index of the stitched bridge
    entry, 0 for none."""

    vrf: int
    prefix: IPNetwork
    nh: int
    label: int | None = None
    flags: RouteFlag = NO_ROUTE_FLAGS
    bridge: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class BridgeEntry:
    """Where a MAC of a VRF is. index: its place in the table (given by it); packets:
    how many it has matched; heard: how many came from the MAC, where senders are learnt."""

    vrf: int
    mac: bytes
    nh: int
    label: int | None = None
    flags: BridgeFlag = NO_BRIDGE_FLAGS
    index: int = 0
    packets: int = 0
    heard: int = 0


class _Sums:
    """Counters that are made by adding up what each CPU has."""

    __slots__ = ()

    @classmethod
    def total(cls, rows: list[Mapping[str, Any]]) -> Self:
        """The sum of unpacked structs, field by field."""
        names = [field.name for field in fields(cls)]  # type: ignore[arg-type]
        return cls(**{name: sum(row[name] for row in rows) for name in names})


@dataclass(frozen=True, kw_only=True, slots=True)
class VifStats(_Sums):
    """Counters of a vif. RX: from its netdevice into dp-core; bytes are frame lengths."""

    rx_packets: int = 0
    rx_bytes: int = 0
    rx_errors: int = 0
    tx_packets: int = 0
    tx_bytes: int = 0
    tx_errors: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class VrfStats(_Sums):
    """Counters of a VRF: packets, in upstream's order and names."""

    discards: int = 0
    resolves: int = 0
    receives: int = 0
    ecmp_composites: int = 0
    l2_mcast_composites: int = 0
    fabric_composites: int = 0
    udp_tunnels: int = 0
    udp_mpls_tunnels: int = 0
    gre_mpls_tunnels: int = 0
    l2_encaps: int = 0
    encaps: int = 0
    gros: int = 0
    diags: int = 0
    encap_composites: int = 0
    evpn_composites: int = 0
    vrf_translates: int = 0
    vxlan_tunnels: int = 0
    arp_virtual_proxy: int = 0
    arp_virtual_stitch: int = 0
    arp_virtual_flood: int = 0
    arp_physical_stitch: int = 0
    arp_tor_proxy: int = 0
    arp_physical_flood: int = 0
    l2_receives: int = 0
    uuc_floods: int = 0
    pbb_tunnels: int = 0
    udp_mpls_over_mpls_tunnels: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """What dp-core as a whole is told. agent_vif: idx, None = no agent. events: bits of
    EventMask. loaded_ns: CLOCK_BOOTTIME at load. trap_rate: traps a second that a vif may cause,
    0 = any number. exception_out, exception_in: ifindexes of the exception pair, 0 = none.
    icmp_errors: IcmpErrors. icmp_rate: of errors a second about the packets of one vif, 0 = no
    limit. mss_clamp: bits of MssClamp. heartbeat: CLOCK_BOOTTIME, ns, when the agent last
    lived; 0: nobody asks."""

    abi_version: int
    agent_vif: int | None
    hash_seed: int
    events: int
    loaded_ns: int
    spare_vifs: int
    spare_nexthops: int
    trap_rate: int
    qos_maps: int
    exception_out: int = 0
    exception_in: int = 0
    icmp_errors: int = 0
    icmp_rate: int = 0
    mss_clamp: int = 0
    heartbeat: int = 0
