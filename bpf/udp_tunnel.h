/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * udp_tunnel.h - nexthop Tunnel UDP: a plain UDP packet, over IPv4 or IPv6, to an analyzer, with
 * metadata before the frame if a mirror sends it. It is routed anew.
 */
#ifndef VR_UDP_TUNNEL_H
#define VR_UDP_TUNNEL_H

#include "encap.h"

/* Writes the outer headers; the Ethernet header comes with the route. */
static __always_inline int vr_udp_outer4(struct __sk_buff *skb, const struct vr_outer *o,
					 const struct vr_nexthop *nh, const struct udphdr *udp)
{
	struct {
		struct ethhdr eth;
		struct iphdr ip;
		struct udphdr udp;
	} __attribute__((packed)) head = {};
	struct iphdr ip = {};

	head.eth.h_proto = bpf_htons(ETH_P_IP);
	vr_outer_ip(&ip, o, nh, skb->len - ETH_HLEN, IPPROTO_UDP);
	__builtin_memcpy(&head.ip, &ip, sizeof(ip));
	__builtin_memcpy(&head.udp, udp, sizeof(*udp));
	return bpf_skb_store_bytes(skb, 0, &head, sizeof(head), 0) ? -1 : 0;
}

static __always_inline int vr_udp_outer6(struct __sk_buff *skb, const struct vr_outer *o,
					 const struct vr_nexthop *nh, const struct udphdr *udp)
{
	struct {
		struct ethhdr eth;
		struct ipv6hdr ip6;
		struct udphdr udp;
	} __attribute__((packed)) head = {};
	struct ipv6hdr ip6 = {};

	head.eth.h_proto = bpf_htons(ETH_P_IPV6);
	vr_outer_ip6(&ip6, o, nh, skb->len - ETH_HLEN - sizeof(ip6));
	__builtin_memcpy(&head.ip6, &ip6, sizeof(ip6));
	__builtin_memcpy(&head.udp, udp, sizeof(*udp));
	return bpf_skb_store_bytes(skb, 0, &head, sizeof(head), 0) ? -1 : 0;
}

/* Writes all that stands before the inner frame. */
static __always_inline int vr_udp_write(struct __sk_buff *skb, const struct vr_outer *o,
					const struct vr_nexthop *nh, const struct vr_mirror *mirror)
{
	__u32 off = ETH_HLEN + vr_outer_len(o) - o->wrap;
	struct udphdr udp = {};

	vr_outer_udp(&udp, o, bpf_ntohs(nh->dport), skb->len - ETH_HLEN - o->ip_len);
	udp.source = nh->sport;
	if (o->kind & VR_KIND_IPV6 ? vr_udp_outer6(skb, o, nh, &udp)
				   : vr_udp_outer4(skb, o, nh, &udp))
		return -1;
	/* the whole field, and the frame's header over what is too much of it */
	if (mirror && o->wrap > 1 &&
	    bpf_skb_store_bytes(skb, off, mirror->metadata, sizeof(mirror->metadata), 0))
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
	pkt->proto = bpf_htons(nh->family == VR_AF_INET6 ? ETH_P_IPV6 : ETH_P_IP);
	pkt->l3 = ETH_HLEN;
}

/* Puts IP and UDP before the packet; 0 or a drop reason. */
__noinline int vr_udp_tunnel(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct vr_mirror *mirror = NULL;
	__u32 kind = NH_FLAG_TUNNEL_UDP;
	struct vr_outer o = {};
	struct vr_nexthop *nh;

	if (!pkt)
		return VR_DROP_INVALID_NH;
	nh = vr_nh_get(pkt->nh);
	if (!nh)
		return VR_DROP_INVALID_NH;
	if (pkt->flags & VP_METADATA)
		mirror = vr_mirror_get(pkt->label);
	if (nh->family == VR_AF_INET6)
		kind <<= VR_KIND_IPV6_SHIFT;
	if (vr_outer_prepare(skb, pkt, &o, kind))
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
