# SPDX-License-Identifier: Apache-2.0
"""The tables that decide about a packet, as plain records."""

from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from .const import VRF_NONE, Family, NhFlag, NhType, RouteFlag, VifFlag, VifType


@dataclass(frozen=True, slots=True)
class Pair:
    """A MAC that a vif may use, with a prefix that it may use with it."""

    mac: bytes
    prefix: IPv4Network | IPv6Network | None = None

    def covers(self, address: bytes) -> bool:
        """Whether the address (4 or 16 bytes) is in the prefix."""
        return self.prefix is not None and ip_address(address) in self.prefix


@dataclass(frozen=True, slots=True)
class Vif:
    """A vif; `mtu` is that of its netdevice (longest L3 packet), `nh_id` its own nexthop.

    `sources`: who may speak, None if that is not checked; `trusted`: what a checked vif may be
    besides ("dhcp", "router", "bridge"). `parent`, `vlan`, `ovlan`, `src_macs`: of a Virtual
    VLAN vif, which gets frames of that VLAN (and sender) of its parent, and sends with `ovlan`.
    `mirror`: index for its flags MIRROR_RX and MIRROR_TX; `qos`: index of its QoS map.
    """

    idx: int
    type: VifType
    mac: bytes
    vrf: int = 0
    flags: int = VifFlag.L2 | VifFlag.L3
    mcast_vrf: int = VRF_NONE
    xconnect: int | None = None
    mtu: int = 1500
    nh_id: int = 0
    mirror: int | None = None
    qos: int = -1
    sources: tuple[Pair, ...] | None = None
    trusted: frozenset[str] = frozenset()
    parent: int | None = None
    vlan: int | None = None
    ovlan: int | None = None
    src_macs: tuple[bytes, ...] = ()

    @property
    def is_vm(self) -> bool:
        """Whether a VM is behind it."""
        return self.type in (VifType.VIRTUAL, VifType.VIRTUAL_VLAN)

    @property
    def is_host(self) -> bool:
        """Whether the host's own stack is behind it."""
        return self.type in (VifType.HOST, VifType.GATEWAY)

    def has(self, flag: VifFlag) -> bool:
        """Whether the flag is set."""
        return bool(self.flags & flag)


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a composite; the label is an MPLS label or a VNI."""

    nh: int
    label: int | None = None


@dataclass(frozen=True, slots=True)
class Nexthop:
    """A nexthop; addresses are 4 bytes, or 16 of a tunnel of family INET6; `rewrite` is an L2
    header in wire order. `hash_fields`: of an ECMP composite, bits of HashField.
    """

    id: int
    type: NhType
    family: Family = Family.INET
    flags: int = NhFlag.VALID
    vrf: int = 0
    oif: int | None = None
    sip: bytes = bytes(4)
    dip: bytes = bytes(4)
    rewrite: bytes = b""
    rw_dst_mac: bytes = bytes(6)
    members: tuple[Member, ...] = ()
    hash_fields: int = 0
    sport: int = 0
    dport: int = 0

    def has(self, flag: NhFlag) -> bool:
        """Whether the flag is set."""
        return bool(self.flags & flag)


@dataclass(frozen=True, slots=True)
class Route:
    """An inet or inet6 route. `stitch`: MAC of the bridge entry (same VRF) that answers ARP
    and ND."""

    vrf: int
    prefix: IPv4Network | IPv6Network
    nh: int
    label: int | None = None
    flags: int = 0
    stitch: bytes | None = None

    def has(self, flag: RouteFlag) -> bool:
        """Whether the flag is set."""
        return bool(self.flags & flag)


@dataclass(frozen=True, slots=True)
class BridgeEntry:
    """A MAC in a VRF."""

    vrf: int
    mac: bytes
    nh: int
    label: int | None = None
    flood_dhcp: bool = False
    new: bool = False
    moved: bool = False


@dataclass(frozen=True, slots=True)
class Mirror:
    """Where copies go. With metadata it is dynamic; the VNI is that of a static one."""

    nh: int
    vni: int | None = None
    metadata: bytes = b""


@dataclass(frozen=True, slots=True)
class ForwardingClass:
    """Marks and queue."""

    dscp: int = 0
    exp: int = 0
    dot1p: int = 0
    queue: int = 0


@dataclass(frozen=True, slots=True)
class QosMap:
    """Number of the forwarding class, by DSCP (64) and by 802.1p (8)."""

    dscp: tuple[int, ...]
    dot1p: tuple[int, ...]


DISCARD_NH = Nexthop(0, NhType.DISCARD)


@dataclass
class State:
    """All tables of one vRouter.

    Routes are keyed by IP version, VRF, prefix length and network address as a number, bridge entries
    by VRF and MAC, the rest by number. `vrfs` is the size of the VRF counter table.
    """

    name: str
    vifs: dict[int, Vif] = field(default_factory=dict)
    nexthops: dict[int, Nexthop] = field(default_factory=lambda: {0: DISCARD_NH})
    routes: dict[tuple[int, int, int, int], Route] = field(default_factory=dict)
    bridge: dict[tuple[int, bytes], BridgeEntry] = field(default_factory=dict)
    mpls: dict[int, int] = field(default_factory=dict)
    vxlan: dict[int, int] = field(default_factory=dict)
    mirrors: dict[int, Mirror] = field(default_factory=dict)
    qos_maps: dict[int, QosMap] = field(default_factory=dict)
    classes: dict[int, ForwardingClass] = field(default_factory=dict)
    agent_vif: int | None = None
    agent_silent: bool = False
    hash_seed: int = 0
    vrfs: int = 64

    def add(self, *things: "Vif | Nexthop | Route | BridgeEntry") -> "State":
        """Add records or replace those with the same key; returns itself."""
        for thing in things:
            if isinstance(thing, Vif):
                self.vifs[thing.idx] = thing
            elif isinstance(thing, Nexthop):
                self.nexthops[thing.id] = thing
            elif isinstance(thing, Route):
                prefix = thing.prefix
                number = int(prefix.network_address)
                self.routes[prefix.version, thing.vrf, prefix.prefixlen, number] = thing
            else:
                self.bridge[thing.vrf, thing.mac] = thing
        return self

    def copy(self, name: str) -> "State":
        """A copy whose tables may be edited without changing this one's."""
        return replace(
            self,
            name=name,
            vifs=dict(self.vifs),
            nexthops=dict(self.nexthops),
            routes=dict(self.routes),
            bridge=dict(self.bridge),
            mpls=dict(self.mpls),
            vxlan=dict(self.vxlan),
            mirrors=dict(self.mirrors),
            qos_maps=dict(self.qos_maps),
            classes=dict(self.classes),
        )

    def valid_nexthop(self, nh_id: int) -> Nexthop | None:
        """The nexthop if it is there and Valid."""
        nh = self.nexthops.get(nh_id)
        return nh if nh is not None and nh.has(NhFlag.VALID) else None

    def is_agent(self, nh: Nexthop) -> bool:
        """Whether the nexthop is the agent as a gateway: an Encap that leads to pkt0."""
        return nh.type == NhType.ENCAP and nh.oif is not None and nh.oif == self.agent_vif

    def lookup(self, vrf: int, address: bytes) -> Route | None:
        """The route with the longest prefix that covers the address (of 4 or 16 bytes)."""
        addr = int.from_bytes(address, "big")
        bits = len(address) * 8
        version = 4 if bits == 32 else 6
        for plen in range(bits, -1, -1):
            key = version, vrf, plen, addr >> (bits - plen) << (bits - plen)
            if key in self.routes:
                return self.routes[key]
        return None

    def has_inet6(self, vrf: int) -> bool:
        """Whether the VRF has any IPv6 route: then its underlay speaks IPv6."""
        return any(version == 6 and of == vrf for version, of, _, _ in self.routes)

    def stitched(self, route: Route) -> BridgeEntry | None:
        """The bridge entry that the route is stitched to, if it exists."""
        return self.bridge.get((route.vrf, route.stitch)) if route.stitch is not None else None


def net(text: str) -> IPv4Network:
    """A prefix from text."""
    return IPv4Network(text)


def net6(text: str) -> IPv6Network:
    """An IPv6 prefix from text."""
    return IPv6Network(text)


def ip(text: str) -> bytes:
    """An IPv4 address as 4 bytes."""
    return IPv4Address(text).packed


def ip6(text: str) -> bytes:
    """An IPv6 address as 16 bytes."""
    return IPv6Address(text).packed


def mac(text: str) -> bytes:
    """A MAC address as 6 bytes."""
    return bytes.fromhex(text.replace(":", ""))
