/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * cut.h - a packet that is too long for its tunnel and may be cut: the outer packet
 * goes in fragments (RFC 791, 2.3; RFC 8200, 4.5).
 *
 * The kernel lets no program shorten what it has encapsulated itself. So the plain
 * packet goes through the exception pair (exception.h), which makes its checksums and
 * single packets of GSO ones; behind it the outer header is put on as bytes like any
 * others, and the packet is cut. All pieces are about as long, as each must reach
 * beyond the header of the inner L4, below which the kernel shortens nothing.
 */
#ifndef VR_CUT_H
#define VR_CUT_H

#include "tunnel.h"

#define VR_CUT_MAX	16384	/* bytes behind the outer IP header; what change_head() makes */
#define VR_CUT_PIECES	64

/* what stands behind the outer IP header; as much again for the verifier's sake, which
 * does not know that offset and length of a piece end within it */
VR_SCRATCH(cut_scratch, 2 * VR_CUT_MAX);
__u32 vr_cut_next;

/* Numbers only, as vr_walk (flood.h). */
struct vr_cut {
	__u32 oif;
	__u32 head;		/* bytes before a piece */
	__u32 total;		/* bytes of all pieces */
	__u32 piece;
	__u32 at;		/* of the next piece */
	__u32 id;
	__u32 over6;
	__u32 next;		/* over IPv6: what the pieces are of */
};

struct vr_cut_walk {
	struct __sk_buff *skb;
	struct vr_packet *pkt;
	struct vr_cut c;
};

static __always_inline int vr_cut_head4(struct __sk_buff *skb, const struct vr_cut *c, __u32 len,
					__u32 more)
{
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)))
		return -1;
	ip.tot_len = bpf_htons(sizeof(ip) + len);
	ip.id = bpf_htons(c->id);
	ip.frag_off = bpf_htons(c->at >> 3 | (more ? VR_IP_MF : 0));
	vr_inet_sum(&ip);
	return bpf_skb_store_bytes(skb, ETH_HLEN, &ip, sizeof(ip), 0) ? -1 : 0;
}

static __always_inline int vr_cut_head6(struct __sk_buff *skb, const struct vr_cut *c, __u32 len,
					__u32 more)
{
	struct vr_ip6_fragment fragment = {};
	struct {
		__be16 len;
		__u8 next;
	} __attribute__((packed)) ip = { .next = VR_EXT_FRAGMENT };

	ip.len = bpf_htons(sizeof(fragment) + len);
	fragment.next = c->next;
	fragment.offset = bpf_htons(c->at | (more ? 1 : 0));
	fragment.id = bpf_htonl(c->id);
	if (bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, payload_len), &ip, 3, 0))
		return -1;
	return bpf_skb_store_bytes(skb, ETH_HLEN + sizeof(struct ipv6hdr), &fragment,
				   sizeof(fragment), 0) ? -1 : 0;
}

/* Makes the packet the next piece; how long that is, or 0. */
__noinline int vr_cut_piece(struct __sk_buff *skb, struct vr_cut *c)
{
	__u32 zero = 0, len, at, more;
	__u8 *bytes;

	if (!c)
		return 0;
	bytes = bpf_map_lookup_elem(&cut_scratch, &zero);
	at = c->at;
	len = c->total - at;
	more = len > c->piece;
	if (more)
		len = c->piece;
	if (!bytes || bpf_skb_change_tail(skb, c->head + len, 0))
		return 0;
	barrier_var(len);
	barrier_var(at);
	if (len < 1 || len > VR_CUT_MAX || at >= VR_CUT_MAX)
		return 0;
	if (bpf_skb_store_bytes(skb, c->head, bytes + at, len, 0) ||
	    (c->over6 ? vr_cut_head6(skb, c, len, more) : vr_cut_head4(skb, c, len, more)))
		return 0;
	c->at = at + len;
	return len;
}

