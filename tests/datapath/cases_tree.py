# SPDX-License-Identifier: Apache-2.0
"""Who gets a copy, by where a packet came from; the fabric's tree; routed multicast."""

from __future__ import annotations

import struct
from dataclasses import replace

from scapy.layers.inet import IP, UDP
from scapy.layers.vxlan import VXLAN
from scapy.packet import Raw

from tests.model.const import BROADCAST, Drop
from tests.model.packet import Copy
from tests.model.state import mac

from . import states as s
from .frames import (
    OTHER_IP,
    SELF_IP,
    entropy,
    eth,
    ip,
    label,
    mplsoudp,
    outer,
    sent_mplsogre,
    sent_mplsoudp,
    sent_vxlan,
    usual_port,
    vxlan,
)
from .table import Case, Names, copy, drop, flood, rows

T, B = s.TREE_VRF, s.BLUE
TOR, PEER = "172.30.0.4", "172.30.0.5"
FRAME = eth(BROADCAST, s.VM1_MAC, ip("10.1.1.255"))
PORT, BLUE_PORT = usual_port("10.1.1.255", T), usual_port("10.1.1.255", B)
GUARDED_PORT = usual_port("10.1.1.255", s.GUARDED_VRF)
RECEIVED = ((0, "receives"),)


def wrapped(vni: int, frame: bytes, dst: str, sport: int, *, id: int = 7) -> bytes:
    """Control word, VXLAN packet: what stands behind the label on the tree."""
    inside = UDP(sport=sport, dport=4789, chksum=0) / VXLAN(flags="Instance", vni=vni) / Raw(frame)
    return bytes(4) + bytes(IP(src=SELF_IP, dst=dst, id=id, ttl=64) / inside)


def to_local() -> list[Copy]:
    """To the two VMs."""
    return [copy(s.VM1, FRAME), copy(s.VM2, FRAME)]


def to_fabric(vni: int, port: int) -> list[Copy]:
    """Along the tree: MPLSoUDP and MPLSoGRE."""
    body = wrapped(vni, FRAME, OTHER_IP, port)
    return [
        copy(s.FABRIC, sent_mplsoudp(2001, body, port, dst=OTHER_IP)),
        copy(s.FABRIC, sent_mplsogre(2002, body, dst=OTHER_IP)),
    ]


def to_evpn(port: int, between: list[Copy] | None = None) -> list[Copy]:
    """To the hosts that are served one by one; VXLAN comes first, then what is `between`."""
    return [
        copy(s.FABRIC, sent_vxlan(901, FRAME, port)),
        *(between or []),
        copy(s.FABRIC, sent_mplsoudp(900, FRAME, port, dst=PEER)),
    ]


def to_tor(port: int) -> list[Copy]:
    """To the switch."""
    return [copy(s.FABRIC, sent_vxlan(6001, FRAME, port, dst=TOR))]


def served(vrf: int, vms: int, *names: str) -> Names:
    """Counters: the top composite, the VMs', and the others'."""
    local = ["encap_composites", *["l2_encaps"] * vms] if vms else []
    return tuple((vrf, name) for name in ("l2_mcast_composites", *local, *names))


FABRIC_COUNTS = ("fabric_composites", "udp_mpls_tunnels", "gre_mpls_tunnels")
EVPN_COUNTS = ("evpn_composites", "udp_mpls_tunnels", "vxlan_tunnels")
TOR_COUNTS = ("evpn_composites", "vxlan_tunnels")
# of the fabric's four members one is no tunnel of labels, and one has no label
LOST = (Drop.INVALID_NH, Drop.INVALID_LABEL)
FROM_VM = flood(
    "from a VM: all",
    s.TREE,
    FRAME,
    [*to_local(), *to_evpn(PORT, to_tor(PORT)), *to_fabric(s.TREE_VNI, PORT)],
    LOST,
    served(T, 2, *FABRIC_COUNTS, *EVPN_COUNTS, *TOR_COUNTS),
    ((T, BROADCAST),),
)
FROM_GUARDED = flood(
    "no VNI: none for the fabric's tree",
    s.GUARDED,
    FRAME,
    [
        *to_local(),
        *to_evpn(GUARDED_PORT, to_tor(GUARDED_PORT)),
    ],
    (Drop.INVALID_NH, Drop.INVALID_LABEL, Drop.INVALID_VNID, Drop.INVALID_VNID),
    served(s.GUARDED_VRF, 2, "fabric_composites", *EVPN_COUNTS, *TOR_COUNTS),
    ((s.GUARDED_VRF, BROADCAST),),
)


