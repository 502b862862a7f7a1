/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * source.h - who may speak: the MACs and addresses that a vif may use.
 *
 * A vif with such a table speaks with these only, in Ethernet, IP, ARP and
 * neighbour discovery, and is no DHCP server, IPv6 router or bridge unless it
 * is allowed to be one. What has no address yet may look for one: ARP probes
 * and duplicate address detection (for an address that is allowed), DHCP
 * requests, router solicitations, MLD reports. A MAC that is allowed may use
 * the link-local address made of it (RFC 4291, appendix A).
 */
#ifndef VR_SOURCE_H
#define VR_SOURCE_H

#include "nd.h"
#include "services.h"

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct vr_source_key);
	__type(value, __u32);
} sources SEC(".maps");

#define VR_ND_RA		134
#define VR_ND_REDIRECT		137

#define VR_EXT_HEADERS		6	/* more are taken for an attempt to hide */

/* A stretch of an IPv6 packet, and what stands at its beginning. */
struct vr_upper {
	__u32 off;
	__u32 end;		/* of what the IPv6 header says there is */
	__u32 fragment;		/* 1: the first part of a datagram, 2: a later one */
	__u8 proto;
};

/* May the vif use @mac, with @addr if @proto is that of an address? */
static __always_inline int vr_source_has(const struct vr_packet *pkt, const __u8 *mac,
					 __be16 proto, const __u8 *addr)
{
	struct vr_source_key key = {
		.prefixlen = VR_SOURCE_BITS,
		.vif = bpf_htons(pkt->vif),
		.proto = proto,
	};

	__builtin_memcpy(key.mac, mac, ETH_ALEN);
	if (proto == bpf_htons(ETH_P_IP)) {
		__builtin_memcpy(key.addr, addr, 4);
		key.prefixlen += 32;
	} else if (proto == bpf_htons(ETH_P_IPV6)) {
		__builtin_memcpy(key.addr, addr, 16);
		key.prefixlen += 128;
	}
	return bpf_map_lookup_elem(&sources, &key) != NULL;
}

static __always_inline int vr_source_has_mac(const struct vr_packet *pkt, const __u8 *mac)
{
	return vr_source_has(pkt, mac, 0, NULL);
}

static __always_inline int vr_source_has_ip(const struct vr_packet *pkt, const __u8 *mac,
					    const __u8 *addr)
{
	return vr_source_has(pkt, mac, bpf_htons(ETH_P_IP), addr);
}

/* fe80::/64 with the MAC as the interface identifier? */
static __always_inline int vr_is_link_local_of(const __u8 *addr, const __u8 *mac)
{
	const __u8 own[16] = { 0xfe, 0x80, 0, 0, 0, 0, 0, 0, mac[0] ^ 2, mac[1], mac[2],
			       0xff, 0xfe, mac[3], mac[4], mac[5] };

	return !__builtin_memcmp(addr, own, sizeof(own));
}

static __always_inline int vr_source_has_ip6(const struct vr_packet *pkt, const __u8 *mac,
					     const __u8 *addr)
{
	if (vr_is_link_local_of(addr, mac))
		return vr_source_has_mac(pkt, mac);
	return vr_source_has(pkt, mac, bpf_htons(ETH_P_IPV6), addr);
}

/* The MAC may not use this address: because of itself, or of the address. */
static __always_inline int vr_source_why(const struct vr_packet *pkt, const __u8 *mac)
{
	return vr_source_has_mac(pkt, mac) ? VR_DROP_SOURCE_ADDRESS : VR_DROP_SOURCE_MAC;
}

/* The ports of a UDP packet at @off, of which @area bytes are there. */
static __always_inline int vr_udp_ports(struct __sk_buff *skb, __u32 off, __u32 area,
					struct udphdr *udp)
{
	return area < sizeof(*udp) || bpf_skb_load_bytes(skb, off, udp, sizeof(*udp)) ? -1 : 0;
}

