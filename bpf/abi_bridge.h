/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * abi_bridge.h - the part of abi.h that is about MACs. Included by abi.h only.
 */
#ifndef VR_ABI_BRIDGE_H
#define VR_ABI_BRIDGE_H

enum vr_bridge_flag {
	VR_BE_VALID = 0x1,
	VR_BE_LABEL_VALID = 0x2,
	VR_BE_FLOOD_DHCP = 0x4,
	VR_BE_MAC_MOVED = 0x8,
	VR_BE_L2_CONTROL_WORD = 0x10,
	VR_BE_MAC_NEW = 0x20,
	VR_BE_EVPN_CONTROL = 0x40,
};

/* map `bridge_hash` (hash): key -> index in `bridge` */
struct vr_bridge_key {
	__u8 mac[6];
	__u16 vrf;
};

/* map `bridge` (array): all that may change stands in one word, so a reader
 * never sees half of it: nexthop id bits 0-23, label or VNI bits 24-47, flags
 * bits 48-63. The key is compared after the look-up: a hash element may be
 * reused for another key while it is read. */
struct vr_bridge_entry {
	__u64 word;
	struct vr_bridge_key key;
	__u64 packets;		/* that went where the entry leads */
	__u64 heard;		/* from the MAC, where senders are learnt */
};

/* indexes of `bridge` kept ready for MACs that dp-core learns; a power of two */
#define VR_SPARES	256

#define VR_BE_NH(w)	((__u32)((w) & 0xffffff))
#define VR_BE_LABEL(w)	((__u32)(((w) >> 24) & 0xffffff))
#define VR_BE_FLAGS(w)	((__u32)((w) >> 48))

#endif /* VR_ABI_BRIDGE_H */
