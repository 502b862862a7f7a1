/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * vif.h - the table of vifs, and the one way out by a vif.
 */
#ifndef VR_VIF_H
#define VR_VIF_H

#include "packet.h"
#include "drop.h"
#include "mirror.h"

/* ifindex -> vif idx + 1; 0 = none */
VR_ARRAY(vif_by_ifindex, __u32, 65536, 0);
/* the same for an ifindex above that array (they only grow) */
VR_HASH(vif_by_ifindex_big, __u32, __u32, VR_MAX_VIFS);
/* vif idx -> slot; 0 = none */
VR_ARRAY(vif_index, __u32, VR_MAX_VIFS, 0);
/* slots; read through vif_index only */
#define VR_HEARTBEAT_MAX	3000000000ull	/* ns */

VR_ARRAY(vif_slots, struct vr_vif, VR_MAX_VIFS + 1024, 0);
/* slot -> 0 free, 1 in use, else when it was retired (ns); for the writers only */
VR_ARRAY(vif_retire, __u64, VR_MAX_VIFS + 1024, BPF_F_MMAPABLE);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} test_copies SEC(".maps");

static __always_inline struct vr_vif *vr_vif_get(__u32 idx)
{
	__u32 *slot = bpf_map_lookup_elem(&vif_index, &idx);

	if (!slot || !*slot)
		return NULL;
	return bpf_map_lookup_elem(&vif_slots, slot);
}

/* The vif of an agent that lives. One that beats, and has stopped, is none: what would wait
 * for it is counted. */
static __always_inline struct vr_vif *vr_agent_get(void)
{
	__u64 beat = vr_cfg.heartbeat;

	if (beat && (__s64)(bpf_ktime_get_boot_ns() - beat) > (__s64)VR_HEARTBEAT_MAX)
		return NULL;
	return vr_vif_get(vr_cfg.agent_vif);
}

static __always_inline struct vr_vif *vr_vif_by_ifindex(__u32 ifindex)
{
	__u32 *idx = bpf_map_lookup_elem(&vif_by_ifindex, &ifindex);

	if (!idx)
		idx = bpf_map_lookup_elem(&vif_by_ifindex_big, &ifindex);
	return idx && *idx ? vr_vif_get(*idx - 1) : NULL;
}

/* Is it the port of a VM? */
static __always_inline int vr_is_vm_type(__u8 type)
{
	return type == VIF_TYPE_VIRTUAL || type == VIF_TYPE_VIRTUAL_VLAN;
}

/* Is the host's own stack behind it? */
static __always_inline int vr_is_host_type(__u8 type)
{
	return type == VIF_TYPE_HOST || type == VIF_TYPE_GATEWAY;
}

#define VR_ENODEV	19

/*
 * Why the kernel would drop a packet after our verdict, with no counter of ours;
 * so it is asked before: the netdevice is gone, or the packet is longer than its
 * MTU. One VLAN tag is no part of what the MTU limits (IEEE 802.3, 3.2.7): one
 * beside the frame is in no length anyway, and in the frame the kernel lets four
 * bytes more pass. 0: nothing is known against it.
 */
static __always_inline int vr_unsendable(struct __sk_buff *skb, __u32 ifindex)
{
	struct ethhdr *eth;
	__u32 mtu = 0;
	long ret;

	ret = bpf_check_mtu(skb, ifindex, &mtu, 0, skb->gso_size ? BPF_MTU_CHK_SEGS : 0);
	if (ret == -VR_ENODEV)
		return VR_DROP_INTERFACE_DROP;
	if (ret <= 0)
		return 0;
	if (skb->gso_size || vr_has_noted_tag(skb))
		return VR_DROP_TOO_BIG;
	eth = vr_bytes(skb, 0, ETH_HLEN);
	if (!eth || !vr_is_vlan(eth->h_proto))
		return VR_DROP_TOO_BIG;
	mtu = 0;
	return bpf_check_mtu(skb, ifindex, &mtu, -4, 0) > 0 ? VR_DROP_TOO_BIG : 0;
}

#define VR_MAX_TAGS	8

