# SPDX-License-Identifier: Apache-2.0
"""What vhost0 takes over beside plain addresses, and what works through it afterwards."""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from scapy.layers.inet6 import (
    ICMPv6ND_RA,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import Ether

from tests.system.helpers import wait_until
from tests.system.vhosts import Host
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.names import VifFlag
from vrouter.host import netns, offload
from vrouter.host.netlink import Netlink
from vrouter.lab.topology import NIC, Lab

GROUP, GROUP6 = "239.5.5.5", "ff05::5"


def test_rules_neighbours_proxies_sysctls_and_limits_move_and_come_back(host: Host) -> None:
    for command in (
        "ip rule add pref 1000 iif nic lookup 77",
        "ip rule add pref 1000 oif nic lookup 78",
        "ip -6 rule add pref 1000 iif nic lookup 77",
        "ip neigh add 10.0.0.77 lladdr 02:00:00:00:00:77 dev nic nud permanent",
        "ip neigh add fd00::77 lladdr 02:00:00:00:00:78 dev nic nud permanent",
        "ip neigh add proxy 10.0.0.88 dev nic",
        "ip -6 addr add fe80::1/64 dev nic nodad",
        "ip link set nic txqueuelen 500 gso_max_size 30000",
        "sysctl -w net.ipv4.conf.nic.arp_ignore=2 net.ipv6.conf.nic.hop_limit=33"
        " net.ipv4.neigh.nic.gc_stale_time=77 net.ipv4.conf.nic.rp_filter=1",
    ):
        host.sh(command)
    before = host.snapshot()

    host.up()

    rules = host.sh("ip rule") + host.sh("ip -6 rule")
    assert rules.count("iif vhost0 lookup 77") == 2
    assert "oif vhost0 lookup 78" in rules
    assert "nic" not in rules
    shown = host.sh("ip neigh show dev vhost0 nud permanent")
    assert "10.0.0.77" in shown and "fd00::77" in shown
    assert "10.0.0.88" in host.sh("ip neigh show proxy dev vhost0")
    # a link-local address belongs to its device: both have it
    assert "fe80::1/64" in host.sh("ip addr show nic")
    assert "fe80::1/64" in host.sh("ip addr show vhost0")
    assert "qlen 500" in host.sh("ip link show vhost0")
    assert "gso_max_size 30000" in host.sh("ip -d link show vhost0")
    kept = (
        "net.ipv4.conf.{0}.arp_ignore net.ipv6.conf.{0}.hop_limit net.ipv4.neigh.{0}.gc_stale_time"
    )
    kept += " net.ipv4.conf.{0}.rp_filter net.ipv6.conf.{0}.accept_dad"
    values = [host.sh("sysctl -n " + kept.format(name)) for name in ("nic", "vhost0")]
    assert values[0] == values[1]
    assert "ALLMULTI" in host.sh("ip link show nic")

    host.down()
    assert host.snapshot() == before


def test_every_sysctl_is_the_nics(host: Host) -> None:
    lines = host.up()
    assert not [line for line in lines if line.startswith("note")]


@contextlib.contextmanager
def _member(host: Host, family: socket.AddressFamily) -> Iterator[socket.socket]:
    """A UDP socket of the host that joined a group on the NIC by its index."""
    with netns.enter(host.name), socket.socket(family, socket.SOCK_DGRAM) as member:
        index = socket.if_nametoindex("nic")
        member.bind(("", 5555))
        if family == socket.AF_INET:
            request = struct.pack("=4s4si", socket.inet_aton(GROUP), bytes(4), index)
            member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
        else:
            request = socket.inet_pton(family, GROUP6) + struct.pack("=i", index)
            member.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
        member.settimeout(10)
        yield member


def _send_to_group(host: Host, family: socket.AddressFamily, where: str, device: str) -> None:
    with netns.enter(where), socket.socket(family, socket.SOCK_DGRAM) as sender:
        index = socket.if_nametoindex(device)
        if family == socket.AF_INET:
            request = struct.pack("=4s4si", bytes(4), bytes(4), index)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, request)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
            sender.sendto(b"hello", (GROUP, 5555))
        else:
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
            sender.sendto(b"hello", (GROUP6, 5555))


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_group_joined_on_the_nic_is_received_all_the_time(
    host: Host, family: socket.AddressFamily
) -> None:
    with _member(host, family) as member:
        for change in (lambda: None, host.up, host.down):
            change()
            _send_to_group(host, family, host.neighbour, "far")
            assert member.recv(100) == b"hello"


