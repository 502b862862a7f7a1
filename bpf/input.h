/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * input.h - what a packet meets first, by the type of the vif it came in by.
 */
#ifndef VR_INPUT_H
#define VR_INPUT_H

#include "bypass.h"
#include "cut.h"
#include "forward.h"
#include "subvif.h"
#include "underlay6.h"
#include "virtual.h"

/* Fabric IPv4 while cross-connected: nothing but our own tunnels is looked into. */
static __always_inline int vr_physical_xconnected(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct iphdr *ip = vr_inet_header(skb, pkt->l3);
	struct vr_nexthop *nh;
	struct vr_route *rt;

	if (!ip)
		return vr_drop(skb, pkt, VR_DROP_INVALID_PACKET);
	rt = vr_inet_lookup(pkt->vrf, ip->daddr);
	nh = rt ? vr_nh_get(rt->nh) : NULL;
	if (!nh || nh->type != NH_TYPE_RECEIVE)
		return vr_xconnect(skb, pkt);
	VR_COUNT_VRF(pkt->vrf, receives);
	pkt->lookups = 1;
	return vr_local_input(skb, pkt, nh->oif);
}

/* The fabric. */
__noinline int vr_physical_input(struct __sk_buff *skb, struct vr_packet *pkt)
{
	if (!pkt)
		return TC_ACT_SHOT;
	pkt->flags |= VP_FROM_FABRIC;
	if (vr_parse_l2(skb, pkt))
		return vr_drop(skb, pkt, VR_DROP_INVALID_PACKET);
	if (pkt->flags & VP_TAGGED)
		return vr_xconnect(skb, pkt);
	if (pkt->proto == bpf_htons(ETH_P_ARP))
		return vr_arp_fabric(skb, pkt);
	if (pkt->proto == bpf_htons(ETH_P_IPV6))
		return vr_underlay_input6(skb, pkt);
	if (pkt->proto != bpf_htons(ETH_P_IP) || vr_is_multicast(skb))
		return vr_xconnect(skb, pkt);
	if (pkt->vif_flags & VIF_FLAG_XCONNECT)
		return vr_physical_xconnected(skb, pkt);
	return vr_inet_input(skb, pkt);
}

/* The host's own packets. */
__noinline int vr_host_input(struct __sk_buff *skb, struct vr_packet *pkt)
{
	if (!pkt)
		return TC_ACT_SHOT;
	if (pkt->vif_flags & VIF_FLAG_XCONNECT)
		return vr_xconnect(skb, pkt);
	if (vr_parse_l2(skb, pkt))
		return vr_drop(skb, pkt, VR_DROP_INVALID_PACKET);
	if (pkt->flags & VP_TAGGED)
		return vr_xconnect(skb, pkt);
	if (pkt->proto == bpf_htons(ETH_P_ARP))
		return vr_arp_host(skb, pkt);
	if (pkt->proto == bpf_htons(ETH_P_IPV6))
		return vr_underlay_input6(skb, pkt);
	if (pkt->proto != bpf_htons(ETH_P_IP) || vr_is_multicast(skb))
		return vr_xconnect(skb, pkt);
	return vr_inet_input(skb, pkt);
}

/* Takes the agent's header off; the frame behind it stays. */
static __always_inline int vr_agent_pull(struct __sk_buff *skb, struct vr_agent_hdr *hdr)
{
	struct ethhdr eth;

	if (bpf_skb_load_bytes(skb, 0, &eth, sizeof(eth)) || eth.h_proto != bpf_htons(ETH_P_IP))
		return -1;
	if (bpf_skb_load_bytes(skb, ETH_HLEN, hdr, sizeof(*hdr)) ||
	    bpf_skb_load_bytes(skb, VR_TRAP_HEAD_LEN, &eth, sizeof(eth)))
		return -1;
	if (vr_pad_inner(skb, VR_TRAP_HEAD_LEN + ETH_HLEN, eth.h_proto) ||
	    vr_shrink(skb, VR_TRAP_HEAD_LEN, eth.h_proto))
		return -1;
	return bpf_skb_store_bytes(skb, 0, &eth, sizeof(eth), 0) ? -1 : 0;
}

/* What the agent sends by pkt0. */
__noinline int vr_agent_input(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct vr_agent_hdr hdr = {};
	struct vr_vif *vif;
	__u32 idx;

	if (!pkt)
		return TC_ACT_SHOT;
	if (vr_agent_pull(skb, &hdr))
		return vr_drop(skb, pkt, VR_DROP_INVALID_PACKET);
	if (vr_parse_l2(skb, pkt))
		return vr_drop(skb, pkt, VR_DROP_INVALID_PACKET);
	idx = bpf_ntohs(hdr.ifindex);
	switch (bpf_ntohs(hdr.cmd)) {
	case VR_TRAP_SWITCH:
		return vr_output(skb, pkt, idx);
	case VR_TRAP_ROUTE:
		vif = vr_vif_get(idx);
		if (vif && vr_is_vm_type(vif->type)) {
			pkt->vif = idx;
			pkt->vif_type = VIF_TYPE_VIRTUAL;
			pkt->features = vif->features & VIF_FEATURE_FLAGS;
		}
		vr_note_probe(pkt, &hdr);
		pkt->vrf = bpf_ntohs(hdr.vrf);
		return VR_GO_BRIDGE;
	default:
		return vr_drop(skb, pkt, VR_DROP_INVALID_PACKET);
	}
}

