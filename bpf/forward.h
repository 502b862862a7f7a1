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
#include "learn.h"
#include "nd.h"
#include "services.h"
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

/* The rules of ARP and ND are for what a VM sends, and for what tunnels bring. */
static __always_inline int vr_is_overlay(const struct vr_packet *pkt)
{
	return pkt->flags & VP_FROM_TUNNEL ||
	       (pkt->vif_type == VIF_TYPE_VIRTUAL && !pkt->lookups);
}

/* How an address is found is decided here; VR_ARP_BRIDGE for all else. A packet that
 * was @routed is nobody's question any more. */
static __always_inline int vr_neighbours(struct __sk_buff *skb, struct vr_packet *pkt,
					 __u32 routed)
{
	if (pkt->proto == bpf_htons(ETH_P_ARP) && vr_is_overlay(pkt))
		return vr_arp_overlay(skb, pkt);
	if (pkt->proto == bpf_htons(ETH_P_IPV6) && !routed && vr_is_overlay(pkt))
		return vr_nd_overlay(skb, pkt);
	return VR_ARP_BRIDGE;
}

/*
 * A frame for a group. Where IGMP is heard a group may have an entry of its own;
 * else it is taken for a broadcast.
 */
static __always_inline int vr_multicast(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct vr_vif *vif;
	__u8 group[ETH_ALEN];

	/* only where it comes in: what is looked up again could go round and round */
	if (!(pkt->features & VIF_FEATURE_FLAGS) || pkt->lookups || pkt->flags & VP_FROM_TUNNEL)
		return vr_broadcast(skb, pkt);
	vif = vr_vif_get(pkt->vif);
	if (!vif || !(vif->flags & VIF_FLAG_IGMP) ||
	    bpf_skb_load_bytes(skb, 0, group, sizeof(group)))
		return vr_broadcast(skb, pkt);
	vr_enter_mcast(pkt, vif);
	if (pkt->lookups < VR_MAX_LOOKUPS && !vr_bridge_route(pkt, group, pkt->vrf)) {
		pkt->lookups++;
		vr_trace(skb, pkt, VR_EV_BRIDGE);
		return VR_GO_ON;
	}
	return vr_bridge_to(skb, pkt, vr_broadcast_mac);
}

/* Looks a frame up in its VRF's bridge table. */
__noinline int vr_bridge_input(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct ethhdr *eth;
	__u32 routed;
	int ret;

	if (!pkt)
		return TC_ACT_SHOT;
	routed = pkt->flags & VP_L3;
	if (vr_parse_l2(skb, pkt))
		return vr_drop(skb, pkt, VR_DROP_INVALID_PACKET);
	ret = vr_neighbours(skb, pkt, routed);
	if (ret != VR_ARP_BRIDGE)
		return ret;
	eth = vr_bytes(skb, 0, ETH_HLEN);
	if (!eth)
		return vr_drop(skb, pkt, VR_DROP_INVALID_PACKET);
	if (eth->h_dest[0] & 1)
		return vr_multicast(skb, pkt);
	if (++pkt->lookups > VR_MAX_LOOKUPS)
		return vr_drop(skb, pkt, VR_DROP_PKT_LOOP);
	if (vr_bridge_route(pkt, eth->h_dest, pkt->vrf))
		return vr_unknown_unicast(skb, pkt);
	vr_trace(skb, pkt, VR_EV_BRIDGE);
	return VR_GO_ON;
}

/* Goes on as the look-up of a route said (enum vr_inet_verdict). */
static __always_inline int vr_routed(struct __sk_buff *skb, struct vr_packet *pkt, int verdict)
{
	switch (verdict) {
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

/* Looks an IPv4 or IPv6 packet up in its VRF's routes. */
__noinline int vr_inet_input(struct __sk_buff *skb, struct vr_packet *pkt)
{
	int verdict;

	if (!pkt)
		return TC_ACT_SHOT;
	if (pkt->proto == bpf_htons(ETH_P_IP))
		verdict = vr_inet_route(skb, pkt);
	else if (pkt->proto == bpf_htons(ETH_P_IPV6))
		verdict = vr_inet6_route(skb, pkt);
	else
		return vr_drop(skb, pkt, VR_DROP_INVALID_PROTOCOL);
	pkt->flags |= VP_L3;
	return vr_routed(skb, pkt, verdict);
}

/* To the agent as a gateway: the frame as it is, behind its header. Not inline: its
 * stack must not add to that of replication. */
__noinline int vr_to_agent(struct __sk_buff *skb, struct vr_packet *pkt)
{
	__u32 reason, param = 0;

	if (!pkt)
		return TC_ACT_SHOT;
	reason = vr_agent_reason(skb, pkt, &param);
	return vr_trap(skb, pkt, reason, param);
}

/* Nexthop Encap: to a vif of this host. */
static __always_inline int vr_encap(struct __sk_buff *skb, struct vr_packet *pkt,
				    const struct vr_nexthop *nh)
{
	if (!vr_vif_get(nh->oif))
		return vr_drop(skb, pkt, VR_DROP_INVALID_IF);
	if (pkt->flags & VP_DIAG) {
		VR_COUNT_VRF(pkt->vrf, diags);
		return vr_trap(skb, pkt, VR_TRAP_DIAG, nh->oif);
	}
	if (nh->family == VR_AF_BRIDGE)
		VR_COUNT_VRF(pkt->vrf, l2_encaps);
	else
		VR_COUNT_VRF(pkt->vrf, encaps);
	if (vr_nh_is_agent(nh))
		return vr_to_agent(skb, pkt);
	if (nh->family != VR_AF_BRIDGE &&
	    !(vr_is_hosts_own(pkt) && nh->oif == pkt->xconnect) &&
	    vr_encap_rewrite(skb, pkt, nh))
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
	if (pkt->proto == bpf_htons(ETH_P_IPV6) && vr_nd_is_advertisement(skb, pkt))
		return vr_trap(skb, pkt, VR_TRAP_L3_PROTOCOLS, 0);
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
	if (nh->flags & NH_FLAG_MAC_LEARN)
		vr_learn_mac(skb, pkt);
	/* not called from here: the stack of a chain of calls is short */
	return VR_GO_BRIDGE;
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
