# SPDX-License-Identifier: Apache-2.0
"""Who holds the NIC is found and named before anything is changed."""

from __future__ import annotations

import json
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.system.helpers import Vrouter
from tests.system.vhosts import Host
from vrouter.dpcore.errors import Refused
from vrouter.host import netns, vhost
from vrouter.host.holders import Finding, managers, services
from vrouter.host.netlink import Netlink
from vrouter.host.nic import snapshot
from vrouter.host.nic.snapshot import Snapshot


def _plan(host: Host) -> vhost.Plan:
    with netns.enter(host.name):
        return vhost.plan_up(host.instance, "nic")


def _held(host: Host, *words: str) -> Finding:
    """The one finding that says all the words; it is there and the take-over changes nothing."""
    before = host.snapshot()
    found = [one for one in _plan(host).findings if all(word in str(one) for word in words)]
    assert len(found) == 1, _plan(host).findings
    if found[0].blocks:
        with pytest.raises(Refused, match="nic is held"):
            host.up(holders=None)
    assert host.snapshot() == before
    return found[0]


@pytest.fixture
def free(host: Host) -> Host:
    """A host whose NIC nobody holds: no address of it ends."""
    host.sh("ip addr del 10.0.0.3/24 dev nic")
    return host


def test_a_free_nic_is_held_by_nobody(free: Host) -> None:
    assert [one for one in _plan(free).findings if one.kind != "file"] == []


def test_dry_run_prints_every_step_and_changes_nothing(free: Host, vrouter: Vrouter) -> None:
    before = free.snapshot()
    name = free.instance.name
    done = vrouter("vhost", "up", "--physical", "nic", "--dry-run", VROUTER_NAME=name)
    assert done.returncode == 0, done.stderr
    for line in (
        "would write what nic has to /var/lib/vrouter/",
        "would make vhost0 with MAC 02:00:00:00:00:01, MTU 1450",
        "would move address 10.0.0.1/24 from nic to vhost0",
        "would move address fd00::1/64 from nic to vhost0",
        "would move route 10.77.0.0/16 via 10.0.0.2 table 77 metric 9 from nic to vhost0",
        "would add nic and vhost0 as vifs",
    ):
        assert line in done.stdout
    assert free.snapshot() == before

    # what is done is what was said, line by line
    said = [line.split(": would ", 1)[1] for line in done.stdout.splitlines() if ": would " in line]
    assert free.up() == said[1:]

    done = vrouter("vhost", "down", "--dry-run", "--json", VROUTER_NAME=name)
    would = json.loads(done.stdout)["would"]
    assert "give route 10.77.0.0/16 via 10.0.0.2 table 77 metric 9 to nic" in would
    assert free.down() == would


@pytest.mark.parametrize(
    ("commands", "words"),
    [
        (
            "nft add table inet t\nnft add chain inet t c { type filter hook input priority 0 ; }\n"
            "nft add rule inet t c iifname nic tcp dport 22 accept",
            ("nft table inet t, chain c", 'iifname "nic" tcp dport 22 accept'),
        ),
        (
            "nft add table netdev t\n"
            "nft add chain netdev t c { type filter hook ingress device nic priority 0 ; }",
            ("nft table netdev t, chain c", 'device "nic"'),
        ),
        ("iptables-nft -A INPUT -i nic -j ACCEPT", ("nft table ip filter, chain INPUT",)),
        ("iptables-legacy -A INPUT -i nic -j DROP", ("iptables table filter", "-A INPUT -i nic")),
    ],
)
def test_firewall_rules_that_name_it_block(free: Host, commands: str, words: tuple[str]) -> None:
    try:
        for command in commands.splitlines():
            free.sh(command)
        assert _held(free, *words).blocks
    finally:
        free.sh("nft flush ruleset")
        free.sh("iptables-legacy -F")


def test_a_rule_about_another_device_is_none_of_ours(free: Host) -> None:
    try:
        free.sh("nft add table inet t")
        free.sh("nft add chain inet t c { type filter hook input priority 0 ; }")
        free.sh("nft add rule inet t c iifname nic2 drop")
        assert [one for one in _plan(free).findings if one.kind == "firewall"] == []
    finally:
        free.sh("nft flush ruleset")


def test_sockets_bound_to_it_are_named_with_their_process(free: Host) -> None:
    with netns.enter(free.name):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"nic")
        server.bind(("", 4711))
    with server:
        assert _held(free, "process", "UDP socket bound to it (port 4711)").blocks
    with netns.enter(free.name):
        capture = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88CC))
        capture.bind(("nic", 0x88CC))
    with capture:
        assert not _held(free, "packet socket", "protocol 0x88cc").blocks


