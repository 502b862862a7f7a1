/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * udp_tunnel.h - nexthop Tunnel UDP: a plain UDP packet to an analyzer, with
 * metadata before the frame if a mirror sends it. It is routed anew.
 */
#ifndef VR_UDP_TUNNEL_H
#define VR_UDP_TUNNEL_H

#include "encap.h"

/* Writes all that stands before the inner frame; the Ethernet header comes with the route. */
static __always_inline int vr_udp_write(struct __sk_buff *skb, const struct vr_outer *o,
					const struct vr_nexthop *nh, const struct vr_mirror *mirror)
{
	__u32 ip_len = skb->len - ETH_HLEN;
	struct {
		struct ethhdr eth;
		struct iphdr ip;
		struct udphdr udp;
	} __attribute__((packed)) head = {};
	struct udphdr udp = {};
	struct iphdr ip = {};

	head.eth.h_proto = bpf_htons(ETH_P_IP);
	vr_outer_ip(&ip, o, nh, ip_len, IPPROTO_UDP);
	vr_outer_udp(&udp, o, bpf_ntohs(nh->dport), ip_len);
	udp.source = nh->sport;
	__builtin_memcpy(&head.ip, &ip, sizeof(ip));
	__builtin_memcpy(&head.udp, &udp, sizeof(udp));
	if (bpf_skb_store_bytes(skb, 0, &head, sizeof(head), 0))
		return -1;
	/* the whole field, and the frame's header over what is too much of it */
	if (mirror && o->wrap > 1 &&
	    bpf_skb_store_bytes(skb, sizeof(head), mirror->metadata,
					  sizeof(mirror->metadata), 0))
		return -1;
	return o->has_eth ? vr_outer_frame(skb, o, &o->eth) : 0;
}

/* A packet of this host now, in the nexthop's VRF; a mirror's copy stays one. */
static __always_inline void vr_udp_own(struct vr_packet *pkt, const struct vr_nexthop *nh)
{
	pkt->flags = (pkt->flags & (VP_AGAIN | VP_MIRROR)) | VP_ENCAPPED;
	pkt->label = VR_LABEL_NONE;
	pkt->label_nh = 0;
	pkt->vrf = nh->vrf;
	pkt->proto = bpf_htons(ETH_P_IP);
	pkt->l3 = ETH_HLEN;
}

/* Puts IPv4 and UDP before the packet; 0 or a drop reason. */
__noinline int vr_udp_tunnel(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct vr_mirror *mirror = NULL;
	struct vr_outer o = {};
	struct vr_nexthop *nh;

	if (!pkt)
		return VR_DROP_INVALID_NH;
	nh = vr_nh_get(pkt->nh);
	if (!nh)
		return VR_DROP_INVALID_NH;
	if (pkt->flags & VP_METADATA)
		mirror = vr_mirror_get(pkt->label);
	if (vr_outer_prepare(skb, pkt, &o, NH_FLAG_TUNNEL_UDP))
		return VR_DROP_INVALID_PACKET;
	if (mirror)
		o.wrap = mirror->metadata_len;
	if (vr_outer_take_tag(skb, &o) || vr_outer_grow(skb, &o) ||
	    vr_udp_write(skb, &o, nh, mirror))
		return VR_DROP_PUSH;
	VR_COUNT_VRF(pkt->vrf, udp_tunnels);
	vr_udp_own(pkt, nh);
	vr_trace(skb, pkt, VR_EV_ENCAP);
	return 0;
}

#endif /* VR_UDP_TUNNEL_H */
