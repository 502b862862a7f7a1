/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * abi_source.h - the part of abi.h that is about who may speak. Included by abi.h only.
 */
#ifndef VR_ABI_SOURCE_H
#define VR_ABI_SOURCE_H

#define VR_SOURCE_BITS	80	/* of a key before its address */

/* map `sources`: longest prefix match; prefixlen = VR_SOURCE_BITS + that of the
 * prefix. Each MAC has an entry of its own beside those of its prefixes. The
 * value is the length of the prefix, and not looked at by dp-core. */
struct vr_source_key {
	__u32 prefixlen;
	__be16 vif;		/* idx */
	__be16 proto;		/* EtherType of the address; 0 = the MAC alone */
	__u8 mac[6];
	__u8 addr[16];		/* an IPv4 address is the first four bytes */
	__u8 pad[2];
};

#endif /* VR_ABI_SOURCE_H */
