/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * abi.h - every struct and number that dp-core and Python share.
 *
 * Python reads the layouts from the BTF of the loaded object, never from a
 * second copy. Integers are in host byte order unless their type is __be*.
 */
#ifndef VR_ABI_H
#define VR_ABI_H

#include <linux/types.h>

#define VR_ABI_VERSION		3

/* ---- limits and "none" values ------------------------------------------ */

#define VR_MAX_VIFS		4352	/* in every size profile */
#define VR_VIF_NONE		0xffffu
#define VR_VRF_NONE		0xffffu
#define VR_LABEL_NONE		0xffffffffu
#define VR_VLAN_NONE		0xffffu
#define VR_NH_DISCARD		0u	/* exists from the load on */
#define VR_ENTRY_VALID		0x80000000u	/* in words that hold a nexthop id */

#define VR_REWRITE_MAX		32	/* bytes of L2 header in a nexthop */
#define VR_MEMBERS_PER_CHUNK	31
#define VR_AGENT_HDR_LEN	30
#define VR_TRAP_HEAD_LEN	44	/* Ethernet + agent_hdr */

/* ---- vif ----------------------------------------------------------------- */

enum vr_vif_type {
	VIF_TYPE_HOST = 0,
	VIF_TYPE_AGENT = 1,
	VIF_TYPE_PHYSICAL = 2,
	VIF_TYPE_VIRTUAL = 3,
	VIF_TYPE_XEN_LL = 4,
	VIF_TYPE_GATEWAY = 5,
	VIF_TYPE_VIRTUAL_VLAN = 6,
	VIF_TYPE_STATS = 7,
	VIF_TYPE_VLAN = 8,
	VIF_TYPE_MONITORING = 9,
};

enum vr_vif_transport {
	VIF_TRANSPORT_VIRTUAL = 0,
	VIF_TRANSPORT_ETH = 1,
	VIF_TRANSPORT_PMD = 2,
	VIF_TRANSPORT_SOCKET = 3,
};

/* upstream's bits */
enum vr_vif_flag {
	VIF_FLAG_POLICY = 0x1,
	VIF_FLAG_XCONNECT = 0x2,
	VIF_FLAG_SERVICE = 0x4,
	VIF_FLAG_MIRROR_RX = 0x8,
	VIF_FLAG_MIRROR_TX = 0x10,
	VIF_FLAG_TX_CSUM = 0x20,
	VIF_FLAG_L3 = 0x40,
	VIF_FLAG_L2 = 0x80,
	VIF_FLAG_DHCP = 0x100,
	VIF_FLAG_VHOST_PHYS = 0x200,
	VIF_FLAG_PROMISC = 0x400,
	VIF_FLAG_NATIVE_VLAN = 0x800,
	VIF_FLAG_NO_MAC_PROXY = 0x1000,
	VIF_FLAG_PMD = 0x2000,
	VIF_FLAG_RX_FILTER = 0x4000,
	VIF_FLAG_MONITORED = 0x8000,
	VIF_FLAG_UNKNOWN_UC_FLOOD = 0x10000,
	VIF_FLAG_VLAN_OFFLOAD = 0x20000,
	VIF_FLAG_DROP_NEW_FLOWS = 0x40000,
	VIF_FLAG_MAC_LEARN = 0x80000,
	VIF_FLAG_MAC_PROXY = 0x100000,
	VIF_FLAG_ETREE_ROOT = 0x200000,
	VIF_FLAG_GRO_NEEDED = 0x400000,
	VIF_FLAG_MRG_RXBUF = 0x800000,
	VIF_FLAG_MIRROR_NO_TAG = 0x1000000,
	VIF_FLAG_IGMP = 0x2000000,
	VIF_FLAG_MOCK = 0x4000000,
	VIF_FLAG_HBS_LEFT = 0x8000000,
	VIF_FLAG_HBS_RIGHT = 0x10000000,
	VIF_FLAG_FAT_GATEWAY = 0x20000000,
	VIF_FLAG_MAC_IP_LEARN = 0x40000000,
};

/* What a vif needs besides plain forwarding; none of it costs a look-up when 0. */
enum vr_vif_feature {
	VIF_FEATURE_SOURCES = 0x1,	/* has a table of who may speak: map `sources` */
	VIF_FEATURE_DHCP_SERVER = 0x2,	/* with such a table: may be one */
	VIF_FEATURE_ROUTER = 0x4,	/* may send router advertisements */
	VIF_FEATURE_BRIDGE = 0x8,	/* may send BPDUs */
	VIF_FEATURE_SUBVIFS = 0x10,	/* is the parent of Virtual VLAN vifs: map `vif_vlans` */
	VIF_FEATURE_FLAGS = 0x80,	/* one of VIF_FLAGS_SPECIAL is set */
};

