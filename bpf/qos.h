/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * qos.h - forwarding classes: how a packet is marked and which queue it takes,
 * by what it says of itself and the QoS map of the vif that it came in by.
 *
 * While no map exists (vr_cfg.qos_maps) nothing of this is looked at.
 */
#ifndef VR_QOS_H
#define VR_QOS_H

#include "vif.h"

VR_ARRAY(qos_map, struct vr_qos_map, 4096, 0);
/* forwarding class -> VR_FC_* and VR_ENTRY_VALID */
VR_ARRAY(fc_map, __u32, VR_MAX_FC, 0);

/* What stands in the first two bytes of an IP header: 4 bits, traffic class, rest. */
static __always_inline __u8 vr_qos_tos(__be16 proto, const __u8 head[2])
{
	if (proto == bpf_htons(ETH_P_IPV6))
		return head[0] << 4 | head[1] >> 4;
	return head[1];
}

/* 0 and the class of the packet in @map; -1 for a frame that says nothing. */
static __always_inline int vr_qos_lookup(struct __sk_buff *skb, const struct vr_packet *pkt,
					 const struct vr_qos_map *map, __u32 *fc)
{
	__u8 head[2];
	__be16 tci;

	if (pkt->proto == bpf_htons(ETH_P_IP) || pkt->proto == bpf_htons(ETH_P_IPV6)) {
		if (bpf_skb_load_bytes(skb, pkt->l3, head, sizeof(head)))
			return -1;
		*fc = map->dscp[vr_qos_tos(pkt->proto, head) >> 2 & 63];
		return 0;
	}
	if (pkt->priority & VR_PRIORITY) {
		*fc = map->dot1p[pkt->priority & 7];
		return 0;
	}
	if (!(pkt->flags & VP_TAGGED))
		return -1;
	if (skb->vlan_present)
		tci = bpf_htons(skb->vlan_tci);
	else if (bpf_skb_load_bytes(skb, ETH_HLEN, &tci, sizeof(tci)))
		return -1;
	*fc = map->dot1p[bpf_ntohs(tci) >> VR_VLAN_PRIO_SHIFT & 7];
	return 0;
}

/* The word of the packet's forwarding class, whose queue and priority it gets; 0 = none. */
__noinline int vr_qos_class(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct vr_qos_map *map;
	struct vr_vif *vif;
	__u32 index, fc = 0;
	__u32 *word;

	if (!pkt || pkt->flags & (VP_MIRROR | VP_ENCAPPED))
		return 0;
	vif = vr_vif_get(pkt->vif);
	if (!vif || vif->qos < 0)
		return 0;
	index = vif->qos;
	map = bpf_map_lookup_elem(&qos_map, &index);
	if (!map || !map->valid || vr_qos_lookup(skb, pkt, map, &fc))
		return 0;
	word = bpf_map_lookup_elem(&fc_map, &fc);
	if (!word || !(*word & VR_ENTRY_VALID))
		return 0;
	fc = *word;
	/* the kernel takes a queue that is noted as one more than it is */
	skb->queue_mapping = VR_FC_QUEUE(fc) + 1;
	skb->priority = VR_FC_DOT1P(fc);
	/* not in the tag's place: a packet that is cut comes here once more */
	pkt->priority = (pkt->priority & (VR_PRIORITY | 7)) | VR_CLASSED |
			VR_FC_DOT1P(fc) << VR_CLASS_SHIFT;
	if (vr_test_mode)
		skb->cb[4] = (VR_FC_QUEUE(fc) + 1) << 16 | VR_FC_DOT1P(fc);
	return fc;
}

/* Writes the DSCP of the class into an IPv4 packet; the two bits of ECN stay. */
static __always_inline void vr_qos_mark4(struct __sk_buff *skb, const struct vr_packet *pkt,
					 __u32 fc)
{
	struct iphdr *ip = vr_inet_header(skb, pkt->l3);
	__be16 old, new;
	__u8 tos;

	if (!ip)
		return;
	tos = VR_FC_DSCP(fc) << 2 | (ip->tos & 3);
	old = *(__be16 *)ip;
	new = bpf_htons((bpf_ntohs(old) & 0xff00) | tos);
	if (old == new)
		return;
	if (bpf_l3_csum_replace(skb, pkt->l3 + offsetof(struct iphdr, check), old, new, 2))
		return;
	bpf_skb_store_bytes(skb, pkt->l3 + offsetof(struct iphdr, tos), &tos, 1, 0);
}

static __always_inline void vr_qos_mark6(struct __sk_buff *skb, const struct vr_packet *pkt,
					 __u32 fc)
{
	__be16 word;
	__u16 host;

	if (bpf_skb_load_bytes(skb, pkt->l3, &word, sizeof(word)))
		return;
	host = (bpf_ntohs(word) & 0xf03f) | VR_FC_DSCP(fc) << 6;
	word = bpf_htons(host);
	bpf_skb_store_bytes(skb, pkt->l3, &word, sizeof(word), 0);
}

/* Marks the packet itself, which goes to a vif and into no tunnel. */
__noinline int vr_qos_mark(struct __sk_buff *skb, struct vr_packet *pkt)
{
	__u32 fc;

	if (!pkt)
		return 0;
	fc = vr_qos_class(skb, pkt);
	if (!fc)
		return 0;
	if (pkt->proto == bpf_htons(ETH_P_IP))
		vr_qos_mark4(skb, pkt, fc);
	else if (pkt->proto == bpf_htons(ETH_P_IPV6))
		vr_qos_mark6(skb, pkt, fc);
	return 0;
}

#endif /* VR_QOS_H */
