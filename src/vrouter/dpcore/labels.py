# SPDX-License-Identifier: Apache-2.0
"""How people read the numbers of names.py: labels, letters and words.

They, and their order, are those that upstream's tools print.
"""

from __future__ import annotations

from typing import Final

from .names import (
    BridgeFlag,
    DropReason,
    Family,
    HashField,
    NhFlag,
    NhType,
    RouteFlag,
    VifFlag,
    VifTransport,
    VifType,
)

VIF_TYPE_LABELS: Final[dict[VifType, str]] = {
    VifType.HOST: "Host",
    VifType.AGENT: "Agent",
    VifType.PHYSICAL: "Physical",
    VifType.VIRTUAL: "Virtual",
    VifType.XEN_LL: "XenLL",
    VifType.GATEWAY: "Gateway",
    VifType.VIRTUAL_VLAN: "Virtual(Vlan)",
    VifType.STATS: "Stats",
    VifType.VLAN: "Vlan",
    VifType.MONITORING: "Monitoring",
}

# What `vif --type` takes.
VIF_TYPE_NAMES: Final[dict[str, VifType]] = {
    "vhost": VifType.HOST,
    "agent": VifType.AGENT,
    "physical": VifType.PHYSICAL,
    "virtual": VifType.VIRTUAL,
    "xenll": VifType.XEN_LL,
    "gateway": VifType.GATEWAY,
    "virtual-vlan": VifType.VIRTUAL_VLAN,
    "stats": VifType.STATS,
    "monitoring": VifType.MONITORING,
}

# What `vif --transport` takes.
VIF_TRANSPORT_NAMES: Final[dict[str, VifTransport]] = {
    "virtual": VifTransport.VIRTUAL,
    "eth": VifTransport.ETH,
    "pmd": VifTransport.PMD,
    "socket": VifTransport.SOCKET,
}

# flag, letters, what the legend says; in the order of `vif --list`.
VIF_FLAG_LETTERS: Final[tuple[tuple[VifFlag, str, str], ...]] = (
    (VifFlag.POLICY, "P", "Policy"),
    (VifFlag.XCONNECT, "X", "Cross Connect"),
    (VifFlag.SERVICE, "S", "Service Chain"),
    (VifFlag.MIRROR_RX, "Mr", "Receive Mirror"),
    (VifFlag.MIRROR_TX, "Mt", "Transmit Mirror"),
    (VifFlag.TX_CSUM, "Tc", "Transmit Checksum Offload"),
    (VifFlag.L3, "L3", "Layer 3"),
    (VifFlag.L2, "L2", "Layer 2"),
    (VifFlag.DHCP, "D", "DHCP"),
    (VifFlag.VHOST_PHYS, "Vp", "Vhost Physical"),
    (VifFlag.PROMISC, "Pr", "Promiscuous"),
    (VifFlag.NATIVE_VLAN, "Vnt", "Native Vlan Tagged"),
    (VifFlag.NO_MAC_PROXY, "Mnp", "No MAC Proxy"),
    (VifFlag.PMD, "Dpdk", "DPDK PMD Interface"),
    (VifFlag.RX_FILTER, "Rfl", "Receive Filtering Offload"),
    (VifFlag.MONITORED, "Mon", "Interface is Monitored"),
    (VifFlag.UNKNOWN_UC_FLOOD, "Uuf", "Unknown Unicast Flood"),
    (VifFlag.VLAN_OFFLOAD, "Vof", "VLAN insert/strip offload"),
    (VifFlag.DROP_NEW_FLOWS, "Df", "Drop New Flows"),
    (VifFlag.MAC_LEARN, "L", "MAC Learning Enabled"),
    (VifFlag.MAC_PROXY, "Proxy", "MAC Requests Proxied Always"),
    (VifFlag.ETREE_ROOT, "Er", "Etree Root"),
    (VifFlag.MIRROR_NO_TAG, "Mn", "Mirror without Vlan Tag"),
    (VifFlag.HBS_LEFT, "HbsL", "HBS Left Intf"),
    (VifFlag.HBS_RIGHT, "HbsR", "HBS Right Intf"),
    (VifFlag.IGMP, "Ig", "Igmp Trap Enabled"),
    (VifFlag.MAC_IP_LEARN, "Ml", "MAC-IP Learning Enabled"),
)

NH_TYPE_LABELS: Final[dict[NhType, str]] = {
    NhType.DEAD: "Dead",
    NhType.RECEIVE: "Receive",
    NhType.ENCAP: "Encap",
    NhType.TUNNEL: "Tunnel",
    NhType.RESOLVE: "Resolve",
    NhType.DISCARD: "Drop",
    NhType.COMPOSITE: "Composite",
    NhType.VRF_TRANSLATE: "Vrf_Translate",
    NhType.L2_RECEIVE: "L2 Receive",
}

FAMILY_LABELS: Final[dict[Family, str]] = {
    Family.UNSPEC: "AF_UNSPEC",
    Family.INET: "AF_INET",
    Family.BRIDGE: "AF_BRIDGE",
    Family.INET6: "AF_INET6",
}

