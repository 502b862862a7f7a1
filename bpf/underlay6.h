/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * underlay6.h - IPv6 of the fabric and of the host.
 *
 * The underlay speaks IPv6 once the vif's VRF has IPv6 routes. Until then, and
 * for whatever no route names, the NIC and the host's stack stay joined: the
 * host keeps its own IPv6. So do link-local and multicast addresses always.
 */
#ifndef VR_UNDERLAY6_H
#define VR_UNDERLAY6_H

#include "forward.h"
#include "nd.h"

/* Is the packet the host's or the fabric's own, whatever the routes say? */
static __always_inline int vr_is_on_link6(const struct vr_in6 *dst)
{
	return vr_in6_is_multicast(dst) || vr_in6_is_link_local(dst);
}

/* Goes by the route; without one, to the partner of the vif. */
static __always_inline int vr_route6_or_xconnect(struct __sk_buff *skb, struct vr_packet *pkt)
{
	int ret = vr_inet6_route(skb, pkt);

	if (ret == VR_INET_NO_ROUTE)
		return vr_xconnect(skb, pkt);
	pkt->flags |= VP_L3;
	return vr_routed(skb, pkt, ret);
}

/* Fabric IPv6 while cross-connected: nothing but our own tunnels is looked into. */
static __always_inline int vr_physical_xconnected6(struct __sk_buff *skb, struct vr_packet *pkt,
						   const struct vr_in6 *dst)
{
	struct vr_route *rt = vr_inet6_lookup(pkt->vrf, dst);
	struct vr_nexthop *nh = rt ? vr_nh_get(rt->nh) : NULL;

	if (!nh || nh->type != NH_TYPE_RECEIVE)
		return vr_xconnect(skb, pkt);
	/* opened a step later: the stack of a chain of calls is short */
	pkt->nh = rt->nh;
	pkt->lookups = 1;
	pkt->flags |= VP_L3;
	return VR_GO_ON;
}

/* ND of the underlay, by where it came from. */
static __always_inline int vr_underlay_nd(struct __sk_buff *skb, struct vr_packet *pkt,
					  const struct vr_nd *nd)
{
	return pkt->flags & VP_FROM_FABRIC ? vr_nd_fabric(skb, pkt, nd) : vr_nd_host(skb, pkt, nd);
}

/* IPv6 of the fabric, or of a host that is not cross-connected. */
__noinline int vr_underlay_input6(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct ipv6hdr *ip6;
	struct vr_nd nd = {};
	struct vr_in6 dst;

	if (!pkt)
		return TC_ACT_SHOT;
	if (!vr_inet6_in_use(pkt->vrf))
		return vr_xconnect(skb, pkt);
	if (!(pkt->vif_flags & VIF_FLAG_XCONNECT)) {
		if (vr_nd_read(skb, pkt, &nd))
			return vr_drop(skb, pkt, VR_DROP_INVALID_ARP);
		if (nd.type)
			return vr_underlay_nd(skb, pkt, &nd);
	}
	ip6 = vr_inet6_header(skb, pkt->l3);
	if (!ip6)
		return vr_drop(skb, pkt, VR_DROP_INVALID_PACKET);
	vr_in6_copy(&dst, &ip6->daddr);
	if (vr_is_multicast(skb) || vr_is_on_link6(&dst))
		return vr_xconnect(skb, pkt);
	if (pkt->vif_flags & VIF_FLAG_XCONNECT)
		return vr_physical_xconnected6(skb, pkt, &dst);
	return vr_route6_or_xconnect(skb, pkt);
}

#endif /* VR_UNDERLAY6_H */
