/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * flood.h - nexthop Composite: a copy for every member.
 *
 * Local members get the plain frame. Then the frame gets one outer header,
 * which is written anew for every remote member that takes that format; the
 * other formats are served by copies that come in again (again.h).
 */
#ifndef VR_FLOOD_H
#define VR_FLOOD_H

#include "encap.h"
#include "recirculate.h"
#include "rewrite.h"

#define VR_MAX_MEMBERS	(1 << 20)

#define VR_FLOOD_REMOTE (NH_FLAG_COMPOSITE_EVPN | NH_FLAG_COMPOSITE_FABRIC | NH_FLAG_COMPOSITE_TOR)
#define VR_FLOOD_KINDS	(NH_FLAG_COMPOSITE_ENCAP | VR_FLOOD_REMOTE)
/* what a member of a top composite may be that is no composite */
#define VR_FLOOD_LEAVES (NH_FLAG_COMPOSITE_ENCAP | NH_FLAG_COMPOSITE_EVPN)

/* A format of outer headers: the kind that vr_tunnel_kind() says, moved up if a VXLAN
 * packet's headers go inside. */
#define VR_FORMAT_SHIFT		16
#define VR_FORMAT_WRAPPED(kind_)	((__u32)(kind_) << VR_FORMAT_SHIFT)
#define VR_FORMAT_IPV6(kind_)	((__u32)(kind_) << VR_KIND_IPV6_SHIFT)
#define VR_FORMAT_KINDS		0xffff

/* How far a walk through the members is; numbers only, of which the verifier is to
 * know nothing (it would follow every combination of them). */
struct vr_walk {
	__u32 formats;		/* formats of outer headers that members want */
	__u32 format;		/* the one that is served; 0 while local members are */
	__u32 composites;	/* kinds of composites seen */
	__u32 serve;		/* the kinds whose members get a copy at all */
	__u32 may;		/* kinds that the present composite may have as members */
	__u32 source;		/* the kind that the packet's sender is a member of */
	__u32 chunk;		/* of the top composite */
	__u32 pos;
	__u32 sub_chunk;	/* of the composite below it; 0 = in none */
	__u32 sub_pos;
	__u32 oif;		/* of a tunnel that wants a copy */
};

struct vr_flood {
	struct __sk_buff *skb;
	struct vr_packet *pkt;
	struct vr_outer *outer;	/* NULL while local members are served */
	struct vr_walk w;
};

enum vr_flood_next {
	VR_NEXT_END,
	VR_NEXT_SKIP,
	VR_NEXT_LEAF,
};

/* Goes into a composite whose members are served; notes its kind. */
static __always_inline void vr_flood_enter(struct vr_walk *w, const struct vr_nexthop *nh)
{
	w->may = nh->flags & VR_FLOOD_KINDS;
	w->composites |= w->may;
	w->sub_chunk = w->may & w->serve ? nh->members : 0;
	w->sub_pos = 0;
}

/* One step through the tree of members, which is two levels deep. */
__noinline int vr_flood_next(struct vr_walk *w, struct vr_nh_member *m)
{
	struct vr_nexthop *nh;

	if (!w || !m)
		return VR_NEXT_END;
	if (w->sub_chunk) {
		if (vr_next_member(&w->sub_chunk, &w->sub_pos, m))
			return VR_NEXT_LEAF;
		w->sub_chunk = 0;
		return VR_NEXT_SKIP;
	}
	if (!vr_next_member(&w->chunk, &w->pos, m))
		return VR_NEXT_END;
	nh = vr_nh_get(m->nh);
	if (nh && nh->type == NH_TYPE_COMPOSITE && nh->flags & VR_FLOOD_KINDS) {
		vr_flood_enter(w, nh);
		return VR_NEXT_SKIP;
	}
	w->may = VR_FLOOD_LEAVES;
	return VR_NEXT_LEAF;
}

/* As what a member gets its copy, of the kinds that its composite @may have; 0 = it cannot. */
static __always_inline __u32 vr_flood_leaf(const struct vr_nexthop *nh, __u32 may)
{
	if (nh->type == NH_TYPE_ENCAP)
		return may & NH_FLAG_COMPOSITE_ENCAP;
	if (nh->type != NH_TYPE_TUNNEL || !vr_tunnel_kind(nh))
		return 0;
	/* the fabric's tree is one of labels */
	if (may & NH_FLAG_COMPOSITE_FABRIC && vr_tunnel_kind(nh) & VR_KIND_VXLAN)
		return 0;
	return may & VR_FLOOD_REMOTE;
}

