# SPDX-License-Identifier: Apache-2.0
"""What the man pages say beyond the parsers: purpose, output, JSON keys, files, exit codes.

A line with a tab is an entry: head, tab, text. A blank line begins a paragraph.
"""

from __future__ import annotations

Section = tuple[str, str]

PURPOSES = {
    "dropstats": "count dropped packets by reason",
    "mirror": "show and change where copies of packets go",
    "mpls": "show and change the MPLS input label map",
    "nh": "show and change nexthops",
    "qosmap": "show and change forwarding classes and QoS maps",
    "rt": "show and change routes and bridge entries",
    "vif": "show and change the ports of dp-core",
    "vrfstats": "show the counters of VRFs",
    "vrinfo": "show which dp-core is loaded",
    "vrmemstats": "show what the tables of dp-core occupy",
    "vrouter": "load dp-core, put it in place, follow packets, run labs",
    "vrouter-port-control": "add, delete and switch ports of VMs and containers",
    "vxlan": "show and change the VXLAN table",
}

COMMON: tuple[Section, ...] = (
    (
        "EXIT STATUS",
        "0\tdone, or nothing to do\n"
        "1\tfailed for an unexpected reason\n"
        "2\twrong usage\n"
        "3\trefused: understood, and not possible or not supported\n"
        "4\tdp-core is not loaded\n"
        "130\tinterrupted\n"
        "141\twhoever read the output stopped reading\n\n"
        "Errors are one line on standard error. A command that changes something says in one "
        'line what it did; with --json as {"changed": true|false, "message": TEXT}. Asked for '
        "what is so already, it changes nothing, says so and exits with 0.",
    ),
    (
        "ENVIRONMENT",
        "VROUTER_NAME\tthe instance to work on when --name is not given; without either it is "
        "the one that belongs to this network namespace, else vrouter",
    ),
    (
        "FILES",
        "/run/vrouter/NAME\truntime folder of instance NAME\n"
        "/run/vrouter/bpf/NAME\tits pinned maps, programs and links",
    ),
)

