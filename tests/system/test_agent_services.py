# SPDX-License-Identifier: Apache-2.0
"""The packet services of a running agent, with real clients in the VMs' namespaces."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.igmp import IGMPv3_MQ
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import (
    ICMPv6MLQuery2,
    ICMPv6ND_NA,
    ICMPv6ND_RA,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from tests.system import agents as helper
from tests.system.helpers import unique, wait_until
from tests.system.service_clients import (
    Wire,
    addresses,
    dhclient,
    dhcpcd,
    forget_addresses,
    running,
    udhcpc,
)
from vrouter.api import client as api_client
from vrouter.dpcore.instance import find_instance
from vrouter.host import netns
from vrouter.lab import agents, build, node, topology
from vrouter.lab.topology import Lab

ROUTER, ROUTER_LL = "00:00:5e:00:01:00", "fe80::200:5eff:fe00:100"
GATEWAY, GATEWAY6 = "10.1.1.254", "fd00:10:1:1::fe"
VM1, VM2 = "02:00:0a:01:01:01", "02:00:0a:01:01:02"
# what vm4 makes of its MAC by itself
SLAAC = "fd00:10:1:1:0:aff:fe01:101"
LEASE, MTU = 60, 1380
FORGED = b"this is forged"
# an allowed address pair of vm1 and vm2
SHARED, SHARED6 = "10.1.1.100/32", "fd00:10:1:1::100/128"


def wanted(lab: Lab) -> dict[str, Any]:
    """The desired state of h1: a domain, short leases; red without DHCPv6."""
    state = agents.desired(lab, lab.host("h1"))
    for network in state["network"]:
        network |= {"igmp": True, "mtu": MTU}
        for subnet in network["subnets"]:
            subnet |= {"domain": f"{network['name']}.example", "lease_time": LEASE}
        if network["name"] == "red":
            network["subnets"][1]["dhcp"] = False
    for interface in state["interface"]:
        if interface["name"] in ("vm1", "vm2"):
            interface["allowed_address_pairs"] = [{"prefix": SHARED}, {"prefix": SHARED6}]
        if interface["name"] == "vm4":
            interface["addresses"] = [interface["addresses"][0], SLAAC]
    return state


def start_agent(lab: Lab) -> None:
    """Start h1's with that state, and the resolver of `resolver()`."""
    place = agents.folder(lab, "h1")
    (place / "state.toml").write_text(agents.toml(wanted(lab)))
    (place / "agent.toml").write_text(
        f'desired_state = "{place}/state.toml"\n[services]\nresolvers = ["127.0.0.1"]\n'
    )
    arguments = ["--name", lab.instance("h1"), "--config", str(place / "agent.toml")]
    agents.run(lab.netns("h1"), arguments, place / "agent.log")


@contextlib.contextmanager
def resolver(lab: Lab) -> Iterator[None]:
    """A DNS server on h1 that knows one name of the world."""
    command = "dnsmasq -k --no-resolv --no-hosts --conf-file=/dev/null --pid-file= --user=root"
    command += " --listen-address=127.0.0.1 --bind-interfaces --address=/www.example.org/192.0.2.7"
    with netns.enter(lab.netns("h1")):
        process = subprocess.Popen(command.split())
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = build.up(
        topology.plan("two-hosts", unique("s"), encap="vxlan", control="agent"), lambda line: None
    )
    try:
        with resolver(lab):
            helper.kill(lab, "h1", signal.SIGTERM)
            start_agent(lab)
            yield lab
            log = (agents.folder(lab, "h1") / "agent.log").read_text()
            assert "Traceback" not in log, log
    finally:
        build.down(lab.id, lambda line: None)


def call(lab: Lab, vm: str, command: str) -> str:
    return node.call(lab, vm, command.split()).stdout