/* Flags that dp-core looks at before it looks a VM's packet up. */
#define VIF_FLAGS_SPECIAL	(VIF_FLAG_DHCP | VIF_FLAG_IGMP | VIF_FLAG_MAC_LEARN | \
				 VIF_FLAG_MAC_IP_LEARN)

/* One vif: a slot of map `vif_slots`, found through `vif_index`. */
struct vr_vif {
	__u32 ifindex;		/* netdevice that dp-core receives on and sends to;
				 * for vhost0 the inner end of its pair */
	__u32 os_ifindex;	/* netdevice that `name` names */
	__u32 flags;		/* enum vr_vif_flag */
	__u32 nh_id;		/* shown as NH; 0 = none */
	__be32 ip;
	__u16 idx;
	__u16 vrf;
	__u16 mcast_vrf;	/* VRF for BUM; VR_VRF_NONE = vrf */
	__u16 xconnect;		/* idx of the partner; VR_VIF_NONE = none */
	__u16 vlan;		/* VR_VLAN_NONE = none */
	__u16 ovlan;
	__u16 parent;		/* idx; VR_VIF_NONE = none */
	__s16 qos;		/* QoS map; 0 from the tool, -1 from an agent that set none */
	__u8 type;		/* enum vr_vif_type */
	__u8 transport;		/* enum vr_vif_transport */
	__u8 peer;		/* 1: a veth whose peer is in another namespace, so
				 * bpf_redirect_peer may be used */
	__u8 features;		/* enum vr_vif_feature */
	__u8 mac[6];
	__u16 mtu;		/* of the vif as it was added; 0 = default of the type */
	__u8 ip6[16];
	__u8 gateway6[16];	/* the router's addresses towards the guest, the sources of ICMP
				 * errors to it; 0 = none is known (icmp.h) */
	__be32 gateway;
	char name[16];
	__u8 src_macs[24];	/* Virtual VLAN: up to four senders; none = any */
	__u8 mirror;		/* index, for VIF_FLAG_MIRROR_RX and _TX */
	__u8 reserved[3];
};

#define VR_SRC_MACS	4

/* map `vif_vlans` (hash): idx + 1 of a Virtual VLAN vif. What the vif itself says
 * is compared after the look-up, as the key of a bridge entry is. */
struct vr_vlan_key {
	__u16 parent;		/* idx */
	__u16 vlan;
	__u8 mac[6];		/* of the sender; zeros = any */
	__u8 pad[2];
};

/* per CPU, by vif idx; RX = from the netdevice into dp-core */
struct vr_vif_stats {
	__u64 rx_packets;
	__u64 rx_bytes;
	__u64 rx_errors;
	__u64 tx_packets;
	__u64 tx_bytes;
	__u64 tx_errors;
};

/* ---- drop reasons ---------------------------------------------------------- */

/* 1..54 are upstream's, ours start at 64 */
enum vr_drop_reason {
	VR_DROP_INVALID = 0,
	VR_DROP_DISCARD,
	VR_DROP_PULL,
	VR_DROP_INVALID_IF,
	VR_DROP_INVALID_ARP,
	VR_DROP_TRAP_NO_IF,
	VR_DROP_NOWHERE_TO_GO,
	VR_DROP_FLOW_QUEUE_LIMIT_EXCEEDED,
	VR_DROP_FLOW_NO_MEMORY,
	VR_DROP_FLOW_INVALID_PROTOCOL,
	VR_DROP_FLOW_NAT_NO_RFLOW,
	VR_DROP_FLOW_ACTION_DROP,
	VR_DROP_FLOW_ACTION_INVALID,
	VR_DROP_FLOW_UNUSABLE,
	VR_DROP_FLOW_TABLE_FULL,
	VR_DROP_INTERFACE_TX_DISCARD,
	VR_DROP_INTERFACE_DROP,
	VR_DROP_DUPLICATED,
	VR_DROP_PUSH,
	VR_DROP_TTL_EXCEEDED,
	VR_DROP_INVALID_NH,
	VR_DROP_INVALID_LABEL,
	VR_DROP_INVALID_PROTOCOL,
	VR_DROP_INTERFACE_RX_DISCARD,
	VR_DROP_INVALID_MCAST_SOURCE,
	VR_DROP_HEAD_ALLOC_FAIL,
	VR_DROP_PCOW_FAIL,
	VR_DROP_MCAST_DF_BIT,
	VR_DROP_MCAST_CLONE_FAIL,
	VR_DROP_NO_MEMORY,
	VR_DROP_REWRITE_FAIL,
	VR_DROP_MISC,
	VR_DROP_INVALID_PACKET,
	VR_DROP_CKSUM_ERR,
	VR_DROP_NO_FMD,
	VR_DROP_CLONED_ORIGINAL,
	VR_DROP_INVALID_VNID,
	VR_DROP_FRAGMENTS,
	VR_DROP_INVALID_SOURCE,
	VR_DROP_L2_NO_ROUTE,
	VR_DROP_FRAGMENT_QUEUE_FAIL,
	VR_DROP_VLAN_FWD_TX,
	VR_DROP_VLAN_FWD_ENQ,
	VR_DROP_NEW_FLOWS,
	VR_DROP_FLOW_EVICT,
	VR_DROP_TRAP_ORIGINAL,
	VR_DROP_LEAF_TO_LEAF,
	VR_DROP_BMAC_ISID_MISMATCH,
	VR_DROP_PKT_LOOP,
	VR_DROP_NO_CRYPT_PATH,
	VR_DROP_INVALID_HBS_PKT,
	VR_DROP_NO_FRAG_ENTRY,
	VR_DROP_ICMP_ERROR,
	VR_DROP_CLONE_FAIL,
	VR_DROP_INVALID_UNDERLAY_ECMP,

