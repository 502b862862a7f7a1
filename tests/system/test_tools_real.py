# SPDX-License-Identifier: Apache-2.0
"""A person builds an overlay by hand, with nothing but the tools; what they say, and of mistakes.

(The tutorial's overlay, VXLAN and bridged, is run by test_tutorial.py.)
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.system.helpers import SOURCE
from tests.system.topology import GUEST_MTU, NIC, World, run_in
from vrouter.dpcore.instance import Instance
from vrouter.host import netns
from vrouter.host.netlink import Netlink

KINDS = [("mplsoudp", "l3"), ("mplsogre", "l2")]
LABEL, FLOOD = 100, 500  # + number of the host


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    error: str


@dataclass(frozen=True)
class Machine:
    """A host and its one VM; number 1 or 2."""

    number: int
    netns: str
    vm: str

    @property
    def ip(self) -> str:
        return f"172.29.0.{self.number}"

    @property
    def mac(self) -> str:
        return f"02:00:00:00:09:{self.number:02x}"

    @property
    def vm_ip(self) -> str:
        """Routed: each VM in a network of its own; bridged ones do not mind the mask."""
        return f"10.7.0.{self.number}"

    @property
    def vm_mac(self) -> str:
        return f"02:00:0a:07:00:{self.number:02x}"

    def run(self, command: str) -> Said:
        """One command as a person types it on this host."""
        name, *arguments = command.split()
        code = f"import sys; from vrouter.tools.{name} import main; sys.exit(main())"
        env = {key: value for key, value in os.environ.items() if key != "VROUTER_NAME"}
        with netns.enter(self.netns):
            done = subprocess.run(
                [sys.executable, "-c", code, *arguments],
                env={**env, "PYTHONPATH": str(SOURCE)},
                capture_output=True,
                text=True,
                timeout=30,
                stdin=subprocess.DEVNULL,
            )
        return Said(done.returncode, done.stdout, done.stderr)

    def do(self, command: str) -> str:
        """A command that must succeed and say what it did."""
        said = self.run(command)
        assert (said.code, said.error) == (0, ""), f"{command}: {said}"
        assert said.out.startswith(command.split()[0] + ":"), said
        return said.out


@dataclass(frozen=True)
class Overlay:
    encap: str
    forwarding: str
    one: Machine
    other: Machine


@pytest.fixture(scope="module", params=KINDS, ids=["-".join(kind) for kind in KINDS])
def overlay(request: pytest.FixtureRequest) -> Iterator[Overlay]:
    encap, forwarding = request.param
    with World() as world:
        hosts = [machine(world, number) for number in (1, 2)]
        for host in hosts:
            world.on_exit(host.run, "vrouter unload")
        for host, far in (hosts, hosts[::-1]):
            underlay(host, far, encap)
            routed(host, far) if forwarding == "l3" else bridged(host, far)
        yield Overlay(encap, forwarding, *hosts)


def machine(world: World, number: int) -> Machine:
    """Netdevices only: a NIC on the fabric, and a VM behind a veth."""
    found = Machine(number, world.namespace(f"h{number}"), world.namespace("vm"))
    world.plug_in(found.netns, NIC, bytes.fromhex(found.mac.replace(":", "")))
    with netns.enter(found.netns), Netlink() as links:
        links.add_address(NIC, found.ip, 24)
        mac = bytes.fromhex(found.vm_mac.replace(":", ""))
        file = str(netns.path(found.vm))
        links.add_veth("tap1", "eth0", peer_mac=mac, mtu=GUEST_MTU, peer_netns=file)
        links.up("tap1")
    with netns.enter(found.vm), Netlink() as links:
        links.add_address("eth0", found.vm_ip, 24)
        links.up("eth0")
    return found


def underlay(host: Machine, far: Machine, encap: str) -> None:
    """vRouter, vhost0, the VM's vif, the own address, the tunnel."""
    host.do(f"vrouter load --profile small --name {host.netns}")
    host.do(f"vrouter vhost up --physical {NIC}")
    host.do("vif --add tap1 --mac 00:00:5e:00:01:00 --vrf 1 --type virtual --id 40")
    vhost = number_of(host, "vhost0")
    host.do(f"nh --create 5 --type 1 --oif {vhost}")
    host.do(f"rt -c -v 0 -f 0 -p {host.ip} -l 32 -n 5")
    kind = " --udp" if encap == "mplsoudp" else ""
    host.do(
        f"nh --create 20 --type 3 --oif {number_of(host, NIC)} --smac {host.mac} "
        f"--dmac {far.mac} --sip {host.ip} --dip {far.ip}{kind}"
    )


def number_of(host: Machine, device: str) -> int:
    said = host.run(f"vif --get {device}")
    found = re.search(r"^vif0/(\d+) ", said.out, re.MULTILINE)
    assert found is not None, said
    return int(found[1])


