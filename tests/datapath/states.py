# SPDX-License-Identifier: Apache-2.0
"""The tables that the packets meet: one set of entries, with and without an agent."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network, ip_network
from typing import Any

from tests.model.const import (
    BROADCAST,
    Family,
    HashField,
    NhFlag,
    NhType,
    RouteFlag,
    VifFlag,
    VifType,
)
from tests.model.state import (
    BridgeEntry,
    ForwardingClass,
    Member,
    Mirror,
    Nexthop,
    Pair,
    QosMap,
    Route,
    State,
    Vif,
    ip,
    ip6,
    mac,
    net,
    net6,
)

FABRIC, HOST, AGENT = 2, 3, 4
VM1, VM2, RED, UUF, NO_PROXY, PROXY, NARROW, GONE = 11, 12, 13, 14, 15, 16, 17, 18
TINY, STATS = 19, 4351
CHECKED, TRUSTED, MUTE, SERVED = 20, 21, 22, 23
PARENT, SUB, SUB_OF_VM1, SUB_CHECKED, NATIVE, SUB_NATIVE, VGW, MONITOR, LEARNER, NEIGHBOUR = range(
    24, 34
)
FLOODS_DHCP = mac("02:00:0a:01:01:22")
IN_SUB, IN_VGW = mac("02:00:0a:01:01:23"), mac("02:00:0a:01:01:24")
IN_LEARNER = mac("02:00:0a:01:01:25")
GROUP = mac("01:00:5e:00:00:05")
DHCP = 34
HEARS, TREE, GUARDED = 35, 36, 37
MIRRORED, STATIC, LOST, MARKED, MIRRORED6, SUB_MARKED = 38, 39, 40, 41, 42, 43
PARENT_MIRRORED, SUB_MIRRORED = 44, 45
GATEWAY = mac("00:00:5e:00:01:00")
NIC_MAC = mac("02:00:00:00:00:01")
FAR_MAC = mac("02:00:00:00:00:02")
VM1_MAC, VM2_MAC = mac("02:00:0a:01:01:01"), mac("02:00:0a:01:01:02")
REMOTE_MAC, ROUTER_MAC = mac("02:00:0a:01:01:03"), mac("02:00:00:00:00:fe")
SELF, FAR, OTHER = ip("172.30.0.1"), ip("172.30.0.2"), ip("172.30.0.3")
SELF6, FAR6, OTHER6 = ip6("2001:db8::1"), ip6("2001:db8::2"), ip6("2001:db8::3")
TOR_IP, PEER = ip("172.30.0.4"), ip("172.30.0.5")
MIRRORED_MAC, IN_MARKED, IN_MIRRORED = (mac(f"02:00:0a:01:01:{n}") for n in ("26", "29", "2a"))
HEARD_GROUP = mac("01:00:5e:01:02:03")
GW_IP, GW_IP6 = ip("10.1.1.254"), ip6("fd00::fe")
SEED = 0x5EED1234
BLUE, RED_VRF, MCAST = 1, 2, 3
TREE_VRF, GUARDED_VRF, TREE_VNI = 17, 18, 5555
BOTH = VifFlag.L2 | VifFlag.L3
MIRROR_BOTH = VifFlag.MIRROR_RX | VifFlag.MIRROR_TX
HEAD = FAR_MAC + NIC_MAC + b"\x08\x00"

# Who may speak on the vifs that are checked: vm1 with its own addresses, the other one with more.
PAIRS = (
    Pair(VM1_MAC, net("10.1.1.1/32")),
    Pair(VM1_MAC, ip_network("fd00::1/128")),
    Pair(VM2_MAC, net("10.1.2.0/24")),
    Pair(VM2_MAC, ip_network("fe80::/64")),
)
ALL_ROLES = frozenset({"dhcp", "router", "bridge"})

Kind = NhFlag
ECMP = NhFlag.COMPOSITE_ECMP


def _parts() -> list[Vif]:
    """Vifs with parts: VLAN 100, of vm1 or of anybody; 200, checked; 0, as which untagged counts."""
    sub = Vif(SUB, VifType.VIRTUAL_VLAN, GATEWAY, BLUE, BOTH, parent=PARENT, vlan=100, ovlan=101)
    return [
        Vif(PARENT, VifType.VIRTUAL, GATEWAY, BLUE, BOTH),
        Vif(NATIVE, VifType.VIRTUAL, GATEWAY, BLUE, BOTH | VifFlag.NATIVE_VLAN),
        sub,
        replace(sub, idx=SUB_OF_VM1, vrf=RED_VRF, src_macs=(REMOTE_MAC, VM1_MAC), ovlan=100),
        replace(sub, idx=SUB_CHECKED, vlan=200, ovlan=200, sources=PAIRS),
        replace(sub, idx=SUB_MARKED, vlan=400, ovlan=401, qos=1),
        Vif(PARENT_MIRRORED, VifType.VIRTUAL, GATEWAY, BLUE, BOTH | MIRROR_BOTH, mirror=1),
        replace(sub, idx=SUB_MIRRORED, parent=PARENT_MIRRORED, vlan=500, ovlan=501),
        replace(sub, idx=SUB_NATIVE, parent=NATIVE, vlan=0, ovlan=0),
    ]


def _checked() -> list[Vif]:
    one = Vif(CHECKED, VifType.VIRTUAL, GATEWAY, BLUE, BOTH, sources=PAIRS)
    anywhere = Pair(VM1_MAC, net("0.0.0.0/0")), Pair(VM1_MAC, ip_network("::/0"))
    return [
        one,
        replace(one, idx=TRUSTED, sources=anywhere, trusted=ALL_ROLES),
        replace(one, idx=MUTE, sources=()),
    ]


def _vifs(agent: bool) -> list[Vif]:
    joined = VifFlag(0) if agent else VifFlag.XCONNECT
    vifs = [
        Vif(FABRIC, VifType.PHYSICAL, NIC_MAC, 0, BOTH | joined, xconnect=HOST),
        Vif(HOST, VifType.HOST, NIC_MAC, 0, BOTH | joined, xconnect=FABRIC),
        replace(
            Vif(VM1, VifType.VIRTUAL, GATEWAY, BLUE, BOTH, nh_id=11), gateway=GW_IP, gateway6=GW_IP6
        ),
        Vif(VM2, VifType.VIRTUAL, GATEWAY, BLUE, BOTH, mcast_vrf=MCAST, nh_id=22),
        Vif(HEARS, VifType.VIRTUAL, GATEWAY, BLUE, BOTH | VifFlag.IGMP),
        Vif(TREE, VifType.VIRTUAL, GATEWAY, TREE_VRF, BOTH),
        Vif(GUARDED, VifType.VIRTUAL, GATEWAY, GUARDED_VRF, BOTH),
        Vif(MIRRORED, VifType.VIRTUAL, GATEWAY, BLUE, BOTH | MIRROR_BOTH, mirror=1),
        Vif(STATIC, VifType.VIRTUAL, GATEWAY, BLUE, BOTH | VifFlag.MIRROR_RX, mirror=2),
        Vif(LOST, VifType.VIRTUAL, GATEWAY, BLUE, BOTH | VifFlag.MIRROR_RX, mirror=9),
        Vif(MIRRORED6, VifType.VIRTUAL, GATEWAY, BLUE, BOTH | VifFlag.MIRROR_RX, mirror=5),
        Vif(MARKED, VifType.VIRTUAL, GATEWAY, BLUE, BOTH, qos=1),
        Vif(RED, VifType.VIRTUAL, GATEWAY, RED_VRF, BOTH),
        Vif(UUF, VifType.VIRTUAL, GATEWAY, BLUE, BOTH | VifFlag.UNKNOWN_UC_FLOOD),
        Vif(NO_PROXY, VifType.VIRTUAL, GATEWAY, BLUE, BOTH | VifFlag.NO_MAC_PROXY),
        Vif(PROXY, VifType.VIRTUAL, GATEWAY, BLUE, BOTH | VifFlag.MAC_PROXY),
        Vif(NARROW, VifType.VIRTUAL, GATEWAY, BLUE, BOTH, mtu=700),
        Vif(TINY, VifType.VIRTUAL, GATEWAY, BLUE, BOTH, mtu=100),
        *_checked(),
        Vif(SERVED, VifType.VIRTUAL, GATEWAY, BLUE, BOTH | VifFlag.DHCP | VifFlag.IGMP),
        *_parts(),
        Vif(LEARNER, VifType.VIRTUAL, GATEWAY, BLUE, BOTH | VifFlag.MAC_LEARN),
        Vif(NEIGHBOUR, VifType.VIRTUAL, GATEWAY, BLUE, BOTH | VifFlag.MAC_IP_LEARN),
        Vif(VGW, VifType.GATEWAY, ROUTER_MAC, BLUE, BOTH),
        Vif(MONITOR, VifType.MONITORING, GATEWAY, 65535, BOTH),
        Vif(STATS, VifType.STATS, GATEWAY, 65535, BOTH),
        Vif(DHCP, VifType.VIRTUAL, GATEWAY, BLUE, BOTH | VifFlag.DHCP),
    ]
    if agent:
        vifs.append(Vif(AGENT, VifType.AGENT, GATEWAY, 65535, VifFlag.L3))
    return vifs


def _tunnel(number: int, flags: NhFlag, dip: bytes = FAR, oif: int = FABRIC) -> Nexthop:
    valid = flags | NhFlag.VALID
    return Nexthop(
        number, NhType.TUNNEL, Family.INET, valid, 0, oif, SELF, dip, HEAD, rw_dst_mac=ROUTER_MAC
    )


def _tunnel6(number: int, flags: NhFlag, dip: bytes = FAR6) -> Nexthop:
    return replace(_tunnel(number, flags), family=Family.INET6, sip=SELF6, dip=dip)


def _encap(number: int, oif: int, dst: bytes, family: Family = Family.BRIDGE) -> Nexthop:
    vrf = RED_VRF if oif == RED else BLUE
    rewrite = dst + GATEWAY + b"\x08\x00"
    return Nexthop(number, NhType.ENCAP, family, NhFlag.VALID, vrf, oif, rewrite=rewrite)


def _composite(number: int, flags: NhFlag, *members: Member) -> Nexthop:
    valid = flags | NhFlag.VALID
    return Nexthop(number, NhType.COMPOSITE, Family.BRIDGE, valid, BLUE, members=members)


def _translate(number: int, vrf: int, family: Family, flags: NhFlag = NhFlag.VALID) -> Nexthop:
    return Nexthop(number, NhType.VRF_TRANSLATE, family, flags | NhFlag.VALID, vrf)


def _nexthops() -> list[Nexthop]:
    encap, evpn, top = Kind.COMPOSITE_ENCAP, Kind.COMPOSITE_EVPN, Kind.MULTICAST
    many = tuple(Member(31 + i % 3, 5000 + i) for i in range(40))
    return [
        Nexthop(1, NhType.DISCARD),
        Nexthop(3, NhType.L2_RECEIVE),
        Nexthop(5, NhType.RECEIVE, oif=HOST),
        Nexthop(6, NhType.RESOLVE, oif=FABRIC),
        Nexthop(7, NhType.ENCAP, Family.INET, NhFlag(0)),
        _encap(11, VM1, VM1_MAC),
        _encap(12, VM2, VM2_MAC),
        _encap(13, RED, VM1_MAC),
        _encap(14, UUF, VM2_MAC),
        _encap(17, NARROW, VM2_MAC),
        _encap(18, GONE, VM2_MAC),
        _encap(19, TINY, VM2_MAC),
        _encap(21, VM1, VM1_MAC, Family.INET),
        _encap(22, VM2, VM2_MAC, Family.INET),
        _encap(27, SUB, VM2_MAC),
        _encap(28, VGW, VM2_MAC),
        _encap(23, FABRIC, FAR_MAC, Family.INET),
        replace(_encap(26, VM2, VM2_MAC, Family.INET), flags=NhFlag.VALID | Kind.MULTICAST),
        _tunnel(31, Kind.TUNNEL_VXLAN),
        _tunnel(32, Kind.TUNNEL_UDP_MPLS),
        _tunnel(33, Kind.TUNNEL_GRE),
        _tunnel(34, Kind.TUNNEL_VXLAN | Kind.L3_VXLAN),
        _tunnel(35, Kind.TUNNEL_VXLAN, OTHER),
        _tunnel(36, NhFlag(0)),
        _tunnel(37, Kind.TUNNEL_VXLAN, OTHER, GONE),
        _tunnel(38, Kind.TUNNEL_VXLAN, OTHER, HOST),
        _translate(41, BLUE, Family.BRIDGE),
        _translate(42, RED_VRF, Family.BRIDGE, Kind.UNKNOWN_UC_FLOOD),
        _translate(48, BLUE, Family.BRIDGE, Kind.MAC_LEARN),
        _encap(29, LEARNER, REMOTE_MAC),
        _translate(43, BLUE, Family.INET),
        _translate(44, 4, Family.INET),
        _translate(45, 5, Family.BRIDGE),
        _translate(46, 9, Family.INET),
        _translate(47, MCAST, Family.BRIDGE, Kind.UNKNOWN_UC_FLOOD),
        _composite(51, encap, Member(11), Member(12), Member(14), Member(999)),
        _composite(60, encap, Member(11), Member(27), Member(12)),
        _composite(52, evpn, Member(31, 5001), Member(35, 5001), Member(11), Member(31)),
        _composite(53, top, Member(51), Member(52)),
        _composite(54, top, Member(11), Member(31, 5001), Member(999), Member(5)),
        _composite(55, encap, Member(12), Member(18), Member(17)),
        _composite(56, evpn, *many),
        _composite(57, top, Member(55), Member(56), Member(54), Member(36, 1), Member(37, 1)),
        _composite(58, top),
        _tunnel6(121, Kind.TUNNEL_VXLAN),
        _tunnel6(122, Kind.TUNNEL_UDP_MPLS),
        _tunnel6(123, Kind.TUNNEL_GRE),
        _tunnel6(124, Kind.TUNNEL_VXLAN | Kind.L3_VXLAN),
        _tunnel6(125, Kind.TUNNEL_VXLAN, OTHER6),
        _composite(
            126, evpn, Member(121, 5001), Member(32, 1030), Member(125, 5001), Member(122, 1030)
        ),
        *_ecmp_nexthops(),
        *_tree_nexthops(),
        ANALYZER,
        replace(ANALYZER, id=131, family=Family.INET6, sip=SELF6, dip=ip6("2001:db8::9")),
        _tunnel6(127, Kind.TUNNEL_UDP_MPLS, OTHER6),
        _composite(128, Kind.COMPOSITE_FABRIC, Member(127, 2201)),
        _composite(129, top, Member(76), Member(128)),
        _ecmp(130, Member(122, 1033), Member(122, 1033)),
        _encap(92, MIRRORED, VM2_MAC),
        _encap(93, SUB_MARKED, VM2_MAC),
        _encap(94, SUB_MIRRORED, VM2_MAC),
    ]


def _ecmp(number: int, *members: Member, fields: int = 0, more: NhFlag = ECMP) -> Nexthop:
    flags = NhFlag.VALID | more
    kind = NhType.COMPOSITE
    return Nexthop(number, kind, Family.INET, flags, BLUE, members=members, hash_fields=fields)


def _ecmp_nexthops() -> list[Nexthop]:
    ways = Member(22), Member(32, 1030), Member(33, 1031)
    return [
        _ecmp(61, *ways),
        _ecmp(70, *ways, fields=HashField.DPORT),
        _ecmp(62, *ways, fields=HashField.DIP),
        _ecmp(63, *ways, more=Kind.COMPOSITE_LU_ECMP),
        replace(_ecmp(64, Member(12), Member(31, 5001)), family=Family.BRIDGE),
        _ecmp(65, Member(999), Member(998)),
        _ecmp(66, *(Member(32 + i % 2, 4000 + i) for i in range(100))),
        _ecmp(67, Member(61)),
        _ecmp(68),
        _ecmp(69, Member(999), Member(22), Member(998), Member(33, 1031), Member(997)),
    ]


# plain UDP to a neighbour on the underlay
ANALYZER = Nexthop(
    91,
    NhType.TUNNEL,
    Family.INET,
    NhFlag.VALID | Kind.TUNNEL_UDP,
    0,
    None,
    SELF,
    ip("172.30.0.9"),
    sport=8097,
    dport=8099,
)
METADATA = bytes((0xFF, 0))
MIRRORS = {
    1: Mirror(91, metadata=METADATA),
    2: Mirror(31, 7000),
    3: Mirror(999),
    4: Mirror(31, metadata=METADATA),
    5: Mirror(131, metadata=METADATA),
}
CLASSES = {1: ForwardingClass(46, 5, 6, 3), 2: ForwardingClass(10, 1, 2, 0)}
# DSCP 0 is of class 1, 46 of class 2, others of one that is not there
QOS_MAPS = {
    1: QosMap(tuple({0: 1, 46: 2}.get(dscp, 9) for dscp in range(64)), (9, 1, 1, 1, 1, 1, 1, 2))
}


def _tree_nexthops() -> list[Nexthop]:
    """Fabric and TOR composites, and multicast of routed packets."""
    fabric, tor, top = Kind.COMPOSITE_FABRIC, Kind.COMPOSITE_TOR, Kind.MULTICAST
    checked = top | Kind.VALIDATE_MCAST_SRC
    inet = Family.INET
    return [
        _tunnel(39, Kind.TUNNEL_UDP_MPLS, OTHER),
        _tunnel(40, Kind.TUNNEL_GRE, OTHER),
        _tunnel(71, Kind.TUNNEL_VXLAN, TOR_IP),
        _tunnel(72, Kind.TUNNEL_UDP_MPLS, PEER),
        _composite(73, fabric, Member(39, 2001), Member(40, 2002), Member(35, 1), Member(39)),
        _composite(74, tor, Member(71, 6001)),
        _composite(75, Kind.COMPOSITE_EVPN, Member(72, 900), Member(31, 901)),
        _composite(76, Kind.COMPOSITE_ENCAP, Member(11), Member(12)),
        _composite(77, top, *(Member(one) for one in (76, 73, 75, 74))),
        _composite(78, checked, *(Member(one) for one in (76, 73, 75, 74))),
        replace(
            _composite(79, Kind.COMPOSITE_ENCAP, *(Member(n) for n in (26, 21, 18))), family=inet
        ),
        replace(_composite(80, fabric, Member(39, 2101), Member(40, 2102)), family=inet),
        replace(_composite(81, top, Member(79), Member(80), Member(75)), family=inet),
    ]


def _routes() -> list[Route]:
    label, proxy, trap, flood = 1, RouteFlag.ARP_PROXY, RouteFlag.ARP_TRAP, RouteFlag.ARP_FLOOD

    def route(vrf: int, prefix: str, nh: int, **more: object) -> Route:
        flags = more.get("flags", 0)
        if more.get("label") is not None:
            flags = int(flags) | label  # type: ignore[call-overload]
        where = net6(prefix) if ":" in prefix else net(prefix)
        return Route(vrf, where, nh, **{**more, "flags": flags})  # type: ignore[arg-type]

    return [
        route(0, "172.30.0.1/32", 5),
        route(0, "172.30.0.0/24", 6),
        route(0, "172.30.0.9/32", 23, flags=proxy),
        route(0, "172.30.0.10/32", 21, flags=proxy),
        route(0, "172.30.0.11/32", 6, flags=proxy, stitch=VM1_MAC),
        route(0, "172.30.0.12/32", 47),
        route(0, "169.254.7.0/24", 999),
        route(BLUE, "10.1.1.1/32", 21, flags=proxy, stitch=VM1_MAC),
        route(BLUE, "10.1.1.2/32", 22, flags=proxy, stitch=VM2_MAC),
        route(BLUE, "10.1.1.3/32", 32, label=1030, flags=proxy, stitch=REMOTE_MAC),
        route(BLUE, "10.1.1.4/32", 34, label=5001, flags=proxy),
        route(BLUE, "10.1.1.5/32", 33, label=1030, flags=proxy | flood),
        route(BLUE, "10.1.1.6/32", 31, label=5001, flags=trap),
        route(BLUE, "10.1.1.7/32", 32),
        route(BLUE, "10.1.1.8/32", 53),
        route(BLUE, "10.1.1.9/32", 41),
        route(BLUE, "10.1.1.10/32", 999),
        route(BLUE, "10.1.1.254/32", 3, flags=proxy),
        route(BLUE, "10.1.2.0/24", 1),
        route(BLUE, "10.1.3.0/24", 5),
        route(BLUE, "10.1.4.0/24", 6),
        route(BLUE, "10.1.5.0/24", 44),
        route(BLUE, "10.1.6.0/24", 7),
        route(BLUE, "10.1.7.0/24", 36, label=20),
        route(BLUE, "10.1.8.0/24", 46),
        route(BLUE, "224.0.0.0/4", 26),
        route(BLUE, "10.1.9.9/32", 26),
        route(BLUE, "10.1.9.1/32", 35, label=5001, flags=proxy, stitch=VM1_MAC),
        route(BLUE, "10.1.9.2/32", 21, flags=proxy, stitch=REMOTE_MAC),
        route(BLUE, "10.1.10.0/24", 61),
        route(BLUE, "10.1.11.0/24", 62),
        route(BLUE, "10.1.12.0/24", 63, label=77),
        route(BLUE, "10.1.13.0/24", 65),
        route(BLUE, "10.1.14.0/24", 66),
        route(BLUE, "10.1.15.0/24", 67),
        route(BLUE, "10.1.16.0/24", 68),
        route(BLUE, "10.1.17.0/24", 69),
        route(BLUE, "10.1.18.0/24", 70),
        route(BLUE, "225.0.0.0/8", 81),
        route(4, "10.0.0.0/8", 43),
        route(RED_VRF, "0.0.0.0/0", 34, label=77),
        route(9, "10.1.8.1/32", 21),
        route(0, "2001:db8::1/128", 5),
        route(0, "2001:db8::/64", 6),
        route(0, "2001:db8::9/128", 23),
        route(0, "2001:db8::9/128", 23, flags=proxy),
        route(0, "2001:db8::a/128", 21, flags=proxy),
        route(0, "2001:db8:7::/48", 999),
        route(0, "fe80::/10", 1, flags=proxy),
        route(BLUE, "fd00::1/128", 21, flags=proxy, stitch=VM1_MAC),
        route(BLUE, "fd00::2/128", 22, flags=proxy, stitch=VM2_MAC),
        route(BLUE, "fd00::3/128", 32, label=1030, flags=proxy, stitch=REMOTE_MAC),
        route(BLUE, "fd00::4/128", 34, label=5001, flags=proxy),
        route(BLUE, "fd00::5/128", 33, label=1030, flags=proxy | flood),
        route(BLUE, "fd00::6/128", 31, label=5001, flags=trap),
        route(BLUE, "fd00::7/128", 32),
        route(BLUE, "fd00::8/128", 53),
        route(BLUE, "fd00::9/128", 41),
        route(BLUE, "fd00::a/128", 999),
        route(BLUE, "fd00::b/128", 124, label=5001),
        route(BLUE, "fd00::c/128", 122, label=1030),
        route(BLUE, "fd00::d/128", 123, label=1030),
        route(BLUE, "fd00::13/128", 130),
        route(BLUE, "fd00::fe/128", 3, flags=proxy),
        route(BLUE, "fe80::1/128", 3, flags=proxy),
        route(BLUE, "fd00:2::/64", 1),
        route(BLUE, "fd00:3::/64", 5),
        route(BLUE, "fd00:4::/64", 6),
        route(BLUE, "fd00:5::/63", 44),
        route(BLUE, "fd00:6::/65", 7),
        route(BLUE, "fd00:8::/33", 46),
        route(4, "fd00::/8", 43),
        route(RED_VRF, "::/0", 34, label=77),
        route(9, "fd00:8::1/128", 21),
    ]


def _bridge() -> list[BridgeEntry]:
    entries: list[tuple[Any, ...]] = [
        (0, VM1_MAC, 11, None),
        (BLUE, GATEWAY, 3, None),
        (BLUE, ROUTER_MAC, 3, None),
        (BLUE, VM1_MAC, 11, None),
        (BLUE, VM2_MAC, 12, None),
        (BLUE, REMOTE_MAC, 31, 5001),
        (BLUE, mac("02:00:0a:01:01:04"), 32, 1040),
        (BLUE, mac("02:00:0a:01:01:05"), 33, 1050),
        (BLUE, mac("02:00:0a:01:01:06"), 31, None),
        (BLUE, mac("02:00:0a:01:01:07"), 999, None),
        (BLUE, mac("02:00:0a:01:01:08"), 45, None),
        (BLUE, mac("02:00:0a:01:01:09"), 21, None),
        (BLUE, mac("02:00:0a:01:01:0a"), 43, None),
        (BLUE, mac("02:00:0a:01:01:0b"), 18, None),
        (BLUE, mac("02:00:0a:01:01:0c"), 17, None),
        (BLUE, mac("02:00:0a:01:01:0d"), 5, None),
        (BLUE, mac("02:00:0a:01:01:0f"), 19, None),
        (BLUE, mac("02:00:0a:01:01:10"), 38, 5001),
        (BLUE, mac("02:00:0a:01:01:11"), 34, 5001),
        (BLUE, mac("02:00:0a:01:01:28"), 121, 5001),
        (BLUE, mac("02:00:0a:01:01:13"), 122, 1040),
        (BLUE, mac("02:00:0a:01:01:14"), 123, 1050),
        (BLUE, mac("02:00:0a:01:01:15"), 126, None),
        (BLUE, BROADCAST, 53, None),
        (BLUE, GROUP, 12, None),
        (BLUE, IN_LEARNER, 29, None),
        (BLUE, IN_SUB, 27, None),
        (BLUE, IN_VGW, 28, None),
        (BLUE, FLOODS_DHCP, 12, None, True),
        (BLUE, mac("02:00:0a:01:01:12"), 64, None),
        (BLUE, HEARD_GROUP, 3, None),
        (BLUE, MIRRORED_MAC, 92, None),
        (BLUE, IN_MARKED, 93, None),
        (BLUE, IN_MIRRORED, 94, None),
        (TREE_VRF, BROADCAST, 77, TREE_VNI),
        (GUARDED_VRF, BROADCAST, 78, None),
        (RED_VRF, VM1_MAC, 13, None),
        (RED_VRF, GATEWAY, 3, None),
        (RED_VRF, BROADCAST, 54, None),
        (MCAST, BROADCAST, 57, None),
        *((7, BROADCAST, 60, None), (5, mac("02:00:0a:01:01:08"), 45, None)),
        (5, BROADCAST, 58, None),
    ]
    return [BridgeEntry(*entry) for entry in entries]


MPLS = {1000: 21, 1001: 11, 1002: 41, 1003: 53, 1004: 43, 1005: 3, 1006: 999, 1007: 7, 1008: 32}
MPLS |= {1100: 77, 1101: 78, 1102: 81, 1103: 61, 1104: 64, 1017: 61, 1018: 77, 1019: 81}
MPLS |= {1009: 51, 1010: 52, 1011: 5, 1012: 1, 1013: 13, 1014: 42, 1015: 6, 1016: 18}
MPLS |= {1020: 122, 1105: 129}
VNIS = {5001: 41, 5002: 42, 5003: 53, 5004: 11, 5005: 999, 5006: 43, 5007: 31}
VNIS |= {5008: 3, 5009: 21, 5010: 48, 5011: 78, 5012: 64, 5013: 77}


def base(name: str, *, agent: bool) -> State:
    """The base tables; with an agent nothing is cross-connected, and it is a gateway."""
    state = State(name, hash_seed=SEED, mpls=dict(MPLS), vxlan=dict(VNIS))
    state.mirrors, state.qos_maps, state.classes = dict(MIRRORS), dict(QOS_MAPS), dict(CLASSES)
    state.add(*_vifs(agent), *_nexthops(), *_bridge(), *_routes())
    if agent:
        state.agent_vif = AGENT
        _add_gateway(state)
    return state


def _add_gateway(state: State) -> None:
    """The agent as the gateway of blue, and as a member of a flood list."""
    state.add(
        _encap(24, AGENT, VM1_MAC, Family.INET),
        _encap(25, AGENT, VM1_MAC),
        _composite(59, Kind.COMPOSITE_ENCAP, Member(25), Member(11)),
        Route(BLUE, net("10.1.1.11/32"), 24, flags=RouteFlag.ARP_PROXY),
        BridgeEntry(BLUE, mac("02:00:0a:01:01:0e"), 25),
        BridgeEntry(6, BROADCAST, 59),
    )


ANYWHERE = IPv4Network("0.0.0.0/0")
HEADLESS = base("headless", agent=False)
WITH_AGENT = base("with-agent", agent=True)
STATES = {state.name: state for state in (HEADLESS, WITH_AGENT)}
# for those rows only that name them
TRAPPING = replace(WITH_AGENT.copy("trapping"), icmp_trap=True)
NO_PAIR = replace(HEADLESS.copy("no-pair"), exception=False, mss_from_vm=False, mss_to_vm=False)
TABLE_STATES = STATES | {state.name: state for state in (TRAPPING, NO_PAIR)}