	VR_DROP_TOO_BIG = 64,	/* longer than the MTU of the netdevice it leaves by */
	VR_DROP_RECIRCULATION,	/* a recirculated copy whose context was overwritten */
	VR_DROP_NO_EXCEPTION,	/* needs the exception pair, which is missing or down */
	VR_DROP_FRAG_NEEDED,	/* too long for its tunnel, must not be cut; its sender is told */

	/* of a vif with a table of who may speak (source.h) */
	VR_DROP_SOURCE_MAC = 72,	/* an Ethernet source that is not in it */
	VR_DROP_SOURCE_ADDRESS,	/* an IP source that this MAC may not use */
	VR_DROP_SOURCE_ARP,	/* an ARP sender, or a probe for an address, likewise */
	VR_DROP_SOURCE_ND,	/* a neighbour solicitation or advertisement, likewise */
	VR_DROP_DHCP_SERVER,	/* plays the DHCP server */
	VR_DROP_ROUTER,		/* plays the IPv6 router */
	VR_DROP_BPDU,		/* plays the bridge */

	VR_DROP_TRAP_LIMIT,	/* more traps a second than the vif may cause */

	VR_DROP_MAX = 96,
};

/* map `vif_drops`, by vif idx; shared by the CPUs, added to atomically */
struct vr_vif_drops {
	__u64 count[VR_DROP_MAX];
};

/* ---- traps ------------------------------------------------------------------- */

enum vr_trap_reason {
	VR_TRAP_SWITCH = 0,	/* agent -> dp-core */
	VR_TRAP_ROUTE = 1,	/* agent -> dp-core */
	VR_TRAP_ARP = 2,
	VR_TRAP_L2_PROTOCOLS = 3,
	VR_TRAP_NEXTHOP = 4,
	VR_TRAP_RESOLVE = 5,
	VR_TRAP_FLOW_MISS = 6,
	VR_TRAP_L3_PROTOCOLS = 7,
	VR_TRAP_DIAG = 8,
	VR_TRAP_ECMP_RESOLVE = 9,
	VR_TRAP_SOURCE_MISMATCH = 10,
	VR_TRAP_HANDLE_DF = 11,
	VR_TRAP_ZERO_TTL = 12,
	VR_TRAP_ICMP_ERROR = 13,
	VR_TRAP_TOR_CONTROL_PKT = 14,
	VR_TRAP_FLOW_ACTION_HOLD = 15,
	VR_TRAP_ROUTER_ALERT = 16,
	VR_TRAP_MAC_LEARN = 17,
	VR_TRAP_MAC_MOVE = 18,
	VR_TRAP_MAC_IP_LEARNING = 19,
	VR_TRAP_BFD = 20,
	VR_TRAP_MAX = 21,
};

/* on pkt0 behind a 14-byte Ethernet header; network byte order */
struct vr_agent_hdr {
	__be16 ifindex;		/* vif idx */
	__be16 vrf;
	__be16 cmd;		/* enum vr_trap_reason */
	__be32 param;
	__be32 param1;
	__be32 param2;
	__be32 param3;
	__be32 param4;
	__u8 param5;
	__u8 pad[3];
} __attribute__((packed));

/* ---- nexthop ----------------------------------------------------------------- */

