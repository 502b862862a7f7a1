/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * inet.h - IPv4: what a valid header is, routes, time to live.
 */
#ifndef VR_INET_H
#define VR_INET_H

#include "nexthop.h"
#include "drop.h"

/* All VRFs in one trie; the kernel swaps whole nodes under RCU, so that a value
 * is never seen half written. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1048576);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct vr_inet_key);
	__type(value, struct vr_route);
} inet SEC(".maps");

#define VR_IP_MF	0x2000
#define VR_IP_OFFSET	0x1fff

static __always_inline struct vr_route *vr_inet_lookup(__u32 vrf, __be32 addr)
{
	struct vr_inet_key key = {
		.prefixlen = 64,
		.vrf = bpf_htonl(vrf),
		.addr = addr,
	};

	return bpf_map_lookup_elem(&inet, &key);
}

/* The header at @off if it is a valid one (RFC 791), else NULL. */
static __always_inline struct iphdr *vr_inet_header(struct __sk_buff *skb, __u32 off)
{
	struct iphdr *ip = vr_bytes(skb, off, sizeof(*ip));
	__u32 len;

	if (!ip || ip->version != 4 || ip->ihl < 5)
		return NULL;
	len = bpf_ntohs(ip->tot_len);
	if (len < ip->ihl * 4 || off + len > skb->len)
		return NULL;
	return ip;
}

static __always_inline int vr_is_fragment(const struct iphdr *ip)
{
	return ip->frag_off & bpf_htons(VR_IP_MF | VR_IP_OFFSET);
}

/* TTL - 1, with the checksum mended as RFC 1624 has it. */
static __always_inline void vr_decrement_ttl(struct iphdr *ip)
{
	__u32 sum = ip->check;

	sum += bpf_htons(0x0100);
	ip->check = (__u16)(sum + (sum >= 0xffff));
	ip->ttl--;
}

/* The host's own packet on its way out: its stack has counted the TTL and resolved the MAC. */
static __always_inline int vr_is_hosts_own(const struct vr_packet *pkt)
{
	return pkt->vif_type == VIF_TYPE_HOST && pkt->lookups == 1;
}

/* Does this nexthop forward the packet to somewhere else? */
static __always_inline int vr_nh_forwards(const struct vr_packet *pkt,
					  const struct vr_nexthop *nh)
{
	return !vr_is_hosts_own(pkt) && nh->type != NH_TYPE_VRF_TRANSLATE && nh->type != NH_TYPE_RECEIVE &&
	       nh->type != NH_TYPE_DISCARD && !vr_nh_is_agent(nh);
}

enum vr_inet_verdict {
	VR_INET_OK = 0,
	VR_INET_INVALID,
	VR_INET_NO_ROUTE,
	VR_INET_LOOP,
	VR_INET_TTL,
};

/* Sets pkt->nh and pkt->label from the route of the packet. */
static __always_inline int vr_inet_route(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct iphdr *ip = vr_inet_header(skb, pkt->l3);
	struct vr_nexthop *nh;
	struct vr_route *rt;

	if (!ip)
		return VR_INET_INVALID;
	if (++pkt->lookups > VR_MAX_LOOKUPS)
		return VR_INET_LOOP;
	rt = vr_inet_lookup(pkt->vrf, ip->daddr);
	if (!rt)
		return VR_INET_NO_ROUTE;
	pkt->nh = rt->nh;
	pkt->label = rt->flags & VR_RT_LABEL_VALID ? rt->label : VR_LABEL_NONE;
	nh = vr_nh_get(rt->nh);
	if (nh && vr_nh_forwards(pkt, nh)) {
		if (ip->ttl <= 1)
			return VR_INET_TTL;
		vr_decrement_ttl(ip);
	}
	return VR_INET_OK;
}

#endif /* VR_INET_H */