# In the order of `nh --list`.
NH_FLAG_WORDS: Final[tuple[tuple[NhFlag, str], ...]] = (
    (NhFlag.VALID, "Valid"),
    (NhFlag.POLICY, "Policy"),
    (NhFlag.RELAXED_POLICY, "Policy(R)"),
    (NhFlag.FLOW_LOOKUP, "Flow Lookup"),
    (NhFlag.TUNNEL_GRE, "MPLSoGRE"),
    (NhFlag.TUNNEL_UDP_MPLS, "MPLSoUDP"),
    (NhFlag.TUNNEL_UDP, "Udp"),
    (NhFlag.COMPOSITE_ECMP, "Ecmp"),
    (NhFlag.COMPOSITE_LU_ECMP, "Label Ecmp"),
    (NhFlag.COMPOSITE_FABRIC, "Fabric"),
    (NhFlag.COMPOSITE_EVPN, "Evpn"),
    (NhFlag.COMPOSITE_TOR, "Tor"),
    (NhFlag.COMPOSITE_ENCAP, "Encap"),
    (NhFlag.MULTICAST, "Multicast"),
    (NhFlag.ROUTE_LOOKUP, "RouteLookup"),
    (NhFlag.L3_VXLAN, "l3_vxlan"),
    (NhFlag.TUNNEL_VXLAN, "Vxlan"),
    (NhFlag.UNKNOWN_UC_FLOOD, "Unicast Flood"),
    (NhFlag.TUNNEL_SIP_COPY, "Copy SIP"),
    (NhFlag.TUNNEL_PBB, "Pbb"),
    (NhFlag.INDIRECT, "Indirect"),
    (NhFlag.ETREE_ROOT, "Etree Root"),
    (NhFlag.MAC_LEARN, "Mac Learn"),
    (NhFlag.L2_CONTROL_WORD, "Evpn Control Word"),
    (NhFlag.CRYPT_TRAFFIC, "Encrypt Traffic"),
    (NhFlag.MPLS_O_MPLS, "MPLSoMPLS"),
    (NhFlag.UNDERLAY_ECMP, "Underlay Ecmp"),
)

# In the order of `nh --list`.
HASH_FIELD_WORDS: Final[tuple[tuple[HashField, str], ...]] = (
    (HashField.PROTO, "Proto"),
    (HashField.SIP, "SrcIP"),
    (HashField.SPORT, "SrcPort"),
    (HashField.DIP, "DstIp"),
    (HashField.DPORT, "DstPort"),
)

ROUTE_FLAG_LETTERS: Final[tuple[tuple[RouteFlag, str, str], ...]] = (
    (RouteFlag.LABEL_VALID, "L", "Label Valid"),
    (RouteFlag.ARP_PROXY, "P", "Proxy ARP"),
    (RouteFlag.ARP_TRAP, "T", "Trap ARP"),
    (RouteFlag.ARP_FLOOD, "F", "Flood ARP"),
    (RouteFlag.MAC_IP_LEARNT, "Ml", "MAC-IP learnt route"),
)

BRIDGE_FLAG_LETTERS: Final[tuple[tuple[BridgeFlag, str, str], ...]] = (
    (BridgeFlag.LABEL_VALID, "L", "Label Valid"),
    (BridgeFlag.FLOOD_DHCP, "Df", "DHCP flood"),
    (BridgeFlag.MAC_MOVED, "Mm", "Mac Moved"),
    (BridgeFlag.L2_CONTROL_WORD, "L2c", "L2 Evpn Control Word"),
    (BridgeFlag.MAC_NEW, "N", "New Entry"),
    (BridgeFlag.EVPN_CONTROL, "Ec", "EvpnControlProcessing"),
)

