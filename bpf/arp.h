/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * arp.h - what happens to ARP (RFC 826), by where it came from.
 */
#ifndef VR_ARP_H
#define VR_ARP_H

#include "bridge.h"
#include "flood.h"

struct vr_arp {
	__be16 hw, proto;
	__u8 hw_len, proto_len;
	__be16 op;
	__u8 sha[ETH_ALEN];
	__u8 spa[4];
	__u8 tha[ETH_ALEN];
	__u8 tpa[4];
} __attribute__((packed));

#define VR_ARP_REQUEST	1
#define VR_ARP_REPLY	2

#define VR_ARP_BRIDGE	(-3)	/* verdict: nothing special, look its MAC up */

static const __u8 vr_broadcast_mac[ETH_ALEN] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

static __always_inline __be32 vr_arp_addr(const __u8 *a)
{
	__be32 addr;

	__builtin_memcpy(&addr, a, sizeof(addr));
	return addr;
}

/* Reads the ARP of the packet. 0, or -1 if it is malformed. */
static __always_inline int vr_arp_read(struct __sk_buff *skb, const struct vr_packet *pkt,
				       struct vr_arp *arp)
{
	if (bpf_skb_load_bytes(skb, pkt->l3, arp, sizeof(*arp)))
		return -1;
	if (arp->hw != bpf_htons(1) || arp->proto != bpf_htons(ETH_P_IP) ||
	    arp->hw_len != ETH_ALEN || arp->proto_len != 4)
		return -1;
	return arp->op == bpf_htons(VR_ARP_REQUEST) || arp->op == bpf_htons(VR_ARP_REPLY) ? 0 : -1;
}

static __always_inline int vr_arp_is_gratuitous(const struct vr_arp *arp)
{
	__be32 spa = vr_arp_addr(arp->spa);

	return !spa || spa == vr_arp_addr(arp->tpa);
}

/* Goes on with the entry of @mac in the packet's VRF. */
static __always_inline int vr_bridge_to(struct __sk_buff *skb, struct vr_packet *pkt,
					const __u8 *mac)
{
	if (++pkt->lookups > VR_MAX_LOOKUPS)
		return vr_drop(skb, pkt, VR_DROP_PKT_LOOP);
	if (vr_bridge_route(pkt, mac, pkt->vrf))
		return vr_drop(skb, pkt, VR_DROP_L2_NO_ROUTE);
	vr_trace(skb, pkt, VR_EV_BRIDGE);
	return VR_GO_ON;
}

/*
 * A frame for a group goes on with the broadcast entry. A vif may have a VRF of its
 * own for that, and where IGMP is heard, groups may have entries.
 */
static __always_inline int vr_broadcast(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct vr_vif *vif = vr_vif_get(pkt->vif);
	__u8 group[ETH_ALEN];

	/* only where it comes in: what is looked up again could go round and round */
	if (!vif || pkt->lookups || pkt->flags & VP_FROM_TUNNEL)
		return vr_bridge_to(skb, pkt, vr_broadcast_mac);
	if (vif->mcast_vrf != VR_VRF_NONE)
		pkt->vrf = vif->mcast_vrf;
	if (vif->flags & VIF_FLAG_IGMP && !bpf_skb_load_bytes(skb, 0, group, ETH_ALEN) &&
	    group[0] & 1 && vr_has_entry(group, pkt->vrf))
		return vr_bridge_to(skb, pkt, group);
	return vr_bridge_to(skb, pkt, vr_broadcast_mac);
}

/* Turns the request into its answer: @mac has the address that was asked for. */
static __always_inline int vr_arp_answer(struct __sk_buff *skb, struct vr_packet *pkt,
					 struct vr_arp *arp, const __u8 *mac)
{
	__u8 address[4];
	struct ethhdr *eth;

	__builtin_memcpy(address, arp->tpa, 4);
	__builtin_memcpy(arp->tha, arp->sha, ETH_ALEN);
	__builtin_memcpy(arp->tpa, arp->spa, 4);
	__builtin_memcpy(arp->sha, mac, ETH_ALEN);
	__builtin_memcpy(arp->spa, address, 4);
	arp->op = bpf_htons(VR_ARP_REPLY);
	if (bpf_skb_store_bytes(skb, pkt->l3, arp, sizeof(*arp), 0))
		return -1;
	eth = vr_bytes(skb, 0, ETH_HLEN);
	if (!eth)
		return -1;
	__builtin_memcpy(eth->h_dest, arp->tha, ETH_ALEN);
	__builtin_memcpy(eth->h_source, mac, ETH_ALEN);
	vr_trace(skb, pkt, VR_EV_ARP_REPLY);
	return 0;
}

/* Answers straight out of the vif that the request came by. */
static __always_inline int vr_arp_answer_here(struct __sk_buff *skb, struct vr_packet *pkt,
					      struct vr_arp *arp, const __u8 *mac)
{
	if (vr_arp_answer(skb, pkt, arp, mac))
		return vr_drop(skb, pkt, VR_DROP_INVALID_ARP);
	return vr_output(skb, pkt, pkt->vif);
}

