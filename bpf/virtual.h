/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * virtual.h - what a packet of a VM meets before its destination is looked up.
 */
#ifndef VR_VIRTUAL_H
#define VR_VIRTUAL_H

#include "forward.h"
#include "source.h"

/* What the flags of a vif ask for. VR_GO_ON, or the packet has ended. */
__noinline int vr_virtual_flags(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct vr_vif *vif;

	if (!pkt)
		return TC_ACT_SHOT;
	vif = vr_vif_get(pkt->vif);
	if (!vif)
		return vr_drop(skb, pkt, VR_DROP_INVALID_IF);
	if (vif->flags & VIF_FLAG_MAC_IP_LEARN && vr_is_new_neighbour(skb, pkt))
		return vr_trap(skb, pkt, VR_TRAP_MAC_IP_LEARNING, 0);
	if (vif->flags & VIF_FLAG_MAC_LEARN)
		vr_learn_mac(skb, pkt);
	if (vr_is_service(skb, pkt, vif->flags))
		return vr_trap(skb, pkt, VR_TRAP_L3_PROTOCOLS, 0);
	return VR_GO_ON;
}

/* What only a vif that asks for it needs, and then the look-up. */
__noinline int vr_virtual_features(struct __sk_buff *skb, struct vr_packet *pkt)
{
	int refused, ret;

	if (!pkt)
		return TC_ACT_SHOT;
	if (vr_parse_l2(skb, pkt))
		return vr_drop(skb, pkt, VR_DROP_INVALID_PACKET);
	if (pkt->features & VIF_FEATURE_SOURCES) {
		refused = vr_source_refuses(skb, pkt);
		if (refused)
			return vr_drop(skb, pkt, refused);
	}
	if (pkt->features & VIF_FEATURE_FLAGS) {
		ret = vr_virtual_flags(skb, pkt);
		if (ret != VR_GO_ON)
			return ret;
	}
	return VR_GO_BRIDGE;
}

static __always_inline int vr_virtual_input(struct __sk_buff *skb, struct vr_packet *pkt)
{
	if (__builtin_expect(pkt->features, 0))
		return vr_virtual_features(skb, pkt);
	return VR_GO_BRIDGE;
}

#endif /* VR_VIRTUAL_H */
