/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * abi_mirror_qos.h - the part of abi.h that is about mirrors and QoS. Included by
 * abi.h only.
 */
#ifndef VR_ABI_MIRROR_QOS_H
#define VR_ABI_MIRROR_QOS_H

#define VR_MAX_MIRRORS	255
#define VR_MIRROR_NONE	255	/* in struct vr_vif */
#define VR_METADATA_MAX	16

enum vr_mirror_flag {
	VR_MIRROR_DYNAMIC = 0x1,	/* metadata and UDP */
};

/* One mirror: a slot of map `mirror_slots`, found through `mirror_index`. */
struct vr_mirror {
	__u32 nh;
	__u32 vni;		/* static; VR_LABEL_NONE = none */
	__u32 flags;		/* enum vr_mirror_flag */
	__u32 metadata_len;	/* dynamic: bytes before the frame */
	__u8 metadata[VR_METADATA_MAX];
};

/* map `qos_map`, by index: forwarding class of what a packet says. Each byte is
 * read alone, so it is written in place. */
struct vr_qos_map {
	__u8 valid;
	__u8 dscp[64];
	__u8 exp[8];
	__u8 dot1p[8];
};

/* map `fc_map`, by forwarding class: a word with VR_ENTRY_VALID */
#define VR_MAX_FC	256
#define VR_FC_DSCP(w)	((w) & 63)
#define VR_FC_EXP(w)	((w) >> 8 & 7)
#define VR_FC_DOT1P(w)	((w) >> 12 & 7)
#define VR_FC_QUEUE(w)	((w) >> 16 & 255)

#endif /* VR_ABI_MIRROR_QOS_H */
