/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * again.h - a copy of a packet that enters dp-core a second time.
 *
 * One pass of the program can put one kind of outer header on a packet (the
 * kernel refuses a second), and cannot take a trap's head off an ARP frame
 * again. What needs the plain frame once more gets a clone at the ingress of
 * the same netdevice, or through the exception pair (exception.h); skb->mark says which context belongs to it, and which
 * dp-core made it: when another one is put in its place, copies under way are
 * finished by the one that made them (vr_entry).
 */
#ifndef VR_AGAIN_H
#define VR_AGAIN_H

#include "packet.h"

enum vr_recirculation {
	VR_AGAIN_TRAP = 1,	/* param = trap reason, arg = its parameter */
	VR_AGAIN_FLOOD = 2,	/* param = format of the members to serve (flood.h), arg = kinds of
				 * composites */
	VR_AGAIN_MIRROR = 3,	/* param = index of the mirror */
	/* through the exception pair */
	VR_AGAIN_ICMP = 4,	/* param: see icmp.h */
	VR_AGAIN_CUT = 5,
};

struct vr_again {
	__u32 mark;		/* that of the copy it belongs to; 0 = done */
	__u32 what;		/* enum vr_recirculation */
	__u32 param;
	__u32 arg;
	__u32 nh;
	__u32 label;
	__u32 flags;		/* VR_AGAIN_FLAGS of enum vr_packet_flag */
	__be32 tun_sip;
	__u32 tun_sip6[4];	/* of a packet that came over IPv6 */
	__u16 vif;
	__u16 vrf;
	__u8 vif_type;
	__u8 priority;
	__u8 pad[2];
	__u32 left;		/* packets that are still to come in by it */
};

#define VR_AGAIN_SLOTS		4096	/* more than a CPU's backlog holds (1000) */
#define VR_AGAIN_MAGIC		0x56000000u
#define VR_AGAIN_MAGIC_MASK	0xff000000u
#define VR_AGAIN_GENERATION	0x00800000u
#define VR_AGAIN_SEQ_MASK	0x007fffffu
#define VR_AGAIN_FLAGS		(VP_FROM_FABRIC | VP_FROM_TUNNEL | VP_L3 | VP_OUTER6 | VP_MIRROR)

/* 0 or 1, another than that of the dp-core before; set at load */
const volatile __u32 vr_generation = 0;

/* each dp-core has its own, which no other reads or writes */
VR_ARRAY(again_slots, struct vr_again, VR_AGAIN_SLOTS, 0);

__u32 vr_again_next;

/* Writes the context of a copy down; its note, or NULL. */
static __always_inline struct vr_again *vr_again_note(struct __sk_buff *skb,
						      const struct vr_packet *pkt, __u32 what,
						      __u32 param, __u32 arg)
{
	__u32 seq = __sync_fetch_and_add(&vr_again_next, 1);
	__u32 slot = seq & (VR_AGAIN_SLOTS - 1);
	struct vr_again *again = bpf_map_lookup_elem(&again_slots, &slot);

	if (!again)
		return NULL;
	again->what = what;
	again->param = param;
	again->arg = arg;
	again->left = 1;
	again->nh = pkt->nh;
	again->label = pkt->label;
	again->flags = pkt->flags & VR_AGAIN_FLAGS;
	again->tun_sip = pkt->tun_sip;
	again->tun_sip6[0] = skb->cb[0];
	again->tun_sip6[1] = skb->cb[1];
	again->tun_sip6[2] = skb->cb[2];
	again->tun_sip6[3] = skb->cb[3];
	again->vif = pkt->vif;
	again->vrf = pkt->vrf;
	again->vif_type = pkt->vif_type;
	again->priority = pkt->priority;
	again->mark = VR_AGAIN_MAGIC | (seq & VR_AGAIN_SEQ_MASK) |
		      (vr_generation ? VR_AGAIN_GENERATION : 0);
	return again;
}

/* Sends a copy with that note out of netdevice @ifindex, or into it, which leads back here. */
static __always_inline int vr_again_send(struct __sk_buff *skb, struct vr_again *again,
					 __u32 ifindex, __u64 flags)
{
	long ret;

	skb->mark = again->mark;
	ret = bpf_clone_redirect(skb, ifindex, flags);
	skb->mark = 0;
	if (!ret)
		return 0;
	/* what is not under way must not look as if it were */
	again->mark = 0;
	return -1;
}

static __always_inline int vr_send_again(struct __sk_buff *skb, const struct vr_packet *pkt,
					 __u32 what, __u32 param, __u32 arg)
{
	struct vr_again *again = vr_again_note(skb, pkt, what, param, arg);

	return again ? vr_again_send(skb, again, skb->ifindex, BPF_F_INGRESS) : -1;
}

/* The context of a copy that comes in again; NULL for every other packet. */
static __always_inline struct vr_again *vr_again_get(struct __sk_buff *skb)
{
	struct vr_again *again;
	__u32 slot = skb->mark & (VR_AGAIN_SLOTS - 1);

	again = bpf_map_lookup_elem(&again_slots, &slot);
	return again && again->mark == skb->mark ? again : NULL;
}

#endif /* VR_AGAIN_H */
