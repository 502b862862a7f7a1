/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * packet.h - what the stages know of a packet, and access to its bytes.
 */
#ifndef VR_PACKET_H
#define VR_PACKET_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#include "abi.h"

/* Younger than the oldest linux-libc-dev that we build with. */
#ifndef BPF_F_ADJ_ROOM_DECAP_L3_IPV4
#define BPF_F_ADJ_ROOM_DECAP_L3_IPV4	(1ULL << 7)
#define BPF_F_ADJ_ROOM_DECAP_L3_IPV6	(1ULL << 8)
#endif

#define VR_GO_ON	(-2)	/* not decided yet: apply pkt->nh */
#define VR_GO_BRIDGE	(-4)	/* the same: look the frame up in pkt->vrf */
#define VR_FLOOD	(-5)	/* pkt->nh is a composite whose members all get a copy */
#define VR_TUNNEL	(-6)	/* pkt->nh is a tunnel */
#define VR_TOO_LONG	(-7)	/* for the tunnel pkt->nh; skb->cb[4] is the MTU inside it */
#define VR_TTL_OVER	(-8)	/* TTL or hop limit ends here */
#define VR_GO_FABRIC	(-9)	/* as a packet that the fabric brought */
#define VR_MAX_LOOKUPS	4

enum vr_packet_flag {
	VP_FROM_FABRIC = 0x1,	/* came in by a Physical vif */
	VP_FROM_TUNNEL = 0x2,	/* and was decapsulated */
	VP_L3 = 0x4,		/* the payload is L3: its L2 header is to be replaced */
	VP_TAGGED = 0x8,	/* a VLAN tag, in the frame or noted by the kernel */
	VP_UUC_FLOOD = 0x10,	/* the nexthop that brought it floods unknown unicast */
	VP_AGAIN = 0x20,	/* a copy that came in again (again.h) */
	VP_NOT_TO_VMS = 0x40,	/* floods leave the VMs out */
	VP_OUTER6 = 0x80,	/* decapsulated from IPv6: the outer source is in skb->cb */
	VP_DIAG = 0x100,	/* a probe of the agent's: trapped where it would be delivered */
	VP_ENCAPPED = 0x200,	/* our outer header is on: no more to mirror */
	VP_MIRROR = 0x400,	/* a mirror's copy, which is never mirrored again */
	VP_METADATA = 0x800,	/* and gets metadata; pkt->label is the mirror's index */
	VP_MIRROR_LATER = 0x1000, /* to be mirrored once it is out of its tunnel */
	VP_FITS = 0x2000,	/* the MTU was asked already */
	VP_MUST_NOT_CUT = 0x4000, /* copies for tunnels: what is inside must not be cut */
};

/* At most the 48 bytes of an skb's control block, as in the system we follow. */
struct vr_packet {
	__u64 id;		/* of its events; 0 = nobody listens */
	__u32 nh;
	__u32 label;		/* VR_LABEL_NONE = none */
	__u32 flags;		/* enum vr_packet_flag */
	__u32 label_nh;		/* what the label or VNI named; 0 = it had none */
	__be32 tun_sip;		/* outer source, of a packet decapsulated from IPv4 */
	__u16 vif;		/* idx of the ingress vif */
	__u16 vrf;
	__u16 l3;		/* offset of the payload behind Ethernet and tags */
	__be16 proto;		/* its EtherType */
	__u16 xconnect;		/* partner of the ingress vif */
	__u8 vif_type;
	__u8 vif_flags;		/* low byte of the ingress vif's flags */
	__u8 lookups;
	__u8 features;		/* enum vr_vif_feature of the ingress vif */
	__u8 priority;		/* 802.1p of a tag that was taken off, and VR_PRIORITY; above it
				 * that of a forwarding class, and VR_CLASSED; 0 = none */
};

#define VR_PRIORITY		0x8
#define VR_CLASSED		0x80
#define VR_CLASS_SHIFT		4

/* The 802.1p that a packet leaves with. */
static __always_inline __u8 vr_dot1p(const struct vr_packet *pkt)
{
	return pkt->priority >> (pkt->priority & VR_CLASSED ? VR_CLASS_SHIFT : 0) & 7;
}
#define VR_VLAN_PRIO_SHIFT	13

_Static_assert(sizeof(struct vr_packet) <= 48, "vr_packet outgrew the control block");

/* An IPv4 or VXLAN header starts at 14 or behind tags; far below this. */
#define VR_OFF_MASK	0x1ff

/*
 * Pointer to @len bytes at @off, made linear if they are not, or NULL if the
 * frame is shorter. Every earlier pointer into the packet is void afterwards.
 */
