/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * abi_changes.h - the part of abi.h that is about what writers do to routes and
 * MACs. Included by abi.h only.
 */
#ifndef VR_ABI_CHANGES_H
#define VR_ABI_CHANGES_H

enum vr_route_operation {
	VR_ROUTE_ADD = 1,	/* or change */
	VR_ROUTE_DELETE = 2,
};

/* maps `route_changes` (a ring, by number modulo its size) and `route_changes_at`:
 * what the writers did to routes and MACs. dp-core does not look at them. */
struct vr_route_change {
	__u8 addr[16];		/* inet: in the first 4 bytes; bridge: none */
	__u32 nh;
	__u32 label;		/* VR_LABEL_NONE = none */
	__u32 bridge;		/* index of the MAC in `bridge`; 0 = none */
	__u16 vrf;
	__u16 flags;		/* enum vr_route_flag or vr_bridge_flag */
	__u8 mac[6];		/* of the bridge entry, or stitched to the route */
	__u8 family;		/* VR_AF_* */
	__u8 plen;
	__u8 operation;		/* enum vr_route_operation */
	__u8 reserved[7];
};

struct vr_route_changes_at {
	__u64 noted;		/* changes written into the ring since the load */
	__u64 done;		/* of those, how many are in the tables; the others are
				 * being made, or their writer died over them */
};

#endif /* VR_ABI_CHANGES_H */
