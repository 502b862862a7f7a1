/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * mirror.h - the table of mirrors, and the copy that is sent to one.
 *
 * The copy comes in again (again.h) as a plain frame and takes the nexthop of
 * the mirror: a UDP tunnel behind metadata (dynamic), a VXLAN tunnel with a VNI
 * or a vif (static). A copy is never copied.
 */
#ifndef VR_MIRROR_H
#define VR_MIRROR_H

#include "again.h"
#include "drop.h"

/* index of a mirror -> slot; 0 = none */
VR_ARRAY(mirror_index, __u32, VR_MAX_MIRRORS, 0);
/* slots; read through mirror_index only */
VR_ARRAY(mirror_slots, struct vr_mirror, 2 * VR_MAX_MIRRORS, 0);
/* slot -> 0 free, 1 in use, else when it was retired (ns); for the writers only */
VR_ARRAY(mirror_retire, __u64, 2 * VR_MAX_MIRRORS, BPF_F_MMAPABLE);

static __always_inline struct vr_mirror *vr_mirror_get(__u32 index)
{
	__u32 *slot = bpf_map_lookup_elem(&mirror_index, &index);

	return slot && *slot ? bpf_map_lookup_elem(&mirror_slots, slot) : NULL;
}

/* Sends a copy of the frame, as it is now, to mirror @index; the packet lives on. */
__noinline int vr_mirror(struct __sk_buff *skb, struct vr_packet *pkt, __u32 index)
{
	if (!pkt || pkt->flags & VP_MIRROR)
		return 0;
	if (!vr_mirror_get(index))
		vr_drop_copy(skb, pkt, VR_DROP_INVALID_NH);
	else if (vr_send_again(skb, pkt, VR_AGAIN_MIRROR, index, 0))
		vr_drop_copy(skb, pkt, VR_DROP_CLONE_FAIL);
	return 0;
}

#endif /* VR_MIRROR_H */
