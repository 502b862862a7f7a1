/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * nexthop.h - the table of nexthops and of the members of composites.
 */
#ifndef VR_NEXTHOP_H
#define VR_NEXTHOP_H

#include "packet.h"

/* nexthop id -> slot; 0 = none */
VR_ARRAY(nexthop_index, __u32, 524288, 0);
/* slots; read through nexthop_index only */
VR_ARRAY(nexthop_slots, struct vr_nexthop, 524288 + 65536, 0);
/* slot -> 0 free, 1 in use, else when it was retired (ns); for the writers only */
VR_ARRAY(nexthop_retire, __u64, 524288 + 65536, BPF_F_MMAPABLE);
/* chains of members; read through the nexthop that names the first */
VR_ARRAY(member_slots, struct vr_nh_members, 65536, 0);
VR_ARRAY(member_retire, __u64, 65536, BPF_F_MMAPABLE);

/* The nexthop @id, or NULL if there is none or it is not valid. */
static __always_inline struct vr_nexthop *vr_nh_get(__u32 id)
{
	__u32 *slot = bpf_map_lookup_elem(&nexthop_index, &id);
	struct vr_nexthop *nh;

	if (!slot || !*slot)
		return NULL;
	nh = bpf_map_lookup_elem(&nexthop_slots, slot);
	return nh && nh->flags & NH_FLAG_VALID ? nh : NULL;
}

/* The agent as a gateway: a nexthop Encap that leads to pkt0. */
static __always_inline int vr_nh_is_agent(const struct vr_nexthop *nh)
{
	return nh->type == NH_TYPE_ENCAP && nh->oif != VR_VIF_NONE && nh->oif == vr_cfg.agent_vif;
}

/* The member at @chunk and @pos, which move on; 0 if there is none left. */
static __always_inline int vr_next_member(__u32 *chunk, __u32 *pos, struct vr_nh_member *member)
{
	struct vr_nh_members *m;
	__u32 i = *pos;

	if (!*chunk)
		return 0;
	m = bpf_map_lookup_elem(&member_slots, chunk);
	if (!m || i >= m->count || i >= VR_MEMBERS_PER_CHUNK)
		return 0;
	*member = m->member[i];
	*pos = i + 1;
	if (*pos >= m->count) {
		*chunk = m->next;
		*pos = 0;
	}
	return 1;
}

#endif /* VR_NEXTHOP_H */
