/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * super.h - datagrams that a sender left in one packet (UDP_SEGMENT) and that a UDP
 * tunnel brought so.
 *
 * Kernels up to 6.18 keep the mark of the UDP tunnel on what dp-core has opened, and
 * then cannot cut it for a socket that takes single datagrams only. So it is cut while
 * its outer headers are on, by the exception pair (exception.h), and comes in again as
 * if the fabric had brought each piece. Packets of TCP are left whole.
 */
#ifndef VR_SUPER_H
#define VR_SUPER_H

#include "encap.h"
#include "exception.h"

#define VR_SUPER_MAGIC		0x57000000u	/* the rest of the mark: vif idx */
#define VR_SUPER_VIF		0xffffu

/* L4 of the IP packet at @off, whose EtherType is @proto; not behind extension headers. */
static __always_inline int vr_is_udp(struct __sk_buff *skb, __u32 off, __be16 proto)
{
	__u8 l4 = 0;

	if (proto == bpf_htons(ETH_P_IP))
		bpf_skb_load_bytes(skb, off + offsetof(struct iphdr, protocol), &l4, 1);
	else if (proto == bpf_htons(ETH_P_IPV6))
		bpf_skb_load_bytes(skb, off + offsetof(struct ipv6hdr, nexthdr), &l4, 1);
	return l4 == IPPROTO_UDP;
}

/* The same of a packet of which only its first byte tells the version. */
static __always_inline int vr_is_bare_udp(struct __sk_buff *skb, __u32 off)
{
	__u8 first = 0;

	bpf_skb_load_bytes(skb, off, &first, 1);
	return vr_is_udp(skb, off, first >> 4 == 6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP));
}

/* And of a frame, which may have a tag. */
static __always_inline int vr_is_framed_udp(struct __sk_buff *skb, __u32 off)
{
	__be16 proto = 0;

	off += ETH_HLEN;
	bpf_skb_load_bytes(skb, off - 2, &proto, sizeof(proto));
	if (vr_is_vlan(proto)) {
		off += 4;
		bpf_skb_load_bytes(skb, off - 2, &proto, sizeof(proto));
	}
	return vr_is_udp(skb, off, proto);
}

/*
 * Sends a GSO packet, whose tunnel has a frame (@l2) or packet at @inner, to be cut if
 * it must be. 1 if it goes on so, and ends here.
 */
__noinline int vr_super_cut(struct __sk_buff *skb, struct vr_packet *pkt, __u32 inner, __u32 l2)
{
	long ret;

	/* it was there, and yet is whole: nothing more can be done */
	if (skb->ifindex == vr_cfg.exception_in)
		return 0;
	if (!pkt || !vr_cfg.exception_out || !vr_is_udp(skb, pkt->l3, pkt->proto) ||
	    !(l2 ? vr_is_framed_udp(skb, inner) : vr_is_bare_udp(skb, inner)))
		return 0;
	skb->mark = VR_SUPER_MAGIC | pkt->vif;
	ret = bpf_clone_redirect(skb, vr_cfg.exception_out, 0);
	skb->mark = 0;
	return !ret;
}

#endif /* VR_SUPER_H */
