/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * inet6.h - IPv6: what a valid header is (RFC 8200), routes, hop limit.
 *
 * Routes stand in one hash, a key for each prefix, and a look-up tries the
 * prefix lengths that the VRF uses, the longest first: with the few lengths
 * that a network has, that is more than twice as fast as a trie.
 */
#ifndef VR_INET6_H
#define VR_INET6_H

#include "inet.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct vr_inet6_key);
	__type(value, __u32);
} inet6_hash SEC(".maps");
/* slots; read through inet6_hash only; slot 0 is never used */
VR_ARRAY(inet6_slots, struct vr_inet6_entry, 262144 + 65536, 0);
/* slot -> 0 free, 1 in use, else when it was retired (ns); for the writers only */
VR_ARRAY(inet6_retire, __u64, 262144 + 65536, BPF_F_MMAPABLE);
/* by VRF */
VR_ARRAY(inet6_lengths, struct vr_inet6_lengths, 4096, BPF_F_MMAPABLE);
VR_ARRAY(inet6_counts, struct vr_inet6_counts, 4096, BPF_F_MMAPABLE);

/* written and read by the tools alone */
VR_ARRAY(route_changes, struct vr_route_change, 65536, BPF_F_MMAPABLE);
VR_ARRAY(route_changes_at, struct vr_route_changes_at, 1, BPF_F_MMAPABLE);

/* An address as two words in wire order; on the stack, where it is aligned. */
struct vr_in6 {
	__be64 hi;
	__be64 lo;
};

static __always_inline void vr_in6_copy(struct vr_in6 *to, const void *from)
{
	__builtin_memcpy(to, from, sizeof(*to));
}

static __always_inline int vr_in6_equal(const struct vr_in6 *a, const struct vr_in6 *b)
{
	return a->hi == b->hi && a->lo == b->lo;
}

static __always_inline int vr_in6_is_multicast(const struct vr_in6 *a)
{
	return *(const __u8 *)a == 0xff;
}

/* fe80::/10 */
static __always_inline int vr_in6_is_link_local(const struct vr_in6 *a)
{
	return (a->hi & bpf_cpu_to_be64(0xffc0ULL << 48)) == bpf_cpu_to_be64(0xfe80ULL << 48);
}

/* Has the VRF any IPv6 route? */
static __always_inline int vr_inet6_in_use(__u32 vrf)
{
	struct vr_inet6_lengths *l = bpf_map_lookup_elem(&inet6_lengths, &vrf);

	return l && (l->bits[0] | l->bits[1] | l->bits[2]);
}

/* A look-up under way. */
struct vr_inet6_find {
	struct vr_inet6_key key;
	__u64 hi, lo;		/* the address, in host order */
	__u64 bits[3];		/* lengths that were not tried yet, see vr_inet6_lengths */
	__u32 slot;		/* what was found; 0 = nothing yet */
};

/* Bits that the longest length not tried yet leaves open; 129 if there is none. */
static __always_inline __u32 vr_inet6_open_bits(const struct vr_inet6_find *f)
{
	if (f->bits[0])
		return __builtin_ctzll(f->bits[0]);
	if (f->bits[1])
		return 64 + __builtin_ctzll(f->bits[1]);
	return f->bits[2] ? 128 : 129;
}

static __always_inline void vr_inet6_tried(struct vr_inet6_find *f)
{
	if (f->bits[0])
		f->bits[0] &= f->bits[0] - 1;
	else if (f->bits[1])
		f->bits[1] &= f->bits[1] - 1;
	else
		f->bits[2] = 0;
}

static __always_inline void vr_inet6_set_key(struct vr_inet6_find *f, __u32 open)
{
	struct vr_in6 addr = {};

	if (open < 64) {
		addr.hi = bpf_cpu_to_be64(f->hi);
		addr.lo = bpf_cpu_to_be64(f->lo & ~0ULL << open);
	} else if (open < 128) {
		addr.hi = bpf_cpu_to_be64(f->hi & ~0ULL << (open - 64));
	}
	__builtin_memcpy(f->key.addr, &addr, sizeof(addr));
	f->key.plen = 128 - open;
}

static __always_inline int vr_inet6_same_key(const struct vr_inet6_key *a,
					     const struct vr_inet6_key *b)
{
	const __u64 *x = (const __u64 *)a, *y = (const __u64 *)b;

	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2];
}

/* Tries one length. 1 ends the search. */
static long vr_inet6_try(__u32 i, void *ctx)
{
	struct vr_inet6_find *f = ctx;
	struct vr_inet6_entry *entry;
	__u32 open = vr_inet6_open_bits(f);
	__u32 *slot;

	if (open > 128)
		return 1;
	vr_inet6_set_key(f, open);
	slot = bpf_map_lookup_elem(&inet6_hash, &f->key);
	if (!slot) {
		vr_inet6_tried(f);
		return 0;
	}
	f->slot = *slot;
	entry = bpf_map_lookup_elem(&inet6_slots, &f->slot);
	if (entry && vr_inet6_same_key(&entry->key, &f->key))
		return 1;
	/* the element was replaced while it was read: look again */
	f->slot = 0;
	return 0;
}