/* Sends the next piece. */
static long vr_cut_step(__u32 i, void *ctx)
{
	struct vr_cut_walk *w = ctx;

	if (w->c.at >= w->c.total || !vr_cut_piece(w->skb, &w->c))
		return 1;
	vr_output_copy(w->skb, w->pkt, w->c.oif);
	return 0;
}

/* How the packet, outer headers and all, is cut for an MTU. 0, or -1 if it cannot be. */
static __always_inline int vr_cut_plan(struct __sk_buff *skb, struct vr_cut *c, __u32 mtu)
{
	__u32 ip_len = c->over6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	__u32 zero = 0, room, pieces, total = skb->len - ETH_HLEN - ip_len;
	__u8 *bytes = bpf_map_lookup_elem(&cut_scratch, &zero);

	c->head = ETH_HLEN + ip_len + (c->over6 ? sizeof(struct vr_ip6_fragment) : 0);
	c->total = total;
	room = mtu + ETH_HLEN > c->head ? (mtu + ETH_HLEN - c->head) & ~7u : 0;
	if (!bytes || !room)
		return -1;
	pieces = (total + room - 1) / room;
	if (!pieces || pieces > VR_CUT_PIECES)
		return -1;
	c->piece = ((total + pieces - 1) / pieces + 7) & ~7u;
	barrier_var(total);
	if (total < 1 || total > VR_CUT_MAX)
		return -1;
	return bpf_skb_load_bytes(skb, ETH_HLEN + ip_len, bytes, total) ? -1 : 0;
}

/* Puts the outer headers of tunnel pkt->nh on, as bytes. 0, or a drop reason. */
__noinline int vr_cut_encap(struct __sk_buff *skb, struct vr_packet *pkt, struct vr_cut *c)
{
	struct vr_outer o = {};
	struct vr_nexthop *nh;
	struct vr_vif *oif;
	int refused;

	if (!pkt || !c)
		return VR_DROP_INVALID_NH;
	refused = vr_tunnel_prepare(skb, pkt, &o, &nh, &oif);
	if (refused)
		return refused;
	c->oif = nh->oif;
	c->over6 = o.kind & VR_KIND_IPV6 ? 1 : 0;
	c->next = o.tunnel == NH_FLAG_TUNNEL_GRE ? IPPROTO_GRE : IPPROTO_UDP;
	c->id = bpf_ntohs(o.id);
	/* no two runs of a test would be alike */
	if (!c->id && !vr_test_mode)
		c->id = __sync_fetch_and_add(&vr_cut_next, 1);
	if (vr_outer_take_tag(skb, &o))
		return VR_DROP_PUSH;
	if (bpf_skb_change_head(skb, vr_outer_overhead(&o), 0))
		return VR_DROP_TOO_BIG;
	if (vr_outer_write(skb, &o, nh, oif, pkt->label))
		return VR_DROP_PUSH;
	vr_tunnel_own(skb, pkt, &o);
	return 0;
}

/* What came back from the pair to be cut. */
__noinline int vr_cut_again(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct vr_cut_walk w = { .skb = skb };
	struct vr_vif *oif;
	__u32 mtu = 0;
	int refused;

	if (!pkt)
		return TC_ACT_SHOT;
	w.pkt = pkt;
	refused = vr_cut_encap(skb, pkt, &w.c);
	if (refused)
		return vr_drop(skb, pkt, refused);
	oif = vr_vif_get(w.c.oif);
	if (!oif)
		return vr_drop(skb, pkt, VR_DROP_INVALID_IF);
	bpf_check_mtu(skb, oif->ifindex, &mtu, 0, 0);
	if (vr_cut_plan(skb, &w.c, mtu))
		return vr_drop(skb, pkt, VR_DROP_TOO_BIG);
	bpf_loop(VR_CUT_PIECES, vr_cut_step, &w, 0);
	return w.c.at == w.c.total ? TC_ACT_SHOT : vr_drop(skb, pkt, VR_DROP_PUSH);
}

#endif /* VR_CUT_H */
