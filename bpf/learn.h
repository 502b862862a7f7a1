/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * learn.h - MACs and addresses that are learnt from who speaks.
 *
 * The agent is told of a MAC that no entry has, and of one that speaks from
 * elsewhere than its entry says; each gets a flag, so that it is told once.
 * dp-core adds new entries by itself, but the indexes are the writers': they
 * keep some ready in `bridge_spare`. That bounds how many MACs strangers can
 * make up before a writer looks.
 */
#ifndef VR_LEARN_H
#define VR_LEARN_H

#include "arp.h"
#include "nd.h"

#define VR_SPARE_TRIES	8

/* indexes of `bridge` that are ready to be used; taken by an exchange with 0 */
VR_ARRAY(bridge_spare, __u32, VR_SPARES, BPF_F_MMAPABLE);

__u32 vr_spare_next;

/* An index that is ready, or 0. */
static __always_inline __u32 vr_spare_take(void)
{
	__u32 start = __sync_fetch_and_add(&vr_spare_next, 1);
	__u32 slot, index, *spare;

	for (__u32 i = 0; i < VR_SPARE_TRIES; i++) {
		slot = (start + i) & (VR_SPARES - 1);
		spare = bpf_map_lookup_elem(&bridge_spare, &slot);
		if (!spare || !*(volatile __u32 *)spare)
			continue;
		index = __sync_lock_test_and_set(spare, 0);
		if (index)
			return index;
	}
	return 0;
}

/* Gives an index back that was not used after all: as a writer retires one. */
static __always_inline void vr_spare_retire(__u32 index, struct vr_bridge_entry *entry)
{
	__u64 *state = bpf_map_lookup_elem(&bridge_retire, &index);

	*(volatile __u64 *)&entry->word = 0;
	if (state)
		*(volatile __u64 *)state = bpf_ktime_get_ns();
}

/* Adds an entry for @key that leads where broadcasts go. Its index, or 0. */
static __always_inline __u32 vr_learn_add(const struct vr_packet *pkt,
					  const struct vr_bridge_key *key)
{
	const __u64 flags = (__u64)(VR_BE_VALID | VR_BE_MAC_NEW) << 48;
	__u32 index = vr_spare_take();
	struct vr_bridge_entry *entry = vr_bridge_by_index(index);
	__u64 word = 0;

	if (!entry)
		return 0;
	if (!vr_bridge_lookup(vr_broadcast_mac, pkt->vrf, &word))
		word = 0;
	word &= (1ull << 48) - 1 | (__u64)VR_BE_LABEL_VALID << 48;
	entry->key = *key;
	entry->packets = 0;
	entry->heard = 1;
	*(volatile __u64 *)&entry->word = word | flags;
	if (!bpf_map_update_elem(&bridge_hash, key, &index, BPF_NOEXIST))
		return index;
	vr_spare_retire(index, entry);
	return 0;
}

/* Did the packet come from where nexthop @id leads? If that cannot be said: yes. */
static __always_inline int vr_came_from(struct __sk_buff *skb, const struct vr_packet *pkt,
					__u32 id)
{
	struct vr_nexthop *nh = vr_nh_get(id);

	if (!nh)
		return 1;
	if (nh->type == NH_TYPE_ENCAP)
		return !(pkt->flags & VP_FROM_TUNNEL) && nh->oif == pkt->vif;
	if (nh->type == NH_TYPE_TUNNEL)
		return vr_tunnel_loops(skb, pkt, nh);
	return 1;
}

/* Marks the entry of @key as moved; its index, or 0 if it changed meanwhile. */
static __always_inline __u32 vr_learn_move(struct vr_bridge_entry *entry, __u64 word,
					   const struct vr_bridge_key *key)
{
	const __u64 moved = word | (__u64)VR_BE_MAC_MOVED << 48;
	__u32 *index = bpf_map_lookup_elem(&bridge_hash, key);

	if (!index || __sync_val_compare_and_swap(&entry->word, word, moved) != word)
		return 0;
	return *index;
}