enum vr_nh_type {
	NH_TYPE_DEAD = 0,
	NH_TYPE_RECEIVE = 1,
	NH_TYPE_ENCAP = 2,
	NH_TYPE_TUNNEL = 3,
	NH_TYPE_RESOLVE = 4,
	NH_TYPE_DISCARD = 5,
	NH_TYPE_COMPOSITE = 6,
	NH_TYPE_VRF_TRANSLATE = 7,
	NH_TYPE_L2_RECEIVE = 8,
};

enum vr_nh_flag {
	NH_FLAG_VALID = 0x1,
	NH_FLAG_POLICY = 0x2,
	NH_FLAG_TUNNEL_GRE = 0x8,
	NH_FLAG_TUNNEL_UDP = 0x10,
	NH_FLAG_MULTICAST = 0x20,
	NH_FLAG_TUNNEL_UDP_MPLS = 0x40,
	NH_FLAG_TUNNEL_VXLAN = 0x80,
	NH_FLAG_RELAXED_POLICY = 0x100,
	NH_FLAG_COMPOSITE_FABRIC = 0x200,
	NH_FLAG_COMPOSITE_ECMP = 0x400,
	NH_FLAG_COMPOSITE_LU_ECMP = 0x800,
	NH_FLAG_COMPOSITE_EVPN = 0x1000,
	NH_FLAG_COMPOSITE_ENCAP = 0x2000,
	NH_FLAG_COMPOSITE_TOR = 0x4000,
	NH_FLAG_ROUTE_LOOKUP = 0x8000,
	NH_FLAG_UNKNOWN_UC_FLOOD = 0x10000,
	NH_FLAG_TUNNEL_SIP_COPY = 0x20000,
	NH_FLAG_FLOW_LOOKUP = 0x40000,
	NH_FLAG_TUNNEL_PBB = 0x80000,
	NH_FLAG_MAC_LEARN = 0x100000,
	NH_FLAG_ETREE_ROOT = 0x200000,
	NH_FLAG_INDIRECT = 0x400000,
	NH_FLAG_L2_CONTROL_WORD = 0x800000,
	NH_FLAG_CRYPT_TRAFFIC = 0x1000000,
	NH_FLAG_L3_VXLAN = 0x2000000,
	NH_FLAG_MPLS_O_MPLS = 0x4000000,
	NH_FLAG_VALIDATE_MCAST_SRC = 0x8000000,
	NH_FLAG_UNDERLAY_ECMP = 0x10000000,
};

/* Linux's AF_* as upstream stores them */
#define VR_AF_UNSPEC	0
#define VR_AF_INET	2
#define VR_AF_BRIDGE	7
#define VR_AF_INET6	10

/* One nexthop: a slot of map `nexthop_slots`, found through `nexthop_index`. */
struct vr_nexthop {
	__u32 id;
	__u32 flags;		/* enum vr_nh_flag */
	__u32 members;		/* Composite: slot of the first chunk; 0 = empty */
	__u32 member_count;
	__be32 sip;		/* Tunnel: outer source and destination; */
	__be32 dip;		/* of family VR_AF_INET6: sip6 and dip6 */
	__be16 sport;		/* Tunnel, UDP mirror only */
	__be16 dport;
	__u16 vrf;
	__u16 oif;		/* vif idx; VR_VIF_NONE = none */
	__u16 encap_family;	/* EtherType as upstream prints it (EncapFmly) */
	__u8 type;		/* enum vr_nh_type */
	__u8 family;		/* VR_AF_* */
	__u8 rewrite_len;
	__u8 hash_fields;	/* ECMP: enum vr_hash_field; 0 = all */
	__u8 rw_dst_mac[6];	/* L3 VXLAN: the remote router's MAC */
	__u8 rewrite[VR_REWRITE_MAX];	/* L2 header, wire order: dmac smac type */
	__u8 sip6[16];
	__u8 dip6[16];
};

/* ECMP: the fields of a packet that pick the member, beside the ingress */
enum vr_hash_field {
	VR_HASH_PROTO = 0x1,
	VR_HASH_SIP = 0x2,
	VR_HASH_SPORT = 0x4,
	VR_HASH_DIP = 0x8,
	VR_HASH_DPORT = 0x10,
};

#define VR_HASH_ALL	0x1f
#define VR_MAX_ECMP	256	/* members of an ECMP composite */

struct vr_nh_member {
	__u32 nh;
	__u32 label;		/* MPLS label or VNI; VR_LABEL_NONE = none */
};

/* A part of a composite's member list: a slot of map `member_slots`. A chain
 * is written before the nexthop that names it and never changed after. */
