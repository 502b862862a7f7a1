/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * ecmp.h - nexthop Composite ECMP: one of its members, by the flow of the packet.
 *
 * Key and hash are upstream's, so that the same packet takes the same member on
 * both systems.
 */
#ifndef VR_ECMP_H
#define VR_ECMP_H

#include "hash.h"
#include "vif.h"

#define NH_FLAG_ECMPS	(NH_FLAG_COMPOSITE_ECMP | NH_FLAG_COMPOSITE_LU_ECMP)
#define VR_ECMP_CHUNKS	((VR_MAX_ECMP + VR_MEMBERS_PER_CHUNK - 1) / VR_MEMBERS_PER_CHUNK)

#define VR_ICMP_ERRORS_OF_4	(1u << 3 | 1u << 11)	/* unreachable, time exceeded */

/* What a flow is known by: 20 bytes (IPv4) or 44 (IPv6). */
struct vr_flow_key {
	__u8 family;		/* VR_AF_INET or VR_AF_INET6 */
	__u8 proto;
	__u16 zero;
	__be16 sport;		/* ICMP: identifier of an echo, else 0 */
	__be16 dport;		/* ICMP: 0, or the type unswapped */
	__u32 nh;
	__u32 addr[8];		/* source, destination */
};

/* Where the words of the L4 key are read: of the packet, or of one that an ICMP
 * error quotes, which went the other way. */
struct vr_flow_l4 {
	__u32 off;
	__u8 proto;
	__u8 quoted;
	__u8 v6;
};

struct vr_icmp_head {
	__u8 type, code;
	__be16 sum;
	__be16 id;
};

/* The identifier of an echo, both ways, or the type of another message. */
static __always_inline void vr_key_icmp(struct vr_flow_key *key, const struct vr_icmp_head *icmp,
					int v6)
{
	__u8 request = v6 ? 128 : 8, answer = v6 ? 129 : 0;

	if (icmp->type == request || icmp->type == answer) {
		key->sport = icmp->id;
		key->dport = answer;
		return;
	}
	key->dport = icmp->type;
}

/* Ports, or what stands for them. What is cut short has none. */
static __always_inline void vr_key_l4(struct __sk_buff *skb, const struct vr_flow_l4 *l4,
				      struct vr_flow_key *key)
{
	struct vr_icmp_head icmp;
	__be16 ports[2];

	if (l4->proto == (l4->v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP)) {
		if (!bpf_skb_load_bytes(skb, l4->off, &icmp, sizeof(icmp)))
			vr_key_icmp(key, &icmp, l4->v6);
		return;
	}
	if (l4->proto != IPPROTO_TCP && l4->proto != IPPROTO_UDP && l4->proto != IPPROTO_SCTP)
		return;
	if (bpf_skb_load_bytes(skb, l4->off, ports, sizeof(ports)))
		return;
	key->sport = ports[l4->quoted];
	key->dport = ports[!l4->quoted];
}

/* Does the message quote another packet, of which it speaks (RFC 792, RFC 4443)? */
static __always_inline int vr_key_is_error(struct __sk_buff *skb, const struct vr_flow_l4 *l4)
{
	__u8 type;

	if (l4->proto != (l4->v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP) ||
	    bpf_skb_load_bytes(skb, l4->off, &type, 1))
		return 0;
	return l4->v6 ? type < 128 : type < 32 && VR_ICMP_ERRORS_OF_4 >> type & 1;
}

/*
 * The key of an IPv4 packet; -1 if it is none. Fragments have no ports, the first
 * one neither: all of them take the same way. An error belongs to the flow of
 * which it speaks.
 */
static __always_inline int vr_key_inet(struct __sk_buff *skb, __u32 l3, struct vr_flow_key *key)
{
	struct iphdr *ip = vr_inet_header(skb, l3);
	struct vr_flow_l4 l4 = {};
	struct iphdr quoted;

	if (!ip)
		return -1;
	key->family = VR_AF_INET;
	key->proto = l4.proto = ip->protocol;
	key->addr[0] = ip->saddr;
	key->addr[1] = ip->daddr;
	l4.off = l3 + ip->ihl * 4;
	if (vr_is_fragment(ip))
		return 0;
	if (vr_key_is_error(skb, &l4) &&
	    !bpf_skb_load_bytes(skb, l4.off + 8, &quoted, sizeof(quoted)) && quoted.version == 4) {
		key->proto = l4.proto = quoted.protocol;
		key->addr[0] = quoted.daddr;
		key->addr[1] = quoted.saddr;
		l4.off += 8 + quoted.ihl * 4;
		l4.quoted = 1;
	}
	vr_key_l4(skb, &l4, key);
	return 0;
}

