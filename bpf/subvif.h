/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * subvif.h - Virtual VLAN vifs: parts of another vif, told apart by VLAN and sender.
 */
#ifndef VR_SUBVIF_H
#define VR_SUBVIF_H

#include "mirror_input.h"

VR_HASH(vif_vlans, struct vr_vlan_key, __u32, VR_MAX_VIFS);

#define VR_VLAN_VID	0x0fff

/* Does @sub still say what the key that led to it said? */
static __always_inline int vr_subvif_is(const struct vr_vif *sub, const struct vr_vlan_key *key)
{
	static const __u8 any[ETH_ALEN];

	if (sub->type != VIF_TYPE_VIRTUAL_VLAN || sub->parent != key->parent ||
	    sub->vlan != key->vlan)
		return 0;
	if (!__builtin_memcmp(key->mac, any, ETH_ALEN))
		return !__builtin_memcmp(sub->src_macs, any, ETH_ALEN);
#pragma unroll
	for (int i = 0; i < VR_SRC_MACS; i++)
		if (!__builtin_memcmp(sub->src_macs + i * ETH_ALEN, key->mac, ETH_ALEN))
			return 1;
	return 0;
}

static __always_inline struct vr_vif *vr_subvif_find(const struct vr_vlan_key *key)
{
	__u32 *idx = bpf_map_lookup_elem(&vif_vlans, key);
	struct vr_vif *sub = idx ? vr_vif_get(*idx - 1) : NULL;

	return sub && vr_subvif_is(sub, key) ? sub : NULL;
}

/* VLAN and priority of a frame of @parent as in a tag; -1 if it has none. */
static __always_inline int vr_tci_of(struct __sk_buff *skb, const struct vr_packet *pkt)
{
	struct vr_vif *parent;
	__be16 tci;

	if (!(pkt->flags & VP_TAGGED)) {
		parent = vr_vif_get(pkt->vif);
		return parent && parent->flags & VIF_FLAG_NATIVE_VLAN ? 0 : -1;
	}
	if (skb->vlan_present)
		return skb->vlan_tci;
	return bpf_skb_load_bytes(skb, ETH_HLEN, &tci, sizeof(tci)) ? -1 : bpf_ntohs(tci);
}

/*
 * Makes a frame of the parent one of the vif of its VLAN, without the tag; others
 * are the parent's own. 0, or a drop reason.
 */
__noinline int vr_enter_subvif(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct vr_vlan_key key = {};
	struct vr_vif *sub;
	int tci;

	if (!pkt || vr_parse_l2(skb, pkt))
		return VR_DROP_INVALID_PACKET;
	tci = vr_tci_of(skb, pkt);
	if (tci < 0 || bpf_skb_load_bytes(skb, ETH_ALEN, key.mac, sizeof(key.mac)))
		return 0;
	key.parent = pkt->vif;
	key.vlan = tci & VR_VLAN_VID;
	sub = vr_subvif_find(&key);
	if (!sub) {
		__builtin_memset(key.mac, 0, sizeof(key.mac));
		sub = vr_subvif_find(&key);
	}
	if (!sub)
		return 0;
	if (pkt->vif_flags & VIF_FLAG_MIRROR_RX)
		vr_mirror_received(skb, pkt);
	pkt->vif = sub->idx;
	pkt->vrf = sub->vrf;
	pkt->vif_flags = sub->flags;
	pkt->features = sub->features;
	if (pkt->flags & VP_TAGGED)
		pkt->priority = VR_PRIORITY | (tci >> VR_VLAN_PRIO_SHIFT & 7);
	/* the kernel refuses if a second tag is cut short */
	return vr_untag(skb, pkt) ? VR_DROP_INVALID_PACKET : 0;
}

#endif /* VR_SUBVIF_H */