def test_the_host_can_send_to_a_group_that_it_has_joined(host: Host) -> None:
    with _member(host, socket.AF_INET):
        host.up()
        with netns.enter(host.neighbour):
            watch = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
            watch.bind(("far", 0x0800))
            watch.settimeout(10)
        with watch:
            _send_to_group(host, socket.AF_INET, host.name, "vhost0")
            while watch.recv(200)[16:20] != socket.inet_aton(GROUP):
                pass


def _advertise(host: Host, valid: int) -> None:
    """A router advertisement of fd77::/64 from the neighbour; valid `valid` seconds."""
    with netns.enter(host.neighbour):
        mac = "02:00:00:00:00:99"
        frame = (
            Ether(src=mac, dst="33:33:00:00:00:01")
            / IPv6(src="fe80::99", dst="ff02::1", hlim=255)
            / ICMPv6ND_RA(routerlifetime=valid)
            / ICMPv6NDOptSrcLLAddr(lladdr=mac)
            / ICMPv6NDOptPrefixInfo(
                prefix="fd77::", prefixlen=64, validlifetime=valid, preferredlifetime=valid
            )
        )
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
            sender.bind(("far", 0))
            sender.send(bytes(frame))


def _lifetime(host: Host, device: str) -> int:
    shown = host.sh(f"ip -6 -o addr show dev {device} to fd77::/64")
    words = shown.split()
    if "valid_lft" not in words:
        return 0
    return int(words[words.index("valid_lft") + 1].removesuffix("sec"))


def test_router_advertisements_renew_the_address_on_vhost0(host: Host) -> None:
    host.sh("sysctl -w net.ipv6.conf.nic.addr_gen_mode=0")
    _until_advertised(host, "nic", 9000)
    address = host.sh("ip -6 -o addr show dev nic to fd77::/64").split()[3]

    # looked at by the real search: an advertised address blocks nothing
    host.sh("ip addr del 10.0.0.3/24 dev nic")
    host.up(holders=None)

    assert address in host.sh("ip -6 -o addr show dev vhost0")
    assert "fd77" not in host.sh("ip -6 addr show dev nic")
    _until_advertised(host, "vhost0", 20000)
    shown = host.sh("ip -6 -o addr show dev vhost0 to fd77::/64")
    assert shown.count("fd77::") == 1 and address in shown
    assert "default via fe80::99 dev vhost0" in host.sh("ip -6 route")

    host.down()
    assert address in host.sh("ip -6 -o addr show dev nic")
    assert _lifetime(host, "nic") > 19000
    _until_advertised(host, "nic", 30000)


def _until_advertised(host: Host, device: str, valid: int) -> None:
    def renewed() -> bool:
        _advertise(host, valid)
        return valid - 100 < _lifetime(host, device) <= valid

    wait_until(renewed)


def test_jumbo_frames_pass_whole(loaded_host: Host) -> None:
    with loaded_host.wired(mtu=9000):
        loaded_host.there("ip link set far mtu 9000")
        loaded_host.up()
        assert "mtu 9000" in loaded_host.sh("ip link show vhost0")
        assert " 0% packet loss" in loaded_host.sh("ping -c 2 -M do -s 8972 10.0.0.2")
        assert " 0% packet loss" in loaded_host.sh("ping -6 -c 2 -M do -s 8952 fd00::2")


