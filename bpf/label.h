/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * label.h - incoming MPLS labels and VNIDs.
 */
#ifndef VR_LABEL_H
#define VR_LABEL_H

#include "packet.h"

/* label -> VR_ENTRY_VALID | nexthop id */
VR_ARRAY(mpls, __u32, 5120, 0);
VR_HASH(vxlan_hash, __u32, __u32, 16384);
/* by the index that vxlan_hash gives: VNI << 32 | VR_ENTRY_VALID | nexthop id */
VR_ARRAY(vxlan, __u64, 16384 + 1, 0);
/* index -> 0 free, 1 in use, else when it was retired (ns); for the writers only */
VR_ARRAY(vxlan_retire, __u64, 16384 + 1, BPF_F_MMAPABLE);

/* 0 and the nexthop in @nh, or -1 for a label that nobody has. */
static __always_inline int vr_mpls_lookup(__u32 label, __u32 *nh)
{
	__u32 *word = bpf_map_lookup_elem(&mpls, &label);

	if (!word || !(*word & VR_ENTRY_VALID))
		return -1;
	*nh = *word & ~VR_ENTRY_VALID;
	return 0;
}

/* 0 and the nexthop in @nh, or -1 for a VNI that nobody has. */
static __always_inline int vr_vxlan_lookup(__u32 vni, __u32 *nh)
{
	__u32 *index = bpf_map_lookup_elem(&vxlan_hash, &vni);
	__u64 *entry, word;

	if (!index)
		return -1;
	entry = bpf_map_lookup_elem(&vxlan, index);
	if (!entry)
		return -1;
	word = *(volatile __u64 *)entry;
	if (word >> 32 != vni || !(word & VR_ENTRY_VALID))
		return -1;
	*nh = (__u32)word & ~VR_ENTRY_VALID;
	return 0;
}

#endif /* VR_LABEL_H */
