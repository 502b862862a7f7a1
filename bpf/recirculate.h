/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * recirculate.h - copies for the agent, by a second pass (again.h).
 */
#ifndef VR_RECIRCULATE_H
#define VR_RECIRCULATE_H

#include "again.h"
#include "trap.h"

/* Sends a copy of the packet, as it is now, to the agent; the packet lives on. */
__noinline int vr_trap_copy(struct __sk_buff *skb, struct vr_packet *pkt, __u32 reason)
{
	if (!pkt)
		return 0;
	if (!vr_agent_get()) {
		vr_drop_copy(skb, pkt, VR_DROP_TRAP_NO_IF);
		return 0;
	}
	if (!vr_trap_allowed(pkt->vif)) {
		vr_drop_copy(skb, pkt, VR_DROP_TRAP_LIMIT);
		return 0;
	}
	if (vr_send_again(skb, pkt, VR_AGAIN_TRAP, reason, 0))
		vr_drop_copy(skb, pkt, VR_DROP_CLONE_FAIL);
	return 0;
}

#endif /* VR_RECIRCULATE_H */