/* The MAC stitched to a route, or NULL. */
static __always_inline const __u8 *vr_stitched(const struct vr_route *rt, __u64 *word)
{
	struct vr_bridge_entry *entry = vr_bridge_by_index(rt->bridge);

	if (!entry)
		return NULL;
	*word = *(volatile __u64 *)&entry->word;
	return VR_BE_FLAGS(*word) & VR_BE_VALID ? entry->key.mac : NULL;
}

static __always_inline int vr_arp_flood_virtual(struct __sk_buff *skb, struct vr_packet *pkt)
{
	VR_COUNT_VRF(pkt->vrf, arp_virtual_flood);
	return vr_broadcast(skb, pkt);
}

/* A gratuitous ARP of a VM. */
static __always_inline int vr_arp_gratuitous_virtual(struct __sk_buff *skb, struct vr_packet *pkt,
						     const struct vr_vif *vif,
						     const struct vr_route *rt)
{
	if (vif->flags & VIF_FLAG_MAC_PROXY)
		return vr_drop(skb, pkt, VR_DROP_INVALID_ARP);
	if (rt && rt->flags & VR_RT_ARP_TRAP)
		vr_trap_copy(skb, pkt, VR_TRAP_ARP);
	return vr_arp_flood_virtual(skb, pkt);
}

/* Does the route lead to this router itself, or to its agent? */
static __always_inline int vr_arp_is_gateway(const struct vr_route *rt)
{
	struct vr_nexthop *nh = vr_nh_get(rt->nh);

	return nh && (nh->type == NH_TYPE_RECEIVE || nh->type == NH_TYPE_L2_RECEIVE ||
		      vr_nh_is_agent(nh));
}

/* A request of a VM (upstream-behaviour: rows "Virtual"). */
static __always_inline int vr_arp_request_virtual(struct __sk_buff *skb, struct vr_packet *pkt,
						  struct vr_arp *arp)
{
	struct vr_vif *vif = vr_vif_get(pkt->vif);
	struct vr_route *rt = vr_inet_lookup(pkt->vrf, vr_arp_addr(arp->tpa));
	const __u8 *mac;
	__u64 word;

	if (!vif)
		return vr_drop(skb, pkt, VR_DROP_INVALID_IF);
	if (pkt->flags & VP_TAGGED)
		return vr_arp_flood_virtual(skb, pkt);
	if (vr_arp_is_gratuitous(arp))
		return vr_arp_gratuitous_virtual(skb, pkt, vif, rt);
	if (vif->flags & VIF_FLAG_NO_MAC_PROXY && !(rt && vr_arp_is_gateway(rt)))
		return vr_drop(skb, pkt, VR_DROP_INVALID_ARP);
	if (!(rt && rt->flags & VR_RT_ARP_PROXY) && !(vif->flags & VIF_FLAG_MAC_PROXY))
		return vr_arp_flood_virtual(skb, pkt);
	mac = rt ? vr_stitched(rt, &word) : NULL;
	if (mac) {
		VR_COUNT_VRF(pkt->vrf, arp_virtual_stitch);
		return vr_arp_answer_here(skb, pkt, arp, mac);
	}
	if (rt && rt->flags & VR_RT_ARP_FLOOD)
		return vr_arp_flood_virtual(skb, pkt);
	VR_COUNT_VRF(pkt->vrf, arp_virtual_proxy);
	return vr_arp_answer_here(skb, pkt, arp, vif->mac);
}

/* Is the VM that @nh_id leads to one of this host? */
static __always_inline int vr_nh_is_local_vm(__u32 nh_id)
{
	struct vr_nexthop *nh = vr_nh_get(nh_id);
	struct vr_vif *oif;

	if (!nh || nh->type != NH_TYPE_ENCAP)
		return 0;
	oif = vr_vif_get(nh->oif);
	return oif && oif->type == VIF_TYPE_VIRTUAL;
}

/*
 * What another host's gateway says must not reach VMs: for them the gateway is
 * that of their own host.
 */
static __always_inline int vr_arp_flood_physical(struct __sk_buff *skb, struct vr_packet *pkt,
						 const struct vr_arp *arp)
{
	struct vr_route *rt = vr_inet_lookup(pkt->vrf, vr_arp_addr(arp->spa));

	pkt->flags &= ~VP_NOT_TO_VMS;
	if (rt && vr_arp_is_gateway(rt))
		pkt->flags |= VP_NOT_TO_VMS;
	VR_COUNT_VRF(pkt->vrf, arp_physical_flood);
	return vr_broadcast(skb, pkt);
}

/* A request that came by a tunnel (rows "Physical tunnelled"). */
static __always_inline int vr_arp_request_tunnelled(struct __sk_buff *skb, struct vr_packet *pkt,
						    struct vr_arp *arp)
{
	struct vr_route *rt = vr_inet_lookup(pkt->vrf, vr_arp_addr(arp->tpa));
	__u8 asker[ETH_ALEN];
	const __u8 *mac;
	__u64 word = 0;

