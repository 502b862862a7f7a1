/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * decap.h - packets to the host's own address that came in by the fabric:
 * tunnels are opened, everything else is the host's.
 */
#ifndef VR_DECAP_H
#define VR_DECAP_H

#include "encap.h"
#include "inet6.h"
#include "label.h"
#include "icmp_error.h"
#include "mss.h"
#include "super.h"
#include "trap.h"

/* What stands behind the tunnel header. */
struct vr_inner {
	__u32 off;	/* of the inner packet or frame */
	__u32 end;	/* of what the outer lengths cover */
	__u32 l2;	/* it is a frame */
};

/* Reads a big endian word of the outer headers. 0, or -1 if it is not there. */
static __always_inline int vr_load_word(struct __sk_buff *skb, __u32 off, __u32 *word)
{
	__be32 be;

	if (bpf_skb_load_bytes(skb, off, &be, sizeof(be)))
		return -1;
	*word = bpf_ntohl(be);
	return 0;
}

/* Does the payload that @nh names begin with an Ethernet header? */
static __always_inline int vr_nh_wants_l2(const struct vr_nexthop *nh)
{
	return nh->family == VR_AF_BRIDGE || nh->type == NH_TYPE_L2_RECEIVE;
}

/* Takes pkt->nh as what the label or VNI named; its VRF becomes the packet's. */
static __always_inline struct vr_nexthop *vr_enter_nh(struct vr_packet *pkt)
{
	struct vr_nexthop *nh = vr_nh_get(pkt->nh);

	if (!nh)
		return NULL;
	pkt->vrf = nh->vrf;
	pkt->label_nh = pkt->nh;
	if (nh->flags & NH_FLAG_UNKNOWN_UC_FLOOD)
		pkt->flags |= VP_UUC_FLOOD;
	return nh;
}

/* EtherType of a bare IP packet at @off, or 0 if it is none or too short. */
static __always_inline __be16 vr_bare_ip(struct __sk_buff *skb, __u32 off)
{
	__u8 first;

	if (bpf_skb_load_bytes(skb, off, &first, 1))
		return 0;
	if (first >> 4 == 4)
		return vr_inet_header(skb, off) ? bpf_htons(ETH_P_IP) : 0;
	if (first >> 4 == 6)
		return vr_inet6_header(skb, off) ? bpf_htons(ETH_P_IPV6) : 0;
	return 0;
}

/* The kernel keeps at least an IP header behind Ethernet: pad what is shorter. A tag
 * may have to come off later. */
static __always_inline int vr_pad_inner(struct __sk_buff *skb, __u32 payload, __be16 proto)
{
	__u32 least = sizeof(struct iphdr);
	__u32 len = skb->len;

	if (proto == bpf_htons(ETH_P_IPV6))
		least = sizeof(struct ipv6hdr);
	else if (vr_is_vlan(proto))
		least += 4;
	if (len >= payload + least)
		return 0;
	return bpf_skb_change_tail(skb, payload + least, 0) ? -1 : 0;
}

static __always_inline int vr_shrink(struct __sk_buff *skb, __u32 bytes, __be16 proto)
{
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO;

	/* the kernel knows IP only; of other frames it wants the shorter header's length */
	if (proto == bpf_htons(ETH_P_IPV6))
		flags |= BPF_F_ADJ_ROOM_DECAP_L3_IPV6;
	else
		flags |= BPF_F_ADJ_ROOM_DECAP_L3_IPV4;
	return bpf_skb_adjust_room(skb, -(__s32)bytes, BPF_ADJ_ROOM_MAC, flags) ? -1 : 0;
}

/* Takes the outer header off a frame inside. */
static __always_inline int vr_open_frame(struct __sk_buff *skb, struct vr_packet *pkt,
					 const struct vr_inner *in)
{
	__u32 off = in->off;
	struct ethhdr eth;

	if (off + ETH_HLEN > in->end || bpf_skb_load_bytes(skb, off, &eth, sizeof(eth)))
		return VR_DROP_INVALID_PACKET;
	if (vr_pad_inner(skb, off + ETH_HLEN, eth.h_proto) || vr_shrink(skb, off, eth.h_proto))
		return VR_DROP_PULL;
	if (bpf_skb_store_bytes(skb, 0, &eth, sizeof(eth), 0))
		return VR_DROP_PULL;
	return vr_parse_l2(skb, pkt) ? VR_DROP_INVALID_PACKET : 0;
}