def routed(host: Machine, far: Machine) -> None:
    """ARP is answered with the router's MAC, every packet is routed."""
    router = "00:00:5e:00:01:00"
    host.do("nh --create 3 --type 8 --l2")
    host.do(f"rt -c -v 1 -f 1 -e {router} -n 3")
    host.do(f"nh --create 10 --type 2 --vrf 1 --oif 40 --smac {router} --dmac {host.vm_mac}")
    host.do(f"mpls --create {LABEL + host.number} --nh 10")
    host.do(f"rt -c -v 1 -f 0 -p {host.vm_ip} -l 32 -n 10 -P")
    host.do(f"rt -c -v 1 -f 0 -p {far.vm_ip} -l 32 -n 20 -t {LABEL + far.number} -P")


def bridged(host: Machine, far: Machine) -> None:
    """Known MACs to their places, everything else to everybody."""
    host.do("nh --create 10 --type 2 --l2 --vrf 1 --oif 40")
    host.do(f"mpls --create {LABEL + host.number} --nh 10")
    host.do(f"rt -c -v 1 -f 1 -e {host.vm_mac} -n 10")
    host.do(f"rt -c -v 1 -f 1 -e {far.vm_mac} -n 20 -t {LABEL + far.number}")
    host.do("nh --create 30 --type 6 --l2 --cen --vrf 1 --cni 10")
    host.do(f"nh --create 31 --type 6 --l2 --cevpn --vrf 1 --cni 20 --lbl {FLOOD + far.number}")
    host.do("nh --create 32 --type 6 --l2 --cmc --vrf 1 --cni 30 --cni 31")
    host.do("rt -c -v 1 -f 1 -e ff:ff:ff:ff:ff:ff -n 32")
    host.do(f"mpls --create {FLOOD + host.number} --nh 32")


def test_the_vms_talk_and_the_hosts_too(overlay: Overlay) -> None:
    one, other = overlay.one, overlay.other
    for source, target in ((one, other), (other, one)):
        run_in(source.vm, f"ping -n -c 3 -i 0.05 -W 2 {target.vm_ip}")
        run_in(source.netns, f"ping -n -c 2 -i 0.05 -W 2 {target.ip}")
    mac = other.vm_mac if overlay.forwarding == "l2" else "00:00:5e:00:01:00"
    assert mac in run_in(one.vm, f"ip neigh show {other.vm_ip}")


def test_the_counters_tell_the_tunnel(overlay: Overlay) -> None:
    one = overlay.one
    line = {"mplsoudp": "Udp Mpls Tunnels", "mplsogre": "Gre Mpls Tunnels"}[overlay.encap]

    def count() -> int:
        found = re.search(rf"{line} (\d+)", one.run("vrfstats --get 1").out)
        assert found is not None
        return int(found[1])

    # the answer to ARP must be there before, or it is counted
    run_in(one.vm, f"ping -n -c 1 -W 2 {overlay.other.vm_ip}")
    before = count()
    run_in(one.vm, f"ping -n -c 4 -i 0.05 -W 2 {overlay.other.vm_ip}")
    assert count() - before == 4


def test_what_was_made_is_shown(overlay: Overlay) -> None:
    one, other = overlay.one, overlay.other
    shown = one.run("nh --get 20").out
    assert re.search(r"Id:20 +Type:Tunnel +Fmly: AF_INET", shown)
    assert f"Sip:{one.ip} Dip:{other.ip}" in shown
    assert ("MPLSoUDP" if overlay.encap == "mplsoudp" else "MPLSoGRE") in shown
    assert re.search(rf"^ *{LABEL + 1} +10$", one.run("mpls --dump").out, re.MULTILINE)
    vif = one.run("vif --get 40").out
    assert re.search(r"^vif0/40 +OS: tap1", vif, re.MULTILINE)
    assert "Type:Virtual HWaddr:00:00:5e:00:01:00" in vif
    if overlay.forwarding == "l3":
        row = one.run(f"rt --get {other.vm_ip}/32 --vrf 1").out.strip().splitlines()[-1].split()
        assert row[:5] == [f"{other.vm_ip}/32", "32", "LP", str(LABEL + 2), "20"]
    else:
        rows = one.run("rt --dump 1 --family bridge").out
        assert re.search(rf"2:0:a:7:0:2 +L +{LABEL + 2} +20 ", rows)


# neither has a VNI; the one that is bridged has no routes
EMPTY = {"mplsoudp": ("vxlan --dump",), "mplsogre": ("vxlan --dump", "rt --dump 1")}


def test_the_same_is_there_as_json(overlay: Overlay) -> None:
    one = overlay.one
    run_in(one.vm, f"ping -n -c 1 -W 2 {overlay.other.vm_ip}")  # or no VRF has counted anything
    for command in (
        "vif --list",
        "nh --list",
        "rt --dump 1",
        "rt --dump 1 --family bridge",
        "mpls --dump",
        "vxlan --dump",
        "dropstats",
        "vrfstats --dump",
        "vrouter --info",
        "vrinfo",
        "vrouter status",
    ):
        said = one.run(f"{command} --json")
        assert (said.code, said.error) == (0, ""), command
        # a table may be empty
        assert json.loads(said.out) or command in EMPTY[overlay.encap], command