def test_clients_get_and_renew_leases(lab: Lab, tmp_path: Path) -> None:
    """busybox's and ISC's clients and dhcpcd, IPv4 and IPv6; renewals come after 30 seconds."""
    folders = [tmp_path / name for name in ("udhcpc", "dhclient", "dhclient6", "dhcpcd", "6")]
    for one in folders:
        one.mkdir()
    for vm in ("vm1", "vm2", "vm4"):
        forget_addresses(lab, vm)
    with (
        running(lab, "vm1", *udhcpc(folders[0])) as busybox,
        running(lab, "vm2", *dhclient(folders[1], 4)) as isc,
        running(lab, "vm2", *dhclient(folders[2], 6)) as isc6,
        running(lab, "vm4", *dhcpcd(folders[3])) as roy,
        running(lab, "vm1", *dhcpcd(folders[4], "ipv6")) as roy6,
    ):
        told = f"router={GATEWAY} dns={GATEWAY} domain=%s.example lease={LEASE} mtu={MTU}"
        blue, red = told % "blue", told % "red"
        assert busybox.first("bound") == f"bound eth0 ip=10.1.1.1/24 {blue}"
        assert isc.first("BOUND").startswith(f"BOUND ip=10.1.1.2 mask=255.255.255.0 {blue}")
        six = isc6.first("BOUND6")
        assert f"ip6=fd00:10:1:1::2 dns6={GATEWAY6} search=blue.example." in six
        assert roy.first("BOUND").startswith(f"BOUND ip=10.1.1.1 mask=255.255.255.0 {red}")
        assert f"ip6=fd00:10:1:1::1 dns6={GATEWAY6}" in roy6.first("BOUND6")
        wait_until(lambda: "fd00:10:1:1::1/128" in addresses(lab, "vm1", "-6"))
        assert "10.1.1.1/24" in addresses(lab, "vm1", "-4")
        assert "10.1.1.1/24" in addresses(lab, "vm4", "-4")
        assert SLAAC in addresses(lab, "vm4", "-6"), "dhcpcd takes the prefix of the advertisement"
        assert helper.answered(lab, "vm1", "10.1.1.2") == 5
        assert helper.answered(lab, "vm1", "10.1.1.3") == 5, "on the other host"
        assert f"ip=10.1.1.1/24 {blue}" in busybox.first("renew", seconds=60)
        assert f"ip=10.1.1.2 mask=255.255.255.0 {blue}" in isc.first("RENEW", seconds=60)
        assert "ip6=fd00:10:1:1::2" in isc6.first("RENEW6", seconds=60)
        assert roy.first("RENEW", seconds=60).startswith("RENEW ip=10.1.1.1 ")
        assert "ip6=fd00:10:1:1::1" in roy6.first("RENEW6", seconds=60)
        assert not busybox.lines("nak") and not isc.lines("EXPIRE", "FAIL")


def test_the_kernel_takes_router_advertisements(lab: Lab) -> None:
    forget_addresses(lab, "vm4")
    wait_until(lambda: f"{SLAAC}/64" in addresses(lab, "vm4", "-6"))
    routes = call(lab, "vm4", "ip -6 route")
    assert f"default via {ROUTER_LL} dev eth0 proto ra" in routes
    assert helper.answered(lab, "vm4", GATEWAY6) == 5
    seen = call(lab, "vm1", "rdisc6 -1 eth0")
    for line in (
        "Stateful address conf.    :          Yes",
        f"MTU                      :         {MTU}",
        f"Recursive DNS server     : {GATEWAY6}",
        "DNS search list          : blue.example",
    ):
        assert line in seen, seen


def test_gateways_answer(lab: Lab) -> None:
    forget_addresses(lab, "vm1")
    call(lab, "vm1", "ip address add 10.1.1.1/24 dev eth0")
    call(lab, "vm1", "ip address add fd00:10:1:1::1/64 dev eth0 nodad")
    for address in (GATEWAY, GATEWAY6, f"{ROUTER_LL}%eth0"):
        assert helper.answered(lab, "vm1", address) == 5, address
    assert "1 received" in call(lab, "vm1", f"ping -c 1 -W 2 -s 1300 {GATEWAY}")

    def unserved() -> None:
        for family, address in ((socket.AF_INET, GATEWAY), (socket.AF_INET6, GATEWAY6)):
            with socket.socket(family, socket.SOCK_DGRAM) as one:
                one.connect((address, 33434))
                one.settimeout(5)
                one.send(b"anybody?")
                with pytest.raises(ConnectionRefusedError):
                    one.recv(100)

    netns.run(lab.netns("vm1"), unserved)


@pytest.fixture
def vm1_with_addresses(lab: Lab) -> Lab:
    forget_addresses(lab, "vm1")
    call(lab, "vm1", "ip address add 10.1.1.1/24 dev eth0")
    call(lab, "vm1", "ip address add fd00:10:1:1::1/64 dev eth0 nodad")
    return lab