static __always_inline void vr_flood_local(struct __sk_buff *skb, struct vr_packet *pkt,
					   const struct vr_nexthop *nh)
{
	/* never back to where it came from */
	if (nh->oif == pkt->vif)
		return;
	if (pkt->flags & VP_L3 && vr_encap_rewrite(skb, pkt, nh)) {
		vr_drop_copy(skb, pkt, VR_DROP_INVALID_PACKET);
		return;
	}
	if (vr_vif_get(nh->oif)) {
		if (pkt->flags & VP_L3)
			VR_COUNT_VRF(pkt->vrf, encaps);
		else
			VR_COUNT_VRF(pkt->vrf, l2_encaps);
	}
	if (vr_nh_is_agent(nh))
		vr_trap_copy(skb, pkt, VR_TRAP_NEXTHOP);
	else
		vr_output_copy(skb, pkt, nh->oif);
}

/* A copy into the tunnel of @nh. */
static __always_inline void vr_flood_remote(struct __sk_buff *skb, struct vr_packet *pkt,
					    const struct vr_outer *o, const struct vr_nexthop *nh,
					    __u32 label)
{
	struct vr_vif *oif = vr_vif_get(nh->oif);
	int refused = vr_tunnel_refuses(skb, pkt, nh, label);

	if (!refused && o->wrap && o->vni == VR_LABEL_NONE)
		refused = VR_DROP_INVALID_VNID;
	if (!refused && !oif)
		refused = VR_DROP_INVALID_IF;
	if (!refused && vr_outer_write(skb, o, nh, oif, label))
		refused = VR_DROP_PUSH;
	if (refused) {
		vr_drop_copy(skb, pkt, refused);
		return;
	}
	vr_count_tunnel(pkt->vrf, o->tunnel);
	vr_output_copy(skb, pkt, nh->oif);
}

/* The format that a tunnel wants as a member of kind @is; 0 = it gets no copy. In its own
 * tree the sender gets nothing back. */
static __always_inline __u32 vr_flood_wants(struct __sk_buff *skb, const struct vr_packet *pkt,
					    const struct vr_nexthop *nh, __u32 is)
{
	__u32 format = vr_tunnel_kind(nh);

	if (is & (NH_FLAG_COMPOSITE_FABRIC | NH_FLAG_COMPOSITE_TOR) &&
	    vr_tunnel_loops(skb, pkt, nh))
		return 0;
	if (is & NH_FLAG_COMPOSITE_FABRIC && !(pkt->flags & VP_L3))
		return VR_FORMAT_WRAPPED(format);
	return format;
}

/*
 * One member that is no composite. What is wrong with it is counted in the pass
 * of the local ones. A function of its own, that the verifier looks at once and
 * not for every way through the lists of members.
 */
__noinline int vr_flood_member(struct __sk_buff *skb, struct vr_packet *pkt,
			       const struct vr_outer *o, struct vr_walk *w,
			       const struct vr_nh_member *m)
{
	struct vr_nexthop *nh;
	__u32 is, format;

	if (!pkt || !w || !m)
		return 0;
	nh = vr_nh_get(m->nh);
	is = nh ? vr_flood_leaf(nh, w->may) : 0;
	if (!nh || !is) {
		if (!w->format)
			vr_drop_copy(skb, pkt, VR_DROP_INVALID_NH);
		return 0;
	}
	w->composites |= is;
	if (!(is & w->serve))
		return 0;
	if (is & NH_FLAG_COMPOSITE_ENCAP) {
		if (!w->format)
			vr_flood_local(skb, pkt, nh);
		return 0;
	}
	format = vr_flood_wants(skb, pkt, nh, is);
	w->formats |= format;
	if (format)
		w->oif = nh->oif;
	if (o && format && format == w->format)
		vr_flood_remote(skb, pkt, o, nh, m->label);
	return 0;
}

static long vr_flood_step(__u32 i, void *ctx)
{
	struct vr_flood *f = ctx;
	struct vr_nh_member m = {};
	int next = vr_flood_next(&f->w, &m);

	if (next == VR_NEXT_LEAF)
		vr_flood_member(f->skb, f->pkt, f->outer, &f->w, &m);
	return next == VR_NEXT_END;
}

/* Looks for the tunnel that leads back to the sender. */
static long vr_flood_seek(__u32 i, void *ctx)
{
	struct vr_flood *f = ctx;
	struct vr_nh_member m = {};
	struct vr_nexthop *nh;
	int next = vr_flood_next(&f->w, &m);

	if (next != VR_NEXT_LEAF)
		return next == VR_NEXT_END;
	nh = vr_nh_get(m.nh);
	if (!nh || nh->type != NH_TYPE_TUNNEL || !vr_tunnel_kind(nh) ||
	    !vr_tunnel_loops(f->skb, f->pkt, nh))
		return 0;
	f->w.source = f->w.may & VR_FLOOD_REMOTE;
	return 1;
}

