# SPDX-License-Identifier: Apache-2.0
"""TCP through the overlay: GSO packets stay whole on a wire with TSO, and come out right on one
without."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.system import iperf
from tests.system.capture import GOOD, NOT_PRESENT, decode, write_pcap
from tests.system.compile import ROOT, compile_bpf
from tests.system.drops import tracing
from tests.system.frames import Tap
from tests.system.helpers import MakeLab, hosts, plain_wire
from vrouter.dpcore.instance import find_instance
from vrouter.dpcore.loader import load
from vrouter.lab import proof
from vrouter.lab.topology import ENCAPS, FORWARDINGS, NIC, WIRE_MTU, Lab

WHOLE = 10_000  # bytes: the least that the mean packet may have
LOOKED_AT = 4000  # frames, by tshark
pytestmark = pytest.mark.alone
KINDS = [(encap, forwarding) for encap in ENCAPS for forwarding in FORWARDINGS]


@dataclass(frozen=True)
class Transfer:
    """What iperf3 and h2's vifs say of one transfer vm1 -> vm3."""

    sums: iperf.Sums
    mean_at_nic: float
    mean_at_vm: float


@pytest.fixture(scope="module", params=KINDS, ids=["-".join(kind) for kind in KINDS])
def lab(request: pytest.FixtureRequest, shared_lab: MakeLab) -> Lab:
    lab: Lab = shared_lab(*request.param)
    proof.ping(lab, "vm1", lab.vm("vm3").ip, 1)
    return lab


def transfer(lab: Lab) -> Transfer:
    with proof.open_host(lab, "h2") as core:
        idx = {}
        for name in (NIC, "tap-vm3"):
            vif = core.vifs.by_name(name)
            assert vif is not None
            idx[name] = vif.idx
        before = {name: core.vifs.stats(one) for name, one in idx.items()}
        sums = iperf.stream(lab.netns("vm1"), lab.netns("vm3"), lab.vm("vm3").ip)
        after = {name: core.vifs.stats(one) for name, one in idx.items()}
    old, new = before[NIC], after[NIC]
    at_nic = (new.rx_bytes - old.rx_bytes) / max(1, new.rx_packets - old.rx_packets)
    old, new = before["tap-vm3"], after["tap-vm3"]
    at_vm = (new.tx_bytes - old.tx_bytes) / max(1, new.tx_packets - old.tx_packets)
    return Transfer(sums, at_nic, at_vm)


def test_packets_stay_whole_where_the_wire_can_cut(lab: Lab) -> None:
    with tracing() as trace:
        seen = transfer(lab)
        assert trace.at_segmentation() == {}
    assert min(seen.mean_at_nic, seen.mean_at_vm) >= WHOLE, seen
    assert seen.sums.mbit > 500, seen
    assert seen.sums.lossy < 0.02, seen


def test_they_come_out_right_where_it_cannot(lab: Lab, tmp_path: Path) -> None:
    with plain_wire(*hosts(lab)), Tap(lab.netns("h2"), NIC) as tap, tracing() as trace:
        seen = transfer(lab)
        assert trace.at_segmentation() == {}
        # not all fit into the socket's buffer
        frames = [frame for _, frame in tap.read()]
    assert len(frames) > 1000
    sizes = [len(frame) for frame in frames]
    assert 1400 < max(sizes) <= WIRE_MTU + 14
    assert seen.mean_at_nic <= WIRE_MTU + 14
    assert_right(lab, frames[:LOOKED_AT], tmp_path / "wire.pcap")
    assert seen.sums.mbit > 100, seen
    assert seen.sums.lossy < 0.02, seen


def assert_right(lab: Lab, frames: list[bytes], path: Path) -> None:
    """Both headers of every TCP segment have right checksums, and the bytes are all there."""
    write_pcap(path, frames)
    fields = ["ip.checksum.status", "ip.len", "udp.checksum.status", "tcp.checksum.status"]
    rules = ["udp.port==6635,mpls"]
    if lab.forwarding == "l2":
        rules.append(f"mpls.label=={lab.vm('vm3').l2_label},pwethnocw")
    rows = decode(path, [*fields, "tcp.len", "_ws.malformed"], rules)
    data = [row for row in rows if row["tcp.len"]]
    assert len(data) > 0.9 * len(rows)  # the rest is ARP
    outer = [] if lab.encap == "mplsogre" else [NOT_PRESENT]
    for row in data:
        assert row["ip.checksum.status"] == [GOOD, GOOD]
        assert (row["udp.checksum.status"], row["tcp.checksum.status"]) == (outer, [GOOD])
        assert int(row["ip.len"][1]) >= 40 + int(row["tcp.len"][0])
        assert row["_ws.malformed"] == []


def test_the_tracepoint_sees_what_a_wrong_header_length_does(
    shared_lab: MakeLab, tmp_path: Path
) -> None:
    """The control: with VXLAN's 8 bytes counted into the inner Ethernet header, single packets
    pass and every GSO packet is dropped where it is cut."""
    lab: Lab = shared_lab("vxlan", "l2")
    target = lab.vm("vm3").ip
    wrong = shutil.copytree(ROOT / "bpf", tmp_path / "bpf")
    source = (wrong / "encap.h").read_text()
    right = "BPF_F_ADJ_ROOM_ENCAP_L2((__u64)inner)"
    assert right in source
    (wrong / "encap.h").write_text(source.replace(right, right.replace("inner", "inner + 8")))
    path = compile_bpf(wrong / "vrouter.bpf.c", tmp_path / "wrong.bpf.o", wrong)
    instance = find_instance(lab.instance("h1"))
    with instance.enter_netns():
        assert load(instance, object_path=path).swapped
    try:
        assert proof.ping(lab, "vm1", target, 2).answered == 2
        with tracing() as trace, iperf.server(lab.netns("vm3")):
            iperf.client(lab.netns("vm1"), target, "-t", "1", timeout=3)
            assert trace.at_segmentation().total() > 0
    finally:
        with instance.enter_netns():
            load(instance)
    assert proof.ping(lab, "vm1", target, 2).answered == 2
