/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * icmp_error.h - ICMP errors about the packets of our tunnels.
 */
#ifndef VR_ICMP_ERROR_H
#define VR_ICMP_ERROR_H

#include "encap.h"

#define VR_ICMP_UNREACHABLE	3
#define VR_ICMP_TIME_EXCEEDED	11
#define VR_ICMP_PARAMETER	12
#define VR_ICMP_HEAD		8

struct vr_l4 {
	__u32 off;	/* of the L4 header */
	__u32 area;	/* bytes of L4, after the outer IP header's own length */
};

static __always_inline int vr_is_tunnel_port(__u32 port)
{
	return port == VR_PORT_VXLAN || port == VR_PORT_MPLS || port == VR_PORT_MPLS_OLD;
}

static __always_inline int vr_is_icmp_error(__u8 type)
{
	return type == VR_ICMP_UNREACHABLE || type == VR_ICMP_TIME_EXCEEDED ||
	       type == VR_ICMP_PARAMETER;
}

/*
 * Does the ICMP message quote (RFC 792: an IP header and eight bytes) a packet
 * that @self sent into a tunnel?
 */
static __always_inline int vr_icmp_about_tunnel(struct __sk_buff *skb, const struct vr_l4 *l4,
						__be32 self)
{
	__u32 off = l4->off + VR_ICMP_HEAD;
	struct iphdr quoted;
	__be16 l4_head[2];
	__u8 type;

	if (l4->area < VR_ICMP_HEAD + sizeof(quoted) + 8 ||
	    bpf_skb_load_bytes(skb, l4->off, &type, 1) || !vr_is_icmp_error(type) ||
	    bpf_skb_load_bytes(skb, off, &quoted, sizeof(quoted)))
		return 0;
	if (quoted.version != 4 || quoted.ihl < 5 || quoted.saddr != self ||
	    quoted.frag_off & bpf_htons(0x1fff) || l4->area < VR_ICMP_HEAD + quoted.ihl * 4 + 8 ||
	    bpf_skb_load_bytes(skb, off + quoted.ihl * 4, l4_head, sizeof(l4_head)))
		return 0;
	if (quoted.protocol == IPPROTO_GRE)
		return l4_head[1] == bpf_htons(VR_ETH_P_MPLS);
	return quoted.protocol == IPPROTO_UDP && vr_is_tunnel_port(bpf_ntohs(l4_head[1]));
}

#endif /* VR_ICMP_ERROR_H */