/* First stage of every packet. */
static __always_inline int vr_input(struct __sk_buff *skb, struct vr_packet *pkt)
{
	switch (pkt->vif_type) {
	case VIF_TYPE_VIRTUAL:
		return vr_virtual_input(skb, pkt);
	case VIF_TYPE_PHYSICAL:
		return vr_physical_input(skb, pkt);
	case VIF_TYPE_HOST:
	case VIF_TYPE_GATEWAY:
		return vr_host_input(skb, pkt);
	case VIF_TYPE_AGENT:
		return vr_agent_input(skb, pkt);
	default:
		return vr_drop(skb, pkt, VR_DROP_INTERFACE_RX_DISCARD);
	}
}

static __always_inline void vr_packet_init(struct __sk_buff *skb, struct vr_packet *pkt,
					   const struct vr_vif *vif)
{
	pkt->vif = vif->idx;
	pkt->vrf = vif->vrf;
	pkt->xconnect = vif->xconnect;
	pkt->vif_type = vif->type;
	pkt->vif_flags = vif->flags;
	pkt->features = vif->features;
	pkt->label = VR_LABEL_NONE;
	if (!vr_cfg.events)
		return;
	pkt->id = bpf_ktime_get_ns();
	vr_parse_l2(skb, pkt);
	vr_trace(skb, pkt, VR_EV_RX);
}

/* A piece of what a tunnel brought whole (super.h), counted when it came. */
static __always_inline int vr_super_piece(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct vr_vif *vif = vr_vif_get(skb->mark & VR_SUPER_VIF);

	if (!vif || vif->type != VIF_TYPE_PHYSICAL)
		return vr_drop(skb, pkt, VR_DROP_INVALID_IF);
	skb->mark = 0;
	vr_packet_init(skb, pkt, vif);
	if (pkt->vif_flags & VIF_FLAG_MIRROR_RX)
		vr_mirror_received(skb, pkt);
	return VR_GO_FABRIC;
}

/* From a netdevice that is no vif's: the end of the exception pair, or a NIC or its vhost0 after
 * a reset. VR_GO_ON for a copy that comes in again, VR_GO_FABRIC, or the packet has ended. */
__noinline int vr_no_vif(struct __sk_buff *skb, struct vr_packet *pkt)
{
	__u32 magic = skb->mark & VR_AGAIN_MAGIC_MASK;

	if (!pkt)
		return TC_ACT_SHOT;
	if (!vr_cfg.exception_in || skb->ifindex != vr_cfg.exception_in)
		return vr_bypass(skb, pkt);
	if (magic == VR_SUPER_MAGIC)
		return vr_super_piece(skb, pkt);
	if (magic != VR_AGAIN_MAGIC)
		return vr_drop(skb, pkt, VR_DROP_INTERFACE_RX_DISCARD);
	if (vr_cfg.events)
		pkt->id = bpf_ktime_get_ns();
	return VR_GO_ON;
}

/* A copy that dp-core sent to itself (again.h). */
static __always_inline int vr_input_again(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct vr_again *again = vr_again_get(skb);
	__u32 what, param, arg, flags;

	if (!again)
		return vr_drop(skb, pkt, VR_DROP_RECIRCULATION);
	pkt->nh = again->nh;
	pkt->vif = again->vif;
	pkt->vrf = again->vrf;
	pkt->label = again->label;
	pkt->tun_sip = again->tun_sip;
	pkt->vif_type = again->vif_type;
	pkt->priority = again->priority;
	flags = again->flags;
	skb->cb[0] = again->tun_sip6[0];
	skb->cb[1] = again->tun_sip6[1];
	skb->cb[2] = again->tun_sip6[2];
	skb->cb[3] = again->tun_sip6[3];
	what = again->what;
	param = again->param;
	arg = again->arg;
	if (__sync_fetch_and_sub(&again->left, 1) == 1)
		again->mark = 0;
	skb->mark = 0;
	if (vr_parse_l2(skb, pkt))
		return vr_drop(skb, pkt, VR_DROP_INVALID_PACKET);
	pkt->flags |= VP_AGAIN | flags;
	if (what == VR_AGAIN_MIRROR)
		return vr_mirror_again(skb, pkt, param);
	if (what == VR_AGAIN_FLOOD)
		return vr_flood_again(skb, pkt, param, arg);
	if (what == VR_AGAIN_ICMP)
		return vr_icmp_again(skb, pkt, param);
	if (what == VR_AGAIN_CUT)
		return vr_cut_again(skb, pkt);
	return vr_trap(skb, pkt, param, arg);
}

#endif /* VR_INPUT_H */
