/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * nd.h - what happens to neighbour discovery (RFC 4861) and DHCPv6, by where
 * they came from. The rules are those of ARP, with two exceptions: a
 * solicitation for duplicate address detection is never answered for somebody
 * else, and nothing traps a solicitation.
 */
#ifndef VR_ND_H
#define VR_ND_H

#include "arp.h"
#include "inet6.h"

#define VR_ND_RS	133
#define VR_ND_NS	135
#define VR_ND_NA	136

#define VR_ND_ROUTER	0x80000000u
#define VR_ND_SOLICITED	0x40000000u
#define VR_ND_OVERRIDE	0x20000000u
#define VR_ND_SOURCE_LL	1	/* options: link-layer address of the sender, */
#define VR_ND_TARGET_LL	2	/* of the target */

#define VR_ND_OPTIONS	6	/* of a message, that are looked at */

#define VR_DHCP6_CLIENT	546

/* What is read of a message. */
struct vr_nd {
	struct vr_in6 src;
	struct vr_in6 target;	/* of a solicitation or an advertisement */
	__u16 options;		/* where those of a solicitation or an advertisement begin */
	__u16 end;		/* and where they end */
	__u8 type;		/* 0: not ND */
	__u8 multicast;		/* it is for ff02::/16 */
};

/* An advertisement, as it is sent. */
struct vr_na {
	struct ipv6hdr ip;
	__u8 type, code;
	__sum16 sum;
	__be32 flags;
	struct vr_in6 target;
	__u8 option, option_len;
	__u8 mac[ETH_ALEN];
} __attribute__((packed, aligned(8)));

#define VR_NA_LEN	(sizeof(struct vr_na) - sizeof(struct ipv6hdr))

struct vr_nd_msg {
	__u8 type, code;
	__sum16 sum;
	__be32 reserved;
	struct vr_in6 target;
};

static __always_inline int vr_nd_is_type(__u8 type)
{
	return type == VR_ND_RS || type == VR_ND_NS || type == VR_ND_NA;
}

/* Reads the ICMPv6 message at @off; @room bytes of it are there. 0, or -1 if malformed. */
static __always_inline int vr_nd_read_msg(struct __sk_buff *skb, struct vr_nd *nd, __u32 off,
					  __s32 room, __u8 hops)
{
	struct vr_nd_msg msg = {};

	if (room < 1 || bpf_skb_load_bytes(skb, off, &msg.type, 1) || !vr_nd_is_type(msg.type))
		return 0;
	nd->type = msg.type;
	if (hops != 255)
		return -1;
	if (msg.type == VR_ND_RS)
		return room < 8 || bpf_skb_load_bytes(skb, off, &msg, 8) || msg.code ? -1 : 0;
	if (room < (__s32)sizeof(msg) || bpf_skb_load_bytes(skb, off, &msg, sizeof(msg)))
		return -1;
	nd->target = msg.target;
	nd->options = off + sizeof(msg);
	nd->end = off + room > 0xffff ? 0xffff : off + room;
	return msg.code || vr_in6_is_multicast(&msg.target) || vr_in6_is_multicast(&nd->src) ? -1 : 0;
}

/*
 * Reads the packet. 0 with nd->type set if it is ND, or -1 if it is and is
 * malformed. Extension headers before it are walked over; a fragment is none
 * (RFC 6980). A frame whose IPv6 header is invalid is none either.
 */
__noinline int vr_nd_read(struct __sk_buff *skb, struct vr_packet *pkt, struct vr_nd *nd)
{
	struct ipv6hdr *ip6;
	__u32 off, end, proto;
	__u8 hops;
	int l4;

	if (!pkt || !nd)
		return 0;
	nd->type = 0;
	ip6 = vr_inet6_header(skb, pkt->l3);
	if (!ip6)
		return 0;
	vr_in6_copy(&nd->src, &ip6->saddr);
	nd->multicast = ip6->daddr.in6_u.u6_addr16[0] == bpf_htons(0xff02);
	hops = ip6->hop_limit;
	proto = ip6->nexthdr;
	off = pkt->l3 + sizeof(*ip6);
	end = off + bpf_ntohs(ip6->payload_len);
	if (vr_is_extension(proto)) {
		l4 = vr_inet6_l4(skb, off, proto);
		proto = l4 & 0xff;
		off = (__u32)l4 >> 8;
	}
	if (proto != IPPROTO_ICMPV6)
		return 0;
	return vr_nd_read_msg(skb, nd, off, (__s32)(end - off), hops);
}

/* A function of its own, because it may come deep in a chain of calls, whose stack is short. */
__noinline int vr_nd_is_advertisement(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct vr_nd nd = {};

	return pkt && !vr_nd_read(skb, pkt, &nd) && nd.type == VR_ND_NA;
}

/* A solicitation for an address that the sender wants for itself. */
static __always_inline int vr_nd_is_dad(const struct vr_nd *nd)
{
	return !(nd->src.hi | nd->src.lo) || vr_in6_equal(&nd->src, &nd->target);
}

