# SPDX-License-Identifier: Apache-2.0
"""Numbers of the data plane, written from its reference, not from its headers."""

from enum import IntEnum, IntFlag

ETH_IPV4 = 0x0800
ETH_ARP = 0x0806
ETH_IPV6 = 0x86DD
ETH_VLAN = (0x8100, 0x88A8)

PROTO_ICMP = 1
PROTO_IGMP = 2
PROTO_ICMP = 1
PROTO_TCP = 6
PROTO_UDP = 17
PROTO_GRE = 47
PROTO_ICMPV6 = 58
PROTO_SCTP = 132

EXT_HOP_BY_HOP = 0
EXT_ROUTING = 43
EXT_FRAGMENT = 44
EXT_AUTH = 51
EXT_DEST_OPTIONS = 60
EXT_WALKED = 8

ICMP6_RS = 133
ICMP6_NS = 135
ICMP6_NA = 136
DHCP6_CLIENT = 546
EXTENSIONS = (0, 43, 44, 51, 60)

GRE_CSUM = 0x8000
GRE_KEY = 0x2000
GRE_MPLS = 0x8847

UDP_BFD = 3784
UDP_VXLAN = 4789
UDP_MPLS = 6635
UDP_MPLS_OLD = 51234
MPLS_PORTS = (UDP_MPLS, UDP_MPLS_OLD)
UDP_TUNNELS = (UDP_VXLAN, UDP_MPLS, UDP_MPLS_OLD)

ICMP_ERRORS = (3, 11, 12)
LABEL_ROUTER_ALERT = 1
VXLAN_I = 0x08000000
VXLAN_ROUTER_ALERT = 0x01000000

SPORT_FIRST = 49152
SPORT_RANGE = 16383
SPORT_MPLS_NO_HASH = 51000
SPORT_VXLAN_NO_HASH = 52000

BROADCAST = b"\xff" * 6
VRF_NONE = 65535
MAX_LOOKUPS = 4
MAX_TAGS = 8
MIN_MCAST_LABEL = 1024
WRAP_LEN = 40
TTL = 64


class VifType(IntEnum):
    """What a vif is; decides how a packet from it is taken."""

    HOST = 0
    AGENT = 1
    PHYSICAL = 2
    VIRTUAL = 3
    GATEWAY = 5
    VIRTUAL_VLAN = 6
    STATS = 7
    MONITORING = 9


class VifFlag(IntFlag):
    """Flags of a vif that change what happens to a packet."""

    XCONNECT = 0x2
    MIRROR_RX = 0x8
    MIRROR_TX = 0x10
    L3 = 0x40
    NATIVE_VLAN = 0x800
    IGMP = 0x2000000
    L2 = 0x80
    DHCP = 0x100
    NO_MAC_PROXY = 0x1000
    UNKNOWN_UC_FLOOD = 0x10000
    MAC_LEARN = 0x80000
    MAC_PROXY = 0x100000
    MAC_IP_LEARN = 0x40000000


class NhType(IntEnum):
    """Types of nexthops."""

    DEAD = 0
    RECEIVE = 1
    ENCAP = 2
    TUNNEL = 3
    RESOLVE = 4
    DISCARD = 5
    COMPOSITE = 6
    VRF_TRANSLATE = 7
    L2_RECEIVE = 8


class NhFlag(IntFlag):
    """Flags of a nexthop."""

    VALID = 0x1
    TUNNEL_GRE = 0x8
    TUNNEL_UDP = 0x10
    MULTICAST = 0x20
    TUNNEL_UDP_MPLS = 0x40
    TUNNEL_VXLAN = 0x80
    COMPOSITE_FABRIC = 0x200
    COMPOSITE_ECMP = 0x400
    COMPOSITE_LU_ECMP = 0x800
    COMPOSITE_EVPN = 0x1000
    COMPOSITE_ENCAP = 0x2000
    COMPOSITE_TOR = 0x4000
    UNKNOWN_UC_FLOOD = 0x10000
    MAC_LEARN = 0x100000
    L3_VXLAN = 0x2000000
    VALIDATE_MCAST_SRC = 0x8000000


class HashField(IntFlag):
    """Fields of a packet that an ECMP composite hashes; 0 stands for all."""

    PROTO = 0x1
    SIP = 0x2
    SPORT = 0x4
    DIP = 0x8
    DPORT = 0x10


class Family(IntEnum):
    """Address family of a nexthop: what its payload is."""

    UNSPEC = 0
    INET = 2
    BRIDGE = 7
    INET6 = 10


class RouteFlag(IntFlag):
    """Flags of an inet or inet6 route."""

    LABEL_VALID = 1
    ARP_PROXY = 2
    ARP_TRAP = 4
    ARP_FLOOD = 8


class Drop(IntEnum):
    """Reasons of drops: 1 to 54 by position in upstream's list, ours from 64."""

    DISCARD = 1
    INVALID_IF = 3
    INVALID_ARP = 4
    TRAP_NO_IF = 5
    PUSH = 18
    TTL_EXCEEDED = 19
    INVALID_NH = 20
    INVALID_LABEL = 21
    INVALID_PROTOCOL = 22
    INTERFACE_RX_DISCARD = 23
    INVALID_MCAST_SOURCE = 24
    MCAST_DF_BIT = 27
    INVALID_PACKET = 32
    CLONED_ORIGINAL = 35
    INVALID_VNID = 36
    FRAGMENTS = 37
    L2_NO_ROUTE = 39
    PKT_LOOP = 48
    TOO_BIG = 64
    SOURCE_MAC = 72
    SOURCE_ADDRESS = 73
    SOURCE_ARP = 74
    SOURCE_ND = 75
    DHCP_SERVER = 76
    ROUTER = 77
    BPDU = 78
    TRAP_LIMIT = 79
    NO_EXCEPTION = 66
    FRAG_NEEDED = 67


class Trap(IntEnum):
    """Reasons of traps, and the agent's two commands."""

    SWITCH = 0
    ROUTE = 1
    ARP = 2
    NEXTHOP = 4
    RESOLVE = 5
    L3_PROTOCOLS = 7
    DIAG = 8
    HANDLE_DF = 11
    ZERO_TTL = 12
    ICMP_ERROR = 13
    ROUTER_ALERT = 16
    MAC_LEARN = 17
    MAC_MOVE = 18
    MAC_IP_LEARNING = 19
    BFD = 20


class Verdict(IntEnum):
    """What became of a packet."""

    TX = 1
    DROP = 2
    TRAP = 3