/* Tells the agent of a sender that is new, or has moved. Without an agent nothing is learnt,
 * but who is known is counted: an agent that comes back knows who still speaks. */
__noinline int vr_learn_mac(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct vr_bridge_key key = {};
	struct vr_bridge_entry *entry;
	__u32 index, reason;
	__u64 word = 0;

	if (!pkt || bpf_skb_load_bytes(skb, ETH_ALEN, key.mac, sizeof(key.mac)) || key.mac[0] & 1)
		return 0;
	key.vrf = pkt->vrf;
	entry = vr_bridge_lookup(key.mac, pkt->vrf, &word);
	if (entry)
		__sync_fetch_and_add(&entry->heard, 1);
	if (!vr_agent_get())
		return 0;
	if (entry && (VR_BE_FLAGS(word) & (VR_BE_MAC_NEW | VR_BE_MAC_MOVED) ||
		      vr_came_from(skb, pkt, VR_BE_NH(word))))
		return 0;
	if (!vr_trap_allowed(pkt->vif)) {
		vr_drop_copy(skb, pkt, VR_DROP_TRAP_LIMIT);
		return 0;
	}
	index = entry ? vr_learn_move(entry, word, &key) : vr_learn_add(pkt, &key);
	reason = entry ? VR_TRAP_MAC_MOVE : VR_TRAP_MAC_LEARN;
	if (index && vr_send_again(skb, pkt, VR_AGAIN_TRAP, reason, index))
		vr_drop_copy(skb, pkt, VR_DROP_CLONE_FAIL);
	return 0;
}

/* Is @rt anything but the host route of who has @mac? */
static __always_inline int vr_is_new_address(const struct vr_route *rt, __u32 plen, const __u8 *mac)
{
	const __u8 *stitched;
	__u64 word;

	if (!rt || rt->plen != plen)
		return 1;
	stitched = vr_stitched(rt, &word);
	return !stitched || __builtin_memcmp(stitched, mac, ETH_ALEN);
}

/*
 * What a solicitation says of its sender, and an advertisement of its target: the
 * address, and the MAC in the option. Whoever looks for duplicates of an address does not
 * have it yet, and without the option nobody learns a MAC (RFC 4861, 7.2.3 and 7.2.5).
 */
__noinline int vr_is_new_nd(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct vr_nd nd = {};
	__u8 option, opt[8];
	__u32 off;

	if (!pkt || vr_nd_read(skb, pkt, &nd) || (nd.type != VR_ND_NS && nd.type != VR_ND_NA))
		return 0;
	option = nd.type == VR_ND_NA ? VR_ND_TARGET_LL : VR_ND_SOURCE_LL;
	if (nd.type == VR_ND_NA)
		nd.src = nd.target;
	if (!(nd.src.hi | nd.src.lo))
		return 0;
	off = nd.options;
	for (int i = 0; i < VR_ND_OPTIONS && off + sizeof(opt) <= nd.end; i++) {
		if (bpf_skb_load_bytes(skb, off, opt, sizeof(opt)) || !opt[1])
			return 0;
		if (opt[0] == option && opt[1] == 1)
			return vr_is_new_address(vr_inet6_lookup(pkt->vrf, &nd.src), 128, opt + 2);
		off += opt[1] * 8;
	}
	return 0;
}

/* Does ARP or ND tell of an address whose host route is missing, or has another MAC? */
static __always_inline int vr_is_new_neighbour(struct __sk_buff *skb, struct vr_packet *pkt)
{
	struct vr_arp arp = {};

	if (pkt->proto == bpf_htons(ETH_P_IPV6))
		return vr_is_new_nd(skb, pkt);
	if (pkt->proto != bpf_htons(ETH_P_ARP) || vr_arp_read(skb, pkt, &arp) ||
	    !vr_arp_addr(arp.spa))
		return 0;
	return vr_is_new_address(vr_inet_lookup(pkt->vrf, vr_arp_addr(arp.spa)), 32, arp.sha);
}

#endif /* VR_LEARN_H */