/* IGMP's reports, which a host without an address makes from 0.0.0.0 (RFC 3376, 4.2.13). */
static __always_inline int vr_is_igmp_report(struct __sk_buff *skb, const struct iphdr *ip,
					     __u32 off, __u32 area)
{
	__u8 type;

	if (ip->protocol != IPPROTO_IGMP || ip->frag_off & bpf_htons(VR_IP_OFFSET) || area < 8 ||
	    bpf_skb_load_bytes(skb, off, &type, 1))
		return 0;
	return type == VR_IGMP_REPORT || type == VR_IGMP2_REPORT || type == VR_IGMP3_REPORT;
}

/* IPv4. 0 or a drop reason. */
__noinline int vr_source_inet(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct udphdr udp = {};
	struct iphdr *ip;
	__u32 off, area;
	__u8 mac[ETH_ALEN];
	__be32 src;
	int is_udp;

	if (!pkt || bpf_skb_load_bytes(skb, ETH_ALEN, mac, sizeof(mac)))
		return VR_DROP_INVALID_PACKET;
	ip = vr_inet_header(skb, pkt->l3);
	if (!ip)
		return VR_DROP_INVALID_PACKET;
	off = pkt->l3 + ip->ihl * 4;
	area = bpf_ntohs(ip->tot_len) - ip->ihl * 4;
	src = ip->saddr;
	is_udp = ip->protocol == IPPROTO_UDP && !(ip->frag_off & bpf_htons(VR_IP_OFFSET));
	if (is_udp && vr_udp_ports(skb, off, area, &udp))
		return VR_DROP_INVALID_PACKET;
	if (!src) {
		if (!vr_source_has_mac(pkt, mac))
			return VR_DROP_SOURCE_MAC;
		if (vr_is_igmp_report(skb, ip, off, area))
			return 0;
		return udp.source == bpf_htons(VR_PORT_DHCP_CLIENT) &&
		       udp.dest == bpf_htons(VR_PORT_DHCP_SERVER) ? 0 : VR_DROP_SOURCE_ADDRESS;
	}
	if (!vr_source_has_ip(pkt, mac, (__u8 *)&src))
		return vr_source_why(pkt, mac);
	if (udp.source == bpf_htons(VR_PORT_DHCP_SERVER) &&
	    !(pkt->features & VIF_FEATURE_DHCP_SERVER))
		return VR_DROP_DHCP_SERVER;
	return 0;
}

/* ARP: the Ethernet source, and the pair that the sender claims. 0 or a drop reason. */
__noinline int vr_source_arp(struct __sk_buff *skb, struct vr_packet *pkt)
{
	static const __u8 nobody[4];
	struct vr_arp arp = {};
	const __u8 *claimed;
	__u8 mac[ETH_ALEN];

	if (!pkt || bpf_skb_load_bytes(skb, ETH_ALEN, mac, sizeof(mac)))
		return VR_DROP_INVALID_PACKET;
	if (!vr_source_has_mac(pkt, mac))
		return VR_DROP_SOURCE_MAC;
	if (vr_arp_read(skb, pkt, &arp))
		return VR_DROP_INVALID_ARP;
	claimed = __builtin_memcmp(arp.spa, nobody, 4) ? arp.spa : arp.tpa;
	return vr_source_has_ip(pkt, arp.sha, claimed) ? 0 : VR_DROP_SOURCE_ARP;
}

static __always_inline int vr_is_extension_or_fragment(__u8 proto)
{
	return proto == IPPROTO_HOPOPTS || proto == IPPROTO_ROUTING || proto == IPPROTO_DSTOPTS ||
	       proto == IPPROTO_FRAGMENT || proto == IPPROTO_AH;
}

/*
 * Moves @up over the extension headers (RFC 8200) to what they carry. 0, or -1
 * if one is cut short, or there are too many.
 */
