/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * services.h - packets that are the agent's to answer, whoever they are for.
 */
#ifndef VR_SERVICES_H
#define VR_SERVICES_H

#include "bridge.h"
#include "inet6.h"

#define VR_PORT_DHCP_SERVER	67
#define VR_PORT_DHCP_CLIENT	68
#define VR_PORT_DHCP6_CLIENT	546
#define VR_PORT_DHCP6_SERVER	547
#define VR_PORT_BFD		3784

/* RFC 2710, RFC 3810 */
#define VR_MLD_QUERY		130
#define VR_MLD_REPORT		131
#define VR_MLD_DONE		132
#define VR_MLD2_REPORT		143
#define VR_IGMP_REPORT		0x12
#define VR_IGMP2_REPORT		0x16
#define VR_IGMP3_REPORT		0x22

/*
 * The UDP header of an IP packet that is no later fragment, and has no IPv6
 * extension header: nothing that the agent serves has one. 0, or -1 if there is
 * none; @off is where it stands.
 */
static __always_inline int vr_plain_udp(struct __sk_buff *skb, const struct vr_packet *pkt,
					struct udphdr *udp, __u32 *off)
{
	struct ipv6hdr ip6;
	struct iphdr *ip;

	if (pkt->proto == bpf_htons(ETH_P_IP)) {
		ip = vr_inet_header(skb, pkt->l3);
		if (!ip || ip->protocol != IPPROTO_UDP || ip->frag_off & bpf_htons(VR_IP_OFFSET) ||
		    bpf_ntohs(ip->tot_len) < ip->ihl * 4 + sizeof(*udp))
			return -1;
		*off = pkt->l3 + ip->ihl * 4;
		return bpf_skb_load_bytes(skb, *off, udp, sizeof(*udp)) ? -1 : 0;
	}
	if (pkt->proto != bpf_htons(ETH_P_IPV6) ||
	    bpf_skb_load_bytes(skb, pkt->l3, &ip6, sizeof(ip6)) || ip6.version != 6 ||
	    ip6.nexthdr != IPPROTO_UDP || bpf_ntohs(ip6.payload_len) < sizeof(*udp))
		return -1;
	*off = pkt->l3 + sizeof(ip6);
	return bpf_skb_load_bytes(skb, *off, udp, sizeof(*udp)) ? -1 : 0;
}

static __always_inline int vr_is_dhcp_request(struct __sk_buff *skb, const struct vr_packet *pkt)
{
	struct udphdr udp;
	__u32 off;

	if (vr_plain_udp(skb, pkt, &udp, &off))
		return 0;
	if (pkt->proto == bpf_htons(ETH_P_IP))
		return udp.source == bpf_htons(VR_PORT_DHCP_CLIENT) &&
		       udp.dest == bpf_htons(VR_PORT_DHCP_SERVER);
	return udp.source == bpf_htons(VR_PORT_DHCP6_CLIENT) &&
	       udp.dest == bpf_htons(VR_PORT_DHCP6_SERVER);
}

/* The bridge entry of the sender says that its DHCP is flooded, not answered here. */
static __always_inline int vr_floods_dhcp(struct __sk_buff *skb, const struct vr_packet *pkt)
{
	__u64 word = 0;
	__u8 mac[ETH_ALEN];

	return !bpf_skb_load_bytes(skb, ETH_ALEN, mac, sizeof(mac)) &&
	       vr_bridge_lookup(mac, pkt->vrf, &word) && VR_BE_FLAGS(word) & VR_BE_FLOOD_DHCP;
}

static __always_inline int vr_is_igmp(struct __sk_buff *skb, const struct vr_packet *pkt)
{
	struct iphdr *ip;

	if (pkt->proto != bpf_htons(ETH_P_IP))
		return 0;
	ip = vr_inet_header(skb, pkt->l3);
	return ip && ip->protocol == IPPROTO_IGMP;
}

static __always_inline int vr_is_mld_type(__u8 type)
{
	return (type >= VR_MLD_QUERY && type <= VR_MLD_DONE) || type == VR_MLD2_REPORT;
}

/*
 * Behind whatever extension headers: whether the one with the router alert is
 * among them is the agent's to check. A fragment is none.
 */
__noinline int vr_is_mld(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct ipv6hdr *ip6;
	__u32 off, end;
	__u8 type;
	int l4;

	if (!pkt || pkt->proto != bpf_htons(ETH_P_IPV6))
		return 0;
	ip6 = vr_inet6_header(skb, pkt->l3);
	if (!ip6)
		return 0;
	off = pkt->l3 + sizeof(*ip6);
	end = off + bpf_ntohs(ip6->payload_len);
	l4 = vr_inet6_l4(skb, off, ip6->nexthdr);
	off = (__u32)l4 >> 8;
	return (l4 & 0xff) == IPPROTO_ICMPV6 && off < end &&
	       !bpf_skb_load_bytes(skb, off, &type, 1) && vr_is_mld_type(type);
}

/* Is this for the agent, on a vif with these flags? */
static __always_inline int vr_is_service(struct __sk_buff *skb, struct vr_packet *pkt,
					 __u32 flags)
{
	if (flags & VIF_FLAG_DHCP && vr_is_dhcp_request(skb, pkt) && !vr_floods_dhcp(skb, pkt))
		return 1;
	return flags & VIF_FLAG_IGMP && (vr_is_igmp(skb, pkt) || vr_is_mld(skb, pkt));
}

/* A packet that the agent injects may be a probe of the way that it takes. */
static __always_inline void vr_note_probe(struct vr_packet *pkt, const struct vr_agent_hdr *hdr)
{
	if (hdr->param == bpf_htonl(1) && hdr->param1 == bpf_htonl(1))
		pkt->flags |= VP_DIAG;
}

/* What a packet for the agent as a gateway is to it; BFD (RFC 5880) says its state. */
static __always_inline __u32 vr_agent_reason(struct __sk_buff *skb, const struct vr_packet *pkt,
					     __u32 *param)
{
	struct udphdr udp;
	__u8 state;
	__u32 off;

	if (vr_plain_udp(skb, pkt, &udp, &off) || udp.dest != bpf_htons(VR_PORT_BFD) ||
	    bpf_skb_load_bytes(skb, off + sizeof(udp) + 1, &state, 1))
		return VR_TRAP_NEXTHOP;
	*param = state >> 6;
	return VR_TRAP_BFD;
}

#endif /* VR_SERVICES_H */