/* Begins with the members of @nh: of a top composite, or of a single branch. */
static __always_inline void vr_flood_begin(struct vr_walk *w, const struct vr_nexthop *nh)
{
	w->chunk = nh->members;
	w->pos = 0;
	w->sub_chunk = 0;
	if (!(nh->flags & VR_FLOOD_KINDS))
		return;
	w->chunk = 0;
	vr_flood_enter(w, nh);
}

/*
 * Makes room for one format of outer header. A function of its own: what it finds
 * out is one state for the verifier, not one for each way through it.
 */
__noinline int vr_outer_begin(struct __sk_buff *skb, struct vr_packet *pkt, struct vr_outer *o,
			      __u32 format)
{
	__u32 kind = format & VR_FORMAT_KINDS;

	if (!pkt || !o)
		return -1;
	if (!kind) {
		kind = format >> VR_FORMAT_SHIFT;
		o->wrap = VR_WRAP_LEN;
		o->vni = pkt->label;
	}
	if (vr_must_not_cut(skb, pkt->proto, pkt->l3))
		pkt->flags |= VP_MUST_NOT_CUT;
	return vr_outer_prepare(skb, pkt, o, kind) || vr_outer_take_tag(skb, o) ||
	       vr_outer_grow(skb, o) ? -1 : 0;
}

/* Puts one format of outer header on the packet, and serves its members. */
static __always_inline void vr_flood_format(struct vr_flood *f, struct vr_outer *o,
					    const struct vr_nexthop *nh, __u32 format)
{
	if (vr_outer_begin(f->skb, f->pkt, o, format)) {
		vr_drop_copy(f->skb, f->pkt, VR_DROP_PUSH);
		return;
	}
	f->pkt->flags |= VP_ENCAPPED;
	f->outer = o;
	f->w.format = format;
	vr_flood_begin(&f->w, nh);
	bpf_loop(VR_MAX_MEMBERS, vr_flood_step, f, 0);
}

/*
 * The format that this pass serves; copies that come in again serve the rest. A
 * function of its own: the verifier need not follow every set of formats further.
 */
__noinline int vr_flood_split(struct __sk_buff *skb, struct vr_packet *pkt, __u32 formats,
			      __u32 serve)
{
	const __u32 order[] = {
		NH_FLAG_TUNNEL_VXLAN,
		NH_FLAG_TUNNEL_UDP_MPLS,
		NH_FLAG_TUNNEL_GRE,
		VR_FORMAT_IPV6(NH_FLAG_TUNNEL_VXLAN),
		VR_FORMAT_IPV6(NH_FLAG_TUNNEL_UDP_MPLS),
		VR_FORMAT_IPV6(NH_FLAG_TUNNEL_GRE),
		VR_FORMAT_WRAPPED(NH_FLAG_TUNNEL_UDP_MPLS),
		VR_FORMAT_WRAPPED(NH_FLAG_TUNNEL_GRE),
		VR_FORMAT_WRAPPED(VR_FORMAT_IPV6(NH_FLAG_TUNNEL_UDP_MPLS)),
		VR_FORMAT_WRAPPED(VR_FORMAT_IPV6(NH_FLAG_TUNNEL_GRE)),
	};
	__u32 first = 0;

	if (!pkt)
		return 0;
#pragma unroll
	for (int i = 0; i < 10; i++) {
		if (!(formats & order[i]))
			continue;
		if (!first)
			first = order[i];
		else if (vr_send_again(skb, pkt, VR_AGAIN_FLOOD, order[i], serve))
			vr_drop_copy(skb, pkt, VR_DROP_CLONE_FAIL);
	}
	return first;
}

/*
 * Which kinds get a copy, by where the packet came from. What a host has sent to
 * all others itself (EVPN) goes to no further host; along the fabric's tree it is
 * handed on, but not to those that the root serves itself.
 */
static __always_inline __u32 vr_flood_serves(const struct vr_packet *pkt, __u32 source)
{
	__u32 serve = VR_FLOOD_KINDS;

	if (source & NH_FLAG_COMPOSITE_EVPN)
		serve &= ~(NH_FLAG_COMPOSITE_EVPN | NH_FLAG_COMPOSITE_FABRIC);
	else if (source & NH_FLAG_COMPOSITE_FABRIC)
		serve &= ~NH_FLAG_COMPOSITE_EVPN;
	/* the others carry frames only */
	if (pkt->flags & VP_L3)
		serve &= NH_FLAG_COMPOSITE_ENCAP | NH_FLAG_COMPOSITE_FABRIC;
	if (pkt->flags & VP_NOT_TO_VMS)
		serve &= ~NH_FLAG_COMPOSITE_ENCAP;
	return serve;
}

