/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * trap.h - the one exit to the agent (pkt0), and the way back in.
 */
#ifndef VR_TRAP_H
#define VR_TRAP_H

#include "rate.h"
#include "vif.h"

/* bpf_skb_change_head() makes no frame longer than this (SKB_MAX_ALLOC) */
#define VR_TRAP_MAX	(16384 - VR_TRAP_HEAD_LEN - 4)

struct vr_trap_head {
	struct ethhdr eth;
	struct vr_agent_hdr agent;
} __attribute__((packed));

#define VR_TRAP_TAGS	4	/* that are put back; a frame with more is lost as PUSH */

struct vr_trap_tag {
	__be16 proto, tci;
};

/* What the frame begins with, while room is made; it shares its place with the head. */
struct vr_trap_front {
	__u8 macs[2 * ETH_ALEN];
	struct vr_trap_tag tags[VR_TRAP_TAGS];
};

union vr_trap_scratch {
	struct vr_trap_front front;
	struct vr_trap_head head;
};

/* Puts @count tags between the MACs and the rest of the frame. */
static __always_inline int vr_trap_tags(struct __sk_buff *skb, const struct vr_trap_tag *tags,
					__u32 count)
{
	__u32 at = VR_TRAP_HEAD_LEN + 2 * ETH_ALEN;

	for (__u32 i = 0; i < VR_TRAP_TAGS && i < count; i++, at += sizeof(*tags)) {
		if (bpf_skb_store_bytes(skb, at, &tags[i], sizeof(*tags), 0))
			return -1;
	}
	return 0;
}

/* Makes room for the head. A tag that the kernel noted goes back into the frame; as it
 * is taken away the kernel notes the next one, if there is one. */
static __always_inline int vr_trap_grow(struct __sk_buff *skb, struct vr_trap_front *front)
{
	struct vr_trap_tag *tags = front->tags;
	__u32 count = 0;

	if (!skb->vlan_present)
		return bpf_skb_change_head(skb, VR_TRAP_HEAD_LEN, 0) ? -1 : 0;
	if (bpf_skb_load_bytes(skb, 0, front->macs, sizeof(front->macs)))
		return -1;
	for (; count < VR_TRAP_TAGS && skb->vlan_present; count++) {
		tags[count].proto = (__be16)skb->vlan_proto;
		tags[count].tci = bpf_htons(skb->vlan_tci);
		if (bpf_skb_vlan_pop(skb))
			return -1;
	}
	if (skb->vlan_present ||
	    bpf_skb_change_head(skb, VR_TRAP_HEAD_LEN + count * sizeof(*tags), 0) ||
	    bpf_skb_store_bytes(skb, VR_TRAP_HEAD_LEN, front->macs, sizeof(front->macs), 0))
		return -1;
	return vr_trap_tags(skb, tags, count);
}

/* Puts Ethernet and agent_hdr before the frame. Returns 0, or -1 if no room. */
static __always_inline int vr_trap_push(struct __sk_buff *skb, const struct vr_packet *pkt,
					const struct vr_vif *agent, __u32 reason, __u32 param)
{
	union vr_trap_scratch scratch = {};
	struct vr_trap_head *head = &scratch.head;

	if (skb->len > VR_TRAP_MAX && bpf_skb_change_tail(skb, VR_TRAP_MAX, 0))
		return -1;
	if (vr_trap_grow(skb, &scratch.front))
		return -1;
	__builtin_memset(&scratch, 0, sizeof(scratch));
	__builtin_memcpy(head->eth.h_dest, agent->mac, ETH_ALEN);
	__builtin_memcpy(head->eth.h_source, agent->mac, ETH_ALEN);
	head->eth.h_proto = bpf_htons(ETH_P_IP);
	head->agent.ifindex = bpf_htons(pkt->vif);
	head->agent.vrf = bpf_htons(pkt->vrf);
	head->agent.cmd = bpf_htons(reason);
	head->agent.param = bpf_htonl(param);
	return bpf_skb_store_bytes(skb, 0, head, sizeof(*head), 0) ? -1 : 0;
}

/* Sends the packet to the agent; it is gone afterwards. */
__noinline int vr_trap(struct __sk_buff *skb, struct vr_packet *pkt, __u32 reason, __u32 param)
{
	__u32 idx = vr_cfg.agent_vif;
	struct vr_vif *agent;

	if (!pkt)
		return TC_ACT_SHOT;
	agent = vr_agent_get();
	if (!agent)
		return vr_drop(skb, pkt, VR_DROP_TRAP_NO_IF);
	/* a copy was counted when it was made */
	if (!(pkt->flags & VP_AGAIN) && !vr_trap_allowed(pkt->vif))
		return vr_drop(skb, pkt, VR_DROP_TRAP_LIMIT);
	if (vr_trap_push(skb, pkt, agent, reason, param))
		return vr_drop(skb, pkt, VR_DROP_PUSH);
	vr_count_tx(idx, skb->len);
	if (vr_cfg.events & VR_EVENT_PATH)
		vr_event_emit(skb, pkt, VR_EV_TRAP, idx, reason);
	vr_test_verdict(skb, VR_VERDICT_TRAP, idx, reason);
	if (vr_test_mode && pkt->flags & VP_AGAIN)
		vr_test_copy(skb, idx, VR_VERDICT_TRAP, reason);
	return bpf_redirect(agent->ifindex, 0);
}

#endif /* VR_TRAP_H */
