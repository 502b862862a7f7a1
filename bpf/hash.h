/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * hash.h - Bob Jenkins' lookup3 over four words, and the entropy of a packet.
 */
#ifndef VR_HASH_H
#define VR_HASH_H

#include "inet.h"

static __always_inline __u32 vr_rotate(__u32 x, __u32 bits)
{
	return x << bits | x >> (32 - bits);
}

/* lookup3's hashword() of four words */
static __always_inline __u32 vr_hash4(const __u32 w[4], __u32 initval)
{
	__u32 a, b, c;

	a = b = c = 0xdeadbeef + (4 << 2) + initval;
	a += w[0];
	b += w[1];
	c += w[2];
	a -= c; a ^= vr_rotate(c, 4); c += b;
	b -= a; b ^= vr_rotate(a, 6); a += c;
	c -= b; c ^= vr_rotate(b, 8); b += a;
	a -= c; a ^= vr_rotate(c, 16); c += b;
	b -= a; b ^= vr_rotate(a, 19); a += c;
	c -= b; c ^= vr_rotate(b, 4); b += a;
	a += w[3];
	c ^= b; c -= vr_rotate(b, 14);
	a ^= c; a -= vr_rotate(c, 11);
	b ^= a; b -= vr_rotate(a, 25);
	c ^= b; c -= vr_rotate(b, 16);
	a ^= c; a -= vr_rotate(c, 4);
	b ^= a; b -= vr_rotate(a, 14);
	c ^= b; c -= vr_rotate(b, 24);
	return c;
}

/* The first four bytes of L4 if they are ports, else 0. */
static __always_inline __u32 vr_ports(struct __sk_buff *skb, __u32 off, __u8 proto)
{
	__u32 ports = 0;

	if (proto != IPPROTO_TCP && proto != IPPROTO_UDP)
		return 0;
	if (bpf_skb_load_bytes(skb, off, &ports, sizeof(ports)))
		return 0;
	return ports;
}

/*
 * 0 and the words of the inner IPv4 or IPv6 packet; -1 if it is neither. Behind
 * IPv6 extension headers no ports are looked for: a fragment has none.
 */
static __always_inline int vr_flow_words(struct __sk_buff *skb, const struct vr_packet *pkt,
					 __u32 w[4], __be16 *id, __u8 *ttl)
{
	__u32 l3 = pkt->l3;

	if (pkt->proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = vr_inet_header(skb, l3);
		__u32 l4;
		__u8 proto;

		if (!ip)
			return -1;
		*id = ip->id;
		*ttl = ip->ttl;
		w[0] = ip->saddr;
		w[1] = ip->daddr;
		proto = ip->protocol;
		w[3] = (__u32)proto << 16 | pkt->vrf;
		l4 = l3 + ip->ihl * 4;
		w[2] = vr_is_fragment(ip) ? 0 : vr_ports(skb, l4, proto);
		return 0;
	}
	if (pkt->proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip6 = vr_bytes(skb, l3, sizeof(*ip6));
		const __u32 *s, *d;

		if (!ip6 || ip6->version != 6)
			return -1;
		s = (const __u32 *)&ip6->saddr;
		d = (const __u32 *)&ip6->daddr;
		w[0] = s[0] ^ s[1] ^ s[2] ^ s[3];
		w[1] = d[0] ^ d[1] ^ d[2] ^ d[3];
		*ttl = ip6->hop_limit;
		w[3] = (__u32)ip6->nexthdr << 16 | pkt->vrf;
		w[2] = vr_ports(skb, l3 + sizeof(*ip6), ip6->nexthdr);
		return 0;
	}
	return -1;
}

/* The outer UDP source port: 49152 + hash * 16383 / 2^32. */
static __always_inline __be16 vr_entropy_port(__u32 hash)
{
	return bpf_htons(49152 + (__u32)(((__u64)hash * 16383) >> 32));
}

#endif /* VR_HASH_H */
