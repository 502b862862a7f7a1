/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * encap.h - outer headers: VXLAN (RFC 7348), MPLSoUDP (RFC 7510), MPLSoGRE
 * (RFC 4023), each with an Ethernet frame or an IP packet inside, and over IPv4
 * or IPv6. The UDP checksum is 0 over both (RFC 6935 allows that to tunnels).
 */
#ifndef VR_ENCAP_H
#define VR_ENCAP_H

#include "hash.h"
#include "inet6.h"
#include "qos.h"
#include "vif.h"

#define VR_PORT_VXLAN		4789
#define VR_PORT_MPLS		6635
#define VR_PORT_MPLS_OLD	51234	/* accepted, never sent */
#define VR_PORT_FROM_MPLS	51000	/* source port without entropy */
#define VR_PORT_FROM_VXLAN	52000
#define VR_VXLAN_VNI		0x08000000u
#define VR_VXLAN_ROUTER_ALERT	0x01000000u
#define VR_ETH_P_MPLS		0x8847
#define VR_MIN_MCAST_LABEL	1024u	/* below it a label is never one of a multicast tree */

/*
 * A kind of outer header: one of NH_FLAG_TUNNELS over IPv4, the same flag
 * shifted over IPv6. So a set of kinds is a word.
 */
#define VR_KIND_IPV6_SHIFT	8
#define VR_KIND_IPV6		((NH_FLAG_TUNNELS | NH_FLAG_TUNNEL_UDP) << VR_KIND_IPV6_SHIFT)
#define VR_KIND_VXLAN		(NH_FLAG_TUNNEL_VXLAN | NH_FLAG_TUNNEL_VXLAN << VR_KIND_IPV6_SHIFT)

#define NH_FLAG_TUNNELS (NH_FLAG_TUNNEL_GRE | NH_FLAG_TUNNEL_UDP_MPLS | NH_FLAG_TUNNEL_VXLAN)

/* What the outer header takes from the packet inside. */
struct vr_outer {
	__u32 kind;		/* as vr_tunnel_kind() says it */
	__u32 tunnel;		/* one of NH_FLAG_TUNNELS, or NH_FLAG_TUNNEL_UDP */
	__u32 ip_len;		/* of the outer IP header */
	__be32 flow;		/* version, class, flow label (RFC 6438) of an outer IPv6 header */
	__u32 vlan_len;		/* bytes of noted VLAN tags that go into the frame: 0 to 12 */
	__be16 vlan[6];		/* as they follow the first tag's EtherType */
	__be16 id;
	__be16 sport;
	__u8 ttl;		/* of the MPLS label */
	__u8 has_eth;		/* an Ethernet header goes inside */
	__u8 wrap;		/* bytes between tunnel header and frame: of struct vr_wrap, or
				 * a mirror's metadata */
	__u8 tos;
	__u8 exp;		/* of the MPLS label */
	__u32 vni;		/* in that; VR_LABEL_NONE = none */
	struct ethhdr eth;
};

struct vr_mpls_udp {
	struct udphdr udp;
	__be32 label;
};

struct vr_gre_mpls {
	__be16 flags, proto;
	__be32 label;
};

struct vr_vxlan_hdr {
	struct udphdr udp;
	__be32 flags, vni;
};

/* Multicast frames on the fabric's tree: between label and frame a control word and
 * a whole VXLAN packet's headers, which tell the network. Those are IPv4's, without
 * addresses if the packet goes over IPv6. */
struct vr_wrap {
	__be32 control;		/* 0 */
	struct iphdr ip;
	struct vr_vxlan_hdr vxlan;
};

#define VR_WRAP_LEN	40
_Static_assert(sizeof(struct vr_wrap) == VR_WRAP_LEN, "vr_wrap is on the wire");

/* Which outer header the nexthop puts on, or 0. */
static __always_inline __u32 vr_tunnel_kind(const struct vr_nexthop *nh)
{
	__u32 kind = nh->flags & NH_FLAG_TUNNEL_VXLAN;

	if (nh->flags & NH_FLAG_TUNNEL_GRE)
		kind = NH_FLAG_TUNNEL_GRE;
	else if (nh->flags & NH_FLAG_TUNNEL_UDP_MPLS)
		kind = NH_FLAG_TUNNEL_UDP_MPLS;
	return nh->family == VR_AF_INET6 ? kind << VR_KIND_IPV6_SHIFT : kind;
}

