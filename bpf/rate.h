/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * rate.h - how many traps, and ICMP errors, a vif may cause.
 *
 * A bucket of tokens in one word (the "virtual scheduling" of ITU-T I.371): the
 * time at which the next one would be due if they came evenly spaced. A vif may
 * be ahead of that by a burst: of traps a tenth of a second's, and one at least.
 */
#ifndef VR_RATE_H
#define VR_RATE_H

#include "packet.h"

#define VR_SECOND	1000000000ull
#define VR_TRAP_AHEAD	(VR_SECOND / 10)
#define VR_RATE_TRIES	4

/* by vif idx: when its next trap is due (ns) */
VR_ARRAY(trap_due, __u64, VR_MAX_VIFS, 0);

/* Takes a token of the bucket @due, one for each @step ns, of which @ahead ns may be
 * used at once; 0 if there is none. */
static __always_inline int vr_take_token(__u64 *due, __u64 step, __u64 ahead)
{
	__u64 now = bpf_ktime_get_ns(), old, next;

	for (int i = 0; i < VR_RATE_TRIES; i++) {
		old = *(volatile __u64 *)due;
		/* what a lower rate left would last too long */
		if (old > now + ahead + step)
			next = now + ahead;
		else
			next = (old > now ? old : now) + step;
		if (next - now > ahead)
			return 0;
		if (__sync_val_compare_and_swap(due, old, next) == old)
			return 1;
	}
	/* other CPUs took tokens meanwhile, again and again */
	return 0;
}

/* May the vif cause a trap now? */
static __always_inline int vr_trap_allowed(__u32 vif)
{
	__u32 rate = vr_cfg.trap_rate;
	__u64 step, *due;

	if (!rate)
		return 1;
	due = bpf_map_lookup_elem(&trap_due, &vif);
	if (!due)
		return 1;
	step = VR_SECOND / rate;
	return vr_take_token(due, step, step > VR_TRAP_AHEAD ? step : VR_TRAP_AHEAD);
}

#endif /* VR_RATE_H */