/* The key of an IPv6 packet; -1 if it is none. */
static __always_inline int vr_key_inet6(struct __sk_buff *skb, __u32 l3, struct vr_flow_key *key)
{
	struct vr_flow_l4 l4 = { .v6 = 1 };
	struct ipv6hdr *ip6 = vr_bytes(skb, l3, sizeof(*ip6));
	struct ipv6hdr quoted;

	if (!ip6 || ip6->version != 6)
		return -1;
	key->family = VR_AF_INET6;
	key->proto = l4.proto = ip6->nexthdr;
	__builtin_memcpy(key->addr, &ip6->saddr, sizeof(key->addr));
	l4.off = l3 + sizeof(*ip6);
	if (vr_key_is_error(skb, &l4) &&
	    !bpf_skb_load_bytes(skb, l4.off + 8, &quoted, sizeof(quoted)) && quoted.version == 6) {
		key->proto = l4.proto = quoted.nexthdr;
		__builtin_memcpy(key->addr, &quoted.daddr, 16);
		__builtin_memcpy(key->addr + 4, &quoted.saddr, 16);
		l4.off += 8 + sizeof(quoted);
		l4.quoted = 1;
	}
	vr_key_l4(skb, &l4, key);
	return 0;
}

/* Which nexthop stands for the ingress: that of the vif, or what the label named;
 * of a nexthop that delivers to a vif, again that of the vif. */
static __always_inline __u32 vr_key_nexthop(const struct vr_packet *pkt)
{
	__u32 id = pkt->label_nh ? pkt->label_nh : pkt->nh;
	struct vr_nexthop *nh;
	struct vr_vif *vif;

	if (!(pkt->flags & VP_FROM_FABRIC)) {
		vif = vr_vif_get(pkt->vif);
		return vif ? vif->nh_id : 0;
	}
	nh = vr_nh_get(id);
	if (!nh || (nh->type != NH_TYPE_ENCAP && nh->type != NH_TYPE_RECEIVE))
		return id;
	vif = vr_vif_get(nh->oif);
	return vif ? vif->nh_id : id;
}

/* Fields that are not to count are zero. */
static __always_inline void vr_key_mask(struct vr_flow_key *key, __u32 fields)
{
	__u32 words = key->family == VR_AF_INET ? 1 : 4;

	if (!fields)
		return;
	if (!(fields & VR_HASH_PROTO))
		key->proto = 0;
	if (!(fields & VR_HASH_SPORT))
		key->sport = 0;
	if (!(fields & VR_HASH_DPORT))
		key->dport = 0;
#pragma unroll
	for (__u32 i = 0; i < 8; i++) {
		if (i < words && !(fields & VR_HASH_SIP))
			key->addr[i] = 0;
		if (i >= words && !(fields & VR_HASH_DIP))
			key->addr[i] = 0;
	}
}

/* What is no IP packet is known by its Ethernet header and its VRF; a tag does not count,
 * whether it is in the frame or beside it. */
static __always_inline int vr_hash_frame(struct __sk_buff *skb, const struct vr_packet *pkt,
					 __u32 *hash)
{
	__u32 w[4] = {};

	if (bpf_skb_load_bytes(skb, 0, w, 2 * ETH_ALEN))
		return -1;
	*(__be16 *)&w[3] = pkt->proto;
	*hash = vr_hash_words(w, 4, ETH_HLEN, 0);
	*hash = vr_hash_final(VR_HASH_INIT + *hash, VR_HASH_INIT + pkt->vrf, 0);
	return 0;
}

