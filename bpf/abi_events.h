/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * abi_events.h - the part of abi.h that is about what dp-core tells: its events,
 * and its decisions in test mode. Included by abi.h only.
 */
#ifndef VR_ABI_EVENTS_H
#define VR_ABI_EVENTS_H

#include <linux/types.h>

enum vr_event_mask {
	VR_EVENT_DROPS = 0x1,
	VR_EVENT_PATH = 0x2,	/* every stage of every packet */
};

enum vr_event_kind {
	VR_EV_RX = 1,		/* entered dp-core; vif, len */
	VR_EV_DECAP = 2,	/* label/VNI taken off; nh = what it names */
	VR_EV_BRIDGE = 3,	/* bridge look-up done; nh, label */
	VR_EV_INET = 4,		/* route look-up done; nh, label */
	VR_EV_NEXTHOP = 5,	/* nexthop applied; nh, vrf */
	VR_EV_ENCAP = 6,	/* outer header put on; nh, label */
	VR_EV_TX = 7,		/* sent; vif, len */
	VR_EV_COPY = 8,		/* a copy sent by a composite; vif, len */
	VR_EV_TRAP = 9,		/* sent to the agent; reason */
	VR_EV_DROP = 10,	/* dropped; reason */
	VR_EV_ARP_REPLY = 11,	/* an ARP request or neighbour solicitation turned
				 * into its answer */
};

/* ring buffer `events`; the addresses are those of the inner packet once it is
 * decapsulated, of the outer before */
struct vr_event {
	__u64 ns;		/* CLOCK_MONOTONIC */
	__u64 id;		/* the same for all events of one pass of a packet */
	__u32 nh;
	__u32 label;
	__u32 len;
	__u8 sip[16];		/* IPv4 and ARP: the first 4 bytes */
	__u8 dip[16];
	__u16 vif;
	__u16 vrf;
	__be16 eth_type;
	__be16 sport;		/* ICMP echo: identifier */
	__be16 dport;		/* ICMP echo: sequence number */
	__u8 kind;		/* enum vr_event_kind */
	__u8 reason;		/* drop or trap reason */
	__u8 proto;		/* IPv6: the first next header */
	__u8 vif_type;
	__u16 cpu;
};

/* ---- test mode ------------------------------------------------------------------- */

/* With rodata `vr_test_mode` set (tests only), dp-core leaves its decision in
 * skb->cb, and puts copies into ring buffer `test_copies` instead of sending
 * them. */
enum vr_verdict {
	VR_VERDICT_NONE = 0,
	VR_VERDICT_TX = 1,	/* cb[1] = vif idx, cb[3] = vr_noted_tag(), cb[4] = of a forwarding
				 * class: transmit queue + 1 in the high half, priority */
	VR_VERDICT_DROP = 2,	/* cb[2] = reason */
	VR_VERDICT_TRAP = 3,	/* cb[1] = agent's vif idx, cb[2] = trap reason */
};

#define VR_TEST_COPY_MAX	2048

struct vr_test_copy {
	__u32 vif;		/* idx that the copy leaves by */
	__u32 kind;		/* enum vr_verdict: TX or TRAP */
	__u32 reason;		/* of a trap */
	__u32 len;		/* whole length; data holds at most VR_TEST_COPY_MAX */
	__u32 vlan;		/* EtherType << 16 | tag that is noted beside the frame */
	__u8 data[VR_TEST_COPY_MAX];
};

#endif /* VR_ABI_EVENTS_H */