static __always_inline void *vr_bytes(struct __sk_buff *skb, __u32 off, __u32 len)
{
	void *data, *end;

	off &= VR_OFF_MASK;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if (data + off + len <= end)
		return data + off;
	if (off + len > skb->len || bpf_skb_pull_data(skb, off + len))
		return NULL;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	return data + off + len <= end ? data + off : NULL;
}

static __always_inline int vr_is_multicast(struct __sk_buff *skb)
{
	struct ethhdr *eth;

	/* data is read anew: the compiler would copy it as 32 bits, which is no pointer then */
	asm volatile("" ::: "memory");
	eth = vr_bytes(skb, 0, ETH_HLEN);
	return eth && eth->h_dest[0] & 1;
}

/* What is noted beside the frame, or the first tag in it. */
static __always_inline int vr_is_vlan(__be16 proto)
{
	return proto == bpf_htons(ETH_P_8021Q) || proto == bpf_htons(ETH_P_8021AD);
}

/* Has the kernel noted a tag beside the frame? The compiler is kept from working out the
 * field's address, which is no context then. */
static __always_inline int vr_has_noted_tag(const struct __sk_buff *skb)
{
	asm volatile("" : "+r"(skb));
	return skb->vlan_present;
}

/* Sets proto, l3 and VP_TAGGED from the Ethernet header. 0, or -1 if cut short. */
static __always_inline int vr_parse_l2(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct ethhdr *eth = vr_bytes(skb, 0, ETH_HLEN);

	if (!eth)
		return -1;
	pkt->l3 = ETH_HLEN;
	pkt->proto = eth->h_proto;
	pkt->flags &= ~(VP_TAGGED | VP_L3);
	if (vr_has_noted_tag(skb)) {
		pkt->flags |= VP_TAGGED;
		return 0;
	}
	if (!vr_is_vlan(pkt->proto))
		return 0;
	pkt->flags |= VP_TAGGED;
	pkt->l3 += 4;
	return bpf_skb_load_bytes(skb, ETH_HLEN + 2, &pkt->proto, sizeof(pkt->proto)) ? -1 : 0;
}

/*
 * Takes the VLAN tag off. The kernel's helper knows a tag in the frame by its
 * note of the protocol, which for a decapsulated frame is not that of the frame.
 */
__noinline int vr_untag(struct __sk_buff *skb, struct vr_packet *pkt)
{
	if (!pkt || !(pkt->flags & VP_TAGGED))
		return 0;
	pkt->flags &= ~VP_TAGGED;
	if (skb->vlan_present || vr_is_vlan((__be16)skb->protocol)) {
		if (bpf_skb_vlan_pop(skb))
			return -1;
	} else if (bpf_skb_adjust_room(skb, -4, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO) ||
		   bpf_skb_store_bytes(skb, 2 * ETH_ALEN, &pkt->proto, sizeof(pkt->proto), 0)) {
		return -1;
	}
	pkt->l3 = ETH_HLEN;
	return 0;
}

/* Sizes given here are those of upstream; a load may set others. */
#define VR_ARRAY(name_, type_, max_, flags_)			\
	struct {						\
		__uint(type, BPF_MAP_TYPE_ARRAY);		\
		__uint(max_entries, max_);			\
		__uint(map_flags, flags_);			\
		__type(key, __u32);				\
		__type(value, type_);				\
	} name_ SEC(".maps")

#define VR_PERCPU_ARRAY(name_, type_, max_)			\
	struct {						\
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);	\
		__uint(max_entries, max_);			\
		__type(key, __u32);				\
		__type(value, type_);				\
	} name_ SEC(".maps")

#define VR_SCRATCH(name_, size_)				\
	struct {						\
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);	\
		__uint(max_entries, 1);				\
		__uint(key_size, sizeof(__u32));		\
		__uint(value_size, size_);			\
	} name_ SEC(".maps")

#define VR_HASH(name_, ktype_, type_, max_)			\
	struct {						\
		__uint(type, BPF_MAP_TYPE_HASH);		\
		__uint(max_entries, max_);			\
		__type(key, ktype_);				\
		__type(value, type_);				\
	} name_ SEC(".maps")

/* as many as Linux sends in all (icmp_msgs_per_sec) */
#define VR_ICMP_RATE	1000

/* Written by Python while packets flow; dp-core only ever switches events off. */
struct vr_config vr_cfg SEC(".data.config") = {
	.abi_version = VR_ABI_VERSION,
	.agent_vif = VR_VIF_NONE,
	.icmp_rate = VR_ICMP_RATE,
	.mss_clamp = VR_MSS_FROM_VM | VR_MSS_TO_VM,
};

const volatile __u32 vr_test_mode = 0;

#endif /* VR_PACKET_H */