def by_tree(number: int, frame: bytes, src: str, *, control: int = 0, vni: int = 333) -> bytes:
    """A packet of the tree from host `src`."""
    head = struct.pack("!II", 0x08000000, vni << 8)
    packet = IP(src=src, dst=SELF_IP) / UDP(sport=50000, dport=4789, chksum=0) / Raw(head + frame)
    inside = label(number) + struct.pack("!I", control) + bytes(packet)
    return outer(UDP(sport=50000, dport=6635, chksum=0) / Raw(inside), src=src)


def arrived(
    name: str, packet: bytes, copies: list[Copy], lost: tuple[Drop, ...], *names: str
) -> Case:
    """A frame by the fabric for the two VMs, and for others."""
    counts = (*RECEIVED, *served(B, 2, *names))
    return flood(name, s.FABRIC, packet, [*to_local(), *copies], lost, counts)


# what is wrong with members is counted even when they are not to be served; composites that
# are not served are not looked into
NO_VNI = (Drop.INVALID_NH, Drop.INVALID_LABEL, Drop.INVALID_VNID, Drop.INVALID_VNID)
BY_FABRIC = [
    arrived(
        "along the tree: on to others of it, and to the switch; not to its sender",
        by_tree(1100, FRAME, OTHER_IP),
        to_tor(BLUE_PORT),
        (Drop.INVALID_NH,),
        "fabric_composites",
        *TOR_COUNTS,
    ),
    arrived(
        "the sender is in no tree: taken as one of the fabric's",
        by_tree(1100, FRAME, "172.30.0.9"),
        [*to_tor(BLUE_PORT), *to_fabric(333, BLUE_PORT)],
        LOST,
        *FABRIC_COUNTS,
        *TOR_COUNTS,
    ),
    arrived(
        "from a host that served the others itself: to VMs and to the switch",
        mplsoudp(1018, FRAME, src=PEER),
        to_tor(BLUE_PORT),
        (),
        *TOR_COUNTS,
    ),
    arrived(
        "the same by VXLAN, which may be unicast",
        vxlan(5013, FRAME),
        to_tor(BLUE_PORT),
        (),
        *TOR_COUNTS,
    ),
    arrived(
        "from the switch: to all but the switch; the VNI for the tree is not known",
        vxlan(5013, FRAME, src=TOR),
        to_evpn(BLUE_PORT),
        NO_VNI,
        "fabric_composites",
        *EVPN_COUNTS,
        "evpn_composites",
    ),
    arrived(
        "a composite that validates takes what its trees bring",
        by_tree(1101, FRAME, OTHER_IP),
        to_tor(BLUE_PORT),
        (Drop.INVALID_NH,),
        "fabric_composites",
        *TOR_COUNTS,
    ),
    drop(
        "a composite that validates, and a stranger",
        s.FABRIC,
        by_tree(1101, FRAME, "172.30.0.9"),
        Drop.INVALID_MCAST_SOURCE,
        (*RECEIVED, (B, "l2_mcast_composites")),
    ),
    drop(
        "the same by VXLAN",
        s.FABRIC,
        vxlan(5011, FRAME, src="172.30.0.9"),
        Drop.INVALID_MCAST_SOURCE,
        (*RECEIVED, (B, "l2_mcast_composites")),
    ),
    drop(
        "a control word that is not zero",
        s.FABRIC,
        by_tree(1100, FRAME, OTHER_IP, control=1),
        Drop.INVALID_PACKET,
        RECEIVED,
    ),
    drop(
        "a label of the tree without control word",
        s.FABRIC,
        mplsoudp(1100, FRAME, src=OTHER_IP),
        Drop.INVALID_PACKET,
        RECEIVED,
    ),
]
GROUP_IP = "225.129.2.3"
GROUP_MAC, HEARD = mac("01:00:5e:01:02:03"), s.HEARD_GROUP
TO_GROUP = ip(GROUP_IP, ttl=9)
ROUTED = ip(GROUP_IP, ttl=8)
L3_LOCAL = [
    copy(s.VM2, eth(GROUP_MAC, s.GATEWAY, ROUTED)),
    copy(s.VM1, eth(s.VM1_MAC, s.GATEWAY, ROUTED)),
]