def test_the_host_routes_between_vhost0_and_another_device(host: Host) -> None:
    host.sh("sysctl -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
    third = f"{host.neighbour}-l"
    netns.create(third)
    try:
        with netns.enter(host.name), Netlink() as links:
            links.add_veth("lan", "lan", peer_netns=str(netns.path(third)))
            # a router asks for neighbours by its link-local address
            for device in ("nic", "lan"):
                netns.sysctl(f"net/ipv6/conf/{device}/addr_gen_mode", 0)
            links.up("lan")
        for command in ("ip addr add 10.5.0.1/24 dev lan", "ip addr add fd05::1/64 dev lan nodad"):
            host.sh(command)
        for command in (
            "ip addr add 10.5.0.2/24 dev lan",
            "ip addr add fd05::2/64 dev lan nodad",
            "ip link set lan up",
            "ip route add default via 10.5.0.1",
            "ip -6 route add default via fd05::1",
        ):
            subprocess.run(["ip", "netns", "exec", third, *command.split()], check=True)
        host.there("ip route add 10.5.0.0/24 via 10.0.0.1")
        host.there("ip -6 route add fd05::/64 via fd00::1")
        host.up()
        assert " 0% packet loss" in host.there("ping -c 3 -i 0.05 10.5.0.2")
        # until the new device's link-local address has passed its duplicate detection
        wait_until(lambda: " 0% packet loss" in host.there("ping -6 -c 1 -W 1 fd05::2"))
        assert _bulk(third, host.neighbour, "10.0.0.2") > 20e6
    finally:
        host.sh("sysctl -w net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0")
        with netns.enter(host.name), Netlink() as links:
            links.delete("lan")
        netns.delete(third)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_bulk_tcp_of_the_host_passes_both_ways(host: Host, family: socket.AddressFamily) -> None:
    four = family == socket.AF_INET
    host.up()
    assert _bulk(host.name, host.neighbour, "10.0.0.2" if four else "fd00::2") > 20e6
    assert _bulk(host.neighbour, host.name, "10.0.0.1" if four else "fd00::1") > 20e6


def _bulk(source: str, target: str, address: str, size: int = 64 << 20) -> float:
    """Bytes a second of one TCP connection over `size` bytes, all of which must arrive."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    arrived = 0
    with netns.enter(target):
        listener = socket.create_server((address, 5201), family=family)
    with netns.enter(source):
        sender = socket.socket(family, socket.SOCK_STREAM)

    def receive() -> None:
        nonlocal arrived
        connection, _ = listener.accept()
        with connection:
            while data := connection.recv(1 << 20):
                arrived += len(data)

    thread = threading.Thread(target=receive)
    thread.start()
    with listener, sender:
        sender.settimeout(60)
        sender.connect((address, 5201))
        start = time.monotonic()
        sender.sendall(bytes(size))
        sender.shutdown(socket.SHUT_WR)
        thread.join(60)
    assert arrived == size
    return size / (time.monotonic() - start)


def test_a_capture_shows_self_traffic_both_ways_and_its_offloads_are_told(host: Host) -> None:
    host.up()
    seen: set[int] = set()
    with netns.enter(host.name):
        capture = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        capture.bind(("vhost0", 3))
        capture.settimeout(10)
    with capture:
        host.sh("ping -c 1 10.0.0.2")
        while seen != {0, 4}:  # PACKET_HOST, PACKET_OUTGOING
            frame, source = capture.recvfrom(200)
            if frame[23:24] == b"\1":
                seen.add(source[2])
    flags = host.sh("ethtool -k vhost0")
    assert "tx-checksumming: on" in flags and "tcp-segmentation-offload: on" in flags


@pytest.mark.parametrize("plain", [False, True])
def test_tc_is_told_as_the_nic_has_it_and_bulk_passes_either_way(host: Host, plain: bool) -> None:
    for name, device in ((host.name, "nic"), (host.neighbour, "far")):
        with netns.enter(name):
            if plain:
                offload.make_plain(device)
    host.up()
    with DpCore.open(host.instance) as core:
        vif = core.vifs.by_name("nic")
        assert vif is not None and bool(vif.flags & VifFlag.TX_CSUM) is not plain
    # a plain NIC gets whole checksums and packets of its own MTU, made behind dp-core
    assert _bulk(host.name, host.neighbour, "10.0.0.2", 16 << 20) > 1e6
    assert _bulk(host.neighbour, host.name, "10.0.0.1", 16 << 20) > 1e6


def test_transit_traffic_is_not_seen_on_vhost0(shared_lab: Callable[[str, str], Lab]) -> None:
    lab = shared_lab("vxlan", "l2")
    seen: dict[str, int] = {"vhost0": 0, NIC: 0}
    captures = {}
    with netns.enter(lab.netns("h1")):
        for device in seen:
            captures[device] = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            captures[device].bind((device, 3))
            captures[device].setblocking(False)
    with netns.enter(lab.netns("vm1")):
        command = ["ping", "-c", "5", "-i", "0.02", lab.vm("vm3").ip]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "5 received" in done.stdout
    for device, capture in captures.items():
        with capture, contextlib.suppress(BlockingIOError):
            while True:
                frame = capture.recv(200)
                seen[device] += frame[23:24] == b"\x11"  # UDP: the tunnel
    assert seen["vhost0"] == 0 and seen[NIC] >= 10
