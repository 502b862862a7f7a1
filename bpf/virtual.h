/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * virtual.h - what a packet of a VM meets before its destination is looked up.
 */
#ifndef VR_VIRTUAL_H
#define VR_VIRTUAL_H

#include "forward.h"
#include "source.h"

/* What only a vif that asks for it needs, and then the look-up. */
__noinline int vr_virtual_features(struct __sk_buff *skb, struct vr_packet *pkt)
{
	int refused;

	if (!pkt)
		return TC_ACT_SHOT;
	if (vr_parse_l2(skb, pkt))
		return vr_drop(skb, pkt, VR_DROP_INVALID_PACKET);
	if (pkt->features & VIF_FEATURE_SOURCES) {
		refused = vr_source_refuses(skb, pkt);
		if (refused)
			return vr_drop(skb, pkt, refused);
	}
	return vr_bridge_input(skb, pkt);
}

static __always_inline int vr_virtual_input(struct __sk_buff *skb, struct vr_packet *pkt)
{
	if (__builtin_expect(pkt->features, 0))
		return vr_virtual_features(skb, pkt);
	return vr_bridge_input(skb, pkt);
}

#endif /* VR_VIRTUAL_H */