/* 0 and the hash of the packet's flow; -1 if it is cut short. */
__noinline int vr_ecmp_hash(struct __sk_buff *skb, struct vr_packet *pkt, __u32 fields, __u32 *hash)
{
	struct vr_flow_key key = {};
	int ret = -1;

	if (!pkt || !hash)
		return -1;
	if (pkt->proto == bpf_htons(ETH_P_IP))
		ret = vr_key_inet(skb, pkt->l3, &key);
	else if (pkt->proto == bpf_htons(ETH_P_IPV6))
		ret = vr_key_inet6(skb, pkt->l3, &key);
	if (ret)
		return vr_hash_frame(skb, pkt, hash);
	key.nh = vr_key_nexthop(pkt);
	vr_key_mask(&key, fields);
	if (key.family == VR_AF_INET)
		*hash = vr_hash_words((const __u32 *)&key, 5, 20, 0);
	else
		*hash = vr_hash_words((const __u32 *)&key, 11, 44, 0);
	return 0;
}

/* Member @index of the chain that begins at @chunk; 0 if there is none. */
static __always_inline int vr_ecmp_member(__u32 chunk, __u32 index, struct vr_nh_member *member)
{
	struct vr_nh_members *m;

	for (int i = 0; i < VR_ECMP_CHUNKS && index >= VR_MEMBERS_PER_CHUNK; i++) {
		m = bpf_map_lookup_elem(&member_slots, &chunk);
		if (!m)
			return 0;
		index -= VR_MEMBERS_PER_CHUNK;
		chunk = m->next;
	}
	/* for the verifier: below 32 */
	index &= VR_MEMBERS_PER_CHUNK;
	return vr_next_member(&chunk, &index, member);
}

struct vr_ecmp_scan {
	__u32 chunk;
	__u32 pos;
	__u32 left;		/* active members before the one that is wanted */
	__u32 active;		/* active members seen */
	struct vr_nh_member member;
};

/* Goes to the next member; ends at the one that is wanted, or at the last. */
static long vr_ecmp_step(__u32 i, void *ctx)
{
	struct vr_ecmp_scan *scan = ctx;

	if (!vr_next_member(&scan->chunk, &scan->pos, &scan->member))
		return 1;
	if (!vr_nh_get(scan->member.nh))
		return 0;
	scan->active++;
	return !scan->left--;
}

/* The member in the place of one whose nexthop is missing: the hash picks again
 * among those that are there. */
static __always_inline int vr_ecmp_again(__u32 chunk, __u32 hash, struct vr_nh_member *member)
{
	struct vr_ecmp_scan scan = { .chunk = chunk, .left = VR_MAX_ECMP };

	bpf_loop(VR_MAX_ECMP, vr_ecmp_step, &scan, 0);
	if (!scan.active)
		return 0;
	scan.left = hash % scan.active;
	scan.active = 0;
	scan.chunk = chunk;
	scan.pos = 0;
	bpf_loop(VR_MAX_ECMP, vr_ecmp_step, &scan, 0);
	*member = scan.member;
	return 1;
}

/* Nexthop Composite ECMP: pkt->nh becomes the member, and its label the packet's. */
__noinline int vr_ecmp(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct vr_nh_member member = {};
	struct vr_nexthop *nh, *to;
	__u32 hash = 0;

	if (!pkt)
		return TC_ACT_SHOT;
	nh = vr_nh_get(pkt->nh);
	if (!nh)
		return vr_drop(skb, pkt, VR_DROP_INVALID_NH);
	VR_COUNT_VRF(pkt->vrf, ecmp_composites);
	vr_trace(skb, pkt, VR_EV_NEXTHOP);
	if (!nh->member_count)
		return vr_drop(skb, pkt, VR_DROP_INVALID_NH);
	if (vr_ecmp_hash(skb, pkt, nh->hash_fields, &hash))
		return vr_drop(skb, pkt, VR_DROP_INVALID_PACKET);
	if (!vr_ecmp_member(nh->members, hash % nh->member_count, &member))
		return vr_drop(skb, pkt, VR_DROP_INVALID_NH);
	to = vr_nh_get(member.nh);
	if (!to && vr_ecmp_again(nh->members, hash, &member))
		to = vr_nh_get(member.nh);
	/* a composite leads to no further one: there is no end to circles */
	if (!to || (to->type == NH_TYPE_COMPOSITE && to->flags & NH_FLAG_ECMPS))
		return vr_drop(skb, pkt, VR_DROP_INVALID_NH);
	pkt->nh = member.nh;
	/* a label-unicast composite picks the way only; the label is the route's */
	if (!(nh->flags & NH_FLAG_COMPOSITE_LU_ECMP))
		pkt->label = member.label;
	return VR_GO_ON;
}

#endif /* VR_ECMP_H */
