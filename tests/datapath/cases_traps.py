# SPDX-License-Identifier: Apache-2.0
"""What goes to the agent: services, probes, BFD, router alert, ICMP errors about tunnels."""

from __future__ import annotations

from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6MLDMultAddrRec,
    ICMPv6MLDone,
    ICMPv6MLQuery,
    ICMPv6MLReport,
    ICMPv6MLReport2,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    RouterAlert,
)
from scapy.layers.l2 import GRE
from scapy.packet import Packet, Raw

from tests.model.const import BROADCAST, Drop, Trap
from tests.model.state import mac

from . import states as s
from .frames import (
    FAR_IP,
    OTHER_IP,
    SELF_IP,
    eth,
    injected,
    ip,
    label,
    mplsogre,
    outer,
    trapped,
)
from .table import Case, drop, rows, trap, tx

B = s.BLUE
L2 = ((B, "l2_encaps"),)
AGENT_MAC = mac("02:00:0a:01:01:0e")


def dhcp(sport: int = 68, dport: int = 67, frag: int = 0) -> Packet:
    return IP(src="0.0.0.0", dst="255.255.255.255", frag=frag) / UDP(sport=sport, dport=dport)


def served(
    name: str, *layers: Packet, src: bytes = s.VM1_MAC, dst: bytes = BROADCAST
) -> list[Case]:
    """The frame is for the agent, whoever it is addressed to."""
    frame = eth(dst, src, *layers)
    sent = trapped(frame, s.SERVED, B, 7)
    return trap(name, s.SERVED, frame, Trap.L3_PROTOCOLS, sent)


def plain(name: str, *layers: Packet, src: bytes = s.VM1_MAC, vif: int = s.SERVED) -> Case:
    """The frame is bridged to vm2."""
    frame = eth(s.VM2_MAC, src, *layers)
    return tx(name, vif, frame, s.VM2, frame, L2, ((B, s.VM2_MAC),))


V6 = IPv6(src="fe80::1", dst="ff02::1:2")
IGMP_REPORT = IP(src="10.1.1.1", dst="224.0.0.22", proto=2) / Raw(b"\x22" + bytes(15))
IGMP_QUERY = IP(src="10.1.1.1", dst="224.0.0.1", proto=2) / Raw(b"\x11" + bytes(7))
V6_GROUP = IPv6(src="fe80::1", dst="ff02::16", hlim=1)
ROUTER_ALERT = IPv6ExtHdrHopByHop(options=[RouterAlert()])
MLD_REPORT = ICMPv6MLReport2(records=[ICMPv6MLDMultAddrRec(dst="ff15::1", rtype=4)])
OUTSIDE = (
    IPv6(src="fe80::1", dst="ff02::16", hlim=1, plen=8)
    / IPv6ExtHdrHopByHop(nh=58, options=[RouterAlert()])
    / Raw(b"\x8f" + bytes(27))
)
MLD = {
    "MLD query": ICMPv6MLQuery(),
    "MLDv1 report": ICMPv6MLReport(mladdr="ff15::1"),
    "MLD done": ICMPv6MLDone(mladdr="ff15::1"),
    "MLDv2 report": MLD_REPORT,
}

SERVICES = [
    *served("DHCP", dhcp()),
    *served("DHCP to one host", dhcp(), dst=s.VM2_MAC),
    *served("DHCPv6", V6 / UDP(sport=546, dport=547)),
    *served("IGMP", IGMP_REPORT, dst=s.GROUP),
    *served("IGMP query", IGMP_QUERY, dst=s.VM2_MAC),
    *(case for name, layer in MLD.items() for case in served(name, V6_GROUP, ROUTER_ALERT, layer)),
    *served("MLD to one host", V6_GROUP, ROUTER_ALERT, MLD_REPORT, dst=s.VM2_MAC),
    *served("MLD without router alert", V6_GROUP, MLD_REPORT),
    *served("MLD behind two headers", V6_GROUP, ROUTER_ALERT, IPv6ExtHdrDestOpt(), MLD_REPORT),
    plain("MLD in a fragment", V6_GROUP, ROUTER_ALERT, IPv6ExtHdrFragment(m=1), MLD_REPORT),
    plain("MLD that the length leaves out", OUTSIDE),
    plain("ICMPv6 that is no MLD", V6_GROUP, ROUTER_ALERT, ICMPv6EchoRequest()),
    plain("MLD on a vif that does not trap it", V6_GROUP, ROUTER_ALERT, MLD_REPORT, vif=s.VM1),
    plain("DHCP of a server is not a request", dhcp(67, 68)),
    plain("DHCP, a later fragment", dhcp(frag=4) / Raw(b"x" * 8)),
    plain("DHCP that is flooded by its sender's entry", dhcp(), src=s.FLOODS_DHCP),
    plain("DHCPv6 of a server", V6 / UDP(sport=547, dport=546)),
    plain("DHCP on a vif that does not trap it", dhcp(), vif=s.VM1),
    plain("IGMP on a vif that does not trap it", IGMP_REPORT, vif=s.VM1),
]

TO_GROUP = eth(s.GROUP, s.VM1_MAC, ip("224.0.0.5"))
GROUPS = [
    tx(
        "a group with an entry of its own", s.SERVED, TO_GROUP, s.VM2, TO_GROUP, L2, ((B, s.GROUP),)
    ),
]

