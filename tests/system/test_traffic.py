# SPDX-License-Identifier: Apache-2.0
"""Bulk TCP through the overlay, what the wire carries, and that tenants stay apart."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.system.helpers import MakeLab
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.instance import find_instance
from vrouter.lab import proof
from vrouter.lab.topology import ENCAPS, FORWARDINGS, Lab

KINDS = [(encap, forwarding) for encap in ENCAPS for forwarding in FORWARDINGS]
IDS = [f"{encap}-{forwarding}" for encap, forwarding in KINDS]
SHOWN_AS = {"vxlan": "vxlan", "mplsoudp": "udp:mpls", "mplsogre": "gre:mpls"}


def inside(lab: Lab, node: str, *command: str) -> list[str]:
    """The command, to be run in a node of the lab."""
    return ["ip", "netns", "exec", lab.netns(node), *command]


def iperf(lab: Lab, source: str, target: str) -> dict[str, float]:
    """Two seconds of TCP; iperf3's own sums of what was received."""
    address = str(lab.vm(target).ip)
    with subprocess.Popen(
        inside(lab, target, "iperf3", "-s", "-1", "--forceflush"),
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        while "listening" not in server.stdout.readline():
            pass
        command = inside(lab, source, "iperf3", "-c", address, "-t", "2", "-J")
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        server.kill()
    assert done.returncode == 0, done.stdout
    found: dict[str, float] = json.loads(done.stdout)["end"]["sum_received"]
    return found


@contextmanager
def capture(lab: Lab, node: str, device: str, path: Path, *what: str) -> Iterator[None]:
    """tcpdump on a device of a node, to `path`, while the block runs."""
    command = inside(
        lab,
        node,
        "tcpdump",
        "-U",
        "--immediate-mode",
        "-Z",
        "root",
        "-i",
        device,
        "-w",
        str(path),
        *what,
    )
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while "listening" not in process.stderr.readline():
            assert process.poll() is None
        yield
        time.sleep(0.3)
        process.terminate()


def frames_behind_labels(lab: Lab) -> list[str]:
    """tshark cannot know whether a label stands before a frame or a packet."""
    return ["-d", "mpls.label==16-1048575,pwethnocw"] if lab.forwarding == "l2" else []


def tshark(path: Path, *arguments: str) -> list[str]:
    """tshark's lines about a capture, all checksums verified."""
    checks = [f"{proto}.check_checksum:TRUE" for proto in ("ip", "udp", "tcp")]
    options = [word for check in checks for word in ("-o", check)]
    command = ["tshark", "-n", "-r", str(path), "-d", "udp.port==6635,mpls", *options, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def received(lab: Lab, host: str, device: str) -> tuple[int, int]:
    """Packets and bytes that a vif of a host has received."""
    with DpCore.open(find_instance(lab.instance(host))) as core:
        vif = core.vifs.by_name(device)
        assert vif is not None
        stats = core.vifs.stats(vif.idx)
    return stats.rx_packets, stats.rx_bytes


@pytest.fixture(scope="module", params=KINDS, ids=IDS)
def lab(request: pytest.FixtureRequest, make_lab: MakeLab) -> Lab:
    encap, forwarding = request.param
    return make_lab(encap=encap, forwarding=forwarding)


def test_large_segments_stay_whole(lab: Lab) -> None:
    packets, size = received(lab, "h2", "eth0")
    sums = iperf(lab, "vm1", "vm3")
    packets, size = (
        after - before
        for before, after in zip((packets, size), received(lab, "h2", "eth0"), strict=True)
    )
    assert sums["bytes"] > 50_000_000
    assert size / packets >= 10_000, f"{packets} packets of {size} bytes"


def test_what_the_wire_carries(lab: Lab, tmp_path: Path) -> None:
    pcap = tmp_path / "wire.pcap"
    with capture(lab, "h2", "eth0", pcap, "host", str(lab.host("h1").ip), "and", "not", "arp"):
        assert proof.ping(lab, "vm1", lab.vm("vm3").ip, 5).answered == 5
    fields = ["-T", "fields", "-E", "occurrence=f", "-e", "frame.protocols", "-e", "udp.srcport"]
    behind = frames_behind_labels(lab)
    lines = [line.split("\t") for line in tshark(pcap, "-Y", "icmp", *behind, *fields)]
    assert len(lines) == 10
    for protocols, port in lines:
        assert SHOWN_AS[lab.encap] in protocols, protocols
        assert port == "" or 49152 <= int(port) <= 65534
    assert len({port for _, port in lines[::2]}) == 1, "one flow has one source port"
    bad = "ip.checksum.status == 0 || udp.checksum.status == 0 || _ws.malformed || _ws.expert.severity >= 8388608"
    assert tshark(pcap, "-Y", bad, *behind) == []


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_a_wire_without_segmentation_gets_right_segments(
    kind: tuple[str, str], make_lab: MakeLab, tmp_path: Path
) -> None:
    lab = make_lab(encap=kind[0], forwarding=kind[1], wire="plain")
    pcap = tmp_path / "wire.pcap"
    # behind the wire: what h1's device sent, after the kernel cut it
    with capture(lab, "h2", "eth0", pcap, "-c", "4000", "src", "host", str(lab.host("h1").ip)):
        sums = iperf(lab, "vm1", "vm3")
    assert sums["bytes"] > 10_000_000
    lengths = [int(line) for line in tshark(pcap, "-T", "fields", "-e", "frame.len")]
    assert max(lengths) <= 1514
    assert max(lengths) > 1400
    bad = "ip.checksum.status == 0 || udp.checksum.status == 0 || tcp.checksum.status == 0 || _ws.malformed"
    assert tshark(pcap, "-Y", bad, *frames_behind_labels(lab)) == []


@pytest.fixture(scope="module")
def tenants(make_lab: MakeLab) -> Lab:
    """vm4 has vm1's address and MAC, vm5 has vm3's."""
    return make_lab()


class TestTenants:
    def test_never_see_each_other(self, tenants: Lab, tmp_path: Path) -> None:
        red = [(node, tmp_path / f"{node}.pcap") for node in ("vm4", "vm5")]
        with (
            capture(tenants, *red[0][:1], "eth0", red[0][1]),
            capture(tenants, *red[1][:1], "eth0", red[1][1]),
        ):
            assert proof.ping(tenants, "vm1", tenants.vm("vm3").ip, 5).answered == 5
            assert proof.ping(tenants, "vm3", tenants.vm("vm2").ip, 5).answered == 5
        for _, pcap in red:
            assert tshark(pcap) == []

    @pytest.mark.parametrize("encap", ENCAPS)
    def test_a_vm_cannot_pass_for_the_fabric(
        self, tenants: Lab, encap: str, tmp_path: Path
    ) -> None:
        seen = tmp_path / "vm4.pcap"
        with capture(tenants, "vm4", "eth0", seen):
            forge(tenants, encap)
        assert tshark(seen) == []


def forge(lab: Lab, encap: str) -> None:
    """vm1 sends perfect tunnel packets with a ping for vm4 inside, to whoever might open them."""
    from scapy.contrib.mpls import MPLS
    from scapy.layers.inet import ICMP, IP, UDP
    from scapy.layers.l2 import GRE, Ether
    from scapy.layers.vxlan import VXLAN
    from scapy.packet import Raw

    from vrouter.host import netns

    vm1, vm4 = lab.vm("vm1"), lab.vm("vm4")
    with DpCore.open(find_instance(lab.instance("h1"))) as core:
        vnis, labels = [vni for vni, _ in core.vxlan.items()], [one for one, _ in core.mpls.items()]
    inner = Ether(dst=str(vm4.mac)) / IP(src="10.1.1.3", dst=str(vm4.ip)) / ICMP()
    if encap == "vxlan":
        inside_of = [UDP(dport=4789, chksum=0) / VXLAN(flags=8, vni=vni) / inner for vni in vnis]
    else:
        stacks = [MPLS(label=label, s=1, ttl=64) / Raw(bytes(inner)) for label in [*labels, 16, 17]]
        head = UDP(dport=6635, chksum=0) if encap == "mplsoudp" else GRE(proto=0x8847)
        inside_of = [head / stack for stack in stacks]
    assert inside_of
    macs = ["00:00:5e:00:01:00", "02:00:00:00:00:01", str(vm4.mac), "ff:ff:ff:ff:ff:ff"]
    with netns.enter(lab.netns("vm1")):
        import socket

        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            sock.bind(("eth0", 0))
            for payload in inside_of:
                for target in ("172.30.0.1", str(lab.vm("vm3").ip), "10.1.1.254"):
                    for mac in macs:
                        outer = IP(
                            src=str(vm1.ip), dst=target, proto=47 if encap == "mplsogre" else 17
                        )
                        sock.send(bytes(Ether(dst=mac, src=str(vm1.mac)) / outer / payload))
