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

#include "drop.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} test_copies SEC(".maps");

/* In tests a copy goes into a ring buffer, where its bytes can be read. */
static __always_inline int vr_test_copy(struct __sk_buff *skb, __u32 vif, __u32 kind,
					__u32 reason)
{
	struct vr_test_copy *copy;
	__u32 len = skb->len;

	copy = bpf_ringbuf_reserve(&test_copies, sizeof(*copy), 0);
	if (!copy)
		return -1;
	copy->vif = vif;
	copy->kind = kind;
	copy->reason = reason;
	copy->len = len;
	if (len > VR_TEST_COPY_MAX)
		len = VR_TEST_COPY_MAX;
	if (len > 0)
		bpf_skb_load_bytes(skb, 0, copy->data, len);
	bpf_ringbuf_submit(copy, 0);
	return 0;
}

/* Sends a copy through the pair; the packet lives on. 0, or -1 if it is lost. */
static __always_inline int vr_exception_send(struct __sk_buff *skb, __u32 mark)
{
	long ret;

	if (!vr_cfg.exception_out)
		return -1;
	if (vr_test_mode)
		return vr_test_copy(skb, 0, VR_VERDICT_EXCEPTION, mark);
	skb->mark = mark;
	ret = bpf_clone_redirect(skb, vr_cfg.exception_out, 0);
	skb->mark = 0;
	return ret ? -1 : 0;
}

#endif /* VR_EXCEPTION_H */
