# SPDX-License-Identifier: Apache-2.0
"""IPv6 with real clients: tenants of both versions in tunnels over both, and their neighbours."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from ipaddress import IPv6Network
from pathlib import Path
from typing import Any

import pytest

from tests.system import iperf
from tests.system.capture import GOOD, decode, write_pcap
from tests.system.drops import tracing
from tests.system.frames import Tap
from tests.system.helpers import MakeLab, plain_wire, wait_until
from vrouter.dpcore.records import Route
from vrouter.lab import node, proof
from vrouter.lab.topology import ENCAPS, FORWARDINGS, NIC, ROUTER_MAC, UNDERLAYS, WIRE_MTU, Lab

KINDS = [
    (underlay, encap, forwarding)
    for underlay in UNDERLAYS
    for encap in ENCAPS
    for forwarding in FORWARDINGS
]
MARKER = "fd00:ffff::/64"
LAST = '{"operation": "delete"'
LOOKED_AT = 1500  # frames, by tshark


@pytest.fixture(scope="module", params=KINDS, ids=["-".join(kind) for kind in KINDS])
def lab(request: pytest.FixtureRequest, make_lab: MakeLab) -> Lab:
    underlay, encap, forwarding = request.param
    return make_lab(encap=encap, forwarding=forwarding, underlay=underlay)


def neighbour(lab: Lab, vm: str, address: str) -> str:
    """The MAC that a VM has learnt for an address."""
    shown = node.call(lab, vm, ["ip", "-j", "neigh", "show", address]).stdout
    found: str = json.loads(shown)[0]["lladdr"]
    return found


@pytest.mark.parametrize(
    ("source", "target"), [("vm1", "vm2"), ("vm1", "vm3"), ("vm4", "vm5"), ("vm3", "vm2")]
)
def test_vms_talk(lab: Lab, source: str, target: str) -> None:
    there = lab.vm(target)
    for address in (there.ip6, there.ip):
        assert proof.ping(lab, source, address, 3).answered == 3
    router = lab.forwarding == "l3"
    assert neighbour(lab, source, there.ip6) == (ROUTER_MAC.hex(":") if router else there.mac)


def test_the_gateway_answers_as_a_router(lab: Lab) -> None:
    gateway = lab.network("blue").gateway6
    node.call(lab, "vm1", ["ping", "-6", "-c", "1", "-W", "1", gateway])
    shown = node.call(lab, "vm1", ["ip", "-j", "neigh", "show", gateway]).stdout
    entry = json.loads(shown)[0]
    assert entry["lladdr"] == ROUTER_MAC.hex(":")
    assert "router" in entry


def test_equal_addresses_stay_apart(lab: Lab) -> None:
    """vm2's address exists in blue only."""
    assert proof.ping(lab, "vm4", lab.vm("vm2").ip6, 2, wait=1).answered == 0


def test_packets_of_full_length_pass(lab: Lab) -> None:
    size = str(1400 - 48)
    command = ["ping", "-6", "-n", "-M", "do", "-s", size, "-c", "2", "-W", "2"]
    assert node.call(lab, "vm1", [*command, lab.vm("vm3").ip6]).returncode == 0


def test_the_hop_limit_tells_the_forwarding(lab: Lab) -> None:
    shown = node.call(lab, "vm1", ["ping", "-6", "-c", "1", "-W", "2", lab.vm("vm3").ip6]).stdout
    hops = int(shown.partition("ttl=")[2].split()[0])
    if lab.forwarding == "l2":
        assert hops == 64
    else:
        assert hops < 64


def test_hosts_talk(lab: Lab) -> None:
    far = lab.host("h2")
    assert proof.ping(lab, "h1", far.ip, 2).answered == 2
    if lab.underlay == "6":
        assert proof.ping(lab, "h1", far.ip6, 2).answered == 2


@pytest.mark.alone
def test_bulk_tcp_of_both_versions(lab: Lab) -> None:
    there = lab.vm("vm3")
    for address in (there.ip6, there.ip):
        with tracing() as trace:
            sums = iperf.stream(lab.netns("vm1"), lab.netns("vm3"), address)
            assert trace.at_segmentation() == {}
        assert sums.mbit > 300, sums
        assert sums.lossy < 0.02, sums