	if (pkt->flags & VP_TAGGED || !rt || vr_arp_is_gratuitous(arp))
		return vr_arp_flood_physical(skb, pkt, arp);
	mac = vr_stitched(rt, &word);
	if (!mac && rt->flags & VR_RT_ARP_FLOOD)
		return vr_arp_flood_physical(skb, pkt, arp);
	if (vr_arp_is_gateway(rt))
		return vr_drop(skb, pkt, VR_DROP_INVALID_ARP);
	if (!mac || !vr_nh_is_local_vm(VR_BE_NH(word)))
		return vr_arp_flood_physical(skb, pkt, arp);
	VR_COUNT_VRF(pkt->vrf, arp_physical_stitch);
	__builtin_memcpy(asker, arp->sha, ETH_ALEN);
	if (vr_arp_answer(skb, pkt, arp, mac))
		return vr_drop(skb, pkt, VR_DROP_INVALID_ARP);
	/* a packet of this host now: it may go back by the tunnel that the request came by */
	pkt->flags &= ~(VP_FROM_TUNNEL | VP_UUC_FLOOD | VP_NOT_TO_VMS);
	return vr_bridge_to(skb, pkt, asker);
}

/* ARP inside a VRF: from a VM or by a tunnel. Replies go the way of all frames. */
__noinline int vr_arp_overlay(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct vr_arp arp = {};
	struct ethhdr *eth;

	if (!pkt)
		return TC_ACT_SHOT;
	if (vr_arp_read(skb, pkt, &arp))
		return vr_drop(skb, pkt, VR_DROP_INVALID_ARP);
	if (arp.op == bpf_htons(VR_ARP_REQUEST)) {
		if (pkt->flags & VP_FROM_TUNNEL)
			return vr_arp_request_tunnelled(skb, pkt, &arp);
		return vr_arp_request_virtual(skb, pkt, &arp);
	}
	eth = vr_bytes(skb, 0, ETH_HLEN);
	if (!eth)
		return vr_drop(skb, pkt, VR_DROP_INVALID_PACKET);
	if (!(pkt->flags & VP_FROM_TUNNEL) && eth->h_dest[0] & 1) {
		vr_trap_copy(skb, pkt, VR_TRAP_ARP);
		return vr_arp_flood_virtual(skb, pkt);
	}
	return VR_ARP_BRIDGE;
}

/* Both the host's stack and the agent get it. */
static __always_inline int vr_xconnect_and_trap(struct __sk_buff *skb, struct vr_packet *pkt,
						__u32 reason, __u32 param)
{
	vr_output_copy(skb, pkt, pkt->xconnect);
	return vr_trap(skb, pkt, reason, param);
}

/* ARP on the fabric itself (rows "Physical underlay"). */
__noinline int vr_arp_fabric(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct vr_arp arp = {};
	struct vr_route *rt;
	struct vr_vif *vif;

	if (!pkt)
		return TC_ACT_SHOT;
	if (pkt->vif_flags & VIF_FLAG_XCONNECT)
		return vr_xconnect(skb, pkt);
	if (vr_arp_read(skb, pkt, &arp))
		return vr_drop(skb, pkt, VR_DROP_INVALID_ARP);
	if (arp.op == bpf_htons(VR_ARP_REPLY) || vr_arp_is_gratuitous(&arp))
		return vr_xconnect_and_trap(skb, pkt, VR_TRAP_ARP, 0);
	rt = vr_inet_lookup(pkt->vrf, vr_arp_addr(arp.tpa));
	vif = vr_vif_get(pkt->vif);
	if (!vif || !rt || !(rt->flags & VR_RT_ARP_PROXY) || !vr_nh_is_local_vm(rt->nh))
		return vr_xconnect(skb, pkt);
	return vr_arp_answer_here(skb, pkt, &arp, vif->mac);
}

/* ARP of the host (rows "Host"). */
__noinline int vr_arp_host(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct vr_arp arp = {};
	struct vr_route *rt;
	struct vr_vif *vif;
	__be32 target;

	if (!pkt)
		return TC_ACT_SHOT;
	if (vr_arp_read(skb, pkt, &arp))
		return vr_drop(skb, pkt, VR_DROP_INVALID_ARP);
	vif = vr_vif_get(pkt->vif);
	target = vr_arp_addr(arp.tpa);
	if (!vif || arp.op == bpf_htons(VR_ARP_REPLY) || vr_arp_is_gratuitous(&arp))
		return vr_xconnect(skb, pkt);
	rt = vr_inet_lookup(pkt->vrf, target);
	if ((target & bpf_htonl(0xffff0000)) == bpf_htonl(0xa9fe0000) ||
	    (rt && rt->flags & VR_RT_ARP_PROXY))
		return vr_arp_answer_here(skb, pkt, &arp, vif->mac);
	return vr_xconnect(skb, pkt);
}

#endif /* VR_ARP_H */