/* Bytes from the end of the outer Ethernet to the inner packet or frame. */
static __always_inline __u32 vr_outer_len(const struct vr_outer *o)
{
	__u32 len = o->ip_len + o->wrap;

	if (o->tunnel == NH_FLAG_TUNNEL_VXLAN)
		return len + sizeof(struct vr_vxlan_hdr);
	if (o->tunnel == NH_FLAG_TUNNEL_UDP_MPLS)
		return len + sizeof(struct vr_mpls_udp);
	if (o->tunnel == NH_FLAG_TUNNEL_UDP)
		return len + sizeof(struct udphdr);
	return len + sizeof(struct vr_gre_mpls);
}

static __always_inline void vr_outer_set_kind(struct vr_outer *o, __u32 kind)
{
	o->kind = kind;
	o->tunnel = kind & VR_KIND_IPV6 ? kind >> VR_KIND_IPV6_SHIFT : kind;
	o->ip_len = kind & VR_KIND_IPV6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
}

/* The marks of the packet's forwarding class, if it has one. */
static __always_inline void vr_outer_qos(struct __sk_buff *skb, struct vr_packet *pkt,
					 struct vr_outer *o)
{
	__u32 fc = vr_qos_class(skb, pkt);

	if (!fc)
		return;
	o->tos = VR_FC_DSCP(fc) << 2;
	o->exp = VR_FC_EXP(fc);
}

/* Reads what the outer header needs, before the packet is changed. */
static __always_inline int vr_outer_prepare(struct __sk_buff *skb, struct vr_packet *pkt,
					    struct vr_outer *o, __u32 kind)
{
	__u32 w[4] = {}, hash = 0;
	void *eth;

	vr_outer_set_kind(o, kind);
	o->sport = bpf_htons(o->tunnel == NH_FLAG_TUNNEL_VXLAN ? VR_PORT_FROM_VXLAN
							       : VR_PORT_FROM_MPLS);
	if (!vr_flow_words(skb, pkt, w, &o->id, &o->ttl, &o->tos)) {
		hash = vr_hash4(w, vr_cfg.hash_seed);
		o->sport = vr_entropy_port(hash);
	}
	/* congestion marks (RFC 6040) are not copied: they would have to be copied back */
	o->tos &= 0xfc;
	if (vr_cfg.qos_maps)
		vr_outer_qos(skb, pkt, o);
	o->flow = bpf_htonl(6u << 28 | (__u32)o->tos << 20 | (hash & 0xfffff));
	if (!o->ttl || !(pkt->flags & VP_L3))
		o->ttl = 64;
	if (pkt->flags & VP_L3)
		return 0;
	eth = vr_bytes(skb, 0, ETH_HLEN);
	if (!eth)
		return -1;
	__builtin_memcpy(&o->eth, eth, ETH_HLEN);
	o->has_eth = 1;
	return 0;
}

/*
 * Moves a tag that the kernel noted beside the packet into the inner frame. The
 * kernel notes the next one, if there is one, when the first is taken.
 */
static __always_inline int vr_outer_take_tag(struct __sk_buff *skb, struct vr_outer *o)
{
	if (!skb->vlan_present)
		return 0;
	o->vlan[0] = bpf_htons(skb->vlan_tci);
	o->vlan[1] = o->eth.h_proto;
	o->eth.h_proto = (__be16)skb->vlan_proto;
	o->vlan_len = 4;
	if (bpf_skb_vlan_pop(skb))
		return -1;
	if (!skb->vlan_present)
		return 0;
	o->vlan[2] = bpf_htons(skb->vlan_tci);
	o->vlan_len = 8;
	if (bpf_skb_vlan_pop(skb))
		return -1;
	if (!skb->vlan_present)
		return bpf_skb_load_bytes(skb, 2 * ETH_ALEN, &o->vlan[3], 2) ? -1 : 0;
	o->vlan[3] = (__be16)skb->vlan_proto;
	o->vlan[4] = bpf_htons(skb->vlan_tci);
	o->vlan_len = 12;
	if (bpf_skb_vlan_pop(skb) || skb->vlan_present)
		return -1;
	return bpf_skb_load_bytes(skb, 2 * ETH_ALEN, &o->vlan[5], 2) ? -1 : 0;
}