static __always_inline void vr_na_sum(struct vr_na *na)
{
	__s64 sum;

	/* the pseudo header: both addresses, which stand before the message, length, protocol */
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&na->ip.saddr,
			    sizeof(*na) - __builtin_offsetof(struct ipv6hdr, saddr),
			    bpf_htonl(VR_NA_LEN));
	sum += bpf_htonl(IPPROTO_ICMPV6);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	na->sum = ~sum;
}

static __always_inline void vr_na_make(struct vr_na *na, const struct vr_nd *nd, const __u8 *mac,
				       __u32 router)
{
	na->ip.version = 6;
	na->ip.payload_len = bpf_htons(VR_NA_LEN);
	na->ip.nexthdr = IPPROTO_ICMPV6;
	na->ip.hop_limit = 255;
	__builtin_memcpy(&na->ip.saddr, &nd->target, sizeof(nd->target));
	__builtin_memcpy(&na->ip.daddr, &nd->src, sizeof(nd->src));
	na->type = VR_ND_NA;
	na->flags = bpf_htonl(VR_ND_SOLICITED | VR_ND_OVERRIDE | (router ? VR_ND_ROUTER : 0));
	na->target = nd->target;
	na->option = VR_ND_TARGET_LL;
	na->option_len = 1;
	__builtin_memcpy(na->mac, mac, ETH_ALEN);
	vr_na_sum(na);
}

/*
 * Turns the solicitation into its answer: @mac has the address that was asked
 * for. Whatever else the solicitation carried is gone.
 */
static __always_inline int vr_nd_answer(struct __sk_buff *skb, struct vr_packet *pkt,
					const struct vr_nd *nd, const __u8 *mac, __u32 router)
{
	struct vr_na na = {};
	struct ethhdr *eth;

	vr_na_make(&na, nd, mac, router);
	if (bpf_skb_change_tail(skb, ETH_HLEN + sizeof(na), 0) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN, &na, sizeof(na), 0))
		return -1;
	eth = vr_bytes(skb, 0, ETH_HLEN);
	if (!eth)
		return -1;
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, mac, ETH_ALEN);
	vr_trace(skb, pkt, VR_EV_ARP_REPLY);
	return 0;
}

/* Answers straight out of the vif that the solicitation came by. */
static __always_inline int vr_nd_answer_here(struct __sk_buff *skb, struct vr_packet *pkt,
					     const struct vr_nd *nd, const __u8 *mac,
					     __u32 router)
{
	if (vr_nd_answer(skb, pkt, nd, mac, router))
		return vr_drop(skb, pkt, VR_DROP_PUSH);
	return vr_output(skb, pkt, pkt->vif);
}

/* A solicitation of a VM. */
static __always_inline int vr_nd_solicit_virtual(struct __sk_buff *skb, struct vr_packet *pkt,
						 const struct vr_nd *nd)
{
	struct vr_vif *vif = vr_vif_get(pkt->vif);
	struct vr_route *rt;
	__u8 mac[ETH_ALEN];
	int ask;

	if (!vif)
		return vr_drop(skb, pkt, VR_DROP_INVALID_IF);
	if (pkt->flags & VP_TAGGED)
		return vr_arp_flood_virtual(skb, pkt);
	rt = vr_inet6_lookup(pkt->vrf, &nd->target);
	ask = vr_ask_virtual(vif, rt, mac);
	if (ask == VR_ASK_REFUSE)
		return vr_drop(skb, pkt, VR_DROP_INVALID_ARP);
	if (ask == VR_ASK_FLOOD)
		return vr_arp_flood_virtual(skb, pkt);
	vr_count_answer(pkt, ask);
	return vr_nd_answer_here(skb, pkt, nd, mac, rt && vr_arp_is_gateway(rt));
}

static __always_inline int vr_nd_flood_physical(struct __sk_buff *skb, struct vr_packet *pkt,
						const struct vr_nd *nd)
{
	return vr_ask_flood_physical(skb, pkt, vr_inet6_lookup(pkt->vrf, &nd->src));
}

/* A solicitation that came by a tunnel. */
static __always_inline int vr_nd_solicit_tunnelled(struct __sk_buff *skb, struct vr_packet *pkt,
						   const struct vr_nd *nd)
{
	__u8 asker[ETH_ALEN], mac[ETH_ALEN];
	struct ethhdr *eth;
	int ask;

	if (pkt->flags & VP_TAGGED)
		return vr_nd_flood_physical(skb, pkt, nd);
	ask = vr_ask_tunnelled(vr_inet6_lookup(pkt->vrf, &nd->target), mac);
	if (ask == VR_ASK_REFUSE)
		return vr_drop(skb, pkt, VR_DROP_INVALID_ARP);
	if (ask == VR_ASK_FLOOD)
		return vr_nd_flood_physical(skb, pkt, nd);
	eth = vr_bytes(skb, 0, ETH_HLEN);
	if (!eth)
		return vr_drop(skb, pkt, VR_DROP_INVALID_PACKET);
	__builtin_memcpy(asker, eth->h_source, ETH_ALEN);
	if (vr_nd_answer(skb, pkt, nd, mac, 0))
		return vr_drop(skb, pkt, VR_DROP_PUSH);
	return vr_answer_tunnelled(skb, pkt, asker);
}