/* What a vif of type Host or Gateway does to a packet on its way to the host's stack. */
static __always_inline int vr_to_host(struct __sk_buff *skb, struct vr_packet *pkt,
				      const struct vr_vif *out)
{
	struct ethhdr *eth;
	__u8 mac[ETH_ALEN];

	__builtin_memcpy(mac, out->mac, ETH_ALEN);
	for (int i = 0; i < VR_MAX_TAGS && pkt->flags & VP_TAGGED; i++) {
		if (vr_untag(skb, pkt) || vr_parse_l2(skb, pkt))
			return -1;
	}
	if (pkt->flags & VP_TAGGED)
		return -1;
	if (pkt->vif_type != VIF_TYPE_VIRTUAL)
		return 0;
	eth = vr_bytes(skb, 0, ETH_HLEN);
	if (!eth)
		return -1;
	__builtin_memcpy(eth->h_dest, mac, ETH_ALEN);
	return 0;
}

/* Does the vif put a tag on what it sends? VLAN 0 stands for untagged. */
static __always_inline int vr_is_tagging(const struct vr_vif *out)
{
	return out->type == VIF_TYPE_VIRTUAL_VLAN && out->ovlan;
}

/* What such a vif does to a packet on its way into its parent's netdevice. */
static __always_inline int vr_to_vlan(struct __sk_buff *skb, const struct vr_packet *pkt,
				      const struct vr_vif *out)
{
	__u16 tci = out->ovlan | vr_dot1p(pkt) << VR_VLAN_PRIO_SHIFT;

	return bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), tci) ? -1 : 0;
}

/*
 * bpf_redirect_peer hands the packet to the far end without another look at
 * its Ethernet header, so the kernel's note of the protocol must be right.
 */
static __always_inline int vr_may_peer(struct __sk_buff *skb, const struct vr_vif *out)
{
	struct ethhdr *eth = (void *)(long)skb->data;

	if (!out->peer || (void *)(eth + 1) > (void *)(long)skb->data_end)
		return 0;
	return eth->h_proto == (__be16)skb->protocol && !(eth->h_dest[0] & 1);
}

/* In tests a copy goes into a ring buffer, where its bytes can be read. */
static __always_inline int vr_test_copy(struct __sk_buff *skb, __u32 vif, __u32 kind,
					__u32 reason)
{
	struct vr_test_copy *copy;
	__u32 len = skb->len;

	copy = bpf_ringbuf_reserve(&test_copies, sizeof(*copy), 0);
	if (!copy)
		return -1;
	copy->vif = vif;
	copy->kind = kind;
	copy->reason = reason;
	copy->len = len;
	copy->vlan = vr_noted_tag(skb);
	if (len > VR_TEST_COPY_MAX)
		len = VR_TEST_COPY_MAX;
	if (len > 0)
		bpf_skb_load_bytes(skb, 0, copy->data, len);
	bpf_ringbuf_submit(copy, 0);
	return 0;
}

/* Is what leaves by @out mirrored? In a tunnel it was, before the outer header came. */
static __always_inline int vr_wants_mirror(const struct vr_packet *pkt, const struct vr_vif *out)
{
	return out->flags & VIF_FLAG_MIRROR_TX && !(pkt->flags & (VP_ENCAPPED | VP_MIRROR));
}

/* What a part of a vif sends is sent by that vif too. */
static __always_inline void vr_mirror_parent(struct __sk_buff *skb, struct vr_packet *pkt,
					     const struct vr_vif *out)
{
	struct vr_vif *parent;

	if (out->type != VIF_TYPE_VIRTUAL_VLAN)
		return;
	parent = vr_vif_get(out->parent);
	if (parent && vr_wants_mirror(pkt, parent))
		vr_mirror(skb, pkt, parent->mirror);
}

