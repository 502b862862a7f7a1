/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * icmp.h - ICMP and ICMPv6 errors to a guest about what it sent.
 *
 * The packet goes through the exception pair, where its checksums are made; what
 * comes back is turned into the error (RFC 792, RFC 1812 4.3.2, RFC 4443) and
 * leaves by the vif that it came in by. Nothing is looked up for it: a guest that
 * forges its source address gets the answer itself.
 */
#ifndef VR_ICMP_H
#define VR_ICMP_H

#include "exception.h"
#include "icmp_error.h"
#include "inet6.h"
#include "recirculate.h"

/* What an error says: type, code, and the word behind the checksum. */
#define VR_TELL_TIME_EXCEEDED	1u
#define VR_TELL_TOO_BIG		2u

/* param of VR_AGAIN_ICMP */
#define VR_TELL(kind_, mtu_)	((kind_) << 24 | (mtu_))
#define VR_TELL_KIND(param_)		((param_) >> 24)
#define VR_TELL_MTU(param_)		((param_) & 0xffffff)

#define VR_ICMP_FRAG_NEEDED	4	/* a code of UNREACHABLE */
#define VR_ICMP6_TOO_BIG	2
#define VR_ICMP6_TIME_EXCEEDED	3
#define VR_ICMP6_ERRORS		128	/* types below are errors */
#define VR_ICMP6_REDIRECT	137

/* The source where no address of the router is known: RFC 7600, 4.8. */
#define VR_IP_DUMMY	bpf_htonl(0xc0000008)

#define VR_ICMP_QUOTE4	548	/* 576 in all: RFC 1812, 4.3.2.3 */
#define VR_ICMP_QUOTE6	1232	/* 1280 in all: RFC 4443, 2.4 (c) */
#define VR_ICMP_BURST	50

struct vr_icmp_msg {
	__u8 type, code;
	__be16 sum;
	__be32 word;
	__u8 quote[VR_ICMP_QUOTE6 + 8];
};

/* bpf_csum_diff() takes no more than 512 bytes at once before Linux 6.13 */
#define VR_ICMP_PARTS	3
#define VR_ICMP_PART	(sizeof(struct vr_icmp_msg) / VR_ICMP_PARTS)

_Static_assert(VR_ICMP_PART * VR_ICMP_PARTS == sizeof(struct vr_icmp_msg) && VR_ICMP_PART <= 512 &&
	       !(VR_ICMP_PART & 3), "parts of an ICMP message");

/* without a type: per-CPU maps that have one hold counters, which a load moves */
VR_SCRATCH(icmp_scratch, sizeof(struct vr_icmp_msg));
/* vif idx -> when the next error would be due if they came evenly (ns) */
VR_ARRAY(icmp_due, __u64, VR_MAX_VIFS, 0);

/*
 * May the vif's guest be told (RFC 1812, 4.3.2.8; RFC 4443, 2.4 (f))? A vif has a
 * bucket of its own: no guest takes another's tokens.
 */
static __always_inline int vr_icmp_may(__u32 vif)
{
	__u64 step, *due;

	if (!vr_cfg.icmp_rate)
		return 1;
	due = bpf_map_lookup_elem(&icmp_due, &vif);
	if (!due)
		return 0;
	step = VR_SECOND / vr_cfg.icmp_rate;
	return vr_take_token(due, step, step * VR_ICMP_BURST);
}

/* Has the packet a guest of this host for its sender, whom dp-core itself may tell? */
static __always_inline int vr_icmp_answers(const struct vr_packet *pkt)
{
	return vr_cfg.icmp_errors == VR_ICMP_ANSWER && pkt->vif_type == VIF_TYPE_VIRTUAL &&
	       !(pkt->flags & VP_FROM_TUNNEL);
}

/*
 * Sends the packet, which ends here, to where the error is made of it. A GSO packet
 * becomes a single one of the length that may be quoted. What is lost is counted.
 */
