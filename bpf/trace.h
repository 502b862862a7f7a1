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

/* ICMP: a message with an identifier and a sequence number? */
static __always_inline int vr_event_is_echo(const struct vr_event *ev, __u8 type)
{
	if (ev->proto == IPPROTO_ICMP)
		return 1;
	return ev->proto == IPPROTO_ICMPV6 && (type == 128 || type == 129);
}

/* Ports, or identifier and sequence number of an ICMP echo. */
static __always_inline void vr_event_ports(struct __sk_buff *skb, __u32 off, struct vr_event *ev)
{
	struct {
		__u8 type, code;
		__be16 sum;
		__be16 id, seq;
	} l4 = {};

	if (bpf_skb_load_bytes(skb, off, &l4, sizeof(l4)))
		return;
	if (vr_event_is_echo(ev, l4.type)) {
		ev->sport = l4.id;
		ev->dport = l4.seq;
	} else if (ev->proto == IPPROTO_TCP || ev->proto == IPPROTO_UDP) {
		ev->sport = ((__be16 *)&l4)[0];
		ev->dport = ((__be16 *)&l4)[1];
	}
}

static __always_inline void vr_event_inet(struct __sk_buff *skb, __u32 l3, struct vr_event *ev)
{
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, l3, &ip, sizeof(ip)))
		return;
	__builtin_memcpy(ev->sip, &ip.saddr, sizeof(ip.saddr));
	__builtin_memcpy(ev->dip, &ip.daddr, sizeof(ip.daddr));
	ev->proto = ip.protocol;
	vr_event_ports(skb, l3 + ip.ihl * 4, ev);
}

/* Nothing behind extension headers: this is called where no call may follow. */
static __always_inline void vr_event_inet6(struct __sk_buff *skb, __u32 l3, struct vr_event *ev)
{
	if (bpf_skb_load_bytes(skb, l3 + offsetof(struct ipv6hdr, saddr), ev->sip,
			       sizeof(ev->sip) + sizeof(ev->dip)) ||
	    bpf_skb_load_bytes(skb, l3 + offsetof(struct ipv6hdr, nexthdr), &ev->proto, 1))
		return;
	vr_event_ports(skb, l3 + sizeof(struct ipv6hdr), ev);
}

_Static_assert(offsetof(struct vr_event, dip) == offsetof(struct vr_event, sip) + 16,
	       "both addresses are read at once");

/* Sender and target of ARP, RFC 826. */
static __always_inline void vr_event_arp(struct __sk_buff *skb, __u32 l3, struct vr_event *ev)
{
	if (!bpf_skb_load_bytes(skb, l3 + 14, ev->sip, 4))
		bpf_skb_load_bytes(skb, l3 + 24, ev->dip, 4);
}

static __always_inline void vr_event_flow(struct __sk_buff *skb, __u32 l3, struct vr_event *ev)
{
	if (ev->eth_type == bpf_htons(ETH_P_IP))
		vr_event_inet(skb, l3, ev);
	else if (ev->eth_type == bpf_htons(ETH_P_IPV6))
		vr_event_inet6(skb, l3, ev);
	else if (ev->eth_type == bpf_htons(ETH_P_ARP))
		vr_event_arp(skb, l3, ev);
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
