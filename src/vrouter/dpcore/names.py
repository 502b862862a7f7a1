# SPDX-License-Identifier: Apache-2.0
"""The numbers of bpf/abi.h by name. How people read them: labels.py.

abi.h is the one definition; `check_names` compares every enum here with the
BTF of an object, where the C names are these with the prefix of `C_NAMES`.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING, Final

from .errors import VrouterError

if TYPE_CHECKING:
    from .btf import Btf

# Preprocessor constants leave no trace in BTF: a unit test compares these with abi.h.
ABI_VERSION: Final = 3
MAX_VIFS: Final = 4352
VIF_NONE: Final = 0xFFFF
VRF_NONE: Final = 0xFFFF
LABEL_NONE: Final = 0xFFFFFFFF
VLAN_NONE: Final = 0xFFFF
NH_DISCARD: Final = 0
ENTRY_VALID: Final = 0x80000000
REWRITE_MAX: Final = 32
MEMBERS_PER_CHUNK: Final = 31
SOURCE_BITS: Final = 80
SPARES: Final = 256  # indexes kept ready for MACs that dp-core learns
SRC_MACS: Final = 4  # senders of a Virtual VLAN vif, at most
MAX_ECMP: Final = 256
MAX_MIRRORS: Final = 255
MIRROR_NONE: Final = 255
METADATA_MAX: Final = 16
DROP_REASONS: Final = 96  # VR_DROP_MAX: size of the drop counters


class Family(IntEnum):
    """Address family of a nexthop: Linux's AF_* numbers, as upstream stores them."""

    UNSPEC = 0
    INET = 2
    BRIDGE = 7
    INET6 = 10


class VifType(IntEnum):
    """What a vif is (upstream's numbers)."""

    HOST = 0
    AGENT = 1
    PHYSICAL = 2
    VIRTUAL = 3
    XEN_LL = 4
    GATEWAY = 5
    VIRTUAL_VLAN = 6
    STATS = 7
    VLAN = 8
    MONITORING = 9


class VifTransport(IntEnum):
    """How a vif is reached (upstream's numbers)."""

    VIRTUAL = 0
    ETH = 1
    PMD = 2
    SOCKET = 3


class VifFlag(IntFlag):
    """Switches of a vif (upstream's bits)."""

    POLICY = 0x1
    XCONNECT = 0x2
    SERVICE = 0x4
    MIRROR_RX = 0x8
    MIRROR_TX = 0x10
    TX_CSUM = 0x20
    L3 = 0x40
    L2 = 0x80
    DHCP = 0x100
    VHOST_PHYS = 0x200
    PROMISC = 0x400
    NATIVE_VLAN = 0x800
    NO_MAC_PROXY = 0x1000
    PMD = 0x2000
    RX_FILTER = 0x4000
    MONITORED = 0x8000
    UNKNOWN_UC_FLOOD = 0x10000
    VLAN_OFFLOAD = 0x20000
    DROP_NEW_FLOWS = 0x40000
    MAC_LEARN = 0x80000
    MAC_PROXY = 0x100000
    ETREE_ROOT = 0x200000
    GRO_NEEDED = 0x400000
    MRG_RXBUF = 0x800000
    MIRROR_NO_TAG = 0x1000000
    IGMP = 0x2000000
    MOCK = 0x4000000
    HBS_LEFT = 0x8000000
    HBS_RIGHT = 0x10000000
    FAT_GATEWAY = 0x20000000
    MAC_IP_LEARN = 0x40000000


# Flags for which a vif has the feature FLAGS.
FLAGS_SPECIAL: Final = VifFlag.DHCP | VifFlag.IGMP | VifFlag.MAC_LEARN | VifFlag.MAC_IP_LEARN


class VifFeature(IntFlag):
    """What a vif needs besides plain forwarding."""

    SOURCES = 0x1
    DHCP_SERVER = 0x2
    ROUTER = 0x4
    BRIDGE = 0x8
    SUBVIFS = 0x10
    FLAGS = 0x80


