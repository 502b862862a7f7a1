/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * stats.h - counters of vifs, VRFs and drop reasons.
 */
#ifndef VR_STATS_H
#define VR_STATS_H

#include "packet.h"

/* by vif idx */
VR_PERCPU_ARRAY(vif_stats, struct vr_vif_stats, VR_MAX_VIFS);
/* by vif idx; not per CPU: 96 reasons a vif would multiply by the CPUs */
VR_ARRAY(vif_drops, struct vr_vif_drops, VR_MAX_VIFS, 0);
/* by enum vr_drop_reason */
VR_PERCPU_ARRAY(drop_stats, __u64, VR_DROP_MAX);
/* by VRF */
VR_PERCPU_ARRAY(vrf_stats, struct vr_vrf_stats, 4096);

/* Bytes of the frame, with a tag that the kernel noted beside it. */
static __always_inline __u32 vr_frame_len(const struct __sk_buff *skb)
{
	return skb->len + (skb->vlan_present ? 4 : 0);
}

static __always_inline void vr_count_rx(__u32 vif, __u32 len)
{
	struct vr_vif_stats *s = bpf_map_lookup_elem(&vif_stats, &vif);

	if (!s)
		return;
	s->rx_packets++;
	s->rx_bytes += len;
}

static __always_inline void vr_count_tx(__u32 vif, __u32 len)
{
	struct vr_vif_stats *s = bpf_map_lookup_elem(&vif_stats, &vif);

	if (!s)
		return;
	s->tx_packets++;
	s->tx_bytes += len;
}

static __always_inline void vr_count_drop(__u32 vif, __u32 reason)
{
	struct vr_vif_drops *of_vif;
	__u64 *count;

	count = bpf_map_lookup_elem(&drop_stats, &reason);
	if (count)
		(*count)++;
	if (vif == VR_VIF_NONE)
		return;
	of_vif = bpf_map_lookup_elem(&vif_drops, &vif);
	if (of_vif && reason < VR_DROP_MAX)
		__sync_fetch_and_add(&of_vif->count[reason], 1);
}

/* Adds one to a counter of struct vr_vrf_stats. */
#define VR_COUNT_VRF(vrf_, field_)					\
	do {								\
		__u32 key_ = (vrf_);					\
		struct vr_vrf_stats *s_ =				\
			bpf_map_lookup_elem(&vrf_stats, &key_);		\
		if (s_)							\
			s_->field_++;					\
	} while (0)

#endif /* VR_STATS_H */