/*
 * Sets f->w.serve; -1 if the sender must not send to this composite. One that is in
 * none of its trees counts as of the fabric's, unless senders are to be checked.
 */
static __always_inline int vr_flood_source(struct vr_flood *f, const struct vr_nexthop *nh)
{
	if (f->pkt->flags & VP_FROM_TUNNEL) {
		f->w.serve = VR_FLOOD_REMOTE;
		vr_flood_begin(&f->w, nh);
		bpf_loop(VR_MAX_MEMBERS, vr_flood_seek, f, 0);
		if (!f->w.source && nh->flags & NH_FLAG_VALIDATE_MCAST_SRC)
			return -1;
		if (!f->w.source)
			f->w.source = NH_FLAG_COMPOSITE_FABRIC;
		f->w.composites = 0;
	}
	f->w.serve = vr_flood_serves(f->pkt, f->w.source);
	return 0;
}

static __always_inline void vr_flood_count(const struct vr_flood *f)
{
	__u32 served = f->w.composites & f->w.serve;

	if (served & NH_FLAG_COMPOSITE_ENCAP)
		VR_COUNT_VRF(f->pkt->vrf, encap_composites);
	if (served & NH_FLAG_COMPOSITE_FABRIC)
		VR_COUNT_VRF(f->pkt->vrf, fabric_composites);
	if (served & NH_FLAG_COMPOSITE_EVPN)
		VR_COUNT_VRF(f->pkt->vrf, evpn_composites);
	if (served & NH_FLAG_COMPOSITE_TOR)
		VR_COUNT_VRF(f->pkt->vrf, evpn_composites);
}

/* What goes into tunnels is mirrored once, by the vif of one of them. */
static __always_inline void vr_flood_mirror(struct vr_flood *f)
{
	struct vr_vif *oif = vr_vif_get(f->w.oif);

	if (oif && vr_wants_mirror(f->pkt, oif))
		vr_mirror(f->skb, f->pkt, oif->mirror);
}

/* Serves every member of composite pkt->nh; ends the packet. */
__noinline int vr_flood(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct vr_outer o = {};
	struct vr_flood f = { .skb = skb };
	struct vr_nexthop *nh;
	__u32 format;

	if (!pkt)
		return TC_ACT_SHOT;
	f.pkt = pkt;
	nh = vr_nh_get(pkt->nh);
	if (!nh || !(nh->flags & (VR_FLOOD_KINDS | NH_FLAG_MULTICAST)))
		return vr_drop(skb, pkt, VR_DROP_INVALID_NH);
	/* routed packets go by composites of routed packets */
	if (pkt->flags & VP_L3 && nh->family == VR_AF_BRIDGE)
		return vr_drop(skb, pkt, VR_DROP_INVALID_NH);
	VR_COUNT_VRF(pkt->vrf, l2_mcast_composites);
	vr_trace(skb, pkt, VR_EV_NEXTHOP);
	if (vr_flood_source(&f, nh))
		return vr_drop(skb, pkt, VR_DROP_INVALID_MCAST_SOURCE);
	vr_flood_begin(&f.w, nh);
	bpf_loop(VR_MAX_MEMBERS, vr_flood_step, &f, 0);
	vr_flood_count(&f);
	if (f.w.formats)
		vr_flood_mirror(&f);
	format = vr_flood_split(skb, pkt, f.w.formats, f.w.serve);
	if (format)
		vr_flood_format(&f, &o, nh, format);
	return vr_drop(skb, pkt, VR_DROP_CLONED_ORIGINAL);
}

/* A copy that came in again for the members of one format, of the kinds to serve. */
__noinline int vr_flood_again(struct __sk_buff *skb, struct vr_packet *pkt, __u32 format,
			      __u32 serve)
{
	struct vr_outer o = {};
	struct vr_flood f = { .skb = skb };
	struct vr_nexthop *nh;

	if (!pkt)
		return TC_ACT_SHOT;
	f.pkt = pkt;
	nh = vr_nh_get(pkt->nh);
	if (!nh)
		return vr_drop(skb, pkt, VR_DROP_INVALID_NH);
	f.w.serve = serve & VR_FLOOD_KINDS;
	vr_flood_format(&f, &o, nh, format);
	return TC_ACT_SHOT;
}

#endif /* VR_FLOOD_H */