/* Does the label belong to the fabric's multicast tree? Low labels never do. */
static __always_inline int vr_is_wrapped(const struct vr_packet *pkt, const struct vr_inner *in,
					 const struct vr_nexthop *nh)
{
	return !in->l2 && pkt->label >= VR_MIN_MCAST_LABEL && nh->type == NH_TYPE_COMPOSITE &&
	       nh->family == VR_AF_BRIDGE;
}

/* Passes over what stands between such a label and the frame; pkt->label becomes the VNI. */
static __always_inline int vr_unwrap(struct __sk_buff *skb, struct vr_packet *pkt,
				     struct vr_inner *in)
{
	__u32 control, vni;

	if (vr_load_word(skb, in->off, &control) || control)
		return VR_DROP_INVALID_PACKET;
	in->off += VR_WRAP_LEN;
	if (vr_load_word(skb, in->off - sizeof(vni), &vni))
		return VR_DROP_INVALID_PACKET;
	pkt->label = vni >> 8;
	return 0;
}

/* Takes the outer header off a bare IP packet; the outer Ethernet stays. */
static __always_inline int vr_open_packet(struct __sk_buff *skb, struct vr_packet *pkt,
					  const struct vr_inner *in)
{
	__be16 proto = vr_bare_ip(skb, in->off);
	__u32 least = proto == bpf_htons(ETH_P_IPV6) ? sizeof(struct ipv6hdr)
						     : sizeof(struct iphdr);

	if (!proto || in->off + least > in->end)
		return VR_DROP_INVALID_PACKET;
	if (vr_shrink(skb, in->off - ETH_HLEN, proto) ||
	    bpf_skb_store_bytes(skb, 2 * ETH_ALEN, &proto, sizeof(proto), 0))
		return VR_DROP_PULL;
	pkt->flags |= VP_L3;
	pkt->proto = proto;
	pkt->l3 = ETH_HLEN;
	return 0;
}

/* A SYN that came out of a tunnel with so many bytes before it. */
static __always_inline void vr_mss_to_vm(struct __sk_buff *skb, struct vr_packet *pkt,
					 const struct vr_inner *in)
{
	__u32 tcp, overhead = in->off - ETH_HLEN;

	if (!(vr_cfg.mss_clamp & VR_MSS_TO_VM))
		return;
	tcp = vr_mss_syn(skb, pkt);
	if (tcp)
		vr_mss_clamp(skb, pkt, tcp, overhead + (pkt->flags & VP_L3 ? 0 : ETH_HLEN), 0);
}

/* pkt->nh is set; opens the tunnel and goes on with it. */
static __always_inline int vr_open(struct __sk_buff *skb, struct vr_packet *pkt,
				   struct vr_inner *in, __be32 tun_sip)
{
	struct vr_nexthop *nh = vr_enter_nh(pkt);
	int reason, wrapped;

	if (!nh)
		return VR_DROP_INVALID_NH;
	wrapped = vr_is_wrapped(pkt, in, nh);
	if (wrapped && vr_unwrap(skb, pkt, in))
		return VR_DROP_INVALID_PACKET;
	reason = in->l2 || vr_nh_wants_l2(nh) ? vr_open_frame(skb, pkt, in)
					      : vr_open_packet(skb, pkt, in);
	if (reason)
		return reason;
	pkt->flags |= VP_FROM_TUNNEL;
	pkt->tun_sip = tun_sip;
	vr_mss_to_vm(skb, pkt, in);
	vr_trace(skb, pkt, VR_EV_DECAP);
	if (!wrapped)
		pkt->label = VR_LABEL_NONE;
	return 0;
}

#define VR_TO_HOST	(-1)	/* not a tunnel of ours */
#define VR_TO_AGENT	(-2)	/* router alert */
#define VR_TO_AGENT_ERROR (-3)	/* an ICMP error about a tunnel of ours */

#define VR_LABEL_ROUTER_ALERT	1	/* RFC 3032, 2.1 */

/* An MPLS label stack (RFC 3032); 0 or a drop reason. */
static __always_inline int vr_mpls_input(struct __sk_buff *skb, struct vr_packet *pkt,
					 const struct vr_l4 *l4, __u32 head, struct vr_inner *in)
{
	__u32 entry;

	if (l4->area < head + 4 || vr_load_word(skb, l4->off + head, &entry))
		return VR_DROP_INVALID_PACKET;
	if ((entry & 0xff) <= 1)
		return VR_DROP_TTL_EXCEEDED;
	if (entry >> 12 == VR_LABEL_ROUTER_ALERT)
		return VR_TO_AGENT;
	if (!(entry & 0x100))
		return VR_DROP_INVALID_LABEL;
	pkt->label = entry >> 12;
	if (vr_mpls_lookup(pkt->label, &pkt->nh))
		return VR_DROP_INVALID_LABEL;
	in->off = l4->off + head + 4;
	in->end = l4->off + l4->area;
	in->l2 = 0;
	return 0;
}

