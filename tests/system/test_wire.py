# SPDX-License-Identifier: Apache-2.0
"""Outer headers on the wire, as tshark decodes them: right protocol, lengths and checksums."""

from __future__ import annotations

import contextlib
import socket
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.system.capture import GOOD, NOT_PRESENT, Fields, decode, write_pcap
from tests.system.frames import Tap
from tests.system.helpers import MakeLab, hosts, plain_wire
from vrouter.host import netns
from vrouter.lab import proof
from vrouter.lab.topology import ENCAPS, FORWARDINGS, NIC, ROUTER_MAC, WIRE_MTU, Lab, mac_bytes

FLOWS, PER_FLOW = 40, 3
PORT = 7000
FIELDS = (
    *("frame.len", "frame.protocols", "eth.src", "eth.dst", "eth.type"),
    *("ip.src", "ip.dst", "ip.len", "ip.ttl", "ip.proto", "ip.flags.df", "ip.dsfield"),
    *("ip.checksum.status", "ip.id"),
    *("udp.srcport", "udp.dstport", "udp.length", "udp.checksum", "udp.checksum.status"),
    *("tcp.checksum.status", "vxlan.flags", "vxlan.vni"),
    *("gre.flags_and_version", "gre.proto", "mpls.label", "mpls.exp", "mpls.bottom", "mpls.ttl"),
    *("_ws.malformed", "_ws.expert.severity", "icmp.type", "icmp.checksum.status"),
)
_ERROR = "8388608"  # tshark's severity of a packet that is wrong
UDP_AT = {"vxlan": 1, "mplsoudp": 1, "mplsogre": 0}  # where the inner UDP header stands


@dataclass(frozen=True)
class Wire:
    """What crossed the wire from vm1 to vm3 and back, decoded."""

    lab: Lab
    there: list[Fields]
    back: list[Fields]

    @property
    def encap(self) -> str:
        return self.lab.encap

    @property
    def has_frame(self) -> bool:
        """Does the tunnel carry an Ethernet header?"""
        return self.encap == "vxlan" or self.lab.forwarding == "l2"


KINDS = [(encap, forwarding) for encap in ENCAPS for forwarding in FORWARDINGS]


@pytest.fixture(scope="module", params=KINDS, ids=["-".join(kind) for kind in KINDS])
def wire(
    request: pytest.FixtureRequest,
    shared_lab: MakeLab,
    tmp_path_factory: pytest.TempPathFactory,
) -> Wire:
    lab: Lab = shared_lab(*request.param)
    proof.ping(lab, "vm1", lab.vm("vm3").ip, 1)
    with plain_wire(*hosts(lab)), contextlib.ExitStack() as stack:
        taps = [stack.enter_context(Tap(lab.netns(host), NIC)) for host in ("h2", "h1")]
        talk(lab)
        raw = [[frame for _, frame in tap.read()] for tap in taps]
    folder = tmp_path_factory.mktemp("wire")
    # no header names what a label carries (RFC 4385): tshark must be told
    rules = ["udp.port==6635,mpls"]
    if lab.forwarding == "l2":
        rules += [f"mpls.label=={vm.l2_label},pwethnocw" for vm in lab.vms]
    decoded = []
    for number, frames in enumerate(raw):
        path = Path(folder, f"{number}.pcap")
        write_pcap(path, frames)
        decoded.append([one for one in decode(path, FIELDS, rules) if "ip" in kinds(one)])
    return Wire(lab, *decoded)


def kinds(packet: Fields) -> list[str]:
    """Protocol names of a packet, outermost first."""
    return packet["frame.protocols"][0].split(":")


def talk(lab: Lab) -> None:
    """UDP flows, a TCP stream, pings."""
    target = lab.vm("vm3").ip
    with netns.enter(lab.netns("vm3")):
        server = socket.create_server(("", PORT))
        sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sink.bind(("", PORT))
    sink.settimeout(5)
    with server, sink:
        for flow in range(FLOWS):
            with netns.enter(lab.netns("vm1")):
                source = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with source:
                source.bind(("", PORT + 1 + flow))
                for number in range(PER_FLOW):
                    source.sendto(bytes(100 * number + flow), (target, PORT))
                    sink.recv(2048)
        with netns.enter(lab.netns("vm1")):
            client = socket.create_connection((target, PORT), timeout=5)
        with client, server.accept()[0] as far:
            client.sendall(bytes(300_000))
            client.shutdown(socket.SHUT_WR)
            assert sum(map(len, iter(lambda: far.recv(1 << 16), b""))) == 300_000
            far.sendall(b"back")
            assert client.recv(10) == b"back"
    assert proof.ping(lab, "vm1", target, 2).answered == 2