@pytest.mark.alone
def test_segments_come_out_right_where_the_wire_cannot_cut(lab: Lab, tmp_path: Path) -> None:
    with (
        plain_wire(*[lab.netns(host.name) for host in lab.hosts]),
        Tap(lab.netns("h2"), NIC) as tap,
    ):
        sums = iperf.stream(lab.netns("vm1"), lab.netns("vm3"), lab.vm("vm3").ip6)
        frames = [frame for _, frame in tap.read()]
    assert sums.mbit > 100, sums
    assert sums.lossy < 0.02, sums
    sizes = [len(frame) for frame in frames]
    assert 1400 < max(sizes) <= WIRE_MTU + 14
    path = tmp_path / "wire.pcap"
    write_pcap(path, frames[:LOOKED_AT])
    rules = ["udp.port==6635,mpls"]
    if lab.forwarding == "l2":
        rules.append(f"mpls.label=={lab.vm('vm3').l2_label},pwethnocw")
    fields = ["tcp.checksum.status", "tcp.len", "ipv6.plen", "_ws.malformed"]
    data = [row for row in decode(path, fields, rules) if row["tcp.len"]]
    assert len(data) > 0.8 * len(frames[:LOOKED_AT])
    for row in data:
        assert row["tcp.checksum.status"] == [GOOD]
        assert int(row["ipv6.plen"][-1]) >= 20 + int(row["tcp.len"][0])
        assert row["_ws.malformed"] == []


def test_a_second_owner_is_found_by_dad(lab: Lab) -> None:
    """vm1 takes vm3's address with DAD: the question reaches vm3, and vm3 itself objects. An
    address that only the tables know is given away: nobody answers in its stead."""
    free, taken = "fd00:10:1:1::77", lab.vm("vm3").ip6
    with _asking(lab, "vm1"):
        # the gateway's address is proxied; DAD for it must not be answered for anybody
        asked = [free, taken, lab.network("blue").gateway6]
        assert _duplicates(lab, "vm1", asked) == [taken]


@contextlib.contextmanager
def _asking(lab: Lab, vm: str) -> Iterator[None]:
    """The VM's kernel asks before it takes an address."""
    for name in ("accept_dad", "dad_transmits"):
        node.call(lab, vm, ["sysctl", "-qw", f"net.ipv6.conf.eth0.{name}=1"])
        node.call(lab, vm, ["sysctl", "-qw", f"net.ipv6.conf.all.{name}=1"])
    yield
    for name in ("accept_dad", "dad_transmits"):
        node.call(lab, vm, ["sysctl", "-qw", f"net.ipv6.conf.eth0.{name}=0"])


def _duplicates(lab: Lab, vm: str, addresses: list[str]) -> list[str]:
    """Those of the addresses of which the kernel of the VM finds that somebody has them."""
    for address in addresses:
        node.call(lab, vm, ["ip", "address", "add", f"{address}/64", "dev", "eth0"])
    try:
        wait_until(lambda: None not in [_dad(one) for one in _known(lab, vm, addresses)])
        return [one["local"] for one in _known(lab, vm, addresses) if _dad(one)]
    finally:
        for address in addresses:
            node.call(lab, vm, ["ip", "address", "del", f"{address}/64", "dev", "eth0"])


def _known(lab: Lab, vm: str, addresses: list[str]) -> list[dict[str, Any]]:
    """What `ip` tells of these addresses, each of which it knows."""
    shown = node.call(lab, vm, ["ip", "-6", "-j", "address", "show", "dev", "eth0"]).stdout
    found = [one for one in json.loads(shown)[0]["addr_info"] if one.get("local") in addresses]
    assert len(found) == len(addresses), shown
    return found


def _dad(told: dict[str, Any]) -> bool | None:
    """Whether DAD has found another owner; None while it asks."""
    if told.get("tentative") and not told.get("dadfailed"):
        return None
    return bool(told.get("dadfailed"))


def test_the_monitor_tells_what_others_do(lab: Lab) -> None:
    """`rt --monitor` sees each change, in order, whoever makes it."""
    prefixes = [f"fd00:{number:x}::/64" for number in range(1, 40)]
    with node.popen(lab, "h1", ["rt", "--monitor"]) as process:
        assert process.stdout is not None
        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.extend(process.stdout or ()), daemon=True)
        reader.start()
        with proof.open_host(lab, "h1") as core:
            while not lines:  # until it has begun to look
                core.inet6.put(_route(MARKER))
                time.sleep(0.1)
            for prefix in prefixes[:-1]:
                core.inet6.put(_route(prefix))
        added = ["rt", "-c", "-v", "1", "-p", prefixes[-1].split("/")[0], "-l", "64", "-n", "1"]
        assert node.call(lab, "h1", added).returncode == 0
        with proof.open_host(lab, "h1") as core:
            for prefix in prefixes:
                core.inet6.delete(1, _route(prefix).prefix)
        deadline = time.monotonic() + 5
        while not (lines[-1].startswith(LAST) and prefixes[-1][:-3] in lines[-1]):
            assert time.monotonic() < deadline, lines[-1]
            time.sleep(0.05)
        process.kill()
        reader.join()
    changes = [json.loads(line) for line in lines]
    told = [(one["operation"], f"{one['address']}/{one['prefix']}") for one in changes]
    told = [one for one in told if one[1] != MARKER]
    assert told == [(what, prefix) for what in ("add", "delete") for prefix in prefixes]
    assert {one["family"] for one in changes} == {"AF_INET6"}


def _route(prefix: str) -> Route:
    return Route(vrf=1, prefix=IPv6Network(prefix), nh=1)
