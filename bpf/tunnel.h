/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tunnel.h - nexthop Tunnel, and what becomes of a packet that is too long for it.
 *
 * That is asked before the outer header is put on: the kernel lets nobody shorten a
 * packet that has had one.
 */
#ifndef VR_TUNNEL_H
#define VR_TUNNEL_H

#include "decap.h"
#include "icmp.h"
#include "mss.h"

/*
 * Bytes of each segment of a GSO packet from behind its Ethernet header on; 0 if that
 * cannot be told, and then it is only asked whether it fits when it leaves.
 */
static __always_inline __u32 vr_segment_len(struct __sk_buff *skb, const struct vr_packet *pkt)
{
	__u32 off, proto;
	__u8 doff;

	if (pkt->proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = vr_bytes(skb, pkt->l3, sizeof(*ip));

		if (!ip)
			return 0;
		proto = ip->protocol;
		off = pkt->l3 + ip->ihl * 4;
	} else {
		struct ipv6hdr *ip6 = vr_bytes(skb, pkt->l3, sizeof(*ip6));

		if (!ip6 || pkt->proto != bpf_htons(ETH_P_IPV6))
			return 0;
		off = vr_inet6_l4(skb, pkt->l3 + sizeof(*ip6), ip6->nexthdr);
		proto = off & 0xff;
		off >>= 8;
	}
	if (proto == IPPROTO_UDP)
		return off + sizeof(struct udphdr) + skb->gso_size - ETH_HLEN;
	if (proto != IPPROTO_TCP || bpf_skb_load_bytes(skb, off + 12, &doff, 1))
		return 0;
	return off + (doff >> 4) * 4 + skb->gso_size - ETH_HLEN;
}

/* The MTU of the tunnel, for the packet inside, if that is too long for it; else 0. */
static __always_inline __u32 vr_tunnel_exceeded(struct __sk_buff *skb, struct vr_packet *pkt,
						const struct vr_outer *o, __u32 ifindex)
{
	__u32 overhead = vr_outer_overhead(o) + (skb->vlan_present ? 4 : 0);
	__u32 mtu = 0, len;
	long ret;

	if (skb->len <= 68)
		return 0;
	ret = bpf_check_mtu(skb, ifindex, &mtu, overhead, 0);
	if (!skb->gso_size) {
		/* a second tag that the kernel noted is seen later */
		if (!ret && !skb->vlan_present)
			pkt->flags |= VP_FITS;
		if (ret <= 0)
			return 0;
	} else {
		len = vr_segment_len(skb, pkt);
		/* the inner Ethernet header is part of the overhead */
		if (len + overhead <= mtu)
			return 0;
	}
	return mtu > overhead ? mtu - overhead : 1;
}

/* Of how many segments is the packet? */
static __always_inline __u32 vr_segments(struct __sk_buff *skb, const struct vr_packet *pkt)
{
	__u32 size = skb->gso_size, heads, len;

	if (!size)
		return 1;
	len = vr_segment_len(skb, pkt);
	heads = len ? len + ETH_HLEN - size : 0;
	return (skb->len - heads + size - 1) / size;
}

/* To be cut (cut.h). */
static __always_inline int vr_tunnel_cut(struct __sk_buff *skb, struct vr_packet *pkt)
{
	if (vr_exception_send(skb, pkt, VR_AGAIN_CUT, 0, vr_segments(skb, pkt)))
		return vr_drop(skb, pkt, VR_DROP_NO_EXCEPTION);
	return vr_drop(skb, pkt, VR_DROP_CLONED_ORIGINAL);
}

/* Too long for the tunnel pkt->nh, inside which the MTU is that in skb->cb[4]. */
__noinline int vr_too_long(struct __sk_buff *skb, struct vr_packet *pkt)
{
	__u32 mtu = skb->cb[4];

	if (!pkt)
		return TC_ACT_SHOT;
	if (!vr_must_not_cut(skb, pkt->proto, pkt->l3))
		return vr_tunnel_cut(skb, pkt);
	/* no answer would find its way to a VLAN of the guest's own, nor is a copy the guest's */
	if (pkt->flags & (VP_TAGGED | VP_MIRROR))
		return vr_drop(skb, pkt, VR_DROP_TOO_BIG);
	if (vr_cfg.icmp_errors == VR_ICMP_TRAP)
		return vr_trap(skb, pkt, VR_TRAP_HANDLE_DF, mtu);
	if (!vr_icmp_answers(pkt))
		return vr_drop(skb, pkt, VR_DROP_TOO_BIG);
	vr_icmp_send(skb, pkt, VR_TELL(VR_TELL_TOO_BIG, mtu));
	return vr_drop(skb, pkt, VR_DROP_FRAG_NEEDED);
}

