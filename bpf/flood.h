/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * flood.h - nexthop Composite: a copy for every member.
 *
 * Local members get the plain frame. Then the frame gets one outer header,
 * which is written anew for every remote member of that kind of tunnel; the
 * other kinds are served by copies that come in again (recirculate.h).
 */
#ifndef VR_FLOOD_H
#define VR_FLOOD_H

#include "encap.h"
#include "recirculate.h"

#define VR_MAX_MEMBERS	(1 << 20)

struct vr_flood {
	struct __sk_buff *skb;
	struct vr_packet *pkt;
	struct vr_outer *outer;	/* NULL while local members are served */
	__u32 kinds;		/* kinds of tunnels seen among the members */
	__u32 composites;	/* kinds of composites seen */
	__u32 serve;		/* the kinds whose members get a copy at all */
	__u32 chunk;		/* of the top composite */
	__u32 pos;
	__u32 sub_kind;		/* of the composite below it */
	__u32 sub_chunk;
	__u32 sub_pos;
};

/* The member at @chunk and @pos, which move on; 0 if there is none left. */
static __always_inline int vr_next_member(__u32 *chunk, __u32 *pos, struct vr_nh_member *member)
{
	struct vr_nh_members *m;
	__u32 i = *pos;

	if (!*chunk)
		return 0;
	m = bpf_map_lookup_elem(&member_slots, chunk);
	if (!m || i >= m->count || i >= VR_MEMBERS_PER_CHUNK)
		return 0;
	*member = m->member[i];
	*pos = i + 1;
	if (*pos >= m->count) {
		*chunk = m->next;
		*pos = 0;
	}
	return 1;
}

static __always_inline void vr_flood_local(struct vr_flood *f, const struct vr_nexthop *nh)
{
	struct vr_vif *oif;

	oif = vr_vif_get(nh->oif);
	/* never back to where it came from */
	if (nh->oif == f->pkt->vif)
		return;
	if (oif) {
		VR_COUNT_VRF(f->pkt->vrf, l2_encaps);
	}
	if (vr_nh_is_agent(nh))
		vr_trap_copy(f->skb, f->pkt, VR_TRAP_NEXTHOP);
	else
		vr_output_copy(f->skb, f->pkt, nh->oif);
}

/*
 * A copy into the tunnel of nexthop @id. A function of its own, that the verifier
 * looks at once and not for every way through the lists of members.
 */
__noinline int vr_flood_remote(struct __sk_buff *skb, struct vr_packet *pkt,
			       const struct vr_outer *o, __u32 id, __u32 label)
{
	struct vr_nexthop *nh = vr_nh_get(id);
	struct vr_vif *oif;
	int refused;

	if (!pkt || !o || !nh)
		return 0;
	oif = vr_vif_get(nh->oif);
	refused = vr_tunnel_refuses(skb, pkt, nh, label);
	if (!refused && !oif)
		refused = VR_DROP_INVALID_IF;
	if (!refused && vr_outer_write(skb, o, nh, oif, label))
		refused = VR_DROP_PUSH;
	if (refused) {
		vr_drop_copy(skb, pkt, refused);
		return 0;
	}
	vr_count_tunnel(pkt->vrf, o->tunnel);
	return vr_output_copy(skb, pkt, nh->oif);
}

/*
 * One member that is no composite, of a composite that may have members of the
 * kinds @may. What is wrong with it is counted in the pass of the local ones.
 */
static __always_inline int vr_flood_member(struct vr_flood *f, __u32 id, __u32 label, __u32 may)
{
	struct vr_nexthop *nh = vr_nh_get(id);
	__u32 kind, is = 0;

	if (nh && nh->type == NH_TYPE_ENCAP)
		is = NH_FLAG_COMPOSITE_ENCAP;
	else if (nh && nh->type == NH_TYPE_TUNNEL && nh->flags & NH_FLAG_TUNNELS)
		is = NH_FLAG_COMPOSITE_EVPN;
	if (!nh || !(is & may)) {
		if (!f->outer)
			vr_drop_copy(f->skb, f->pkt, VR_DROP_INVALID_NH);
		return 0;
	}
	f->composites |= is;
	if (is == NH_FLAG_COMPOSITE_ENCAP) {
		if (!f->outer && f->serve & is)
			vr_flood_local(f, nh);
		return 0;
	}
	kind = vr_tunnel_kind(nh);
	f->kinds |= kind;
	if (f->outer && kind == f->outer->kind)
		vr_flood_remote(f->skb, f->pkt, f->outer, id, label);
	return 0;
}