/* Does a VM ask for an address, whose vif wants the agent to give it one? */
static __always_inline int vr_is_dhcp6_request(struct __sk_buff *skb, const struct vr_packet *pkt)
{
	struct ipv6hdr *ip6 = vr_inet6_header(skb, pkt->l3);
	struct vr_vif *vif;
	__u32 off, proto;
	__be16 sport;
	int l4;

	if (!ip6 || ip6->daddr.in6_u.u6_addr16[0] != bpf_htons(0xff02))
		return 0;
	vif = vr_vif_get(pkt->vif);
	if (!vif || !(vif->flags & VIF_FLAG_DHCP))
		return 0;
	off = pkt->l3 + sizeof(*ip6);
	proto = ip6->nexthdr;
	if (vr_is_extension(proto)) {
		l4 = vr_inet6_l4(skb, off, proto);
		proto = l4 & 0xff;
		off = (__u32)l4 >> 8;
	}
	return proto == IPPROTO_UDP && !bpf_skb_load_bytes(skb, off, &sport, sizeof(sport)) &&
	       sport == bpf_htons(VR_DHCP6_CLIENT);
}

/* An advertisement of a VM for all; one for somebody goes the way of all frames. */
static __always_inline int vr_nd_advertise(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct ethhdr *eth = vr_bytes(skb, 0, ETH_HLEN);

	if (!eth)
		return vr_drop(skb, pkt, VR_DROP_INVALID_PACKET);
	if (pkt->flags & VP_FROM_TUNNEL || !(eth->h_dest[0] & 1))
		return VR_ARP_BRIDGE;
	vr_trap_copy(skb, pkt, VR_TRAP_L3_PROTOCOLS);
	return vr_arp_flood_virtual(skb, pkt);
}

/* IPv6 inside a VRF, from a VM or by a tunnel: what is not ND or DHCPv6 is bridged. */
__noinline int vr_nd_overlay(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct vr_nd nd = {};
	int local;

	if (!pkt)
		return TC_ACT_SHOT;
	local = !(pkt->flags & (VP_FROM_TUNNEL | VP_TAGGED));
	if (vr_nd_read(skb, pkt, &nd))
		return vr_drop(skb, pkt, VR_DROP_INVALID_ARP);
	if (nd.type == VR_ND_NA)
		return vr_nd_advertise(skb, pkt);
	if (nd.type == VR_ND_NS && !vr_nd_is_dad(&nd))
		return pkt->flags & VP_FROM_TUNNEL ? vr_nd_solicit_tunnelled(skb, pkt, &nd)
						   : vr_nd_solicit_virtual(skb, pkt, &nd);
	if (local && ((nd.type == VR_ND_RS && nd.multicast) ||
		      (!nd.type && vr_is_dhcp6_request(skb, pkt))))
		return vr_trap(skb, pkt, VR_TRAP_L3_PROTOCOLS, 0);
	return VR_ARP_BRIDGE;
}

/* ND on the fabric itself (rows "Physical underlay"). */
static __always_inline int vr_nd_fabric(struct __sk_buff *skb, struct vr_packet *pkt,
					const struct vr_nd *nd)
{
	struct vr_route *rt;
	struct vr_vif *vif;

	if (nd->type == VR_ND_NA)
		return vr_xconnect_and_trap(skb, pkt, VR_TRAP_L3_PROTOCOLS, 0);
	if (nd->type != VR_ND_NS || vr_nd_is_dad(nd))
		return vr_xconnect(skb, pkt);
	rt = vr_inet6_lookup(pkt->vrf, &nd->target);
	vif = vr_vif_get(pkt->vif);
	if (!vif || !rt || !(rt->flags & VR_RT_ARP_PROXY) || !vr_nh_is_local_vm(rt->nh))
		return vr_xconnect(skb, pkt);
	return vr_nd_answer_here(skb, pkt, nd, vif->mac, 0);
}

/* ND of the host (rows "Host"). */
static __always_inline int vr_nd_host(struct __sk_buff *skb, struct vr_packet *pkt,
				      const struct vr_nd *nd)
{
	struct vr_route *rt;
	struct vr_vif *vif;

	if (nd->type != VR_ND_NS || vr_nd_is_dad(nd))
		return vr_xconnect(skb, pkt);
	rt = vr_inet6_lookup(pkt->vrf, &nd->target);
	vif = vr_vif_get(pkt->vif);
	if (!vif || (vif->type != VIF_TYPE_GATEWAY && !(rt && rt->flags & VR_RT_ARP_PROXY)))
		return vr_xconnect(skb, pkt);
	return vr_nd_answer_here(skb, pkt, nd, vif->mac, rt && vr_arp_is_gateway(rt));
}

#endif /* VR_ND_H */