def test_asked_twice_it_changes_nothing(overlay: Overlay) -> None:
    one, other = overlay.one, overlay.other
    kind = " --udp" if overlay.encap == "mplsoudp" else ""
    before = (one.run("nh --list").out, one.run("mpls --dump").out)
    for command in (
        "vif --add tap1 --mac 00:00:5e:00:01:00 --vrf 1 --type virtual --id 40",
        f"nh --create 20 --type 3 --oif {number_of(one, NIC)} --smac {one.mac} --dmac {other.mac} "
        f"--sip {one.ip} --dip {other.ip}{kind}",
        f"mpls --create {LABEL + 1} --nh 10",
        f"rt -c -v 0 -f 0 -p {one.ip} -l 32 -n 5",
        "nh --delete 3999",
        "mpls --delete 999",
    ):
        said = one.run(command)
        assert (said.code, said.error) == (0, ""), command
        assert "nothing changed" in said.out, command
    assert (one.run("nh --list").out, one.run("mpls --dump").out) == before


USAGE, REFUSED, NOT_LOADED = 2, 3, 4
MISTAKES = [
    ("nh --create 50 --tipe 3", USAGE, "--type"),
    ("nh --create 50 --type 9", USAGE, "1 receive, 2 encap, 3 tunnel"),
    ("nh --create 50 --type 3 --oif 2", USAGE, "--smac and --dmac"),
    (
        "nh --create 50 --type 2 --oif 999 --smac 00:00:5e:00:01:00 --dmac 02:00:00:00:00:01",
        REFUSED,
        "no such vif",
    ),
    ("nh --create 0 --type 5", REFUSED, "use another id"),
    ("nh --create 5000 --type 5", REFUSED, "nexthops=N"),
    ("nh --get 3999", REFUSED, "nh --list"),
    ("rt -c -v 1 -f 0 -p 10.0.0 -l 24 -n 1", USAGE, "write it as"),
    ("rt -c -v 1 -f 0 -p 10.0.0.1 -l 33 -n 1", USAGE, "has 32 bits"),
    ("rt -c -v 1 -f 0 -p 10.0.0.1 -l 24 -n 1", USAGE, "write -p 10.0.0.0"),
    ("rt -c -v 64 -f 0 -p 10.0.0.1 -l 32 -n 1", REFUSED, "vrfs=N"),
    ("rt -c -v 1 -f 1 -e 02:00:00:00:00 -n 1", USAGE, "not a MAC address"),
    ("mpls --create 5 --nh 1", REFUSED, "16 to 2047"),
    ("mpls --create 900", USAGE, "--nh ID"),
    ("vxlan --create 16777216 --nh 1", USAGE, "16777215"),
    ("vif --add nosuch --mac 00:00:5e:00:01:00 --vrf 1 --type virtual", REFUSED, "ip link"),
    ("vif --add tap1 --mac 00:00:5e:00:01:00 --vrf 1 --type virtul", USAGE, "did you mean virtual"),
    ("vif --list --name nosuch", NOT_LOADED, "vrouter load"),
    ("vrouter vhost up --physical nosuch", REFUSED, "vrouter vhost down"),
]


@pytest.mark.parametrize(("command", "code", "remedy"), MISTAKES, ids=[m[0] for m in MISTAKES])
def test_a_mistake_gets_one_line_and_its_code(
    some_overlay: Overlay, command: str, code: int, remedy: str
) -> None:
    said = some_overlay.one.run(command)
    assert (said.code, said.out) == (code, ""), said
    assert said.error.count("\n") == 1
    assert said.error.startswith(command.split()[0] + ": ")
    assert remedy in said.error


def test_taken_apart_again_nothing_is_left(some_overlay: Overlay) -> None:
    """unload gives the NIC its address back; the hosts still talk, the VMs do not."""
    one, other = some_overlay.one, some_overlay.other
    one.do("vrouter vhost down")
    assert one.do("vrouter unload")
    assert f"inet {one.ip}/24" in run_in(one.netns, f"ip addr show dev {NIC}")
    run_in(one.netns, f"ping -n -c 2 -i 0.05 -W 2 {other.ip}")
    left = run_in(one.netns, "ip -o link")
    assert not re.search(r"vhost0|pkt[0-9]", left)
    instance = Instance(one.netns)
    assert not instance.run_dir.exists()
    assert not instance.pin_dir.exists()
    assert one.run("vif --list").code == NOT_LOADED


@pytest.fixture(scope="module")
def some_overlay() -> Iterator[Overlay]:
    """Two hosts with a vRouter each, and nothing in the tables."""
    with World() as world:
        hosts = [machine(world, number) for number in (1, 2)]
        for host in hosts:
            world.on_exit(host.run, "vrouter unload")
            host.do(f"vrouter load --profile small --name {host.netns}")
            host.do(f"vrouter vhost up --physical {NIC}")
        yield Overlay("none", "none", *hosts)