static __always_inline int vr_gre_input(struct __sk_buff *skb, struct vr_packet *pkt,
					const struct vr_l4 *l4, struct vr_inner *in)
{
	__u32 word, head = 4;

	if (l4->area < 4 || vr_load_word(skb, l4->off, &word))
		return VR_DROP_INVALID_PACKET;
	if (word & 0x5fff0000 || (word & 0xffff) != VR_ETH_P_MPLS)
		return VR_TO_HOST;
	if (word & 0x80000000)
		head += 4;
	if (word & 0x20000000)
		head += 4;
	return vr_mpls_input(skb, pkt, l4, head, in);
}

static __always_inline int vr_vxlan_input(struct __sk_buff *skb, struct vr_packet *pkt,
					  const struct vr_l4 *l4, struct vr_inner *in)
{
	const __u32 head = sizeof(struct udphdr);
	__u32 flags, vni;

	if (l4->area < head + 8 || vr_load_word(skb, l4->off + head, &flags) ||
	    vr_load_word(skb, l4->off + head + 4, &vni))
		return VR_DROP_INVALID_PACKET;
	if (!(flags & VR_VXLAN_VNI))
		return VR_DROP_INVALID_VNID;
	if (flags & VR_VXLAN_ROUTER_ALERT)
		return VR_TO_AGENT;
	pkt->label = vni >> 8;
	if (vr_vxlan_lookup(pkt->label, &pkt->nh))
		return VR_DROP_INVALID_VNID;
	in->off = l4->off + head + 8;
	in->end = l4->off + l4->area;
	in->l2 = 1;
	return 0;
}

static __always_inline int vr_udp_input(struct __sk_buff *skb, struct vr_packet *pkt,
					struct vr_l4 *l4, struct vr_inner *in)
{
	struct udphdr udp;
	__u32 port, len;

	if (l4->area < sizeof(udp) || bpf_skb_load_bytes(skb, l4->off, &udp, sizeof(udp)))
		return VR_DROP_INVALID_PACKET;
	port = bpf_ntohs(udp.dest);
	if (!vr_is_tunnel_port(port))
		return VR_TO_HOST;
	len = bpf_ntohs(udp.len);
	if (len < sizeof(udp) || len > l4->area)
		return VR_DROP_INVALID_PACKET;
	l4->area = len;
	if (port == VR_PORT_VXLAN)
		return vr_vxlan_input(skb, pkt, l4, in);
	return vr_mpls_input(skb, pkt, l4, sizeof(udp), in);
}

/* A fragment cannot be opened; what may be a tunnel's is not given to the host. */
static __always_inline int vr_fragment_input(struct __sk_buff *skb, __u8 proto, __u32 first,
					     const struct vr_l4 *l4)
{
	struct udphdr udp;

	if (proto == IPPROTO_GRE)
		return VR_DROP_FRAGMENTS;
	if (proto != IPPROTO_UDP || !first)
		return VR_TO_HOST;
	if (l4->area < sizeof(udp) || bpf_skb_load_bytes(skb, l4->off, &udp, sizeof(udp)))
		return VR_DROP_INVALID_PACKET;
	return vr_is_tunnel_port(bpf_ntohs(udp.dest)) ? VR_DROP_FRAGMENTS : VR_TO_HOST;
}

/* Finds what the packet is; 0 with pkt->nh and @in set, or why not. */
static __always_inline int vr_demux(struct __sk_buff *skb, struct vr_packet *pkt,
				    struct vr_inner *in, __be32 *tun_sip)
{
	struct iphdr *ip = vr_inet_header(skb, pkt->l3);
	struct vr_l4 l4;

	if (!ip)
		return VR_DROP_INVALID_PACKET;
	l4.off = pkt->l3 + ip->ihl * 4;
	l4.area = bpf_ntohs(ip->tot_len) - ip->ihl * 4;
	*tun_sip = ip->saddr;
	if (vr_is_fragment(ip))
		return vr_fragment_input(skb, ip->protocol,
					 !(ip->frag_off & bpf_htons(VR_IP_OFFSET)), &l4);
	if (ip->protocol == IPPROTO_UDP)
		return vr_udp_input(skb, pkt, &l4, in);
	if (ip->protocol == IPPROTO_GRE)
		return vr_gre_input(skb, pkt, &l4, in);
	if (ip->protocol == IPPROTO_ICMP)
		return vr_icmp_about_tunnel(skb, &l4, ip->daddr) ? VR_TO_AGENT_ERROR : VR_TO_HOST;
	return VR_TO_HOST;
}