@pytest.mark.parametrize(
    ("question", "status", "answer"),
    [
        ("vm2.blue.example A", "NOERROR", "10.1.1.2"),
        ("vm2.blue.example AAAA", "NOERROR", "fd00:10:1:1::2"),
        ("vm3 A", "NOERROR", "10.1.1.3"),
        ("-x 10.1.1.2", "NOERROR", "vm2.blue.example."),
        ("-x fd00:10:1:1::3", "NOERROR", "vm3.blue.example."),
        ("vm4.blue.example A", "NXDOMAIN", ""),
        ("vm2.blue.example TXT", "NOERROR", ""),
        ("www.example.org A", "NOERROR", "192.0.2.7"),
        ("www.example.net A", "REFUSED", ""),
    ],
)
def test_dns(vm1_with_addresses: Lab, question: str, status: str, answer: str) -> None:
    for server in (GATEWAY, GATEWAY6):
        said = call(vm1_with_addresses, "vm1", f"dig +tries=1 +time=8 @{server} {question}")
        assert f"status: {status}" in said, said
        records = [line for line in said.splitlines() if line and line[0] != ";"]
        found = [line.split()[-1] for line in records if "SOA" not in line]
        assert found == ([answer] if answer else []), said


def test_getent(vm1_with_addresses: Lab, tmp_path: Path) -> None:
    """The C library's own resolver, as programs use it."""
    conf = tmp_path / "resolv.conf"
    conf.write_text(f"nameserver {GATEWAY}\nsearch blue.example\n")
    script = f"mount --bind {conf} /etc/resolv.conf && getent ahostsv4 vm3 && getent hosts 10.1.1.2"
    said = node.call(vm1_with_addresses, "vm1", ["unshare", "-m", "sh", "-c", script]).stdout
    assert "10.1.1.3" in said and "vm2.blue.example" in said, said


def forged() -> list[Any]:
    """What vm2 sends to play the network: DHCP, router advertisements, the gateway's ARP and ND."""
    offer = BOOTP(op=2, yiaddr="10.1.1.66", chaddr=bytes.fromhex(VM1.replace(":", "")))
    answer = offer / DHCP(options=[("message-type", "offer"), ("server_id", "10.1.1.2"), "end"])
    all6 = "33:33:00:00:00:01"
    prefix = ICMPv6NDOptPrefixInfo(prefix="fd00:66::", prefixlen=64)
    link = ICMPv6NDOptSrcLLAddr(lladdr=VM2)
    own = "fe80::aff:fe01:102"
    advert = ICMPv6ND_NA(tgt=GATEWAY6, R=1, S=0, O=1) / ICMPv6NDOptDstLLAddr(lladdr=VM2)
    return [
        Ether(src=VM2, dst="ff:ff:ff:ff:ff:ff")
        / IP(src="10.1.1.2", dst="255.255.255.255")
        / UDP(sport=67, dport=68)
        / answer,
        Ether(src=VM2, dst=VM1)
        / IP(src="10.1.1.2", dst="10.1.1.1")
        / UDP(sport=67, dport=68)
        / answer,
        Ether(src=VM2, dst=all6) / IPv6(src=own, dst="ff02::1") / ICMPv6ND_RA() / link / prefix,
        Ether(src=ROUTER, dst=all6) / IPv6(src=ROUTER_LL, dst="ff02::1") / ICMPv6ND_RA() / prefix,
        Ether(src=VM2, dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, hwsrc=VM2, psrc=GATEWAY, pdst=GATEWAY),
        Ether(src=VM2, dst=VM1) / ARP(op=2, hwsrc=VM2, psrc=GATEWAY, hwdst=VM1, pdst="10.1.1.1"),
        Ether(src=ROUTER, dst=VM1)
        / ARP(op=2, hwsrc=ROUTER, psrc=GATEWAY, hwdst=VM1, pdst="10.1.1.1"),
        Ether(src=VM2, dst=all6) / IPv6(src=GATEWAY6, dst="ff02::1") / advert,
        Ether(src=VM2, dst=all6) / IPv6(src=own, dst="ff02::1") / advert,
    ]


def test_who_plays_the_network_is_not_heard(vm1_with_addresses: Lab) -> None:
    lab = vm1_with_addresses
    forget_addresses(lab, "vm2", sends_rs=False)
    marker = b"the way is open"
    honest = Ether(src=VM2, dst="ff:ff:ff:ff:ff:ff") / IP(src="10.1.1.2", dst="10.1.1.255")
    honest /= UDP(sport=7, dport=7) / Raw(marker)
    with Wire(lab, "vm1") as near, Wire(lab, "vm3") as far, Wire(lab, "vm2") as spoofer:
        near.received(1.0)  # what the addresses of before have set off
        far.received(0.1)
        for frame in forged():
            # behind the packet, where no protocol looks: who comes through is known by it
            spoofer.send(bytes(frame) + FORGED)
        spoofer.send(bytes(honest))
        for wire in (near, far):
            frames = wire.received(1.5)
            assert any(marker in one for one in frames)
            wrong = [one for one in frames if FORGED in one or _plays_the_network(one)]
            assert not wrong, [Ether(one).summary() for one in wrong]