/*
 * Makes room for the outer header. The flags let the kernel segment a GSO
 * packet behind it: ENCAP_L2 is the length of the *last* header before the
 * inner network header (the inner Ethernet, or the label), not of all that
 * stands behind UDP. What is not IP cannot be grown that way, but is never GSO.
 */
static __always_inline int vr_outer_grow(struct __sk_buff *skb, const struct vr_outer *o)
{
	__u32 inner = (o->has_eth ? ETH_HLEN : 0) + o->vlan_len;
	__u32 room = vr_outer_len(o) + inner;
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO;

	flags |= o->kind & VR_KIND_IPV6 ? BPF_F_ADJ_ROOM_ENCAP_L3_IPV6
					: BPF_F_ADJ_ROOM_ENCAP_L3_IPV4;
	if (o->tunnel == NH_FLAG_TUNNEL_GRE)
		flags |= BPF_F_ADJ_ROOM_ENCAP_L4_GRE;
	else
		flags |= BPF_F_ADJ_ROOM_ENCAP_L4_UDP;
	if (inner)
		flags |= BPF_F_ADJ_ROOM_ENCAP_L2((__u64)inner) | BPF_F_ADJ_ROOM_ENCAP_L2_ETH;
	else
		flags |= BPF_F_ADJ_ROOM_ENCAP_L2(4);
	if (!bpf_skb_adjust_room(skb, room, BPF_ADJ_ROOM_MAC, flags))
		return 0;
	if (skb->gso_size)
		return -1;
	return bpf_skb_change_head(skb, room, 0) ? -1 : 0;
}

static __always_inline void vr_outer_ip(struct iphdr *ip, const struct vr_outer *o,
					const struct vr_nexthop *nh, __u32 len, __u8 proto)
{
	ip->version = 4;
	ip->ihl = 5;
	ip->tos = o->tos;
	ip->tot_len = bpf_htons(len > 0xffff ? 0xffff : len);
	ip->id = o->id;
	ip->frag_off = 0;
	ip->ttl = 64;
	ip->protocol = proto;
	ip->saddr = nh->sip;
	ip->daddr = nh->dip;
	vr_inet_sum(ip);
}

static __always_inline void vr_outer_ip6(struct ipv6hdr *ip6, const struct vr_outer *o,
					 const struct vr_nexthop *nh, __u32 len)
{
	*(__be32 *)ip6 = o->flow;
	ip6->payload_len = bpf_htons(len > 0xffff ? 0xffff : len);
	ip6->nexthdr = o->tunnel == NH_FLAG_TUNNEL_GRE ? IPPROTO_GRE : IPPROTO_UDP;
	ip6->hop_limit = 64;
	__builtin_memcpy(&ip6->saddr, nh->sip6, sizeof(ip6->saddr));
	__builtin_memcpy(&ip6->daddr, nh->dip6, sizeof(ip6->daddr));
}

/* @len: bytes from the UDP header on */
static __always_inline void vr_outer_udp(struct udphdr *udp, const struct vr_outer *o, __u32 port,
					 __u32 len)
{
	udp->source = o->sport;
	udp->dest = bpf_htons(port);
	udp->len = bpf_htons(len > 0xffff ? 0xffff : len);
	udp->check = 0;
}