def test_config_files_that_name_it_are_listed(tmp_path: Path) -> None:
    (tmp_path / "etc/keepalived").mkdir(parents=True)
    (tmp_path / "etc/keepalived/keepalived.conf").write_text("# nic\nx {\n interface nic\n}\n")
    (tmp_path / "etc/other.conf").write_text("technical panic\n; nic\nnic.100\n")
    found = [str(one) for one in services.find("nic", 99999, tmp_path, frozenset())]
    assert [one for one in found if one.startswith("file")] == [
        "file: /etc/keepalived/keepalived.conf line 3: interface nic: "
        "see whether it must name vhost0"
    ]


def test_foreign_programs_on_it_are_named(free: Host, tmp_path: Path) -> None:
    source = tmp_path / "x.c"
    source.write_text(
        '__attribute__((section("xdp"),used)) int watcher(void *c) { return 2; }\n'
        '__attribute__((section("tc"),used)) int shaper(void *c) { return -1; }\n'
        'char l[] __attribute__((section("license"),used)) = "GPL";\n'
    )
    built = str(tmp_path / "x.o")
    subprocess.run(
        ["clang-19", "-O2", "-target", "bpf", "-c", str(source), "-o", built], check=True
    )
    free.sh(f"ip link set dev nic xdpgeneric obj {built} sec xdp")
    assert not _held(free, "XDP program watcher", "on nic").blocks
    free.sh("tc qdisc add dev nic clsact")
    free.sh(f"tc filter add dev nic ingress bpf da obj {built} sec tc")
    free.sh(f"tc filter add dev nic egress bpf da obj {built} sec tc")
    assert _held(free, "tc ingress filter bpf", "x.o:[tc]", "put it on vhost0").blocks
    assert not _held(free, "tc egress filter bpf", "sees what dp-core sends").blocks


def test_devices_on_it_and_above_it_block(free: Host) -> None:
    free.sh("ip link add link nic name child type macvlan mode bridge")
    assert _held(free, "child (macvlan) stands on nic").blocks
    free.sh("ip link del child")
    free.sh("ip link add name swi type bridge")
    free.sh("ip link set nic master swi")
    try:
        assert _held(free, "nic is a port of swi").blocks
    finally:
        free.sh("ip link del swi")


def test_an_address_that_nobody_renews_blocks(host: Host) -> None:
    assert _held(host, "10.0.0.3/24, label nic:x", "nobody renews it").blocks
    assert "10.0.0.3/24" in "".join(host.up(holders=None, force=True))


def _managed(host: Host, root: Path) -> list[Finding]:
    with netns.enter(host.name), Netlink() as links:
        taken: Snapshot = replace(snapshot.take(links, links.need("nic")), addresses=[])
        return managers.find(taken, root, home=True)[0]


def test_networkd_is_known_by_its_state(free: Host, tmp_path: Path) -> None:
    folder = tmp_path / "run/systemd/netif/links"
    folder.mkdir(parents=True)
    state = folder / str(_index(free))
    state.write_text(
        "# This is private data. Do not parse.\nADMIN_STATE=configured\nOPER_STATE=routable\n"
        "NETWORK_FILE=/etc/systemd/network/10-nic.network\n"
    )
    (one,) = _managed(free, tmp_path)
    assert one.blocks
    assert "systemd-networkd manages nic by /etc/systemd/network/10-nic.network" in one.text
    assert "Name=vhost0" in one.remedy and "Unmanaged=yes" in one.remedy
    state.write_text("ADMIN_STATE=unmanaged\nOPER_STATE=routable\n")
    assert _managed(free, tmp_path) == []


def test_network_manager_is_known_by_its_state(free: Host, tmp_path: Path) -> None:
    folder = tmp_path / "run/NetworkManager/devices"
    folder.mkdir(parents=True)
    state = folder / str(_index(free))
    state.write_text("[device]\nmanaged=true\nconnection-uuid=1234-5\nnm-owned=false\n")
    (one,) = _managed(free, tmp_path)
    assert one.blocks
    assert "NetworkManager manages nic by connection 1234-5" in one.text
    assert "interface-name:nic" in one.remedy
    state.write_text("[device]\nmanaged=false\n")
    assert _managed(free, tmp_path) == []


def test_ifupdown_is_known_by_its_state_and_only_told(free: Host, tmp_path: Path) -> None:
    (tmp_path / "run/network").mkdir(parents=True)
    (tmp_path / "run/network/ifstate").write_text("lo=lo\nnic=nic\n")
    (one,) = _managed(free, tmp_path)
    assert not one.blocks
    assert "vrouter-physical nic" in one.remedy


def _index(host: Host) -> int:
    with netns.enter(host.name), Netlink() as links:
        return links.need("nic").ifindex