def _plays_the_network(frame: bytes) -> bool:
    """Whether vm2's MAC says what only the network may say."""
    read = Ether(frame)
    if read.src != VM2:
        return False
    if UDP in read:
        return int(read[UDP].sport) in (67, 547)
    if ARP in read:
        return str(read[ARP].psrc) == GATEWAY
    return ICMPv6ND_RA in read or (ICMPv6ND_NA in read and read[ICMPv6ND_NA].tgt == GATEWAY6)


def test_what_a_port_is_told_when_the_agent_comes_back(vm1_with_addresses: Lab) -> None:
    lab = vm1_with_addresses
    with Wire(lab, "vm1") as wire:
        helper.kill(lab, "h1")
        wire.received(0.5)
        start_agent(lab)
        frames = [Ether(one) for one in wire.received(1.5) if one[6:12].hex(":") == ROUTER]
    assert any(ARP in one and one[ARP].psrc == one[ARP].pdst == GATEWAY for one in frames)
    said = {one[ICMPv6ND_NA].tgt for one in frames if ICMPv6ND_NA in one}
    assert said == {GATEWAY6, ROUTER_LL}
    assert any(ICMPv6ND_RA in one for one in frames)
    assert any(IGMPv3_MQ in one for one in frames)


def test_igmp_is_heard_and_not_flooded(vm1_with_addresses: Lab) -> None:
    lab = vm1_with_addresses

    def join() -> socket.socket:
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        request = socket.inet_aton("239.7.7.7") + socket.inet_aton("10.1.1.1")
        one.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
        return one

    with Wire(lab, "vm2") as other, Wire(lab, "vm1") as own:
        with netns.run(lab.netns("vm1"), join):
            own.received(1.0)
        # the last member left: it is asked who else there is
        asked = [Ether(one) for one in own.received(3.0)]
        assert "239.7.7.7" in [one[IGMPv3_MQ].gaddr for one in asked if IGMPv3_MQ in one]
        heard = [one for one in other.received(0.5) if one[6:12].hex(":") == VM1]
        assert not [one for one in heard if one[23:24] == b"\x02" and one[12:14] == b"\x08\0"]


def remembered(lab: Lab, service: str) -> list[dict[str, Any]]:
    """What h1's agent remembers beside the desired state."""
    socket_path = str(find_instance(lab.instance("h1")).run_dir / "api.sock")
    status, answer = api_client.call(socket_path, "GET", "/v1/status")
    assert status == 200, answer
    return list(answer["remembered"].get(service, []))


def test_mld_is_heard_and_not_flooded(vm1_with_addresses: Lab) -> None:
    """A socket joins a group, and leaves it."""
    lab = vm1_with_addresses
    group = "ff15::7:7:7"

    def join() -> socket.socket:
        one = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        request = socket.inet_pton(socket.AF_INET6, group) + struct.pack(
            "@I", socket.if_nametoindex("eth0")
        )
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
        return one

    def known() -> list[dict[str, Any]]:
        return [one for one in remembered(lab, "mld") if one["group"] == group]

    with Wire(lab, "vm2") as other, Wire(lab, "vm1") as own:
        with netns.run(lab.netns("vm1"), join):
            wait_until(lambda: bool(known()))
            (row,) = known()
            assert helper.tables(lab, "h1").vif[row["vif"]].name == lab.vm("vm1").tap
        wait_until(lambda: not known(), seconds=15)
        asked = [Ether(one) for one in own.received(0.5)]
        assert group in [one[ICMPv6MLQuery2].mladdr for one in asked if ICMPv6MLQuery2 in one]
        heard = [one for one in other.received(0.5) if one[6:12].hex(":") == VM1]
        assert not [one for one in heard if one[54:56] == b"\x3a\0"], "behind hop-by-hop"