struct vr_nh_members {
	__u32 next;		/* slot of the next chunk; 0 = last */
	__u32 count;		/* members used in this chunk */
	struct vr_nh_member member[VR_MEMBERS_PER_CHUNK];
};

/* ---- routes -------------------------------------------------------------------- */

enum vr_route_flag {
	VR_RT_LABEL_VALID = 0x1,
	VR_RT_ARP_PROXY = 0x2,
	VR_RT_ARP_TRAP = 0x4,
	VR_RT_ARP_FLOOD = 0x8,
	VR_RT_MAC_IP_LEARNT = 0x10,
};

/* map `inet`: longest prefix match; prefixlen = 32 + the prefix's length */
struct vr_inet_key {
	__u32 prefixlen;
	__be32 vrf;
	__be32 addr;
};

struct vr_route {
	__u32 nh;
	__u32 label;		/* VR_LABEL_NONE = none */
	__u32 bridge;		/* stitched MAC: index in `bridge`; 0 = none */
	__u16 flags;		/* enum vr_route_flag */
	__u8 plen;
	__u8 reserved;
};

#include "abi_inet6.h"

#include "abi_bridge.h"
#include "abi_changes.h"

/* map `vxlan_hash` (hash): VNI -> index in `vxlan`; map `vxlan` (array) holds
 * one word: VNI bits 32-63, VR_ENTRY_VALID | nexthop id bits 0-31. The VNI is
 * compared, as the key of a bridge entry is.
 * map `mpls` (array by label): VR_ENTRY_VALID | nexthop id. */

#include "abi_mirror_qos.h"

/* per CPU, by VRF; in upstream's order and names */
struct vr_vrf_stats {
	__u64 discards;
	__u64 resolves;
	__u64 receives;
	__u64 ecmp_composites;
	__u64 l2_mcast_composites;
	__u64 fabric_composites;
	__u64 udp_tunnels;
	__u64 udp_mpls_tunnels;
	__u64 gre_mpls_tunnels;
	__u64 l2_encaps;
	__u64 encaps;
	__u64 gros;
	__u64 diags;
	__u64 encap_composites;
	__u64 evpn_composites;
	__u64 vrf_translates;
	__u64 vxlan_tunnels;
	__u64 arp_virtual_proxy;
	__u64 arp_virtual_stitch;
	__u64 arp_virtual_flood;
	__u64 arp_physical_stitch;
	__u64 arp_tor_proxy;
	__u64 arp_physical_flood;
	__u64 l2_receives;
	__u64 uuc_floods;
	__u64 pbb_tunnels;
	__u64 udp_mpls_over_mpls_tunnels;
};

#include "abi_source.h"
/* ---- configuration and events --------------------------------------------------- */

/* map `.data.config`, one element */
struct vr_config {
	__u32 abi_version;	/* VR_ABI_VERSION of the object that made it */
	__u32 agent_vif;	/* idx; VR_VIF_NONE = no agent */
	__u32 hash_seed;	/* of the entropy port; random at load */
	__u32 events;		/* enum vr_event_mask: who listens */
	__u64 events_until;	/* CLOCK_MONOTONIC, ns: a listener that died is forgotten then */
	__u64 loaded_ns;	/* CLOCK_BOOTTIME */
	__u32 spare_vifs;	/* slots beside the table, kept for the tools */
	__u32 spare_nexthops;
	__u32 trap_rate;	/* traps a second that a vif may cause; 0 = any number */
	__u32 qos_maps;		/* how many there are; 0 = no packet is classified */
	__u64 heartbeat;	/* CLOCK_BOOTTIME, ns: when the agent last lived; 0 = not asked */
	__u32 exception_out;	/* ifindex of the end of the exception pair that dp-core
				 * sends into; 0 = there is no pair */
	__u32 exception_in;	/* of the other end, where dp-core gets the packets back */
	__u32 icmp_errors;	/* enum vr_icmp_errors */
	__u32 icmp_rate;	/* ICMP errors a second for the packets of one vif; 0 = no limit */
	__u32 mss_clamp;	/* enum vr_mss_clamp */
};

enum vr_mss_clamp {
	VR_MSS_FROM_VM = 0x1,	/* SYNs that go into a tunnel */
	VR_MSS_TO_VM = 0x2,	/* SYNs that come out of one */
};

enum vr_icmp_errors {
	VR_ICMP_ANSWER = 0,	/* dp-core makes them itself */
	VR_ICMP_TRAP = 1,	/* the agent gets the packet: ZERO_TTL, HANDLE_DF */
};

#include "abi_events.h"

#endif /* VR_ABI_H */
