/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * forward.h - look-ups and nexthops: from a packet whose ingress is known to
 * the vif, tunnel, trap or drop that ends it.
 *
 * A stage returns a verdict of the kernel's (TC_ACT_*) when the packet has
 * ended, or VR_GO_ON when pkt->nh says what comes next.
 */
#ifndef VR_FORWARD_H
#define VR_FORWARD_H

#include "arp.h"
#include "decap.h"
#include "ecmp.h"
#include "udp_tunnel.h"

/* A unicast MAC that no entry has. */
static __always_inline int vr_unknown_unicast(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct vr_vif *vif = vr_vif_get(pkt->vif);

	if (!(pkt->flags & VP_UUC_FLOOD) && !(vif && vif->flags & VIF_FLAG_UNKNOWN_UC_FLOOD))
		return vr_drop(skb, pkt, VR_DROP_L2_NO_ROUTE);
	VR_COUNT_VRF(pkt->vrf, uuc_floods);
	if (vr_bridge_route(pkt, vr_broadcast_mac, pkt->vrf))
		return vr_drop(skb, pkt, VR_DROP_L2_NO_ROUTE);
	vr_trace(skb, pkt, VR_EV_BRIDGE);
	return VR_GO_ON;
}

/* The rules of ARP are for what a VM sends, and for what tunnels bring. */
static __always_inline int vr_is_overlay_arp(const struct vr_packet *pkt)
{
	if (pkt->proto != bpf_htons(ETH_P_ARP))
		return 0;
	return pkt->flags & VP_FROM_TUNNEL ||
	       (pkt->vif_type == VIF_TYPE_VIRTUAL && !pkt->lookups);
}

/* Looks a frame up in its VRF's bridge table. */
__noinline int vr_bridge_input(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct ethhdr *eth;
	int ret;

	if (!pkt)
		return TC_ACT_SHOT;
	if (vr_parse_l2(skb, pkt))
		return vr_drop(skb, pkt, VR_DROP_INVALID_PACKET);
	if (vr_is_overlay_arp(pkt)) {
		ret = vr_arp_overlay(skb, pkt);
		if (ret != VR_ARP_BRIDGE)
			return ret;
	}
	eth = vr_bytes(skb, 0, ETH_HLEN);
	if (!eth)
		return vr_drop(skb, pkt, VR_DROP_INVALID_PACKET);
	if (eth->h_dest[0] & 1)
		return vr_broadcast(skb, pkt);
	if (++pkt->lookups > VR_MAX_LOOKUPS)
		return vr_drop(skb, pkt, VR_DROP_PKT_LOOP);
	if (vr_bridge_route(pkt, eth->h_dest, pkt->vrf))
		return vr_unknown_unicast(skb, pkt);
	vr_trace(skb, pkt, VR_EV_BRIDGE);
	return VR_GO_ON;
}

/* Looks an IPv4 packet up in its VRF's routes. */
__noinline int vr_inet_input(struct __sk_buff *skb, struct vr_packet *pkt)
{
	if (!pkt)
		return TC_ACT_SHOT;
	if (pkt->proto != bpf_htons(ETH_P_IP))
		return vr_drop(skb, pkt, VR_DROP_INVALID_PROTOCOL);
	pkt->flags |= VP_L3;
	switch (vr_inet_route(skb, pkt)) {
	case VR_INET_OK:
		if (vr_untag(skb, pkt))
			return vr_drop(skb, pkt, VR_DROP_PULL);
		vr_trace(skb, pkt, VR_EV_INET);
		return VR_GO_ON;
	case VR_INET_NO_ROUTE:
		/* as if a default route led to nexthop 0 */
		VR_COUNT_VRF(pkt->vrf, discards);
		return vr_drop(skb, pkt, VR_DROP_DISCARD);
	case VR_INET_LOOP:
		return vr_drop(skb, pkt, VR_DROP_PKT_LOOP);
	case VR_INET_TTL:
		return vr_trap(skb, pkt, VR_TRAP_ZERO_TTL, 0);
	default:
		return vr_drop(skb, pkt, VR_DROP_INVALID_PACKET);
	}
}

/* Nexthop Encap: to a vif of this host. */
static __always_inline int vr_encap(struct __sk_buff *skb, struct vr_packet *pkt,
				    const struct vr_nexthop *nh)
{
	if (!vr_vif_get(nh->oif))
		return vr_drop(skb, pkt, VR_DROP_INVALID_IF);
	if (nh->family == VR_AF_BRIDGE)
		VR_COUNT_VRF(pkt->vrf, l2_encaps);
	else
		VR_COUNT_VRF(pkt->vrf, encaps);
	/* the agent gets the frame as it is, behind its header */
	if (vr_nh_is_agent(nh))
		return vr_trap(skb, pkt, VR_TRAP_NEXTHOP, 0);
	if (nh->family != VR_AF_BRIDGE && vr_encap_rewrite(skb, pkt, nh))
		return vr_drop(skb, pkt, VR_DROP_INVALID_PACKET);
	if (vr_cfg.qos_maps)
		vr_qos_mark(skb, pkt);
	return vr_output(skb, pkt, nh->oif);
}