#define VR_FLOOD_KINDS (NH_FLAG_COMPOSITE_ENCAP | NH_FLAG_COMPOSITE_EVPN)

static long vr_flood_sub(__u32 i, void *ctx)
{
	struct vr_flood *f = ctx;
	struct vr_nh_member m;

	if (!vr_next_member(&f->sub_chunk, &f->sub_pos, &m))
		return 1;
	vr_flood_member(f, m.nh, m.label, f->sub_kind);
	return 0;
}

static long vr_flood_top(__u32 i, void *ctx)
{
	struct vr_flood *f = ctx;
	struct vr_nh_member m;
	struct vr_nexthop *nh;

	if (!vr_next_member(&f->chunk, &f->pos, &m))
		return 1;
	nh = vr_nh_get(m.nh);
	if (!nh || nh->type != NH_TYPE_COMPOSITE || !(nh->flags & VR_FLOOD_KINDS)) {
		vr_flood_member(f, m.nh, m.label, VR_FLOOD_KINDS);
		return 0;
	}
	f->sub_kind = nh->flags & VR_FLOOD_KINDS;
	f->composites |= f->sub_kind;
	if (!(f->sub_kind & f->serve))
		return 0;
	f->sub_chunk = nh->members;
	f->sub_pos = 0;
	bpf_loop(VR_MAX_MEMBERS, vr_flood_sub, f, 0);
	return 0;
}

/* Serves all members of @nh: of a top composite, or of a single branch. */
static __always_inline void vr_flood_walk(struct vr_flood *f, const struct vr_nexthop *nh)
{
	f->sub_kind = nh->flags & VR_FLOOD_KINDS;
	if (f->sub_kind) {
		f->composites |= f->sub_kind;
		if (!(f->sub_kind & f->serve))
			return;
		f->sub_chunk = nh->members;
		f->sub_pos = 0;
		bpf_loop(VR_MAX_MEMBERS, vr_flood_sub, f, 0);
		return;
	}
	f->chunk = nh->members;
	f->pos = 0;
	bpf_loop(VR_MAX_MEMBERS, vr_flood_top, f, 0);
}

/*
 * Makes room for one kind of outer header. A function of its own: what it finds
 * out is one state for the verifier, not one for each way through it.
 */
__noinline int vr_outer_begin(struct __sk_buff *skb, struct vr_packet *pkt, struct vr_outer *o,
			      __u32 kind)
{
	if (!pkt || !o)
		return -1;
	if (vr_must_not_cut(skb, pkt->proto, pkt->l3))
		pkt->flags |= VP_MUST_NOT_CUT;
	return vr_outer_prepare(skb, pkt, o, kind) || vr_outer_take_tag(skb, o) ||
	       vr_outer_grow(skb, o) ? -1 : 0;
}

/*
 * Puts one kind of outer header on the packet, and serves its members. 0, or
 * -1 if the composite is gone.
 */
__noinline int vr_flood_tunnels(struct __sk_buff *skb, struct vr_packet *pkt, __u32 kind)
{
	struct vr_outer o = {};
	struct vr_flood f = { .skb = skb };
	struct vr_nexthop *nh;

	if (!pkt)
		return -1;
	nh = vr_nh_get(pkt->nh);
	if (!nh)
		return -1;
	if (vr_outer_begin(skb, pkt, &o, kind)) {
		vr_drop_copy(skb, pkt, VR_DROP_PUSH);
		return 0;
	}
	f.pkt = pkt;
	f.outer = &o;
	f.serve = NH_FLAG_COMPOSITE_EVPN;
	vr_flood_walk(&f, nh);
	return 0;
}