SECTIONS: dict[str, tuple[Section, ...]] = {
    "mirror": (
        (
            "JSON",
            "--dump prints an array, --get one object with the keys index, nh, dynamic, vni "
            "(null: none) and metadata (bytes in hex; null: none).",
        ),
        (
            "NOTES",
            "What leaves by a tunnel is copied without its outer headers, and of what arrives by "
            "one the inside. A large TCP packet is copied whole; into a tunnel of its own, which "
            "an analyzer inside an overlay needs, only packets that are not to be cut can go.",
        ),
    ),
    "qosmap": (
        (
            "JSON",
            "--dump-fc prints an array, --get-fc one object with the keys id, dscp, exp, dot1p "
            "and queue; --dump-qos and --get-qos index, and the arrays dscp (64), exp (8) and "
            "dot1p (8) of forwarding classes.",
        ),
        (
            "NOTES",
            "A packet that goes into a tunnel keeps its own marks; the outer header and the label "
            "get those of the class. Without a class the DSCP is copied to the outer header. What "
            "goes to a vif of this host, or out untunnelled, is marked itself. What is no IP "
            "packet goes by its 802.1p, also by that of the tag that a Virtual VLAN vif took off; "
            "the tag that such a vif puts on has the class's.",
        ),
    ),
    "vif": (
        (
            "OUTPUT",
            "A legend of the flags, then a block for each vif: number and device, for a physical "
            "one speed in Mbit/s and duplex, NH where it has a nexthop of its own; type, MAC and "
            "IP address; VRF, VRF for broadcast and multicast (65535 is none), flags, QoS map, "
            "references (1 and one for each nexthop that leaves by it); packets and bytes from "
            "the device (RX) and to it (TX); packets that came in here and were dropped. "
            "Originals of which copies went on are not counted as drops.",
        ),
        (
            "JSON",
            "--list prints an array, --get one object with the keys vif, id, name, type, "
            "transport, mac, ip, ip6, vrf, mcast_vrf, flags (array of the letters), nh (null: "
            "none), qos, mirror (null: none), ref, mtu, os_ifindex, ifindex, xconnect (number of "
            "the partner), parent, vlan, ovlan, src_macs (of a part of another vif), speed, "
            "duplex, rx and tx (objects of packets, bytes, errors), drops, sources (who may "
            "speak, an array of mac and prefix; null: not checked) and trusted (array of dhcp, "
            "router, bridge); with "
            "--get-drop-stats also drop_reasons (array of reason, name, label, packets) and "
            "refused_by_device. With --rate the keys are vif, name, and a second of rx_packets, "
            "rx_bits, tx_packets, tx_bits, drops.",
        ),
        (
            "NOTES",
            "A vif of type vhost receives on the inner end of a pair: vhost0i for vhost0. "
            "A physical vif with --vhost-phys is attached only once a vhost vif names it with "
            "--xconnect; adding that one cross-connects both (X) while there is no agent. "
            "A vif of type virtual that was given --allow drops whatever else speaks on it, as its "
            "lines Allowed: say: Ethernet, IP, ARP and ND senders. Each MAC may use the IPv6 "
            "link-local address made of it. DHCP servers, IPv6 routers and bridges are dropped "
            "unless --trust names them. Without --allow nothing of this is checked. "
            "Neither --policy nor --dhcp-enable has an effect before there is an agent.",
        ),
    ),
    "nh": (
        (
            "JSON",
            "--list prints an array, --get one object with the keys id, type, family, vrf, "
            "ref_count, flags (array of words), oif (null: none), encap_family, encap (header in "
            "hex), sip, dip, sport, dport, l3_vxlan_mac, hash_fields (of an ECMP composite, "
            "else null) and members (array of nh, label).",
        ),
        (
            "NOTES",
            "Frames of a VNID are bridged: --type 7 --vxlan makes a nexthop of family AF_BRIDGE. "
            "A composite is of one kind; the one that a broadcast entry leads to (--cmc) has "
            "those with the VMs of this host (--cen) and with the tunnels (--cevpn) as members.",
        ),
    ),
    "rt": (
        (
            "JSON",
            "--dump prints an array. Of routes: vrf, prefix, ppl, flags (array of letters), "
            "label (null: none), nh, stitched_mac, stitched_index. Of bridge entries: vrf, "
            "index, mac, flags, label, nh, packets. --get prints an object with the key match, "
            "whose value is such an object, or null. --monitor prints an object a line: "
            "operation (add, which may be a change, or delete), family (AF_INET, AF_INET6, "
            "AF_BRIDGE), vrf_id, of a route prefix (its length) and address, nh_id, flags (an "
            "object of true and false), label if it has one, mac_address and mac_index if it is "
            "a MAC or has a stitched one. A reader that is too slow gets an object with operation "
            "missed and their count.",
        ),
        (
            "NOTES",
            "The stitched MAC of a route is what ARP and ND for its addresses are answered with. "
            "When a route is deleted, the longest prefix that covers it takes over.",
        ),
    ),
    "mpls": (("JSON", "--dump prints an array, --get one object: label, nh."),),
    "vxlan": (("JSON", "--dump prints an array, --get one object: vnid, nh."),),
    "dropstats": (
        (
            "JSON",
            "An object: core (null: all CPUs) and drops, an array of reason (number), name, "
            "label and packets, for every reason; refused_by_devices (name to packets).",
        ),
        (
            "NOTES",
            "IF TX Discard counts what dp-core was told of, and what the netdevices of vifs say "
            "that they dropped instead of sending since they were made; the line names them. "
            "--clear does not reach the counters of devices.",
        ),
    ),
    "vrfstats": (
        (
            "JSON",
            "--dump prints an array, --get one object: vrf, and each counter under the name of "
            "the data plane (discards, receives, vxlan_tunnels, ...).",
        ),
    ),
    "vrinfo": (("JSON", "tools_version, dpcore_version, object_sha256, instance."),),
    "vrmemstats": (
        (
            "JSON",
            "An object: bytes (of all maps), tables (name to used, limit, bytes), maps (name to "
            "bytes).",
        ),
    ),
    "vrouter-port-control": (
        (
            "NOTES",
            "With the agent away, add and delete exit with 0: the file says it all, and is read at "
            "the agent's start. enable and disable need the agent. What the agent refuses leaves "
            "the file as it was. The file is /var/lib/vrouter/NAME/ports/UUID.",
        ),
    ),
    "vrouter": (
        (
            "SANDESH",
            "Upstream's programs find the vRouter with their --sock-dir DIR. A refused request is "
            "a line on standard error. The socket is there as soon as it accepts, and goes when "
            "the command ends: by SIGTERM with 0, with 4 when the instance is unloaded.",
        ),
        (
            "LOAD",
            "Loading another dp-core exchanges the one that runs in one step. Tables whose layout "
            "or size is another are copied before, their counters moved after it; no packet, entry "
            "or count is lost. What cannot be carried over is refused before anything changes. A "
            "load that is killed leaves one of the two running, and the next command that writes "
            "completes it or clears it away. A load also removes the links of netdevices and the "
            "instances of network namespaces that are gone.",
        ),
        (
            "STATUS",
            "What is loaded, since when and of which release, where it is attached, what it uses "
            "of the kernel and what the kernel lacks; settings of the machine that hurt, with the "
            "command that mends each; what is stale, with the command that removes it.",
        ),
        (
            "DESIRED STATE",
            "apply, get and delete speak to the agent by /run/vrouter/NAME/api.sock. A file has an "
            "array of tables for each kind ([[network]], [[interface]], ...); it is all that is "
            "wanted by files, so what it no longer has goes; what came by the API, as a port or "
            "for a container stays. A file with a mistake is refused whole: a line on standard "
            "error for each wrong key, with its path.",
        ),
        (
            "VHOST",
            "up moves all addresses, routes of all tables, rules, and neighbours entered by hand "
            "from the NIC to vhost0, which has the NIC's MAC, MTU, queue length and sysctls, joins "
            "the multicast groups that are joined on the NIC, and gets a dhclient of the NIC "
            "together with its lease. It refuses, and says what to do, when that would cut "
            "somebody off: firewall rules or sockets that name the NIC, devices on top of it, an "
            "address that nobody would renew. All of that is looked at before anything is "
            "changed.\n\n"
            "What the NIC had is in /var/lib/vrouter/NAME/vhost.json first. A guard process, in a "
            "session of its own, gives it back when the command is killed, or when nobody confirms "
            "in time; it tells syslog and /run/vrouter/NAME/vhost.log. down works after a reboot "
            "too, and without a loaded dp-core. What somebody has changed since is left as it is, "
            "and said.",
        ),
        (
            "TRACE",
            "A block for each packet: a line with its id and CPU, then a line for each event "
            "with the time since the packet came in, what happened (rx, decap, bridge, inet, "
            "nexthop, encap, tx, copy, trap, drop, arp-reply), and the addresses, of IP and ARP: "
            "the inner ones once it is decapsulated. The protocol of IPv6 is its first next "
            "header. Copies of one packet are events of it.",
        ),
        (
            "JSON",
            "load, unload, vhost: changed and done (array of lines). vhost up and down with "
            "--dry-run: changed, would (array of lines) and findings (array of kind, text, remedy, "
            "blocks). status: instance, loaded, "
            "loaded_at, exchanged_at, version, tools_version, abi_version (of the tables), "
            "tools_abi_version (null: unknown), object_sha256, profile, netns_inode, netns "
            "(here, elsewhere, gone), agent (null: none), attached (array of vif, device, "
            "ifindex, alive), tables (name to used, limit and bytes), kernel (release, features, "
            "lacks), limits (array of name, value, why, command), stale (array of what, "
            "command). --info: version, tools_version, object_sha256, startup, runtime, tables. "
            "trace: an object a line for each event: id, ns, cpu, event, vif, device, vrf, nh, "
            "label, reason, length, eth_type, proto, sip, dip, sport, dport.",
        ),
    ),
}