static __always_inline void vr_icmp_send(struct __sk_buff *skb, struct vr_packet *pkt, __u32 param)
{
	if (!vr_icmp_may(pkt->vif))
		return;
	if (skb->gso_size && bpf_skb_change_tail(skb, pkt->l3 + VR_ICMP_QUOTE6, 0)) {
		vr_drop_copy(skb, pkt, VR_DROP_NO_EXCEPTION);
		return;
	}
	if (vr_exception_send(skb, pkt, VR_AGAIN_ICMP, param, 1))
		vr_drop_copy(skb, pkt, VR_DROP_NO_EXCEPTION);
}

/* TTL or hop limit ends here. */
__noinline int vr_ttl_exceeded(struct __sk_buff *skb, struct vr_packet *pkt)
{
	if (!pkt)
		return TC_ACT_SHOT;
	if (!vr_icmp_answers(pkt))
		return vr_trap(skb, pkt, VR_TRAP_ZERO_TTL, 0);
	if (vr_untag(skb, pkt))
		return vr_drop(skb, pkt, VR_DROP_PULL);
	vr_icmp_send(skb, pkt, VR_TELL(VR_TELL_TIME_EXCEEDED, 0));
	return vr_drop(skb, pkt, VR_DROP_TTL_EXCEEDED);
}

/* ---- behind the pair ------------------------------------------------------- */

/* A part of the Internet checksum, over zeros or the words of @buf. */
static __always_inline __s64 vr_sum(const void *buf, __u32 len, __s64 seed)
{
	return bpf_csum_diff(0, 0, (__be32 *)buf, len, seed);
}

static __always_inline __be16 vr_sum_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* Copies @len bytes of the packet from its L3 header on behind the message's head,
 * and zeros, which add nothing to a checksum, behind them. */
static __always_inline int vr_icmp_quote(struct __sk_buff *skb, const struct vr_packet *pkt,
					 struct vr_icmp_msg *msg, __u32 len)
{
	volatile __u64 *words = (volatile __u64 *)msg;	/* or the compiler wants memset() */

	for (int i = 0; i < (int)(sizeof(*msg) / 8); i++)
		words[i] = 0;
	barrier_var(len);
	if (len < 1 || len > VR_ICMP_QUOTE6)
		return -1;
	return bpf_skb_load_bytes(skb, pkt->l3, msg->quote, len) ? -1 : 0;
}

static __always_inline void vr_icmp_sum(struct vr_icmp_msg *msg, __s64 seed)
{
	for (int i = 0; i < VR_ICMP_PARTS; i++)
		seed = vr_sum((__u8 *)msg + i * VR_ICMP_PART, VR_ICMP_PART, seed);
	msg->sum = vr_sum_fold(seed);
}

/* The frame becomes Ethernet and IP of @head, @head_len bytes, and the message. */
static __always_inline int vr_icmp_write(struct __sk_buff *skb, const void *head, __u32 head_len,
					 const struct vr_icmp_msg *msg, __u32 len)
{
	len += offsetof(struct vr_icmp_msg, quote);
	if (bpf_skb_change_tail(skb, head_len + len, 0) ||
	    bpf_skb_store_bytes(skb, 0, head, head_len, 0))
		return -1;
	barrier_var(len);
	if (len < 1 || len > sizeof(*msg))
		return -1;
	return bpf_skb_store_bytes(skb, head_len, msg, len, 0) ? -1 : 0;
}

static __always_inline int vr_icmp_eth(struct __sk_buff *skb, const struct vr_vif *vif,
				       struct ethhdr *eth)
{
	if (bpf_skb_load_bytes(skb, 0, eth, sizeof(*eth)))
		return -1;
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, vif->mac, ETH_ALEN);
	return 0;
}

/* Is it an address of one host, whom one may answer? */
static __always_inline int vr_inet_is_host(__be32 addr)
{
	__u32 first = bpf_ntohl(addr) >> 24;

	return first && first != 127 && first < 224;
}

