/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * abi_inet6.h - the part of abi.h that is about IPv6 routes. Included by abi.h only.
 */
#ifndef VR_ABI_INET6_H
#define VR_ABI_INET6_H

/* map `inet6_hash` (hash): key -> slot of `inet6_slots`; one key for each prefix.
 * The key is compared after the look-up, as that of a bridge entry is. */
struct vr_inet6_key {
	__u8 addr[16];		/* the bits beyond plen are 0 */
	__u16 vrf;
	__u8 plen;
	__u8 reserved[5];
} __attribute__((aligned(8)));

struct vr_inet6_entry {
	struct vr_inet6_key key;
	struct vr_route route;
};

/* map `inet6_lengths`, by VRF: bit n, counted from the lowest of the first word,
 * is set if there may be routes of prefix length 128 - n */
struct vr_inet6_lengths {
	__u64 bits[3];
};

/* map `inet6_counts`, by VRF: routes of each prefix length; for the writers only */
struct vr_inet6_counts {
	__u32 count[129];
};

#endif /* VR_ABI_INET6_H */
