/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * rewrite.h - the Ethernet header that an L3 nexthop gives a packet.
 */
#ifndef VR_REWRITE_H
#define VR_REWRITE_H

#include "nexthop.h"

/* The MAC of an IPv6 group (RFC 2464). */
static __always_inline int vr_encap_group6(struct __sk_buff *skb, const struct vr_packet *pkt,
					   __u8 *mac)
{
	__u8 group[16];

	if (bpf_skb_load_bytes(skb, pkt->l3 + offsetof(struct ipv6hdr, daddr), group,
			       sizeof(group)))
		return -1;
	if (group[0] != 0xff)
		return 0;
	mac[0] = 0x33;
	mac[1] = 0x33;
	__builtin_memcpy(mac + 2, group + 12, 4);
	return 0;
}

/* The MAC of an IP group (IPv4: RFC 1112), for a nexthop that is for multicast. */
static __always_inline int vr_encap_group(struct __sk_buff *skb, const struct vr_packet *pkt,
					  __u8 *mac)
{
	__u8 group[4];

	if (pkt->proto == bpf_htons(ETH_P_IPV6))
		return vr_encap_group6(skb, pkt, mac);
	if (pkt->proto != bpf_htons(ETH_P_IP))
		return 0;
	if (bpf_skb_load_bytes(skb, pkt->l3 + offsetof(struct iphdr, daddr), group, sizeof(group)))
		return -1;
	if (group[0] >> 4 != 0xe)
		return 0;
	mac[0] = 0x01;
	mac[1] = 0x00;
	mac[2] = 0x5e;
	mac[3] = group[1] & 0x7f;
	mac[4] = group[2];
	mac[5] = group[3];
	return 0;
}

/* Puts the MACs of an L3 nexthop on; the EtherType (or tag) is that of the payload. */
static __always_inline int vr_encap_rewrite(struct __sk_buff *skb, const struct vr_packet *pkt,
					    const struct vr_nexthop *nh)
{
	__u8 macs[2 * ETH_ALEN];
	struct ethhdr *eth;

	if (nh->rewrite_len < ETH_HLEN)
		return 0;
	__builtin_memcpy(macs, nh->rewrite, sizeof(macs));
	if (nh->flags & NH_FLAG_MULTICAST && vr_encap_group(skb, pkt, macs))
		return -1;
	eth = vr_bytes(skb, 0, ETH_HLEN);
	if (!eth)
		return -1;
	__builtin_memcpy(eth, macs, sizeof(macs));
	return 0;
}

#endif /* VR_REWRITE_H */
