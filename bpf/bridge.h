/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * bridge.h - MAC addresses per VRF.
 */
#ifndef VR_BRIDGE_H
#define VR_BRIDGE_H

#include "packet.h"

VR_HASH(bridge_hash, struct vr_bridge_key, __u32, 262144 + 53248);
/* by the index that bridge_hash gives; 0 is never used */
VR_ARRAY(bridge, struct vr_bridge_entry, 262144 + 53248 + 1, BPF_F_MMAPABLE);
/* index -> 0 free, 1 in use, else when it was retired (ns); for the writers only */
VR_ARRAY(bridge_retire, __u64, 262144 + 53248 + 1, BPF_F_MMAPABLE);

static __always_inline struct vr_bridge_entry *vr_bridge_by_index(__u32 index)
{
	return index ? bpf_map_lookup_elem(&bridge, &index) : NULL;
}

/*
 * The entry of a MAC, with its word as read once in @word, or NULL. The word
 * is read before the key is compared: an index is given to another key only a
 * second after it was retired, so key and word then belong together.
 */
static __always_inline struct vr_bridge_entry *vr_bridge_lookup(const __u8 *mac, __u32 vrf,
								__u64 *word)
{
	struct vr_bridge_key key = { .vrf = vrf };
	struct vr_bridge_entry *entry;
	__u32 *index;

	__builtin_memcpy(key.mac, mac, ETH_ALEN);
	index = bpf_map_lookup_elem(&bridge_hash, &key);
	if (!index)
		return NULL;
	entry = vr_bridge_by_index(*index);
	if (!entry)
		return NULL;
	*word = *(volatile __u64 *)&entry->word;
	if (!(VR_BE_FLAGS(*word) & VR_BE_VALID))
		return NULL;
	if (*(__u64 *)&entry->key != *(__u64 *)&key)
		return NULL;
	return entry;
}

static __always_inline int vr_has_entry(const __u8 *mac, __u32 vrf)
{
	__u64 word;

	return vr_bridge_lookup(mac, vrf, &word) != NULL;
}

/* Sets pkt->nh and pkt->label from the entry of @mac; 0 if there is one. Does not
 * count as a look-up of its own. */
static __always_inline int vr_bridge_route(struct vr_packet *pkt, const __u8 *mac, __u32 vrf)
{
	struct vr_bridge_entry *entry;
	__u64 word = 0;

	entry = vr_bridge_lookup(mac, vrf, &word);
	if (!entry)
		return -1;
	__sync_fetch_and_add(&entry->packets, 1);
	pkt->nh = VR_BE_NH(word);
	pkt->label = VR_BE_FLAGS(word) & VR_BE_LABEL_VALID ? VR_BE_LABEL(word) : VR_LABEL_NONE;
	return 0;
}

#endif /* VR_BRIDGE_H */