/* 129 lengths, and some that were looked at again. */
#define VR_INET6_TRIES	160

/* The slot of the longest prefix that covers the address; 0 if there is none. */
__noinline int vr_inet6_find(__u32 vrf, const struct vr_in6 *addr)
{
	struct vr_inet6_find f = {};
	struct vr_inet6_lengths *l = bpf_map_lookup_elem(&inet6_lengths, &vrf);

	if (!l || !addr)
		return 0;
	f.key.vrf = vrf;
	f.hi = bpf_be64_to_cpu(addr->hi);
	f.lo = bpf_be64_to_cpu(addr->lo);
	f.bits[0] = l->bits[0];
	f.bits[1] = l->bits[1];
	f.bits[2] = l->bits[2];
	bpf_loop(VR_INET6_TRIES, vr_inet6_try, &f, 0);
	return f.slot;
}

static __always_inline struct vr_route *vr_inet6_lookup(__u32 vrf, const struct vr_in6 *addr)
{
	__u32 slot = vr_inet6_find(vrf, addr);
	struct vr_inet6_entry *entry;

	entry = slot ? bpf_map_lookup_elem(&inet6_slots, &slot) : NULL;
	return entry ? &entry->route : NULL;
}

/* The header at @off if it is a valid one, else NULL. A payload length of 0 is
 * valid: a jumbogram (RFC 2675), or nothing behind the header. */
static __always_inline struct ipv6hdr *vr_inet6_header(struct __sk_buff *skb, __u32 off)
{
	struct ipv6hdr *ip6 = vr_bytes(skb, off, sizeof(*ip6));

	if (!ip6 || ip6->version != 6)
		return NULL;
	if (off + sizeof(*ip6) + bpf_ntohs(ip6->payload_len) > skb->len)
		return NULL;
	return ip6;
}

/* Sets pkt->nh and pkt->label from the route of the packet, as vr_inet_route()
 * does; enum vr_inet_verdict. */
__noinline int vr_inet6_route(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct vr_nexthop *nh;
	struct vr_route *rt;
	struct ipv6hdr *ip6;
	struct vr_in6 dst;

	if (!pkt)
		return VR_INET_INVALID;
	ip6 = vr_inet6_header(skb, pkt->l3);
	if (!ip6)
		return VR_INET_INVALID;
	if (++pkt->lookups > VR_MAX_LOOKUPS)
		return VR_INET_LOOP;
	vr_in6_copy(&dst, &ip6->daddr);
	rt = vr_inet6_lookup(pkt->vrf, &dst);
	if (!rt)
		return VR_INET_NO_ROUTE;
	pkt->nh = rt->nh;
	pkt->label = rt->flags & VR_RT_LABEL_VALID ? rt->label : VR_LABEL_NONE;
	nh = vr_nh_get(rt->nh);
	if (nh && vr_nh_forwards(pkt, nh)) {
		if (ip6->hop_limit <= 1)
			return VR_INET_TTL;
		ip6->hop_limit--;
	}
	return VR_INET_OK;
}

#define VR_EXT_HOP_BY_HOP	0
#define VR_EXT_ROUTING		43
#define VR_EXT_FRAGMENT		44
#define VR_EXT_AUTH		51
#define VR_EXT_DEST_OPTIONS	60
#define VR_EXT_MAX		8	/* extension headers that are walked over */
#define VR_PROTO_NONE		59	/* no next header, or one that cannot be found */

static __always_inline int vr_is_extension(__u32 proto)
{
	return proto == VR_EXT_HOP_BY_HOP || proto == VR_EXT_ROUTING ||
	       proto == VR_EXT_DEST_OPTIONS || proto == VR_EXT_AUTH;
}

/*
 * Walks over extension headers from @off on, of which the first is @proto:
 * what stands behind them and its offset, as offset << 8 | protocol. A
 * fragment header is where the walk ends.
 */
__noinline int vr_inet6_l4(struct __sk_buff *skb, __u32 off, __u32 proto)
{
	for (int i = 0; i < VR_EXT_MAX && vr_is_extension(proto); i++) {
		__u8 ext[2];	/* next header, length */

		if (bpf_skb_load_bytes(skb, off, ext, sizeof(ext)))
			return VR_PROTO_NONE;
		off += proto == VR_EXT_AUTH ? (ext[1] + 2) * 4 : (ext[1] + 1) * 8;
		proto = ext[0];
	}
	if (vr_is_extension(proto) || off > 0xffff)
		return VR_PROTO_NONE;
	return off << 8 | proto;
}

#endif /* VR_INET6_H */