/*
 * The kind that this pass serves; copies that come in again serve the rest. A
 * function of its own: the verifier need not follow every set of kinds further.
 */
__noinline int vr_flood_split(struct __sk_buff *skb, struct vr_packet *pkt, __u32 kinds)
{
	const __u32 order[] = {
		NH_FLAG_TUNNEL_VXLAN,
		NH_FLAG_TUNNEL_UDP_MPLS,
		NH_FLAG_TUNNEL_GRE,
		NH_FLAG_TUNNEL_VXLAN << VR_KIND_IPV6_SHIFT,
		NH_FLAG_TUNNEL_UDP_MPLS << VR_KIND_IPV6_SHIFT,
		NH_FLAG_TUNNEL_GRE << VR_KIND_IPV6_SHIFT,
	};
	__u32 first = 0;

	if (!pkt)
		return 0;
#pragma unroll
	for (int i = 0; i < 6; i++) {
		if (!(kinds & order[i]))
			continue;
		if (!first)
			first = order[i];
		else if (vr_send_again(skb, pkt, VR_AGAIN_FLOOD, order[i]))
			vr_drop_copy(skb, pkt, VR_DROP_CLONE_FAIL);
	}
	return first;
}

/*
 * Which kinds of members get a copy. What came by a tunnel goes into none: its
 * sender has copied it to every host itself.
 */
static __always_inline __u32 vr_flood_serves(const struct vr_packet *pkt)
{
	__u32 serve = VR_FLOOD_KINDS;

	if (pkt->flags & VP_FROM_TUNNEL)
		serve &= ~NH_FLAG_COMPOSITE_EVPN;
	if (pkt->flags & VP_NOT_TO_VMS)
		serve &= ~NH_FLAG_COMPOSITE_ENCAP;
	return serve;
}

/*
 * Serves the local members of composite pkt->nh. What is left to do: the kind of
 * outer header that this pass serves, 0 for none, or -1 if there is no composite.
 */
__noinline int vr_flood_locals(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct vr_flood f = { .skb = skb };
	struct vr_nexthop *nh;

	if (!pkt)
		return -1;
	f.pkt = pkt;
	nh = vr_nh_get(pkt->nh);
	if (!nh || !(nh->flags & (VR_FLOOD_KINDS | NH_FLAG_MULTICAST)))
		return -1;
	VR_COUNT_VRF(pkt->vrf, l2_mcast_composites);
	vr_trace(skb, pkt, VR_EV_NEXTHOP);
	f.serve = vr_flood_serves(pkt);
	vr_flood_walk(&f, nh);
	if (f.composites & f.serve & NH_FLAG_COMPOSITE_ENCAP)
		VR_COUNT_VRF(pkt->vrf, encap_composites);
	if (!(f.composites & f.serve & NH_FLAG_COMPOSITE_EVPN))
		return 0;
	VR_COUNT_VRF(pkt->vrf, evpn_composites);
	return vr_flood_split(skb, pkt, f.kinds);
}

/* Serves every member of composite pkt->nh; ends the packet. */
static __always_inline int vr_flood(struct __sk_buff *skb, struct vr_packet *pkt)
{
	int kind = vr_flood_locals(skb, pkt);

	if (kind < 0)
		return vr_drop(skb, pkt, VR_DROP_INVALID_NH);
	if (kind > 0)
		vr_flood_tunnels(skb, pkt, kind);
	return vr_drop(skb, pkt, VR_DROP_CLONED_ORIGINAL);
}

/* A copy that came in again for the members of one kind of tunnel. */
static __always_inline int vr_flood_again(struct __sk_buff *skb, struct vr_packet *pkt,
					  __u32 kind)
{
	if (vr_flood_tunnels(skb, pkt, kind))
		return vr_drop(skb, pkt, VR_DROP_INVALID_NH);
	return TC_ACT_SHOT;
}

#endif /* VR_FLOOD_H */