/* Writes what stands between the outer IP header and the inner packet. */
static __always_inline int vr_outer_tunnel(struct __sk_buff *skb, const struct vr_outer *o,
					   __u32 label, __u32 len)
{
	const __u32 off = ETH_HLEN + o->ip_len;
	__be32 stack = bpf_htonl(label << 12 | o->exp << 9 | 0x100 | o->ttl);

	if (o->tunnel == NH_FLAG_TUNNEL_VXLAN) {
		struct vr_vxlan_hdr *h = vr_bytes(skb, off, sizeof(*h));

		if (!h)
			return -1;
		vr_outer_udp(&h->udp, o, VR_PORT_VXLAN, len);
		h->flags = bpf_htonl(VR_VXLAN_VNI);
		h->vni = bpf_htonl(label << 8);
	} else if (o->tunnel == NH_FLAG_TUNNEL_UDP_MPLS) {
		struct vr_mpls_udp *h = vr_bytes(skb, off, sizeof(*h));

		if (!h)
			return -1;
		vr_outer_udp(&h->udp, o, VR_PORT_MPLS, len);
		h->label = stack;
	} else {
		struct vr_gre_mpls *h = vr_bytes(skb, off, sizeof(*h));

		if (!h)
			return -1;
		h->flags = 0;
		h->proto = bpf_htons(VR_ETH_P_MPLS);
		h->label = stack;
	}
	return 0;
}

/* Writes the headers that tell the network, behind the label. A function of its own for
 * the sake of the stack. */
static __noinline int vr_outer_wrap(struct __sk_buff *skb, const struct vr_outer *o,
				    const struct vr_nexthop *nh)
{
	__u32 before = vr_outer_len(o) - VR_WRAP_LEN;
	struct vr_wrap wrap = {};
	__u32 len = skb->len - ETH_HLEN - before - sizeof(wrap.control);

	vr_outer_ip(&wrap.ip, o, nh, len, IPPROTO_UDP);
	vr_outer_udp(&wrap.vxlan.udp, o, VR_PORT_VXLAN, len - sizeof(wrap.ip));
	wrap.vxlan.flags = bpf_htonl(VR_VXLAN_VNI);
	wrap.vxlan.vni = bpf_htonl(o->vni << 8);
	return bpf_skb_store_bytes(skb, ETH_HLEN + before, &wrap, sizeof(wrap), 0) ? -1 : 0;
}

/* Writes the outer Ethernet and IP headers; @len: bytes from the IP header on. */
static __always_inline int vr_outer_l3(struct __sk_buff *skb, const struct vr_outer *o,
				       const struct vr_nexthop *nh, __u32 len)
{
	struct ethhdr *eth;

	if (o->kind & VR_KIND_IPV6) {
		eth = vr_bytes(skb, 0, ETH_HLEN + sizeof(struct ipv6hdr));
		if (!eth)
			return -1;
		eth->h_proto = bpf_htons(ETH_P_IPV6);
		vr_outer_ip6((void *)(eth + 1), o, nh, len - sizeof(struct ipv6hdr));
	} else {
		eth = vr_bytes(skb, 0, ETH_HLEN + sizeof(struct iphdr));
		if (!eth)
			return -1;
		eth->h_proto = bpf_htons(ETH_P_IP);
		vr_outer_ip((void *)(eth + 1), o, nh, len,
			    o->tunnel == NH_FLAG_TUNNEL_GRE ? IPPROTO_GRE : IPPROTO_UDP);
	}
	__builtin_memcpy(eth, nh->rewrite, 2 * ETH_ALEN);
	return 0;
}

/* The inner Ethernet header and tags. */
static __always_inline int vr_outer_frame(struct __sk_buff *skb, const struct vr_outer *o,
					  const struct ethhdr *eth)
{
	__u32 off = ETH_HLEN + vr_outer_len(o);

	if (bpf_skb_store_bytes(skb, off, eth, ETH_HLEN, 0))
		return -1;
	if (o->vlan_len == 12)
		return bpf_skb_store_bytes(skb, off + ETH_HLEN, o->vlan, 12, 0) ? -1 : 0;
	if (o->vlan_len == 8)
		return bpf_skb_store_bytes(skb, off + ETH_HLEN, o->vlan, 8, 0) ? -1 : 0;
	if (o->vlan_len)
		return bpf_skb_store_bytes(skb, off + ETH_HLEN, o->vlan, 4, 0) ? -1 : 0;
	return 0;
}

