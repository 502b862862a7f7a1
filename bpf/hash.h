/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * hash.h - Bob Jenkins' lookup3, and the entropy of a packet.
 */
#ifndef VR_HASH_H
#define VR_HASH_H

#include "inet.h"

static __always_inline __u32 vr_rotate(__u32 x, __u32 bits)
{
	return x << bits | x >> (32 - bits);
}

#define VR_HASH_INIT	0xdeadbeefu

/* lookup3's final() */
static __always_inline __u32 vr_hash_final(__u32 a, __u32 b, __u32 c)
{
	c ^= b; c -= vr_rotate(b, 14);
	a ^= c; a -= vr_rotate(c, 11);
	b ^= a; b -= vr_rotate(a, 25);
	c ^= b; c -= vr_rotate(b, 16);
	a ^= c; a -= vr_rotate(c, 4);
	b ^= a; b -= vr_rotate(a, 14);
	c ^= b; c -= vr_rotate(b, 24);
	return c;
}

/*
 * lookup3's hashlittle() of @n words (a constant, not 0) and what is left of a
 * last one: @len is the length in bytes, and the bytes behind it are zero. Of
 * whole words it is hashword().
 */
static __always_inline __u32 vr_hash_words(const __u32 *w, const __u32 n, __u32 len,
					   __u32 initval)
{
	__u32 a, b, c, i = 0;

	a = b = c = VR_HASH_INIT + len + initval;
#pragma unroll
	for (; n - i > 3; i += 3) {
		a += w[i];
		b += w[i + 1];
		c += w[i + 2];
		a -= c; a ^= vr_rotate(c, 4); c += b;
		b -= a; b ^= vr_rotate(a, 6); a += c;
		c -= b; c ^= vr_rotate(b, 8); b += a;
		a -= c; a ^= vr_rotate(c, 16); c += b;
		b -= a; b ^= vr_rotate(a, 19); a += c;
		c -= b; c ^= vr_rotate(b, 4); b += a;
	}
	a += w[i];
	if (n - i > 1)
		b += w[i + 1];
	if (n - i > 2)
		c += w[i + 2];
	return vr_hash_final(a, b, c);
}

static __always_inline __u32 vr_hash4(const __u32 w[4], __u32 initval)
{
	return vr_hash_words(w, 4, 16, initval);
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
					 __u32 w[4], __be16 *id, __u8 *ttl, __u8 *tos)
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
		*tos = ip->tos;
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
		*tos = ip6->priority << 4 | ip6->flow_lbl[0] >> 4;
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
