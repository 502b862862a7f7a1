/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * bypass.h - a NIC and its vhost0 that are no vifs for the moment: a controller has emptied all
 * tables and will add them again. Until then the host's packets go from one to the other.
 */
#ifndef VR_BYPASS_H
#define VR_BYPASS_H

#include "vif.h"

/* ifindex -> ifindex of the other end */
VR_HASH(vif_bypass, __u32, __u32, 64);

/* For a packet of a netdevice that has no vif. */
static __always_inline int vr_bypass(struct __sk_buff *skb, struct vr_packet *pkt)
{
	__u32 ifindex = skb->ifindex;
	__u32 *to = bpf_map_lookup_elem(&vif_bypass, &ifindex);
	int lost;

	if (!to)
		return vr_drop(skb, pkt, VR_DROP_INVALID_IF);
	lost = vr_unsendable(skb, *to);
	return lost ? vr_drop(skb, pkt, lost) : bpf_redirect(*to, 0);
}

#endif /* VR_BYPASS_H */