/* Nexthop Receive: for this host, or a tunnel that ends here. */
static __always_inline int vr_receive(struct __sk_buff *skb, struct vr_packet *pkt,
				      const struct vr_nexthop *nh)
{
	VR_COUNT_VRF(pkt->vrf, receives);
	/* only what the fabric brought is opened: a VM cannot pass for the fabric */
	if ((pkt->flags & (VP_FROM_FABRIC | VP_FROM_TUNNEL | VP_L3)) == (VP_FROM_FABRIC | VP_L3))
		return vr_local_input(skb, pkt, nh->oif);
	return vr_output(skb, pkt, nh->oif);
}

/* Nexthop L2 Receive: a frame for the gateway's MAC. */
static __always_inline int vr_l2_receive(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct vr_arp arp = {};

	VR_COUNT_VRF(pkt->vrf, l2_receives);
	if (pkt->flags & VP_L3)
		return vr_drop(skb, pkt, VR_DROP_INVALID_PROTOCOL);
	if (pkt->proto == bpf_htons(ETH_P_ARP)) {
		if (vr_arp_read(skb, pkt, &arp))
			return vr_drop(skb, pkt, VR_DROP_INVALID_ARP);
		if (arp.op != bpf_htons(VR_ARP_REPLY))
			return vr_drop(skb, pkt, VR_DROP_INVALID_PROTOCOL);
		return vr_trap(skb, pkt, VR_TRAP_ARP, 0);
	}
	return vr_inet_input(skb, pkt);
}

/* Nexthop VRF translate: look the packet up again, elsewhere. */
static __always_inline int vr_translate(struct __sk_buff *skb, struct vr_packet *pkt,
					const struct vr_nexthop *nh)
{
	VR_COUNT_VRF(pkt->vrf, vrf_translates);
	pkt->vrf = nh->vrf;
	pkt->flags &= ~VP_UUC_FLOOD;
	if (nh->flags & NH_FLAG_UNKNOWN_UC_FLOOD)
		pkt->flags |= VP_UUC_FLOOD;
	if (nh->family != VR_AF_BRIDGE)
		return vr_inet_input(skb, pkt);
	return vr_bridge_input(skb, pkt);
}

/* Nexthop Resolve: the agent is to find the neighbour; the host's stack may know. */
static __always_inline int vr_resolve(struct __sk_buff *skb, struct vr_packet *pkt)
{
	VR_COUNT_VRF(pkt->vrf, resolves);
	if ((pkt->vif_type == VIF_TYPE_HOST || pkt->vif_type == VIF_TYPE_PHYSICAL) &&
	    !(pkt->flags & VP_FROM_TUNNEL))
		vr_output_copy(skb, pkt, pkt->xconnect);
	return vr_trap(skb, pkt, VR_TRAP_RESOLVE, pkt->nh);
}

/* Nexthop Tunnel UDP: a packet of its own, which is routed. */
static __always_inline int vr_udp(struct __sk_buff *skb, struct vr_packet *pkt)
{
	int reason = vr_udp_tunnel(skb, pkt);

	return reason ? vr_drop(skb, pkt, reason) : vr_inet_input(skb, pkt);
}

/* Applies nexthop pkt->nh. */
__noinline int vr_nexthop(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct vr_nexthop *nh;

	if (!pkt)
		return TC_ACT_SHOT;
	nh = vr_nh_get(pkt->nh);
	if (!nh)
		return vr_drop(skb, pkt, VR_DROP_INVALID_NH);
	switch (nh->type) {
	case NH_TYPE_ENCAP:
		return vr_encap(skb, pkt, nh);
	case NH_TYPE_TUNNEL:
		return nh->flags & NH_FLAG_TUNNEL_UDP ? vr_udp(skb, pkt) : vr_tunnel(skb, pkt);
	case NH_TYPE_RECEIVE:
		return vr_receive(skb, pkt, nh);
	case NH_TYPE_L2_RECEIVE:
		return vr_l2_receive(skb, pkt);
	case NH_TYPE_VRF_TRANSLATE:
		return vr_translate(skb, pkt, nh);
	case NH_TYPE_RESOLVE:
		return vr_resolve(skb, pkt);
	case NH_TYPE_COMPOSITE:
		return nh->flags & NH_FLAG_ECMPS ? vr_ecmp(skb, pkt) : VR_FLOOD;
	case NH_TYPE_DISCARD:
		VR_COUNT_VRF(pkt->vrf, discards);
		return vr_drop(skb, pkt, VR_DROP_DISCARD);
	default:
		return vr_drop(skb, pkt, VR_DROP_INVALID_NH);
	}
}

#endif /* VR_FORWARD_H */
