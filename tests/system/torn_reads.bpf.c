/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * torn_reads.bpf.c - readers for test_torn_reads.py.
 *
 * They look entries up as dp-core does, by dp-core's own functions, and check
 * that all fields carry the number that the writer gave to every one of them.
 * Between two fields they wait: a packet may be held up there as well.
 */
#include "nexthop.h"
#include "inet.h"
#include "bridge.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct result {
	__u64 reads;		/* entries found */
	__u64 torn;		/* with fields of different numbers */
	__u64 missing;
	__u64 changes;		/* entries with another number than the one before */
	__u32 last;
	__u32 wait;		/* ns between the first fields and the others */
};

VR_ARRAY(torn_result, struct result, 1, 0);

#define NH	4090
#define VRF	1

static long waited(__u32 i, void *end)
{
	return bpf_ktime_get_ns() >= *(__u64 *)end;
}

static __always_inline void wait_ns(__u32 ns)
{
	__u64 end = bpf_ktime_get_ns() + ns;

	if (ns)
		bpf_loop(1 << 16, waited, &end, 0);
}

static __always_inline struct result *result_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&torn_result, &zero);
}

static __always_inline int count(struct result *r, __u32 number, __u32 torn)
{
	r->reads++;
	if (torn)
		r->torn++;
	if (number != r->last)
		r->changes++;
	r->last = number;
	return 0;
}

SEC("tc")
int read_nexthop(struct __sk_buff *skb)
{
	struct result *r = result_get();
	volatile struct vr_nexthop *nh = vr_nh_get(NH);
	volatile __u32 *words;
	__u32 number, torn = 0;

	if (!r)
		return 0;
	if (!nh) {
		r->missing++;
		return 0;
	}
	number = bpf_ntohl(nh->dip);
	wait_ns(r->wait);
	torn |= bpf_ntohl(nh->sip) ^ number;
	torn |= nh->vrf ^ (number & 63);
	words = (volatile __u32 *)nh->rewrite;
	for (int i = 0; i < VR_REWRITE_MAX / 4; i++)
		torn |= bpf_ntohl(words[i]) ^ number;
	return count(r, number, torn);
}

/* A composite of 40 members: two chunks. */
SEC("tc")
int read_members(struct __sk_buff *skb)
{
	struct result *r = result_get();
	struct vr_nexthop *nh = vr_nh_get(NH);
	volatile struct vr_nh_members *m;
	__u32 number, chunk, found = 0, torn = 0;

	if (!r)
		return 0;
	if (!nh) {
		r->missing++;
		return 0;
	}
	number = bpf_ntohl(nh->dip);
	chunk = nh->members;
	for (int i = 0; i < 2; i++) {
		wait_ns(r->wait);
		m = bpf_map_lookup_elem(&member_slots, &chunk);
		if (!m)
			break;
		for (int j = 0; j < VR_MEMBERS_PER_CHUNK && j < m->count; j++) {
			torn |= m->member[j].nh ^ number;
			torn |= m->member[j].label ^ number;
			found++;
		}
		chunk = m->next;
	}
	return count(r, number, torn | (found ^ 40));
}

SEC("tc")
int read_route(struct __sk_buff *skb)
{
	struct result *r = result_get();
	volatile struct vr_route *rt = vr_inet_lookup(VRF, bpf_htonl(0x0a000001));
	__u32 number, torn;

	if (!r)
		return 0;
	if (!rt) {
		r->missing++;
		return 0;
	}
	number = rt->nh;
	wait_ns(r->wait);
	torn = (rt->label ^ number) | (rt->bridge ^ number);
	return count(r, number, torn);
}

SEC("tc")
int read_mac(struct __sk_buff *skb)
{
	const __u8 mac[ETH_ALEN] = { 2, 0, 0, 0, 0, 1 };
	struct result *r = result_get();
	__u64 word = 0;

	if (!r)
		return 0;
	if (!vr_bridge_lookup(mac, VRF, &word)) {
		r->missing++;
		return 0;
	}
	return count(r, VR_BE_NH(word), VR_BE_NH(word) ^ VR_BE_LABEL(word));
}
