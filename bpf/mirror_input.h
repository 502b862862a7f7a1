/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * mirror_input.h - where packets that a vif receives are mirrored, and where the
 * copies come in again.
 */
#ifndef VR_MIRROR_INPUT_H
#define VR_MIRROR_INPUT_H

#include "underlay6.h"

/* Is what stands at @off, behind an IP header, one of our tunnels' headers? */
static __always_inline int vr_is_tunnel_l4(struct __sk_buff *skb, __u32 off, __u8 proto)
{
	struct udphdr udp;

	if (proto == IPPROTO_GRE)
		return 1;
	if (proto != IPPROTO_UDP || bpf_skb_load_bytes(skb, off, &udp, sizeof(udp)))
		return 0;
	return vr_is_tunnel_port(bpf_ntohs(udp.dest));
}

static __always_inline int vr_is_received(const struct vr_route *rt)
{
	struct vr_nexthop *nh = rt ? vr_nh_get(rt->nh) : NULL;

	return nh && nh->type == NH_TYPE_RECEIVE;
}

/* Will the packet be opened as one of our tunnels, if it is well formed? */
static __always_inline int vr_will_be_opened4(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct iphdr *ip = vr_inet_header(skb, pkt->l3);
	__u32 off;
	__u8 proto;

	if (!ip || vr_is_fragment(ip))
		return 0;
	proto = ip->protocol;
	off = pkt->l3 + ip->ihl * 4;
	return vr_is_received(vr_inet_lookup(pkt->vrf, ip->daddr)) &&
	       vr_is_tunnel_l4(skb, off, proto);
}

static __always_inline int vr_will_be_opened6(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct ipv6hdr *ip6 = vr_inet6_header(skb, pkt->l3);
	struct vr_in6 dst;
	__u8 proto;

	if (!ip6 || !vr_inet6_in_use(pkt->vrf))
		return 0;
	vr_in6_copy(&dst, &ip6->daddr);
	proto = ip6->nexthdr;
	if (vr_is_on_link6(&dst))
		return 0;
	return vr_is_tunnel_l4(skb, pkt->l3 + sizeof(*ip6), proto) &&
	       vr_is_received(vr_inet6_lookup(pkt->vrf, &dst));
}

static __always_inline int vr_will_be_opened(struct __sk_buff *skb, struct vr_packet *pkt)
{
	if (vr_parse_l2(skb, pkt) || pkt->flags & VP_TAGGED || vr_is_multicast(skb))
		return 0;
	if (pkt->proto == bpf_htons(ETH_P_IP))
		return vr_will_be_opened4(skb, pkt);
	return pkt->proto == bpf_htons(ETH_P_IPV6) && vr_will_be_opened6(skb, pkt);
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
	pkt->priority = 0;
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