class DropReason(IntEnum):
    """Why a packet was dropped: 1 to 54 are upstream's, ours start at 64."""

    INVALID = 0
    DISCARD = 1
    PULL = 2
    INVALID_IF = 3
    INVALID_ARP = 4
    TRAP_NO_IF = 5
    NOWHERE_TO_GO = 6
    FLOW_QUEUE_LIMIT_EXCEEDED = 7
    FLOW_NO_MEMORY = 8
    FLOW_INVALID_PROTOCOL = 9
    FLOW_NAT_NO_RFLOW = 10
    FLOW_ACTION_DROP = 11
    FLOW_ACTION_INVALID = 12
    FLOW_UNUSABLE = 13
    FLOW_TABLE_FULL = 14
    INTERFACE_TX_DISCARD = 15
    INTERFACE_DROP = 16
    DUPLICATED = 17
    PUSH = 18
    TTL_EXCEEDED = 19
    INVALID_NH = 20
    INVALID_LABEL = 21
    INVALID_PROTOCOL = 22
    INTERFACE_RX_DISCARD = 23
    INVALID_MCAST_SOURCE = 24
    HEAD_ALLOC_FAIL = 25
    PCOW_FAIL = 26
    MCAST_DF_BIT = 27
    MCAST_CLONE_FAIL = 28
    NO_MEMORY = 29
    REWRITE_FAIL = 30
    MISC = 31
    INVALID_PACKET = 32
    CKSUM_ERR = 33
    NO_FMD = 34
    CLONED_ORIGINAL = 35
    INVALID_VNID = 36
    FRAGMENTS = 37
    INVALID_SOURCE = 38
    L2_NO_ROUTE = 39
    FRAGMENT_QUEUE_FAIL = 40
    VLAN_FWD_TX = 41
    VLAN_FWD_ENQ = 42
    NEW_FLOWS = 43
    FLOW_EVICT = 44
    TRAP_ORIGINAL = 45
    LEAF_TO_LEAF = 46
    BMAC_ISID_MISMATCH = 47
    PKT_LOOP = 48
    NO_CRYPT_PATH = 49
    INVALID_HBS_PKT = 50
    NO_FRAG_ENTRY = 51
    ICMP_ERROR = 52
    CLONE_FAIL = 53
    INVALID_UNDERLAY_ECMP = 54
    TOO_BIG = 64
    RECIRCULATION = 65
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


class IcmpErrors(IntEnum):
    """Who makes ICMP errors about the packets of guests."""

    ANSWER = 0
    TRAP = 1


class MssClamp(IntFlag):
    """Whose SYNs ask for no larger segments than the fabric takes."""

    FROM_VM = 0x1
    TO_VM = 0x2


class TrapReason(IntEnum):
    """`cmd` of the agent header: why a packet went to the agent, or what it asks for."""

    SWITCH = 0
    ROUTE = 1
    ARP = 2
    L2_PROTOCOLS = 3
    NEXTHOP = 4
    RESOLVE = 5
    FLOW_MISS = 6
    L3_PROTOCOLS = 7
    DIAG = 8
    ECMP_RESOLVE = 9
    SOURCE_MISMATCH = 10
    HANDLE_DF = 11
    ZERO_TTL = 12
    ICMP_ERROR = 13
    TOR_CONTROL_PKT = 14
    FLOW_ACTION_HOLD = 15
    ROUTER_ALERT = 16
    MAC_LEARN = 17
    MAC_MOVE = 18
    MAC_IP_LEARNING = 19
    BFD = 20


class NhType(IntEnum):
    """What a nexthop does (upstream's numbers)."""

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
    """Switches of a nexthop (upstream's bits)."""

    VALID = 0x1
    POLICY = 0x2
    TUNNEL_GRE = 0x8
    TUNNEL_UDP = 0x10
    MULTICAST = 0x20
    TUNNEL_UDP_MPLS = 0x40
    TUNNEL_VXLAN = 0x80
    RELAXED_POLICY = 0x100
    COMPOSITE_FABRIC = 0x200
    COMPOSITE_ECMP = 0x400
    COMPOSITE_LU_ECMP = 0x800
    COMPOSITE_EVPN = 0x1000
    COMPOSITE_ENCAP = 0x2000
    COMPOSITE_TOR = 0x4000
    ROUTE_LOOKUP = 0x8000
    UNKNOWN_UC_FLOOD = 0x10000
    TUNNEL_SIP_COPY = 0x20000
    FLOW_LOOKUP = 0x40000
    TUNNEL_PBB = 0x80000
    MAC_LEARN = 0x100000
    ETREE_ROOT = 0x200000
    INDIRECT = 0x400000
    L2_CONTROL_WORD = 0x800000
    CRYPT_TRAFFIC = 0x1000000
    L3_VXLAN = 0x2000000
    MPLS_O_MPLS = 0x4000000
    VALIDATE_MCAST_SRC = 0x8000000
    UNDERLAY_ECMP = 0x10000000


