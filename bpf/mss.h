/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * mss.h - the maximum segment size (RFC 9293, 3.7.1) in the SYNs of guests, made no
 * larger than what the fabric takes: so TCP never meets a packet that is too long.
 */
#ifndef VR_MSS_H
#define VR_MSS_H

#include "inet6.h"

/* Upstream's allowance for outer headers, which those of a tunnel over IPv6 exceed. */
#define VR_MSS_OVERHEAD_L3	40
#define VR_MSS_OVERHEAD_L2	62
#define VR_MSS_TCP		20	/* without options: RFC 6691 */
#define VR_MSS_LEAST		64	/* no less is asked for */

#define VR_TCP_SYN		0x02
#define VR_TCP_OPTIONS		40	/* bytes, at most */

enum vr_tcp_option {
	VR_TCP_END = 0,
	VR_TCP_NOP = 1,
	VR_TCP_MSS = 2,
};

/* Offset of TCP if it is a SYN; 0 for all else. Extension headers are not walked over. */
static __always_inline __u32 vr_mss_syn(struct __sk_buff *skb, const struct vr_packet *pkt)
{
	__u32 off = 0;
	__u8 flags;

	if (pkt->proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = vr_bytes(skb, pkt->l3, sizeof(*ip));

		if (ip && ip->version == 4 && ip->ihl >= 5 && ip->protocol == IPPROTO_TCP &&
		    !(ip->frag_off & bpf_htons(VR_IP_OFFSET)))
			off = pkt->l3 + ip->ihl * 4;
	} else if (pkt->proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip6 = vr_bytes(skb, pkt->l3, sizeof(*ip6));

		if (ip6 && ip6->version == 6 && ip6->nexthdr == IPPROTO_TCP)
			off = pkt->l3 + sizeof(*ip6);
	}
	if (!off || bpf_skb_load_bytes(skb, off + 13, &flags, 1))
		return 0;
	return flags & VR_TCP_SYN ? off : 0;
}

/* Writes the MSS at @at, and mends the checksum of the TCP header at @tcp. */
static __always_inline void vr_mss_write(struct __sk_buff *skb, __u32 tcp, __u32 at, __u32 old,
					 __u32 mss)
{
	__be16 from = bpf_htons(old), to = bpf_htons(mss);

	/* at an odd place both halves stand in another column of the sum */
	if ((at - tcp) & 1) {
		from = __builtin_bswap16(from);
		to = __builtin_bswap16(to);
	}
	if (bpf_l4_csum_replace(skb, tcp + 16, from, to, sizeof(to)))
		return;
	to = bpf_htons(mss);
	bpf_skb_store_bytes(skb, at, &to, sizeof(to), 0);
}

/* A walk through the options of a SYN. */
struct vr_mss_walk {
	struct __sk_buff *skb;
	__u32 tcp;		/* offset of the TCP header */
	__u32 at;		/* of the next option */
	__u32 end;		/* of the options */
	__u32 mss;		/* the most that may be asked for */
};

/* One option; 1 ends the walk. Less than four bytes cannot be an MSS. */
static long vr_mss_option(__u32 i, void *ctx)
{
	struct vr_mss_walk *w = ctx;
	__u8 opt[4];	/* kind, length, value */
	__u32 old;

	if (w->at + sizeof(opt) > w->end || bpf_skb_load_bytes(w->skb, w->at, opt, sizeof(opt)))
		return 1;
	if (opt[0] == VR_TCP_MSS && opt[1] == sizeof(opt)) {
		old = (__u32)opt[2] << 8 | opt[3];
		if (old > w->mss)
			vr_mss_write(w->skb, w->tcp, w->at + 2, old, w->mss);
		return 1;
	}
	if (opt[0] == VR_TCP_NOP)
		w->at++;
	else if (opt[0] == VR_TCP_END || opt[1] < 2)
		return 1;
	else
		w->at += opt[1];
	return 0;
}

/* The SYN at @tcp asks for no more than @mss. */
static __always_inline void vr_mss_limit(struct __sk_buff *skb, __u32 tcp, __u32 mss)
{
	struct vr_mss_walk w = { .skb = skb, .tcp = tcp, .at = tcp + 20, .mss = mss };
	__u8 words;

	if (bpf_skb_load_bytes(skb, tcp + 12, &words, 1))
		return;
	w.end = tcp + (words >> 4) * 4;
	bpf_loop(VR_TCP_OPTIONS, vr_mss_option, &w, 0);
}

/*
 * Clamps the SYN at @tcp to a fabric whose MTU is that of netdevice @ifindex (0: the
 * one it came by), where a tunnel puts @overhead bytes before the packet.
 */
__noinline int vr_mss_clamp(struct __sk_buff *skb, struct vr_packet *pkt, __u32 tcp,
			    __u32 overhead, __u32 ifindex)
{
	__u32 mtu = 0, least;

	if (!pkt)
		return 0;
	least = pkt->flags & VP_L3 ? VR_MSS_OVERHEAD_L3 : VR_MSS_OVERHEAD_L2;
	if (overhead < least)
		overhead = least;
	overhead += VR_MSS_TCP;
	overhead += pkt->proto == bpf_htons(ETH_P_IPV6) ? sizeof(struct ipv6hdr)
							: sizeof(struct iphdr);
	bpf_check_mtu(skb, ifindex, &mtu, 0, 0);
	if (mtu >= overhead + VR_MSS_LEAST)
		vr_mss_limit(skb, tcp & 0xffff, mtu - overhead);
	return 0;
}

#endif /* VR_MSS_H */