/* The same of an IPv6 packet whose first header is a fragment's (RFC 8200, 4.5). */
static __always_inline int vr_fragment_input6(struct __sk_buff *skb, struct vr_l4 *l4)
{
	struct vr_ip6_fragment head;

	if (l4->area < sizeof(head) || bpf_skb_load_bytes(skb, l4->off, &head, sizeof(head)))
		return VR_DROP_INVALID_PACKET;
	l4->off += sizeof(head);
	l4->area -= sizeof(head);
	return vr_fragment_input(skb, head.next, !(head.offset & bpf_htons(0xfff8)), l4);
}

/*
 * vr_demux() of an IPv6 packet. The outer source goes where it fits: into the
 * skb's control block. Tunnels behind extension headers are not ours.
 */
static __always_inline int vr_demux6(struct __sk_buff *skb, struct vr_packet *pkt,
				     struct vr_inner *in)
{
	struct ipv6hdr *ip6 = vr_inet6_header(skb, pkt->l3);
	struct vr_l4 l4;

	if (!ip6)
		return VR_DROP_INVALID_PACKET;
	l4.off = pkt->l3 + sizeof(*ip6);
	l4.area = bpf_ntohs(ip6->payload_len);
	skb->cb[0] = ip6->saddr.in6_u.u6_addr32[0];
	skb->cb[1] = ip6->saddr.in6_u.u6_addr32[1];
	skb->cb[2] = ip6->saddr.in6_u.u6_addr32[2];
	skb->cb[3] = ip6->saddr.in6_u.u6_addr32[3];
	switch (ip6->nexthdr) {
	case IPPROTO_UDP:
		return vr_udp_input(skb, pkt, &l4, in);
	case IPPROTO_GRE:
		return vr_gre_input(skb, pkt, &l4, in);
	case VR_EXT_FRAGMENT:
		return vr_fragment_input6(skb, &l4);
	default:
		return VR_TO_HOST;
	}
}

/* What the fabric's vif mirrors of a tunnel is the inside, and all of what is none. */
static __always_inline void vr_mirror_opened(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct vr_vif *vif = vr_vif_get(pkt->vif);

	if (vif)
		vr_mirror(skb, pkt, vif->mirror);
}

/* Does the tunnel's packet go on in pieces? */
static __always_inline int vr_is_super(struct __sk_buff *skb, struct vr_packet *pkt,
				       const struct vr_inner *in)
{
	struct vr_nexthop *nh = vr_nh_get(pkt->nh);

	return nh && vr_super_cut(skb, pkt, in->off, in->l2 || vr_nh_wants_l2(nh));
}

/* For the host's own address: goes on with what is inside, or to vif @host. */
__noinline int vr_local_input(struct __sk_buff *skb, struct vr_packet *pkt, __u32 host)
{
	struct vr_inner in = {};
	__be32 tun_sip = 0;
	__u32 outer6;
	int ret;

	if (!pkt)
		return TC_ACT_SHOT;
	outer6 = pkt->proto == bpf_htons(ETH_P_IPV6) ? VP_OUTER6 : 0;
	ret = outer6 ? vr_demux6(skb, pkt, &in) : vr_demux(skb, pkt, &in, &tun_sip);
	if (!ret && __builtin_expect(skb->gso_size, 0) && vr_is_super(skb, pkt, &in))
		return vr_drop(skb, pkt, VR_DROP_CLONED_ORIGINAL);
	if (!ret)
		ret = vr_open(skb, pkt, &in, tun_sip);
	if (ret <= 0 && pkt->flags & VP_MIRROR_LATER)
		vr_mirror_opened(skb, pkt);
	if (ret == VR_TO_HOST)
		return vr_output(skb, pkt, host);
	if (ret == VR_TO_AGENT)
		return vr_trap(skb, pkt, VR_TRAP_ROUTER_ALERT, 0);
	if (ret == VR_TO_AGENT_ERROR)
		return vr_trap(skb, pkt, VR_TRAP_ICMP_ERROR, 0);
	if (ret)
		return vr_drop(skb, pkt, ret);
	pkt->flags |= outer6;
	return VR_GO_ON;
}

#endif /* VR_DECAP_H */