_D = DropReason
# The blocks of `dropstats`: an empty line stands between two of them.
DROP_GROUPS: Final[tuple[tuple[tuple[DropReason, str], ...], ...]] = (
    (
        (_D.INVALID_IF, "Invalid IF"),
        (_D.TRAP_NO_IF, "Trap No IF"),
        (_D.INTERFACE_TX_DISCARD, "IF TX Discard"),
        (_D.INTERFACE_DROP, "IF Drop"),
        (_D.INTERFACE_RX_DISCARD, "IF RX Discard"),
    ),
    (
        (_D.FLOW_UNUSABLE, "Flow Unusable"),
        (_D.FLOW_NO_MEMORY, "Flow No Memory"),
        (_D.FLOW_TABLE_FULL, "Flow Table Full"),
        (_D.FLOW_NAT_NO_RFLOW, "Flow NAT no rflow"),
        (_D.FLOW_ACTION_DROP, "Flow Action Drop"),
        (_D.FLOW_ACTION_INVALID, "Flow Action Invalid"),
        (_D.FLOW_INVALID_PROTOCOL, "Flow Invalid Protocol"),
        (_D.FLOW_QUEUE_LIMIT_EXCEEDED, "Flow Queue Limit Exceeded"),
        (_D.NEW_FLOWS, "New Flow Drops"),
        (_D.FLOW_EVICT, "Flow Unusable (Eviction)"),
    ),
    ((_D.TRAP_ORIGINAL, "Original Packet Trapped"),),
    (
        (_D.DISCARD, "Discards"),
        (_D.TTL_EXCEEDED, "TTL Exceeded"),
        (_D.MCAST_CLONE_FAIL, "Mcast Clone Fail"),
    ),
    (
        (_D.INVALID_NH, "Invalid NH"),
        (_D.INVALID_LABEL, "Invalid Label"),
        (_D.INVALID_PROTOCOL, "Invalid Protocol"),
        (_D.LEAF_TO_LEAF, "Etree Leaf to Leaf"),
        (_D.BMAC_ISID_MISMATCH, "Bmac/ISID Mismatch"),
        (_D.REWRITE_FAIL, "Rewrite Fail"),
        (_D.INVALID_MCAST_SOURCE, "Invalid Mcast Source"),
        (_D.PKT_LOOP, "Packet Loop"),
    ),
    (
        (_D.PUSH, "Push Fails"),
        (_D.PULL, "Pull Fails"),
        (_D.DUPLICATED, "Duplicated"),
        (_D.HEAD_ALLOC_FAIL, "Head Alloc Fails"),
        (_D.PCOW_FAIL, "PCOW fails"),
        (_D.INVALID_PACKET, "Invalid Packets"),
    ),
    (
        (_D.MISC, "Misc"),
        (_D.NOWHERE_TO_GO, "Nowhere to go"),
        (_D.CKSUM_ERR, "Checksum errors"),
        (_D.NO_FMD, "No Fmd"),
        (_D.INVALID_VNID, "Invalid VNID"),
        (_D.FRAGMENTS, "Fragment errors"),
        (_D.INVALID_SOURCE, "Invalid Source"),
        (_D.MCAST_DF_BIT, "Jumbo Mcast Pkt with DF Bit"),
        (_D.L2_NO_ROUTE, "No L2 Route"),
        (_D.NO_MEMORY, "Memory Failures"),
        (_D.FRAGMENT_QUEUE_FAIL, "Fragment Queueing Failures"),
        (_D.NO_CRYPT_PATH, "No Encrypt Path Failures"),
        (_D.INVALID_HBS_PKT, "Invalid HBS received packet"),
        (_D.NO_FRAG_ENTRY, "No Fragment Entries"),
        (_D.ICMP_ERROR, "ICMP errors"),
        (_D.CLONE_FAIL, "Clone Failures"),
        (_D.INVALID_UNDERLAY_ECMP, "Invalid Underlay ECMP"),
    ),
    (
        (_D.VLAN_FWD_TX, "VLAN fwd intf failed TX"),
        (_D.VLAN_FWD_ENQ, "VLAN fwd intf failed enq"),
    ),
    # Upstream counts malformed ARP and prints it nowhere; the others are ours.
    (
        (_D.INVALID_ARP, "Invalid ARPs"),
        (_D.TOO_BIG, "Longer than MTU"),
        (_D.RECIRCULATION, "Recirculation Lost"),
        (_D.NO_EXCEPTION, "No Exception Pair"),
        (_D.FRAG_NEEDED, "Fragmentation Needed"),
    ),
    (
        (_D.SOURCE_MAC, "MAC not allowed"),
        (_D.SOURCE_ADDRESS, "Address not allowed"),
        (_D.SOURCE_ARP, "ARP sender not allowed"),
        (_D.SOURCE_ND, "ND sender not allowed"),
        (_D.DHCP_SERVER, "DHCP server not allowed"),
        (_D.ROUTER, "IPv6 router not allowed"),
        (_D.BPDU, "BPDU not allowed"),
        (_D.TRAP_LIMIT, "Traps over the limit"),
    ),
    ((_D.CLONED_ORIGINAL, "Cloned Original"),),
)
del _D

DROP_LABELS: Final[dict[DropReason, str]] = dict(pair for block in DROP_GROUPS for pair in block)


def vif_flag_letters(flags: int) -> str:
    """`flags` as `vif --list` prints them: "XTcL3L2Vp"."""
    return "".join(letters for flag, letters, _ in VIF_FLAG_LETTERS if flags & flag)


def nh_flag_words(flags: int) -> str:
    """`flags` as `nh --list` prints them: "Valid, MPLSoUDP, " (each with its comma)."""
    return "".join(f"{word}, " for flag, word in NH_FLAG_WORDS if flags & flag)


def route_flag_letters(flags: int) -> str:
    """`flags` of an inet route as `rt --dump` prints them: "LP"."""
    return "".join(letters for flag, letters, _ in ROUTE_FLAG_LETTERS if flags & flag)


def bridge_flag_letters(flags: int) -> str:
    """`flags` of a bridge entry as `rt --dump --family bridge` prints them: "LDf"."""
    return "".join(letters for flag, letters, _ in BRIDGE_FLAG_LETTERS if flags & flag)


def drop_label(reason: int) -> str:
    """The label of a drop reason; numbers that this release does not know as "Reason N"."""
    try:
        return DROP_LABELS[DropReason(reason)]
    except (ValueError, KeyError):
        return f"Reason {reason}"