def l3_fabric(packet: bytes, ttl: int, src: str = "10.1.1.1") -> list[Copy]:
    """A routed packet along the tree: label and packet, nothing between."""
    port = entropy(src, GROUP_IP, 1111, 2222, 17, B)
    return [
        copy(s.FABRIC, sent_mplsoudp(2101, packet, port, ttl=ttl, dst=OTHER_IP)),
        copy(s.FABRIC, sent_mplsogre(2102, packet, ttl=ttl, dst=OTHER_IP)),
    ]


L3_COUNTS = (
    "l2_mcast_composites",
    "encap_composites",
    "encaps",
    "encaps",
    *FABRIC_COUNTS,
)
HEARD_ROUTED = flood(
    "a group that is heard: routed, to receivers by its MAC, and along the tree",
    s.HEARS,
    eth(HEARD, s.VM1_MAC, TO_GROUP),
    [*L3_LOCAL, *l3_fabric(bytes(ROUTED), 8)],
    (Drop.INVALID_IF,),
    ((B, "l2_receives"), *((B, name) for name in L3_COUNTS)),
    ((B, HEARD),),
)
BARE = bytes(TO_GROUP)
L3_BY_FABRIC = flood(
    "a routed packet by a label: to receivers, and on along the tree",
    s.FABRIC,
    mplsoudp(1102, BARE, src="172.30.0.9"),
    [
        copy(s.VM2, eth(GROUP_MAC, s.GATEWAY, TO_GROUP)),
        copy(s.VM1, eth(s.VM1_MAC, s.GATEWAY, TO_GROUP)),
        *l3_fabric(BARE, 9),
    ],
    (Drop.INVALID_IF,),
    (*RECEIVED, *((B, name) for name in L3_COUNTS)),
)
L3_NOT_BACK = replace(
    L3_BY_FABRIC,
    name="the same from one of the tree: not back to it",
    frame=mplsoudp(1102, BARE, src=OTHER_IP),
    copies=L3_BY_FABRIC.copies[:2],
    vrf=tuple(one for one in L3_BY_FABRIC.vrf if not one[1].endswith("mpls_tunnels")),
)
UNHEARD = flood(
    "a group without entry goes the way of broadcasts",
    s.HEARS,
    eth(mac("01:00:5e:00:00:09"), s.VM1_MAC, b"x" * 20, type=0x88CC),
    [
        *(
            copy(vif, eth(mac("01:00:5e:00:00:09"), s.VM1_MAC, b"x" * 20, type=0x88CC))
            for vif in (s.VM1, s.VM2, s.UUF)
        ),
        *(
            copy(
                s.FABRIC,
                sent_vxlan(
                    5001,
                    eth(mac("01:00:5e:00:00:09"), s.VM1_MAC, b"x" * 20, type=0x88CC),
                    52000,
                    id=0,
                    dst=dst,
                ),
            )
            for dst in ("172.30.0.2", OTHER_IP)
        ),
    ],
    (Drop.INVALID_NH, Drop.INVALID_NH, Drop.INVALID_VNID),
    (
        *((B, name) for name in ("l2_mcast_composites", "encap_composites", "evpn_composites")),
        *((B, "l2_encaps"),) * 3,
        *((B, "vxlan_tunnels"),) * 2,
    ),
    ((B, BROADCAST),),
)
CASES = rows(FROM_VM, FROM_GUARDED, BY_FABRIC, HEARD_ROUTED, L3_BY_FABRIC, L3_NOT_BACK, UNHEARD)