/* May an error be sent about this packet (RFC 1812, 4.3.2.7)? */
static __always_inline int vr_icmp4_may(struct __sk_buff *skb, const struct vr_packet *pkt,
					const struct iphdr *ip)
{
	__u8 type = 0;

	if (ip->version != 4 || ip->ihl < 5 || ip->frag_off & bpf_htons(VR_IP_OFFSET))
		return 0;
	if (!vr_inet_is_host(ip->saddr) || bpf_ntohl(ip->daddr) >> 28 >= 0xe)
		return 0;
	if (ip->protocol != IPPROTO_ICMP)
		return 1;
	/* errors: unreachable, source quench, redirect, time exceeded, parameter problem */
	if (bpf_skb_load_bytes(skb, pkt->l3 + ip->ihl * 4, &type, 1))
		return 0;
	return !(type == 3 || type == 4 || type == 5 || type == 11 || type == 12);
}

struct vr_icmp4_head {
	__u16 align;
	struct ethhdr eth;
	struct iphdr ip;
};

static __always_inline void vr_icmp4_ip(struct iphdr *ip, const struct vr_vif *vif, __be32 to,
					__u32 len)
{
	ip->version = 4;
	ip->ihl = 5;
	ip->tos = 0xc0;		/* internetwork control: RFC 1812, 4.3.2.5 */
	ip->tot_len = bpf_htons(len);
	ip->frag_off = bpf_htons(VR_IP_DF);	/* so it needs no id: RFC 6864 */
	ip->ttl = 64;
	ip->protocol = IPPROTO_ICMP;
	ip->saddr = vif->gateway ? vif->gateway : VR_IP_DUMMY;
	ip->daddr = to;
	vr_inet_sum(ip);
}

/* Turns an IPv4 packet into the error about it; 0, or 1 if there must be none. */
__noinline int vr_icmp4(struct __sk_buff *skb, struct vr_packet *pkt, __u32 param)
{
	struct vr_icmp4_head head = {};
	struct vr_icmp_msg *msg;
	struct vr_vif *vif;
	struct iphdr ip;
	__u32 zero = 0, len;

	if (!pkt)
		return 1;
	msg = bpf_map_lookup_elem(&icmp_scratch, &zero);
	vif = vr_vif_get(pkt->vif);
	if (!msg || !vif || bpf_skb_load_bytes(skb, pkt->l3, &ip, sizeof(ip)) ||
	    !vr_icmp4_may(skb, pkt, &ip))
		return 1;
	len = bpf_ntohs(ip.tot_len);
	if (len > skb->len - pkt->l3)
		len = skb->len - pkt->l3;
	if (len > VR_ICMP_QUOTE4)
		len = VR_ICMP_QUOTE4;
	if (vr_icmp_quote(skb, pkt, msg, len) || vr_icmp_eth(skb, vif, &head.eth))
		return 1;
	head.eth.h_proto = bpf_htons(ETH_P_IP);
	vr_icmp4_ip(&head.ip, vif, ip.saddr, sizeof(head.ip) + 8 + len);
	msg->type = VR_ICMP_TIME_EXCEEDED;
	if (VR_TELL_KIND(param) == VR_TELL_TOO_BIG) {
		msg->type = VR_ICMP_UNREACHABLE;
		msg->code = VR_ICMP_FRAG_NEEDED;
		msg->word = bpf_htonl(VR_TELL_MTU(param));	/* RFC 1191 */
	}
	vr_icmp_sum(msg, 0);
	return vr_icmp_write(skb, &head.eth, ETH_HLEN + sizeof(head.ip), msg, len) ? 1 : 0;
}

/* May an error be sent about this packet (RFC 4443, 2.4 (e))? */
static __always_inline int vr_icmp6_may(struct __sk_buff *skb, const struct vr_packet *pkt,
					const struct ipv6hdr *ip6)
{
	struct vr_in6 src, dst;
	__u32 l4;
	__u8 type;

	vr_in6_copy(&src, &ip6->saddr);
	vr_in6_copy(&dst, &ip6->daddr);
	if (ip6->version != 6 || !(src.hi | src.lo) || vr_in6_is_multicast(&src) ||
	    vr_in6_is_multicast(&dst))
		return 0;
	l4 = vr_inet6_l4(skb, pkt->l3 + sizeof(*ip6), ip6->nexthdr);
	if ((l4 & 0xff) != IPPROTO_ICMPV6)
		return 1;
	if (bpf_skb_load_bytes(skb, l4 >> 8, &type, 1))
		return 0;
	return type >= VR_ICMP6_ERRORS && type != VR_ICMP6_REDIRECT;
}

