/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * exception.h - into the exception pair, a veth whose sending end has no offloads.
 *
 * A guest leaves checksums and the cutting of large packets to the device that a
 * packet leaves by at last. Before dp-core may quote a packet, that must be done:
 * the pair does it. What comes out at its other end is plain,
 * and finds what is to become of it by its mark.
 */
#ifndef VR_EXCEPTION_H
#define VR_EXCEPTION_H

#include "again.h"

/* Sends a copy through the pair, which makes @parts packets of it; the packet lives on.
 * 0, or -1 if it is lost. */
static __always_inline int vr_exception_send(struct __sk_buff *skb, const struct vr_packet *pkt,
					     __u32 what, __u32 param, __u32 parts)
{
	struct vr_again *again;

	if (!vr_cfg.exception_out)
		return -1;
	again = vr_again_note(skb, pkt, what, param, 0);
	if (!again)
		return -1;
	again->left = parts;
	return vr_again_send(skb, again, vr_cfg.exception_out, 0);
}

#endif /* VR_EXCEPTION_H */