def test_it_is_the_protocol_that_was_asked_for(wire: Wire) -> None:
    lab, network = wire.lab, wire.lab.network("blue")
    for packets, target in ((wire.there, "vm3"), (wire.back, "vm1")):
        assert packets
        for one in packets:
            inner = kinds(one)[2 + 1 :]  # behind eth, ethertype, ip
            if wire.encap == "vxlan":
                assert inner[:3] == ["udp", "vxlan", "eth"]
                assert one["vxlan.flags"] == ["0x0800"]
                assert one["vxlan.vni"] == [str(network.vni)]
                assert one["udp.dstport"][0] == "4789"
                continue
            start = ["udp"] if wire.encap == "mplsoudp" else ["gre"]
            rest = ["mpls", "eth"] if wire.has_frame else ["mpls", "ip"]
            assert inner[: 1 + len(rest)] == start + rest
            vm = lab.vm(target)
            label = vm.l2_label if wire.has_frame else vm.l3_label
            assert one["mpls.label"] == [str(label)]
            assert (one["mpls.bottom"], one["mpls.exp"]) == (["1"], ["0"])
            assert one["mpls.ttl"] == ["64" if wire.has_frame else one["ip.ttl"][1]]
            if wire.encap == "mplsoudp":
                assert one["udp.dstport"][0] == "6635"
            else:
                assert (one["gre.flags_and_version"], one["gre.proto"]) == (["0x0000"], ["0x8847"])


def test_lengths_agree(wire: Wire) -> None:
    overhead = {"vxlan": 16, "mplsoudp": 12, "mplsogre": 8}[wire.encap]
    overhead += 14 if wire.has_frame else 0
    for one in wire.there + wire.back:
        outer, inner = map(int, one["ip.len"])
        assert int(one["frame.len"][0]) == 14 + outer <= 14 + WIRE_MTU
        assert outer == 20 + overhead + inner
        if wire.encap != "mplsogre":
            assert int(one["udp.length"][0]) == outer - 20
        assert one["_ws.malformed"] == []
        assert _ERROR not in one["_ws.expert.severity"]


def test_checksums_are_right(wire: Wire) -> None:
    tunnel_udp = wire.encap != "mplsogre"
    transports = set()
    for one in wire.there + wire.back:
        assert one["ip.checksum.status"] == [GOOD, GOOD]
        status = list(one["udp.checksum.status"])
        if tunnel_udp:
            assert status.pop(0) == NOT_PRESENT  # RFC 7348, RFC 7510: zero over IPv4
            assert one["udp.checksum"][0] == "0x0000"
        for name, values in (
            ("udp", status),
            ("tcp", one["tcp.checksum.status"]),
            ("icmp", one["icmp.checksum.status"]),
        ):
            assert set(values) <= {GOOD}, name
            transports.update([name] if values else [])
    assert transports == {"udp", "tcp", "icmp"}


def test_outer_headers_are_those_of_the_underlay(wire: Wire) -> None:
    lab = wire.lab
    ends = (lab.host("h1"), lab.host("h2"))
    for packets, (near, far) in ((wire.there, ends), (wire.back, ends[::-1])):
        for one in packets:
            assert (one["ip.src"][0], one["ip.dst"][0]) == (near.ip, far.ip)
            assert (one["eth.src"][0], one["eth.dst"][0]) == (near.mac, far.mac)
            assert (one["ip.ttl"][0], one["ip.flags.df"][0]) == ("64", "0")
            assert one["ip.dsfield"][0] == "0x00"
            assert one["ip.id"][0] == one["ip.id"][1]


def test_inner_packets_are_those_of_the_vms(wire: Wire) -> None:
    lab = wire.lab
    vm1, vm3 = lab.vm("vm1"), lab.vm("vm3")
    routed = lab.forwarding == "l3"
    for packets, source, target in ((wire.there, vm1, vm3), (wire.back, vm3, vm1)):
        for one in packets:
            assert (one["ip.src"][1], one["ip.dst"][1]) == (source.ip, target.ip)
            assert one["ip.ttl"][1] == ("63" if routed else "64")
            if wire.has_frame and not routed:
                assert (one["eth.src"][1], one["eth.dst"][1]) == (source.mac, target.mac)
            if wire.has_frame and routed:  # L3 VXLAN: from router to router
                far = lab.host(target.host)
                assert one["eth.dst"][1] == far.mac
                assert mac_bytes(one["eth.src"][1]) != ROUTER_MAC


def test_the_source_port_tells_flows_apart(wire: Wire) -> None:
    """Entropy (RFC 7348, RFC 7510): one port per flow, in the range for it, many over all."""
    if wire.encap == "mplsogre":  # has none
        assert all(len(one["udp.srcport"]) < 2 for one in wire.there)
        return
    ports = defaultdict(set)
    for one in wire.there:
        if len(one["udp.srcport"]) == 2:
            ports[one["udp.srcport"][1]].add(int(one["udp.srcport"][0]))
        elif one["tcp.checksum.status"]:
            ports["tcp"].add(int(one["udp.srcport"][0]))
    assert len(ports) == FLOWS + 1
    used = set().union(*ports.values())
    assert all(len(values) == 1 for values in ports.values())
    assert min(used) >= 49152
    assert max(used) <= 65534
    assert len(used) > FLOWS * 0.9
