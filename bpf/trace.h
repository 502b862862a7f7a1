/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * trace.h - events of dp-core, for whoever listens (vr_cfg.events).
 */
#ifndef VR_TRACE_H
#define VR_TRACE_H

#include "packet.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} events SEC(".maps");

/* Addresses and ports, or identifier and sequence number of an ICMP echo. */
static __always_inline void vr_event_flow(struct __sk_buff *skb, __u32 l3, struct vr_event *ev)
{
	struct iphdr ip;
	struct {
		__u8 type, code;
		__be16 sum;
		__be16 id, seq;
	} l4 = {};

	if (ev->eth_type != bpf_htons(ETH_P_IP) || bpf_skb_load_bytes(skb, l3, &ip, sizeof(ip)))
		return;
	ev->sip = ip.saddr;
	ev->dip = ip.daddr;
	ev->proto = ip.protocol;
	if (bpf_skb_load_bytes(skb, l3 + ip.ihl * 4, &l4, sizeof(l4)))
		return;
	if (ip.protocol == IPPROTO_ICMP) {
		ev->sport = l4.id;
		ev->dport = l4.seq;
	} else if (ip.protocol == IPPROTO_TCP || ip.protocol == IPPROTO_UDP) {
		ev->sport = ((__be16 *)&l4)[0];
		ev->dport = ((__be16 *)&l4)[1];
	}
}

/* Emits one event; @vif is the vif that it is about. */
__noinline int vr_event_emit(struct __sk_buff *skb, struct vr_packet *pkt, __u32 kind,
			     __u32 vif, __u32 reason)
{
	__u64 now = bpf_ktime_get_ns();
	struct vr_event *ev;

	if (!pkt)
		return 0;
	if (now > vr_cfg.events_until) {
		vr_cfg.events = 0;
		return 0;
	}
	ev = bpf_ringbuf_reserve(&events, sizeof(*ev), 0);
	if (!ev)
		return 0;
	__builtin_memset(ev, 0, sizeof(*ev));
	ev->ns = now;
	ev->id = pkt->id;
	ev->nh = pkt->nh;
	ev->label = pkt->label;
	ev->len = skb->len;
	ev->vif = vif;
	ev->vrf = pkt->vrf;
	ev->eth_type = pkt->proto;
	ev->kind = kind;
	ev->reason = reason;
	ev->vif_type = pkt->vif_type;
	ev->cpu = bpf_get_smp_processor_id();
	vr_event_flow(skb, pkt->l3, ev);
	bpf_ringbuf_submit(ev, 0);
	return 0;
}

static __always_inline void vr_trace(struct __sk_buff *skb, struct vr_packet *pkt, __u32 kind)
{
	if (vr_cfg.events & VR_EVENT_PATH)
		vr_event_emit(skb, pkt, kind, pkt->vif, 0);
}

static __always_inline void vr_trace_out(struct __sk_buff *skb, struct vr_packet *pkt,
					 __u32 kind, __u32 vif)
{
	if (vr_cfg.events & VR_EVENT_PATH)
		vr_event_emit(skb, pkt, kind, vif, 0);
}

#endif /* VR_TRACE_H */