static __always_inline int vr_skip_extensions(struct __sk_buff *skb, struct vr_upper *up)
{
	__u8 head[4];

	for (int i = 0; i < VR_EXT_HEADERS && vr_is_extension_or_fragment(up->proto); i++) {
		if (up->off + 8 > up->end || bpf_skb_load_bytes(skb, up->off, head, sizeof(head)))
			return -1;
		if (up->proto == IPPROTO_FRAGMENT) {
			up->fragment = head[2] || head[3] & 0xf8 ? 2 : 1;
			up->off += 8;
		} else if (up->proto == IPPROTO_AH) {
			up->off += (head[1] + 2) * 4;
		} else {
			up->off += (head[1] + 1) * 8;
		}
		up->proto = head[0];
		if (up->fragment == 2)
			return 0;
	}
	return vr_is_extension_or_fragment(up->proto) || up->off > up->end ? -1 : 0;
}

/* Reads the IPv6 header of the packet, and finds what it carries. */
static __always_inline int vr_upper_find(struct __sk_buff *skb, const struct vr_packet *pkt,
					 struct ipv6hdr *ip6, struct vr_upper *up)
{
	if (bpf_skb_load_bytes(skb, pkt->l3, ip6, sizeof(*ip6)) || ip6->version != 6)
		return -1;
	up->off = pkt->l3 + sizeof(*ip6);
	up->end = up->off + bpf_ntohs(ip6->payload_len);
	up->proto = ip6->nexthdr;
	return up->end > skb->len ? -1 : vr_skip_extensions(skb, up);
}

/*
 * The link-layer addresses that the options from @off on give to @addr, all of
 * which the vif must be allowed to use with it; NULL: none may be given.
 */
static __always_inline int vr_source_nd_options(struct __sk_buff *skb, const struct vr_packet *pkt,
						__u32 off, __u32 end, const __u8 *addr)
{
	__u8 opt[8];

	for (int i = 0; i < VR_ND_OPTIONS && off < end; i++) {
		if (off + 8 > end || bpf_skb_load_bytes(skb, off, opt, sizeof(opt)) || !opt[1])
			return VR_DROP_INVALID_PACKET;
		if ((opt[0] == VR_ND_SOURCE_LL || opt[0] == VR_ND_TARGET_LL) &&
		    (!addr || !vr_source_has_ip6(pkt, opt + 2, addr)))
			return VR_DROP_SOURCE_ND;
		off += opt[1] * 8;
	}
	return off < end ? VR_DROP_SOURCE_ND : off > end ? VR_DROP_INVALID_PACKET : 0;
}

/* A message of neighbour discovery (RFC 4861) whose IPv6 source is allowed. */
__noinline int vr_source_nd(struct __sk_buff *skb, struct vr_packet *pkt,
			    const struct vr_upper *up, __u32 type, __u32 unspecified)
{
	__u8 target[16], src[16], mac[ETH_ALEN];
	__u32 off;

	if (!pkt || !up || bpf_skb_load_bytes(skb, ETH_ALEN, mac, sizeof(mac)) ||
	    bpf_skb_load_bytes(skb, pkt->l3 + 8, src, sizeof(src)))
		return VR_DROP_INVALID_PACKET;
	off = up->off;
	if (type == VR_ND_RS)
		return vr_source_nd_options(skb, pkt, off + 8, up->end, unspecified ? NULL : src);
	if (off + 24 > up->end || bpf_skb_load_bytes(skb, off + 8, target, sizeof(target)))
		return VR_DROP_INVALID_PACKET;
	if ((type == VR_ND_NA || unspecified) && !vr_source_has_ip6(pkt, mac, target))
		return VR_DROP_SOURCE_ND;
	if (type == VR_ND_NA)
		return vr_source_nd_options(skb, pkt, off + 24, up->end, target);
	return vr_source_nd_options(skb, pkt, off + 24, up->end, unspecified ? NULL : src);
}