/* A SYN of a guest, on its way into a tunnel. */
static __always_inline void vr_mss_from_vm(struct __sk_buff *skb, struct vr_packet *pkt,
					   const struct vr_outer *o, __u32 ifindex)
{
	__u32 tcp;

	if (!(vr_cfg.mss_clamp & VR_MSS_FROM_VM) || pkt->vif_type != VIF_TYPE_VIRTUAL)
		return;
	tcp = vr_mss_syn(skb, pkt);
	if (tcp)
		vr_mss_clamp(skb, pkt, tcp, vr_outer_overhead(o), ifindex);
}

/* Finds what the outer headers of tunnel pkt->nh need, before the packet is changed.
 * 0, or a drop reason. */
static __always_inline int vr_tunnel_prepare(struct __sk_buff *skb, struct vr_packet *pkt,
					     struct vr_outer *o, struct vr_nexthop **nh,
					     struct vr_vif **oif)
{
	int refused;

	*nh = vr_nh_get(pkt->nh);
	if (!*nh)
		return VR_DROP_INVALID_NH;
	refused = vr_tunnel_refuses(skb, pkt, *nh, pkt->label);
	if (refused)
		return refused;
	*oif = vr_vif_get((*nh)->oif);
	if (!*oif)
		return VR_DROP_INVALID_IF;
	if (vr_outer_prepare(skb, pkt, o, vr_tunnel_kind(*nh)))
		return VR_DROP_INVALID_PACKET;
	if (!(pkt->flags & VP_L3) || o->tunnel != NH_FLAG_TUNNEL_VXLAN)
		return 0;
	/* a packet gets an Ethernet header only if the far end is a router */
	if (!((*nh)->flags & NH_FLAG_L3_VXLAN))
		return VR_DROP_INVALID_NH;
	o->eth.h_proto = pkt->proto;
	o->has_eth = 1;
	return 0;
}

/* The packet has its outer headers. */
static __always_inline void vr_tunnel_own(struct __sk_buff *skb, struct vr_packet *pkt,
					  const struct vr_outer *o)
{
	pkt->proto = bpf_htons(o->kind & VR_KIND_IPV6 ? ETH_P_IPV6 : ETH_P_IP);
	pkt->l3 = ETH_HLEN;
	pkt->flags = (pkt->flags & ~VP_TAGGED) | VP_ENCAPPED;
	vr_trace(skb, pkt, VR_EV_ENCAP);
}

/* Nexthop Tunnel: one packet to one remote host. VR_TOO_LONG, or the packet has ended. */
__noinline int vr_tunnel(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct vr_outer o = {};
	struct vr_nexthop *nh;
	struct vr_vif *oif;
	int refused;
	__u32 mtu;

	if (!pkt)
		return TC_ACT_SHOT;
	refused = vr_tunnel_prepare(skb, pkt, &o, &nh, &oif);
	if (refused)
		return vr_drop(skb, pkt, refused);
	vr_count_tunnel(pkt->vrf, o.tunnel);
	vr_mss_from_vm(skb, pkt, &o, oif->ifindex);
	if (vr_wants_mirror(pkt, oif))
		vr_mirror(skb, pkt, oif->mirror);
	mtu = vr_tunnel_exceeded(skb, pkt, &o, oif->ifindex);
	if (mtu) {
		skb->cb[4] = mtu;
		return VR_TOO_LONG;
	}
	if (vr_outer_take_tag(skb, &o) || vr_outer_grow(skb, &o) ||
	    vr_outer_write(skb, &o, nh, oif, pkt->label))
		return vr_drop(skb, pkt, VR_DROP_PUSH);
	vr_tunnel_own(skb, pkt, &o);
	return vr_output(skb, pkt, nh->oif);
}

#endif /* VR_TUNNEL_H */
