/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * mirror_input.h - where packets that a vif receives are mirrored, and where the
 * copies come in again.
 */
#ifndef VR_MIRROR_INPUT_H
#define VR_MIRROR_INPUT_H

#include "decap.h"

/* Will the packet be opened as one of our tunnels, if it is well formed? */
static __always_inline int vr_will_be_opened(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct vr_nexthop *nh;
	struct vr_route *rt;
	struct udphdr udp;
	struct iphdr *ip;
	__u8 first;
	__u32 off;

	if (vr_parse_l2(skb, pkt) || pkt->flags & VP_TAGGED || pkt->proto != bpf_htons(ETH_P_IP) ||
	    bpf_skb_load_bytes(skb, 0, &first, 1) || first & 1)
		return 0;
	ip = vr_inet_header(skb, pkt->l3);
	if (!ip || vr_is_fragment(ip))
		return 0;
	rt = vr_inet_lookup(pkt->vrf, ip->daddr);
	nh = rt ? vr_nh_get(rt->nh) : NULL;
	if (!nh || nh->type != NH_TYPE_RECEIVE)
		return 0;
	if (ip->protocol == IPPROTO_GRE)
		return 1;
	off = pkt->l3 + ip->ihl * 4;
	if (ip->protocol != IPPROTO_UDP || bpf_skb_load_bytes(skb, off, &udp, sizeof(udp)))
		return 0;
	return vr_is_tunnel_port(bpf_ntohs(udp.dest));
}

/* A packet as it was received; of the fabric's tunnels what is inside, once it is out. */
__noinline int vr_mirror_received(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct vr_vif *vif;
	__u32 mirror;

	if (!pkt || pkt->vif_type == VIF_TYPE_AGENT)
		return 0;
	vif = vr_vif_get(pkt->vif);
	if (!vif)
		return 0;
	mirror = vif->mirror;
	if (pkt->vif_type == VIF_TYPE_PHYSICAL && vr_will_be_opened(skb, pkt)) {
		pkt->flags |= VP_MIRROR_LATER;
		return 0;
	}
	return vr_mirror(skb, pkt, mirror);
}

/* A copy that came in again: the nexthop of its mirror, or why there is none. */
static __always_inline int vr_mirror_again(struct __sk_buff *skb, struct vr_packet *pkt,
					   __u32 index)
{
	struct vr_mirror *mirror = vr_mirror_get(index);
	struct vr_nexthop *nh;

	pkt->flags = (pkt->flags & VP_TAGGED) | VP_AGAIN | VP_MIRROR;
	if (!mirror)
		return vr_drop(skb, pkt, VR_DROP_INVALID_NH);
	pkt->nh = mirror->nh;
	pkt->label = mirror->vni;
	nh = vr_nh_get(pkt->nh);
	if (!nh)
		return vr_drop(skb, pkt, VR_DROP_INVALID_NH);
	pkt->vrf = nh->vrf;
	if (!(mirror->flags & VR_MIRROR_DYNAMIC))
		return VR_GO_ON;
	if (nh->type != NH_TYPE_TUNNEL || !(nh->flags & NH_FLAG_TUNNEL_UDP))
		return vr_drop(skb, pkt, VR_DROP_INVALID_NH);
	pkt->flags |= VP_METADATA;
	pkt->label = index;
	return VR_GO_ON;
}

#endif /* VR_MIRROR_INPUT_H */