struct vr_icmp6_head {
	__u16 align;
	struct ethhdr eth;
	struct ipv6hdr ip;
};

/* The router's address: the vif's, else the link-local one of the vif's MAC (RFC 4291, A). */
static __always_inline void vr_icmp6_source(struct in6_addr *addr, const struct vr_vif *vif)
{
	const __u64 *known = (const __u64 *)vif->gateway6;
	__u8 *at = (__u8 *)addr;

	__builtin_memcpy(addr, vif->gateway6, sizeof(*addr));
	if (known[0] | known[1])
		return;
	at[0] = 0xfe;
	at[1] = 0x80;
	__builtin_memcpy(at + 8, vif->mac, 3);
	at[8] ^= 2;
	at[11] = 0xff;
	at[12] = 0xfe;
	__builtin_memcpy(at + 13, vif->mac + 3, 3);
}

/* The same of an IPv6 packet. */
__noinline int vr_icmp6(struct __sk_buff *skb, struct vr_packet *pkt, __u32 param)
{
	struct vr_icmp6_head head = {};
	struct vr_icmp_msg *msg;
	struct vr_vif *vif;
	struct ipv6hdr ip;
	__u32 zero = 0, len;
	__be32 pseudo[2];

	if (!pkt)
		return 1;
	msg = bpf_map_lookup_elem(&icmp_scratch, &zero);
	vif = vr_vif_get(pkt->vif);
	if (!msg || !vif || bpf_skb_load_bytes(skb, pkt->l3, &ip, sizeof(ip)) ||
	    !vr_icmp6_may(skb, pkt, &ip))
		return 1;
	len = sizeof(ip) + bpf_ntohs(ip.payload_len);
	if (len > skb->len - pkt->l3)
		len = skb->len - pkt->l3;
	if (len > VR_ICMP_QUOTE6)
		len = VR_ICMP_QUOTE6;
	if (vr_icmp_quote(skb, pkt, msg, len) || vr_icmp_eth(skb, vif, &head.eth))
		return 1;
	head.eth.h_proto = bpf_htons(ETH_P_IPV6);
	head.ip.version = 6;
	head.ip.payload_len = bpf_htons(8 + len);
	head.ip.nexthdr = IPPROTO_ICMPV6;
	head.ip.hop_limit = 64;
	vr_icmp6_source(&head.ip.saddr, vif);
	__builtin_memcpy(&head.ip.daddr, &ip.saddr, sizeof(ip.saddr));
	msg->type = VR_ICMP6_TIME_EXCEEDED;
	if (VR_TELL_KIND(param) == VR_TELL_TOO_BIG) {
		msg->type = VR_ICMP6_TOO_BIG;
		msg->word = bpf_htonl(VR_TELL_MTU(param));
	}
	pseudo[0] = bpf_htonl(8 + len);
	pseudo[1] = bpf_htonl(IPPROTO_ICMPV6);
	vr_icmp_sum(msg, vr_sum(pseudo, sizeof(pseudo),
				vr_sum(&head.ip.saddr, 2 * sizeof(head.ip.saddr), 0)));
	return vr_icmp_write(skb, &head.eth, ETH_HLEN + sizeof(head.ip), msg, len) ? 1 : 0;
}

/* What came back from the pair to become an error; its loss was counted when it ended. */
__noinline int vr_icmp_again(struct __sk_buff *skb, struct vr_packet *pkt, __u32 param)
{
	int none = 1;

	if (!pkt)
		return TC_ACT_SHOT;
	if (pkt->proto == bpf_htons(ETH_P_IP))
		none = vr_icmp4(skb, pkt, param);
	else if (pkt->proto == bpf_htons(ETH_P_IPV6))
		none = vr_icmp6(skb, pkt, param);
	if (none)
		return TC_ACT_SHOT;
	pkt->l3 = ETH_HLEN;
	return vr_output(skb, pkt, pkt->vif);
}

#endif /* VR_ICMP_H */
