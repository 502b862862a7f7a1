/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * rate.h - how many traps a vif may cause.
 *
 * A bucket of tokens in one word (the "virtual scheduling" of ITU-T I.371): the
 * time at which the next trap would be due if they came evenly spaced. A vif may
 * be ahead of that by a tenth of a second's traps, and by one at least.
 */
#ifndef VR_RATE_H
#define VR_RATE_H

#include "packet.h"

#define VR_SECOND	1000000000ull
#define VR_TRAP_AHEAD	(VR_SECOND / 10)
#define VR_RATE_TRIES	4

/* by vif idx: when its next trap is due (ns) */
VR_ARRAY(trap_due, __u64, VR_MAX_VIFS, 0);

/* Takes a token of the vif's; 0 if it has none. */
static __always_inline int vr_trap_allowed(__u32 vif)
{
	__u32 rate = vr_cfg.trap_rate;
	__u64 now, step, old, next, *due;

	if (!rate)
		return 1;
	due = bpf_map_lookup_elem(&trap_due, &vif);
	if (!due)
		return 1;
	now = bpf_ktime_get_ns();
	step = VR_SECOND / rate;
	for (int i = 0; i < VR_RATE_TRIES; i++) {
		old = *(volatile __u64 *)due;
		next = (old > now ? old : now) + step;
		if (next - now > (step > VR_TRAP_AHEAD ? step : VR_TRAP_AHEAD))
			return 0;
		if (__sync_val_compare_and_swap(due, old, next) == old)
			return 1;
	}
	/* other CPUs took tokens meanwhile, again and again */
	return 0;
}

#endif /* VR_RATE_H */
