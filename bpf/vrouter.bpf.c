// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * vrouter.bpf.c - dp-core: the programs.
 *
 *   netdevice -> vif -> parse -> [xconnect?] -> [fabric: decap] -> look-up
 *             -> nexthop -> rewrite/encap -> netdevice
 *                   \-> trap to pkt0       \-> drop(reason)
 */
#include "bypass.h"
#include "input.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* BTF holds only what is used; these are for Python alone. */
const volatile enum vr_vif_transport vr_btf_transport = 0;
const volatile enum vr_vif_flag vr_btf_vif_flag = VIF_FLAG_POLICY;
const volatile enum vr_vif_feature vr_btf_vif_feature = VIF_FEATURE_SOURCES;
const volatile enum vr_vif_type vr_btf_vif_type = VIF_TYPE_HOST;
const volatile enum vr_nh_flag vr_btf_nh_flag = NH_FLAG_VALID;
const volatile enum vr_nh_type vr_btf_nh_type = NH_TYPE_DEAD;
const volatile enum vr_mirror_flag vr_btf_mirror_flag = VR_MIRROR_DYNAMIC;
const volatile enum vr_hash_field vr_btf_hash_field = VR_HASH_PROTO;
const volatile enum vr_route_flag vr_btf_route_flag = VR_RT_LABEL_VALID;
const volatile enum vr_route_operation vr_btf_route_operation = VR_ROUTE_ADD;
const volatile enum vr_bridge_flag vr_btf_bridge_flag = VR_BE_VALID;
const volatile enum vr_drop_reason vr_btf_drop_reason = VR_DROP_INVALID;
const volatile enum vr_trap_reason vr_btf_trap_reason = VR_TRAP_SWITCH;
const volatile enum vr_event_kind vr_btf_event_kind = VR_EV_RX;
const volatile enum vr_icmp_errors vr_btf_icmp_errors = VR_ICMP_ANSWER;
const volatile enum vr_mss_clamp vr_btf_mss_clamp = VR_MSS_FROM_VM;
const volatile enum vr_event_mask vr_btf_event_mask = VR_EVENT_DROPS;
const volatile enum vr_verdict vr_btf_verdict = VR_VERDICT_NONE;
const struct vr_event *const volatile vr_btf_event = 0;
const struct vr_test_copy *const volatile vr_btf_test_copy = 0;
const struct vr_agent_hdr *const volatile vr_btf_agent_hdr = 0;

/* Each look-up, which is a step of its own, leads to a nexthop, and that to the member of
 * an ECMP composite at most. */
#define VR_MAX_STEPS	(3 * (VR_MAX_LOOKUPS + 1))

static __always_inline int vr_undecided(int verdict)
{
	return verdict == VR_GO_ON || verdict == VR_GO_BRIDGE;
}

static __always_inline int vr_is_again(struct __sk_buff *skb, const struct vr_packet *pkt)
{
	if ((skb->mark & VR_AGAIN_MAGIC_MASK) != VR_AGAIN_MAGIC)
		return 0;
	/* the host may set marks of its own */
	return !vr_is_host_type(pkt->vif_type) || vr_again_get(skb);
}

/* A packet as a vif's netdevice received it. */
static __always_inline int vr_received(struct __sk_buff *skb, struct vr_packet *pkt)
{
	int refused = 0;

	if (__builtin_expect(pkt->features & VIF_FEATURE_SUBVIFS, 0))
		refused = vr_enter_subvif(skb, pkt);
	vr_count_rx(pkt->vif, vr_frame_len(skb));
	if (__builtin_expect(refused, 0))
		return vr_drop(skb, pkt, refused);
	if (pkt->vif_flags & VIF_FLAG_MIRROR_RX)
		vr_mirror_received(skb, pkt);
	return vr_input(skb, pkt);
}

/* Stages that are begun from here, for the sake of the verifier's limits: eight frames, and
 * 512 bytes of stack. */
static __always_inline int vr_end(struct __sk_buff *skb, struct vr_packet *pkt, int verdict)
{
	if (verdict == VR_TUNNEL)
		verdict = vr_tunnel(skb, pkt);
	if (verdict >= 0)
		return verdict;
	switch (verdict) {
	case VR_FLOOD:
		return vr_flood(skb, pkt);
	case VR_TOO_LONG:
		return vr_too_long(skb, pkt);
	case VR_TTL_OVER:
		return vr_ttl_exceeded(skb, pkt);
	default:
		return vr_drop(skb, pkt, VR_DROP_PKT_LOOP);
	}
}

/* All of forwarding, for a packet that a netdevice received. */
SEC("tc")
int vr_dpcore(struct __sk_buff *skb)
{
	struct vr_packet pkt = { .vif = VR_VIF_NONE, .xconnect = VR_VIF_NONE };
	struct vr_vif *vif = vr_vif_by_ifindex(skb->ifindex);
	int verdict, again = 1;

	if (__builtin_expect(!vif, 0)) {
		verdict = vr_no_vif(skb, &pkt);
		if (verdict >= 0)
			return verdict;
		again = verdict == VR_GO_ON;
	} else {
		vr_packet_init(skb, &pkt, vif);
		again = vr_is_again(skb, &pkt);
	}
	if (again)
		verdict = vr_input_again(skb, &pkt);
	else
		verdict = vif ? vr_received(skb, &pkt) : vr_physical_input(skb, &pkt);
	for (int i = 0; i < VR_MAX_STEPS && vr_undecided(verdict); i++)
		verdict = verdict == VR_GO_BRIDGE ? vr_bridge_input(skb, &pkt)
						  : vr_nexthop(skb, &pkt);
	return vr_end(skb, &pkt, verdict);
}

/* elements of vr_switch */
#define VR_SWITCH_ALL		0	/* the dp-core that runs */
#define VR_SWITCH_GENERATION	1	/* and 2: that of generation 0, 1 */
#define VR_SWITCH_MAX		3

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, VR_SWITCH_MAX);
	__type(key, __u32);
	__type(value, __u32);
} vr_switch SEC(".maps");

/*
 * What is attached to the netdevices: element 0 of vr_switch decides for all of
 * them at once which dp-core runs. Only a copy that dp-core sent to itself is
 * finished by the one that made it, as long as that one is there.
 */
SEC("tc")
int vr_entry(struct __sk_buff *skb)
{
	if ((skb->mark & VR_AGAIN_MAGIC_MASK) == VR_AGAIN_MAGIC) {
		if (skb->mark & VR_AGAIN_GENERATION)
			bpf_tail_call_static(skb, &vr_switch, VR_SWITCH_GENERATION + 1);
		else
			bpf_tail_call_static(skb, &vr_switch, VR_SWITCH_GENERATION);
	}
	bpf_tail_call_static(skb, &vr_switch, VR_SWITCH_ALL);
	vr_count_drop(VR_VIF_NONE, VR_DROP_NOWHERE_TO_GO);
	return TC_ACT_SHOT;
}