BFD = (
    IP(src="10.1.1.1", dst="10.1.1.11")
    / UDP(sport=49152, dport=3784)
    / Raw(b"\x20\xc0" + bytes(22))
)
TO_BFD = eth(AGENT_MAC, s.VM1_MAC, BFD)
SHORT = eth(AGENT_MAC, s.VM1_MAC, IP(dst="10.1.1.11", src="10.1.1.1") / UDP(dport=3784))
HIT_AGENT = ((B, AGENT_MAC),)


def to_agent(name: str, frame: bytes, reason: Trap, param: int) -> Case:
    sent = trapped(frame, s.VM1, B, reason, param)
    return trap(name, s.VM1, frame, reason, sent, L2, HIT_AGENT)[0]


GATEWAY = [
    to_agent("BFD is told apart, with its state", TO_BFD, Trap.BFD, 3),
    to_agent("BFD cut short is any packet", SHORT, Trap.NEXTHOP, 0),
]

INSIDE = eth(s.VM2_MAC, s.GATEWAY, ip("10.1.1.2"))
DIAG = trapped(INSIDE, s.VM1, B, 1, 1, 1)
HALF = trapped(INSIDE, s.VM1, B, 1, 1, 0)
TO_VM2 = ((B, s.VM2_MAC),)
PROBES = [
    trap(
        "a probe of the agent's is trapped where it would be delivered",
        s.AGENT,
        DIAG,
        Trap.DIAG,
        trapped(INSIDE, s.VM1, B, 8, s.VM2),
        ((B, "diags"),),
        TO_VM2,
    )[0],
    tx("half a mark of a probe", s.AGENT, HALF, s.VM2, INSIDE, L2, TO_VM2).with_agent(),
    tx(
        "no mark of a probe",
        s.AGENT,
        injected(INSIDE, s.VM1, B, 1),
        s.VM2,
        INSIDE,
        L2,
        TO_VM2,
    ).with_agent(),
]


def about(payload: Packet, *, kind: int = 3, src: str = SELF_IP, frag: int = 0) -> bytes:
    """An ICMP error that quotes a packet."""
    quoted = IP(src=src, dst=OTHER_IP, frag=frag) / payload
    return outer(ICMP(type=kind, code=4) / Raw(bytes(quoted)[:28]), src=OTHER_IP)


def tunnel(port: int) -> Packet:
    return UDP(sport=50000, dport=port) / Raw(b"x" * 8)


MPLS_GRE = GRE(proto=0x8847) / Raw(b"x" * 8)
ROUTED = ((0, "receives"),)


def alarm(name: str, frame: bytes) -> list[Case]:
    """The agent is told."""
    return trap(name, s.FABRIC, frame, Trap.ICMP_ERROR, trapped(frame, s.FABRIC, 0, 13), ROUTED)


def hosts(name: str, frame: bytes) -> Case:
    """It is the host's."""
    return tx(name, s.FABRIC, frame, s.HOST, frame, ROUTED)


ERRORS = [
    alarm("unreachable: MPLSoUDP", about(tunnel(6635))),
    alarm("unreachable: MPLSoUDP of old", about(tunnel(51234))),
    alarm("unreachable: VXLAN", about(tunnel(4789))),
    alarm("unreachable: MPLSoGRE", about(MPLS_GRE)),
    alarm("time exceeded", about(tunnel(6635), kind=11)),
    alarm("parameter problem", about(tunnel(6635), kind=12)),
    [
        hosts("unreachable: another port", about(tunnel(53))),
        hosts("unreachable: GRE with something else", about(GRE(proto=0x0800) / Raw(b"x" * 8))),
        hosts("unreachable: a packet of another", about(tunnel(6635), src=FAR_IP)),
        hosts("unreachable: a later fragment", about(tunnel(6635), frag=3)),
        hosts("redirect", about(tunnel(6635), kind=5)),
        hosts("quotes too little", outer(ICMP(type=3) / Raw(b"E" + bytes(20)), src=OTHER_IP)),
    ],
]

ALERT = label(1, bottom=0) + label(1001)
TO_ALERT = outer(UDP(sport=50000, dport=6635, chksum=0) / Raw(ALERT + INSIDE))
IN_GRE = mplsogre(1, INSIDE)
EXPIRED = outer(UDP(sport=50000, dport=6635, chksum=0) / Raw(label(1, ttl=1, bottom=0) + ALERT))
ALERTS = [
    trap(
        "router alert",
        s.FABRIC,
        TO_ALERT,
        Trap.ROUTER_ALERT,
        trapped(TO_ALERT, s.FABRIC, 0, 16),
        ROUTED,
    ),
    trap(
        "router alert in GRE",
        s.FABRIC,
        IN_GRE,
        Trap.ROUTER_ALERT,
        trapped(IN_GRE, s.FABRIC, 0, 16),
        ROUTED,
    ),
    [drop("router alert that expired", s.FABRIC, EXPIRED, Drop.TTL_EXCEEDED, ROUTED)],
]

CASES = rows(SERVICES, GROUPS, GATEWAY, PROBES, *ERRORS, *ALERTS)