def test_the_agent_is_killed_and_a_lease_is_renewed_by_the_next(lab: Lab, tmp_path: Path) -> None:
    forget_addresses(lab, "vm1")
    command, log = udhcpc(tmp_path)
    with running(lab, "vm1", command, log) as client:
        client.first("bound")
        helper.kill(lab, "h1")
        start_agent(lab)
        os.kill(client.pid, signal.SIGUSR1)
        assert "ip=10.1.1.1/24" in client.first("renew")


def test_a_trace_shows_the_gateway(vm1_with_addresses: Lab) -> None:
    """Routed by the gateway to vm3 on the other host, with a TTL that ends there."""
    lab = vm1_with_addresses
    call(lab, "vm1", f"ip route replace 10.1.1.3/32 via {GATEWAY}")
    try:
        old = call(lab, "vm1", "ping -c 1 -W 2 -t 1 10.1.1.3")
        assert f"From {GATEWAY} icmp_seq=1 Time to live exceeded" in old, old
        assert helper.answered(lab, "vm1", "10.1.1.3") == 5
    finally:
        call(lab, "vm1", "ip route del 10.1.1.3/32")


def take_over(lab: Lab, vm: str) -> None:
    """As keepalived does: the addresses, and a gratuitous ARP and advertisement of them."""
    for command in (
        f"ip address add {SHARED} dev eth0",
        f"ip address add {SHARED6} dev eth0 nodad",
    ):
        call(lab, vm, command)
    mac = VM1 if vm == "vm1" else VM2
    address, address6 = SHARED.partition("/")[0], SHARED6.partition("/")[0]
    advert = ICMPv6ND_NA(tgt=address6, R=0, S=0, O=1) / ICMPv6NDOptDstLLAddr(lladdr=mac)
    with Wire(lab, vm) as wire:
        said = ARP(op=1, hwsrc=mac, psrc=address, pdst=address)
        wire.send(bytes(Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / said))
        to_all = Ether(src=mac, dst="33:33:00:00:00:01") / IPv6(src=address6, dst="ff02::1")
        wire.send(bytes(to_all / advert))


def test_a_shared_address_moves_between_vms(vm1_with_addresses: Lab) -> None:
    """An allowed address pair of both: whoever says that it has it, gets what is sent to it."""
    lab = vm1_with_addresses
    forget_addresses(lab, "vm2")
    call(lab, "vm2", "ip address add 10.1.1.2/24 dev eth0")
    call(lab, "vm2", "ip address add fd00:10:1:1::2/64 dev eth0 nodad")
    address, address6 = SHARED.partition("/")[0], SHARED6.partition("/")[0]
    take_over(lab, "vm1")
    wait_until(lambda: holder(lab, address) == holder(lab, address6) == lab.vm("vm1").tap)
    for one in (address, address6):
        assert helper.answered(lab, "vm2", one) == 5, one
    for one in (SHARED, SHARED6):
        call(lab, "vm1", f"ip address del {one} dev eth0")
    helper.kill(lab, "h1")
    start_agent(lab)
    assert holder(lab, address) == holder(lab, address6) == lab.vm("vm1").tap
    take_over(lab, "vm2")
    wait_until(lambda: holder(lab, address) == holder(lab, address6) == lab.vm("vm2").tap)
    for one in (address, address6):
        assert helper.answered(lab, "vm1", one) == 5, one
    for one in (SHARED, SHARED6):
        call(lab, "vm2", f"ip address del {one} dev eth0")


@pytest.mark.soak
def test_what_an_agent_learnt_the_next_one_forgets_in_time(vm1_with_addresses: Lab) -> None:
    """It knows what the one before had learnt, and that it is not so any more."""
    lab = vm1_with_addresses
    address, address6 = SHARED.partition("/")[0], SHARED6.partition("/")[0]
    take_over(lab, "vm1")
    wait_until(lambda: holder(lab, address) == holder(lab, address6) == lab.vm("vm1").tap)
    for one in (SHARED, SHARED6):
        call(lab, "vm1", f"ip address del {one} dev eth0")
    helper.kill(lab, "h1")
    start_agent(lab)
    wait_until(lambda: not holder(lab, address) and not holder(lab, address6), seconds=90)


def holder(lab: Lab, address: str) -> str:
    """The device of the vif that a host route of blue leads to; "" without one."""
    entries = helper.tables(lab, "h1")
    for (_, prefix), route in entries.route.items():
        if str(prefix.network_address) == address and prefix.prefixlen == prefix.max_prefixlen:
            vif = entries.vif.get(entries.nexthop[route.nh].oif or -1)
            return vif.name if vif is not None else ""
    return ""