/* The same of a tunnel. L3 VXLAN leads the frame to the far router. */
static __always_inline int vr_outer_inner(struct __sk_buff *skb, const struct vr_outer *o,
					  const struct vr_nexthop *nh, const struct vr_vif *oif)
{
	struct ethhdr eth = o->eth;

	if (o->tunnel == NH_FLAG_TUNNEL_VXLAN && nh->flags & NH_FLAG_L3_VXLAN) {
		__builtin_memcpy(eth.h_dest, nh->rw_dst_mac, ETH_ALEN);
		__builtin_memcpy(eth.h_source, oif->mac, ETH_ALEN);
	}
	return vr_outer_frame(skb, o, &eth);
}

/* Writes the whole outer header and the inner Ethernet into the room made. */
static __always_inline int vr_outer_write(struct __sk_buff *skb, const struct vr_outer *o,
					  const struct vr_nexthop *nh, const struct vr_vif *oif,
					  __u32 label)
{
	__u32 len = skb->len - ETH_HLEN;

	if (vr_outer_l3(skb, o, nh, len) || vr_outer_tunnel(skb, o, label, len - o->ip_len))
		return -1;
	if (o->wrap && vr_outer_wrap(skb, o, nh))
		return -1;
	return o->has_eth ? vr_outer_inner(skb, o, nh, oif) : 0;
}

/* Bytes that the tunnel puts before the payload. */
static __always_inline __u32 vr_outer_overhead(const struct vr_outer *o)
{
	return vr_outer_len(o) + (o->has_eth ? ETH_HLEN : 0) + o->vlan_len;
}

/*
 * Must the IP packet at @off not be cut, so that its sender has to make smaller
 * ones: IPv4 with DF, and all IPv6? What is no valid IP may be cut.
 */
static __always_inline int vr_must_not_cut(struct __sk_buff *skb, __be16 proto, __u32 off)
{
	struct iphdr *ip;

	if (proto == bpf_htons(ETH_P_IPV6))
		return vr_inet6_header(skb, off) != NULL;
	if (proto != bpf_htons(ETH_P_IP))
		return 0;
	ip = vr_inet_header(skb, off);
	return ip && ip->frag_off & bpf_htons(VR_IP_DF);
}

/* Would the packet go back to the host that it came from? */
static __always_inline int vr_tunnel_loops(struct __sk_buff *skb, const struct vr_packet *pkt,
					   const struct vr_nexthop *nh)
{
	const __u32 *dip6 = (const __u32 *)nh->dip6;

	if (!(pkt->flags & VP_FROM_TUNNEL))
		return 0;
	if (nh->family != VR_AF_INET6)
		return !(pkt->flags & VP_OUTER6) && pkt->tun_sip == nh->dip;
	return pkt->flags & VP_OUTER6 && skb->cb[0] == dip6[0] && skb->cb[1] == dip6[1] &&
	       skb->cb[2] == dip6[2] && skb->cb[3] == dip6[3];
}

/* May this packet go into a tunnel with this label? 0 or a drop reason. */
static __always_inline int vr_tunnel_refuses(struct __sk_buff *skb, const struct vr_packet *pkt,
					     const struct vr_nexthop *nh, __u32 label)
{
	__u32 kind = vr_tunnel_kind(nh);

	if (vr_tunnel_loops(skb, pkt, nh))
		return VR_DROP_PKT_LOOP;
	if (!kind)
		return VR_DROP_INVALID_NH;
	if (label != VR_LABEL_NONE)
		return 0;
	return kind & VR_KIND_VXLAN ? VR_DROP_INVALID_VNID : VR_DROP_INVALID_LABEL;
}

/* @tunnel: one of NH_FLAG_TUNNELS */
static __always_inline void vr_count_tunnel(__u32 vrf, __u32 tunnel)
{
	if (tunnel == NH_FLAG_TUNNEL_VXLAN)
		VR_COUNT_VRF(vrf, vxlan_tunnels);
	else if (tunnel == NH_FLAG_TUNNEL_UDP_MPLS)
		VR_COUNT_VRF(vrf, udp_mpls_tunnels);
	else
		VR_COUNT_VRF(vrf, gre_mpls_tunnels);
}

#endif /* VR_ENCAP_H */