class MirrorFlag(IntFlag):
    """What a mirror does with the copies."""

    DYNAMIC = 0x1


class HashField(IntFlag):
    """Fields of a packet that an ECMP composite hashes; 0 stands for all."""

    PROTO = 0x1
    SIP = 0x2
    SPORT = 0x4
    DIP = 0x8
    DPORT = 0x10


class RouteFlag(IntFlag):
    """Switches of an inet route (upstream's bits)."""

    LABEL_VALID = 0x1
    ARP_PROXY = 0x2
    ARP_TRAP = 0x4
    ARP_FLOOD = 0x8
    MAC_IP_LEARNT = 0x10


class BridgeFlag(IntFlag):
    """Switches of a bridge entry (upstream's bits)."""

    VALID = 0x1
    LABEL_VALID = 0x2
    FLOOD_DHCP = 0x4
    MAC_MOVED = 0x8
    L2_CONTROL_WORD = 0x10
    MAC_NEW = 0x20
    EVPN_CONTROL = 0x40


class EventMask(IntFlag):
    """Which events someone listens to."""

    DROPS = 0x1
    PATH = 0x2


class EventKind(IntEnum):
    """What an event tells."""

    RX = 1
    DECAP = 2
    BRIDGE = 3
    INET = 4
    NEXTHOP = 5
    ENCAP = 6
    TX = 7
    COPY = 8
    TRAP = 9
    DROP = 10
    ARP_REPLY = 11


class Verdict(IntEnum):
    """What dp-core decided, in test mode."""

    NONE = 0
    TX = 1
    DROP = 2
    TRAP = 3


C_NAMES: Final[tuple[tuple[type[IntEnum] | type[IntFlag], str, str], ...]] = (
    (VifType, "vr_vif_type", "VIF_TYPE_"),
    (VifTransport, "vr_vif_transport", "VIF_TRANSPORT_"),
    (VifFlag, "vr_vif_flag", "VIF_FLAG_"),
    (VifFeature, "vr_vif_feature", "VIF_FEATURE_"),
    (DropReason, "vr_drop_reason", "VR_DROP_"),
    (TrapReason, "vr_trap_reason", "VR_TRAP_"),
    (NhType, "vr_nh_type", "NH_TYPE_"),
    (NhFlag, "vr_nh_flag", "NH_FLAG_"),
    (HashField, "vr_hash_field", "VR_HASH_"),
    (MirrorFlag, "vr_mirror_flag", "VR_MIRROR_"),
    (RouteFlag, "vr_route_flag", "VR_RT_"),
    (BridgeFlag, "vr_bridge_flag", "VR_BE_"),
    (IcmpErrors, "vr_icmp_errors", "VR_ICMP_"),
    (MssClamp, "vr_mss_clamp", "VR_MSS_"),
    (EventMask, "vr_event_mask", "VR_EVENT_"),
    (EventKind, "vr_event_kind", "VR_EV_"),
    (Verdict, "vr_verdict", "VR_VERDICT_"),
)


def check_names(btf: Btf) -> None:
    """Compare every enum of this module with the object's `btf`.

    Raises VrouterError that names each difference: dp-core and this package
    are then of different versions and must not work together.
    """
    wrong: list[str] = []
    for enum, c_name, prefix in C_NAMES:
        theirs = {
            name.removeprefix(prefix): value
            for name, value in btf.enum(c_name).items()
            if not name.endswith("_MAX")
        }
        ours = {name: int(member) for name, member in enum.__members__.items()}
        wrong += [
            f"{prefix}{name} is {theirs.get(name, 'absent')} there, {ours.get(name, 'absent')} here"
            for name in sorted(ours.keys() | theirs.keys())
            if ours.get(name) != theirs.get(name)
        ]
    if wrong:
        raise VrouterError(
            f"the dp-core object does not fit this package: {'; '.join(wrong)}: "
            "rebuild it with `make bpf`, or install matching versions"
        )