/* Sends the packet out of vif @idx; the packet is gone afterwards. */
__noinline int vr_output(struct __sk_buff *skb, struct vr_packet *pkt, __u32 idx)
{
	struct vr_vif *out;
	int lost = 0;

	if (!pkt)
		return TC_ACT_SHOT;
	out = vr_vif_get(idx);
	if (!out)
		return vr_drop(skb, pkt, VR_DROP_INVALID_IF);
	if (vr_is_host_type(out->type) && vr_to_host(skb, pkt, out))
		return vr_drop(skb, pkt, VR_DROP_INVALID_PACKET);
	if (!(pkt->flags & VP_FITS))
		lost = vr_unsendable(skb, out->ifindex);
	if (lost)
		return vr_drop(skb, pkt, lost);
	if (vr_wants_mirror(pkt, out))
		vr_mirror(skb, pkt, out->mirror);
	if (vr_is_tagging(out) && vr_to_vlan(skb, pkt, out))
		return vr_drop(skb, pkt, VR_DROP_PUSH);
	vr_mirror_parent(skb, pkt, out);
	vr_count_tx(idx, vr_frame_len(skb));
	vr_trace_out(skb, pkt, VR_EV_TX, idx);
	vr_test_verdict(skb, VR_VERDICT_TX, idx, 0);
	if (vr_test_mode && pkt->flags & VP_AGAIN)
		vr_test_copy(skb, idx, VR_VERDICT_TX, 0);
	if (vr_may_peer(skb, out))
		return bpf_redirect_peer(out->ifindex, 0);
	return bpf_redirect(out->ifindex, 0);
}

/*
 * As vr_to_vlan(), for a packet whose tag comes off again: in a tunnel's packet
 * the kernel would then take the outer header for the tag that it knows of.
 */
static __always_inline int vr_copy_to_vlan(struct __sk_buff *skb, const struct vr_packet *pkt,
					   const struct vr_vif *out)
{
	struct ethhdr *eth = vr_bytes(skb, 0, ETH_HLEN);

	if (!eth || (vr_is_vlan((__be16)skb->protocol) && !vr_is_vlan(eth->h_proto)))
		return -1;
	return vr_to_vlan(skb, pkt, out);
}

/*
 * Takes off what vr_copy_to_vlan() put on. The kernel then notes beside the frame
 * a tag that stood in it, so that the payload begins elsewhere.
 */
static __always_inline void vr_after_vlan(struct __sk_buff *skb, struct vr_packet *pkt)
{
	__u32 l3 = pkt->flags & VP_L3;

	bpf_skb_vlan_pop(skb);
	vr_parse_l2(skb, pkt);
	pkt->flags |= l3;
}

/* Sends a copy as it is out of vif @idx; the packet lives on. */
__noinline int vr_output_copy(struct __sk_buff *skb, struct vr_packet *pkt, __u32 idx)
{
	struct vr_vif *out;
	__u32 len;
	long ret;
	int lost;

	if (!pkt)
		return 0;
	out = vr_vif_get(idx);
	if (!out) {
		vr_drop_copy(skb, pkt, VR_DROP_INVALID_IF);
		return 0;
	}
	lost = vr_unsendable(skb, out->ifindex);
	if (lost == VR_DROP_TOO_BIG && pkt->flags & VP_MUST_NOT_CUT)
		lost = VR_DROP_MCAST_DF_BIT;
	if (lost) {
		vr_drop_copy(skb, pkt, lost);
		return 0;
	}
	if (vr_is_tagging(out) && vr_copy_to_vlan(skb, pkt, out)) {
		vr_drop_copy(skb, pkt, VR_DROP_PUSH);
		return 0;
	}
	if (vr_test_mode)
		ret = vr_test_copy(skb, idx, VR_VERDICT_TX, 0);
	else
		ret = bpf_clone_redirect(skb, out->ifindex, 0);
	len = vr_frame_len(skb);
	if (!ret)
		vr_mirror_parent(skb, pkt, out);
	if (vr_is_tagging(out))
		vr_after_vlan(skb, pkt);
	if (ret) {
		vr_drop_copy(skb, pkt, ret < 0 ? VR_DROP_MCAST_CLONE_FAIL
					       : VR_DROP_INTERFACE_TX_DISCARD);
		return 0;
	}
	if (vr_wants_mirror(pkt, out))
		vr_mirror(skb, pkt, out->mirror);
	vr_count_tx(idx, len);
	vr_trace_out(skb, pkt, VR_EV_COPY, idx);
	return 0;
}

/* Cross-connect: out of the partner of the ingress vif, as the packet is. */
static __always_inline int vr_xconnect(struct __sk_buff *skb, struct vr_packet *pkt)
{
	return vr_output(skb, pkt, pkt->xconnect);
}

#endif /* VR_VIF_H */