/* ICMPv6: what it says of neighbours and routers. @unspecified: from ::. */
static __always_inline int vr_source_icmp6(struct __sk_buff *skb, struct vr_packet *pkt,
					   const struct vr_upper *up, __u32 unspecified)
{
	__u8 type;

	if (up->off + 8 > up->end || bpf_skb_load_bytes(skb, up->off, &type, 1))
		return VR_DROP_INVALID_PACKET;
	if (type == VR_ND_RA || type == VR_ND_REDIRECT)
		return pkt->features & VIF_FEATURE_ROUTER ? 0 : VR_DROP_ROUTER;
	if (type == VR_ND_RS || type == VR_ND_NS || type == VR_ND_NA) {
		/* RFC 6980: never in fragments */
		if (up->fragment || (unspecified && type == VR_ND_NA))
			return VR_DROP_SOURCE_ND;
		return vr_source_nd(skb, pkt, up, type, unspecified);
	}
	if (unspecified && type != VR_MLD_REPORT && type != VR_MLD2_REPORT)
		return VR_DROP_SOURCE_ADDRESS;
	return 0;
}

/* IPv6. 0 or a drop reason. */
__noinline int vr_source_inet6(struct __sk_buff *skb, struct vr_packet *pkt)
{
	static const __u8 nobody[16];
	struct vr_upper up = {};
	struct udphdr udp = {};
	struct ipv6hdr ip6;
	__u8 mac[ETH_ALEN];
	__u32 unspecified;

	if (!pkt || bpf_skb_load_bytes(skb, ETH_ALEN, mac, sizeof(mac)) ||
	    vr_upper_find(skb, pkt, &ip6, &up))
		return VR_DROP_INVALID_PACKET;
	unspecified = !__builtin_memcmp(&ip6.saddr, nobody, sizeof(nobody));
	if (unspecified ? !vr_source_has_mac(pkt, mac)
			: !vr_source_has_ip6(pkt, mac, (__u8 *)&ip6.saddr))
		return vr_source_why(pkt, mac);
	if (up.fragment != 2 && up.proto == IPPROTO_ICMPV6)
		return vr_source_icmp6(skb, pkt, &up, unspecified);
	if (unspecified)
		return VR_DROP_SOURCE_ADDRESS;
	if (up.fragment == 2 || up.proto != IPPROTO_UDP)
		return 0;
	if (vr_udp_ports(skb, up.off, up.end - up.off, &udp))
		return VR_DROP_INVALID_PACKET;
	return udp.source == bpf_htons(VR_PORT_DHCP6_SERVER) &&
	       !(pkt->features & VIF_FEATURE_DHCP_SERVER) ? VR_DROP_DHCP_SERVER : 0;
}

/* Spanning tree: IEEE 802.1D, of a provider (802.1ad), and Cisco's per VLAN. */
static __always_inline int vr_is_bpdu(const __u8 *dst)
{
	static const __u8 bridges[5] = { 0x01, 0x80, 0xc2, 0x00, 0x00 };
	static const __u8 per_vlan[6] = { 0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xcd };

	if (!__builtin_memcmp(dst, bridges, sizeof(bridges)))
		return dst[5] == 0x00 || dst[5] == 0x08;
	return !__builtin_memcmp(dst, per_vlan, sizeof(per_vlan));
}

/* 0, or why the vif may not send this frame. */
static __always_inline int vr_source_refuses(struct __sk_buff *skb, struct vr_packet *pkt)
{
	__u8 macs[2 * ETH_ALEN];

	if (bpf_skb_load_bytes(skb, 0, macs, sizeof(macs)))
		return VR_DROP_INVALID_PACKET;
	if (!(pkt->features & VIF_FEATURE_BRIDGE) && vr_is_bpdu(macs))
		return VR_DROP_BPDU;
	if (pkt->proto == bpf_htons(ETH_P_IP))
		return vr_source_inet(skb, pkt);
	if (pkt->proto == bpf_htons(ETH_P_ARP))
		return vr_source_arp(skb, pkt);
	if (pkt->proto == bpf_htons(ETH_P_IPV6))
		return vr_source_inet6(skb, pkt);
	return vr_source_has_mac(pkt, macs + ETH_ALEN) ? 0 : VR_DROP_SOURCE_MAC;
}

#endif /* VR_SOURCE_H */
