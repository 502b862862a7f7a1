/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * drop.h - the one exit for drops.
 */
#ifndef VR_DROP_H
#define VR_DROP_H

#include "packet.h"
#include "stats.h"
#include "trace.h"

/* The tag that the kernel noted beside the frame: EtherType and tag; 0 = none. */
static __always_inline __u32 vr_noted_tag(const struct __sk_buff *skb)
{
	return vr_has_noted_tag(skb) ? (__u32)bpf_ntohs(skb->vlan_proto) << 16 | skb->vlan_tci : 0;
}

/* Tells a test what was decided; costs nothing outside of tests. */
static __always_inline void vr_test_verdict(struct __sk_buff *skb, __u32 verdict,
					    __u32 vif, __u32 reason)
{
	if (!vr_test_mode)
		return;
	skb->cb[0] = verdict;
	skb->cb[1] = vif;
	skb->cb[2] = reason;
	skb->cb[3] = vr_noted_tag(skb);
}

/* Counts and reports a loss that is not the end of the packet: of a copy. */
static __always_inline void vr_drop_copy(struct __sk_buff *skb, struct vr_packet *pkt,
					 __u32 reason)
{
	vr_count_drop(pkt->vif, reason);
	if (vr_cfg.events & (VR_EVENT_DROPS | VR_EVENT_PATH))
		vr_event_emit(skb, pkt, VR_EV_DROP, pkt->vif, reason);
}

/* Counts, reports and ends the packet. Returns TC_ACT_SHOT. */
__noinline int vr_drop(struct __sk_buff *skb, struct vr_packet *pkt, __u32 reason)
{
	if (!pkt)
		return TC_ACT_SHOT;
	vr_drop_copy(skb, pkt, reason);
	vr_test_verdict(skb, VR_VERDICT_DROP, VR_VIF_NONE, reason);
	return TC_ACT_SHOT;
}

#endif /* VR_DROP_H */
