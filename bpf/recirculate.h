/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * recirculate.h - a copy of a packet that enters dp-core a second time.
 *
 * One pass of the program can put one kind of outer header on a packet (the
 * kernel refuses a second), and cannot take a trap's head off an ARP frame
 * again. What needs the plain frame once more gets a clone at the ingress of
 * the same netdevice; skb->mark says which context belongs to it, and which
 * dp-core made it: when another one is put in its place, copies under way are
 * finished by the one that made them (vr_entry).
 */
#ifndef VR_RECIRCULATE_H
#define VR_RECIRCULATE_H

#include "trap.h"

enum vr_recirculation {
	VR_AGAIN_TRAP = 1,	/* param = trap reason */
	VR_AGAIN_FLOOD = 2,	/* param = kind of the members to serve (vr_tunnel_kind) */
	VR_AGAIN_ICMP = 3,	/* through the exception pair; param: see icmp.h */
};

struct vr_again {
	__u32 mark;		/* that of the copy it belongs to; 0 = done */
	__u32 what;		/* enum vr_recirculation */
	__u32 param;
	__u32 nh;
	__u16 vif;
	__u16 vrf;
};

#define VR_AGAIN_SLOTS		4096	/* more than a CPU's backlog holds (1000) */
#define VR_AGAIN_MAGIC		0x56000000u
#define VR_AGAIN_MAGIC_MASK	0xff000000u
#define VR_AGAIN_GENERATION	0x00800000u
#define VR_AGAIN_SEQ_MASK	0x007fffffu

/* 0 or 1, another than that of the dp-core before; set at load */
const volatile __u32 vr_generation = 0;

/* each dp-core has its own, which no other reads or writes */
VR_ARRAY(again_slots, struct vr_again, VR_AGAIN_SLOTS, 0);

__u32 vr_again_next;

/* Writes the context of a copy down; its note, with the mark that leads to it, or NULL. */
static __always_inline struct vr_again *vr_again_note(const struct vr_packet *pkt, __u32 what,
						      __u32 param)
{
	__u32 seq = __sync_fetch_and_add(&vr_again_next, 1);
	__u32 slot = seq & (VR_AGAIN_SLOTS - 1);
	struct vr_again *again = bpf_map_lookup_elem(&again_slots, &slot);

	if (!again)
		return NULL;
	again->what = what;
	again->param = param;
	again->nh = pkt->nh;
	again->vif = pkt->vif;
	again->vrf = pkt->vrf;
	again->mark = VR_AGAIN_MAGIC | (seq & VR_AGAIN_SEQ_MASK) |
		      (vr_generation ? VR_AGAIN_GENERATION : 0);
	return again;
}

static __always_inline int vr_send_again(struct __sk_buff *skb, struct vr_packet *pkt,
					 __u32 what, __u32 param)
{
	struct vr_again *again = vr_again_note(pkt, what, param);
	long ret;

	if (!again)
		return -1;
	skb->mark = again->mark;
	ret = bpf_clone_redirect(skb, skb->ifindex, BPF_F_INGRESS);
	skb->mark = 0;
	if (!ret)
		return 0;
	/* what is not under way must not look as if it were */
	again->mark = 0;
	return -1;
}

/* The context of a copy that comes in again; NULL for every other packet. */
static __always_inline struct vr_again *vr_again_get(struct __sk_buff *skb)
{
	struct vr_again *again;
	__u32 slot = skb->mark & (VR_AGAIN_SLOTS - 1);

	again = bpf_map_lookup_elem(&again_slots, &slot);
	return again && again->mark == skb->mark ? again : NULL;
}

/* Sends a copy of the packet, as it is now, to the agent; the packet lives on. */
__noinline int vr_trap_copy(struct __sk_buff *skb, struct vr_packet *pkt, __u32 reason)
{
	if (!pkt)
		return 0;
	if (!vr_vif_get(vr_cfg.agent_vif)) {
		vr_drop_copy(skb, pkt, VR_DROP_TRAP_NO_IF);
		return 0;
	}
	if (vr_send_again(skb, pkt, VR_AGAIN_TRAP, reason))
		vr_drop_copy(skb, pkt, VR_DROP_CLONE_FAIL);
	return 0;
}

#endif /* VR_RECIRCULATE_H */
