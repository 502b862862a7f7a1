# SPDX-License-Identifier: Apache-2.0
"""Ports with real guests: who may speak, parts of a vif, traps with their limit, learning."""

from __future__ import annotations

import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network

import pytest

from tests.system import frames
from tests.system.frames import ETH_IPV4, ETH_LOCAL, Tap, ethernet, read_until
from tests.system.topology import BROADCAST, ROUTER_MAC, Guest, Host, World, run_in
from vrouter.dpcore.names import (
    BridgeFlag,
    DropReason,
    Family,
    NhType,
    TrapReason,
    VifFlag,
    VifType,
)
from vrouter.dpcore.records import Source, Vif
from vrouter.host import netns
from vrouter.host.netlink import Netlink

BLUE, RED = 1, 2
MARKER = b"the end of the test"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World() as one:
        yield one


@pytest.fixture(scope="module")
def host(world: World) -> Host:
    return world.host()


@pytest.fixture(scope="module")
def guests(host: Host) -> tuple[Guest, Guest, Guest]:
    """a and b in blue, c in red."""
    found = host.guest(BLUE, 1), host.guest(BLUE, 2), host.guest(RED, 3)
    host.flood(BLUE, list(found[:2]), [])
    return found


@pytest.fixture(scope="module")
def agent(host: Host) -> Iterator[Tap]:
    """What an agent would read."""
    with netns.enter(host.netns), Netlink() as links:
        links.add_veth("pkt0", "pkt0r")
        for device in ("pkt0", "pkt0r"):
            links.up(device)
        link = links.need("pkt0")
        number = link.ifindex
        host.core.vifs.add(
            Vif(
                idx=host.core.vifs.free_idx(number),
                name="pkt0",
                type=VifType.AGENT,
                vrf=65535,
                mac=ROUTER_MAC,
                os_ifindex=number,
                ifindex=number,
            )
        )
    with Tap(host.netns, "pkt0r") as tap:
        yield tap


def pings(guest: Guest, target: str, source: str = "") -> bool:
    """Whether one of two pings is answered."""
    command = ["ping", "-c", "2", "-i", "0.1", "-W", "0.3", *(["-I", source] if source else [])]
    with netns.enter(guest.netns):
        return subprocess.run([*command, target], capture_output=True, check=False).returncode == 0


def drops(host: Host, guest: Guest, reason: DropReason) -> int:
    return host.core.vifs.drops(guest.vif)[reason]


def set_flags(host: Host, guest: Guest, flags: VifFlag) -> None:
    vif = host.core.vifs.get(guest.vif)
    assert vif is not None
    host.core.vifs.change(replace(vif, flags=vif.flags | flags))


def test_a_guest_speaks_with_its_own_address_only(
    host: Host, guests: tuple[Guest, Guest, Guest]
) -> None:
    one, two, _ = guests
    assert pings(one, two.ip)
    host.core.vifs.set_sources(one.vif, [Source(mac=one.mac, prefix=ip_network(one.ip))])
    run_in(one.netns, "ip neigh flush all")
    assert pings(one, two.ip)
    # an address that was not given to it: neither ARP for it nor packets from it are heard
    run_in(one.netns, "ip address add 10.1.0.77/24 dev eth0")
    run_in(two.netns, "ip neigh flush all")
    assert not pings(one, two.ip, "10.1.0.77")
    assert drops(host, one, DropReason.SOURCE_ADDRESS)
    assert not pings(two, "10.1.0.77")
    assert drops(host, one, DropReason.SOURCE_ARP)
    host.core.vifs.set_sources(one.vif, [Source(mac=one.mac, prefix=ip_network("10.1.0.0/24"))])
    for guest in (one, two):  # nobody asks again for what has failed just now
        run_in(guest.netns, "ip neigh flush all")
    assert pings(one, two.ip, "10.1.0.77") and pings(two, "10.1.0.77")
    # its MAC
    run_in(one.netns, "ip link set eth0 address 02:de:ad:00:00:01")
    assert not pings(one, two.ip)
    assert drops(host, one, DropReason.SOURCE_MAC)
    host.core.vifs.set_sources(one.vif, None)
    run_in(one.netns, f"ip link set eth0 address {one.mac.hex(':')}")
    run_in(one.netns, "ip address del 10.1.0.77/24 dev eth0")


def test_a_guest_is_no_dhcp_server(host: Host, guests: tuple[Guest, Guest, Guest]) -> None:
    one, two, _ = guests
    host.core.vifs.set_sources(one.vif, [Source(mac=one.mac, prefix=ip_network("0.0.0.0/0"))])
    offer = frames.udp(one.ip, two.ip, 67, 68, b"an offer of another world")
    with Tap(two.netns) as heard, Tap(one.netns) as speaker:
        speaker.send(ethernet(two.mac, one.mac, ETH_IPV4, offer))
        speaker.send(ethernet(two.mac, one.mac, ETH_LOCAL, MARKER))
        got = read_until([heard], MARKER, 1)[heard]
    assert not any(b"another world" in data for _, data in got)
    assert drops(host, one, DropReason.DHCP_SERVER) == 1
    host.core.vifs.set_sources(one.vif, None)


def test_parts_of_a_vif_are_ports_of_their_own(
    host: Host, guests: tuple[Guest, Guest, Guest]
) -> None:
    """The first guest's VLAN 100 is in the network of the third, and comes back as VLAN 101."""
    one, two, three = guests
    parent = host.core.vifs.get(one.vif)
    assert parent is not None
    with netns.enter(host.netns):
        part = host.core.vifs.add(
            Vif(
                idx=host.core.vifs.free_idx(-1),
                name="part",
                type=VifType.VIRTUAL_VLAN,
                vrf=RED,
                mac=ROUTER_MAC,
                ifindex=parent.ifindex,
                os_ifindex=parent.os_ifindex,
                parent=parent.idx,
                vlan=100,
                ovlan=101,
            )
        )
    nexthop = host.put(type=NhType.ENCAP, family=Family.BRIDGE, vrf=RED, oif=part.idx)
    host.core.bridge.put(RED, one.mac, nexthop)
    plain = ethernet(three.mac, one.mac, ETH_LOCAL, b"from VLAN 100")
    tagged = plain[:12] + struct.pack("!HH", 0x8100, 100) + plain[12:]
    with Tap(one.netns) as first, Tap(two.netns) as second, Tap(three.netns) as third:
        first.send(tagged)
        got = read_until([third], b"from VLAN 100", 1)[third]
        assert [data for _, data in got if b"from VLAN" in data] == [plain]
        back = ethernet(one.mac, three.mac, ETH_LOCAL, b"back to its VLAN")
        third.send(back)
        tags = [(tag, data) for tag, data in first.read_tags() if b"back to" in data]
        assert len(tags) == 1 and tags[0][0] == 101 and tags[0][1][:14] == back[:14]
        assert not any(b"VLAN" in data for _, data in second.read())
    stats = host.core.vifs.stats(part.idx)
    assert (stats.rx_packets, stats.tx_packets) == (1, 1)
    # untagged it is the guest that it was
    assert pings(one, two.ip)
    with netns.enter(host.netns):
        host.core.vifs.delete(part.idx)


def test_traps_are_limited_and_forwarding_is_not(
    host: Host, guests: tuple[Guest, Guest, Guest], agent: Tap
) -> None:
    one, two, _ = guests
    set_flags(host, one, VifFlag.DHCP)
    host.core.config.set(trap_rate=50)
    request = frames.udp("0.0.0.0", "255.255.255.255", 68, 67, b"an address, please")
    before = drops(host, one, DropReason.TRAP_LIMIT)
    start = time.monotonic()
    with Tap(one.netns) as speaker:
        for _ in range(200):
            speaker.send(ethernet(BROADCAST, one.mac, ETH_IPV4, request))
    span = time.monotonic() - start
    time.sleep(0.2)
    got = [data for _, data in agent.read() if b"please" in data]
    assert 5 <= len(got) <= 6 + 50 * (span + 0.1)
    assert drops(host, one, DropReason.TRAP_LIMIT) - before == 200 - len(got)
    assert all(struct.unpack_from("!H", data, 18)[0] == TrapReason.L3_PROTOCOLS for data in got)
    assert pings(one, two.ip)
    host.core.config.set(trap_rate=1000)


def test_a_new_mac_is_told_once(host: Host, guests: tuple[Guest, Guest, Guest], agent: Tap) -> None:
    one, two, _ = guests
    set_flags(host, two, VifFlag.MAC_LEARN)
    stranger = bytes.fromhex("02aa00000001")
    time.sleep(0.2)
    agent.read()
    with Tap(two.netns) as speaker:
        for _ in range(5):
            speaker.send(ethernet(one.mac, stranger, ETH_LOCAL, b"hello"))
        time.sleep(0.2)
        told = [data for _, data in agent.read() if b"hello" in data]
        assert len(told) == 1
        vif, vrf, reason, index = struct.unpack_from("!HHHI", told[0], 14)
        assert (vif, vrf, reason) == (two.vif, BLUE, TrapReason.MAC_LEARN)
        entry = host.core.bridge.by_index(index)
        assert entry is not None and entry.mac == stranger
        assert entry.flags & BridgeFlag.MAC_NEW
        # the agent places it; then it speaks from elsewhere
        host.core.bridge.put(BLUE, stranger, one.nh)
        speaker.send(ethernet(one.mac, stranger, ETH_LOCAL, b"moved"))
        speaker.send(ethernet(one.mac, stranger, ETH_LOCAL, b"moved"))
        time.sleep(0.2)
        told = [data for _, data in agent.read() if b"moved" in data]
    assert [struct.unpack_from("!HI", data, 18) for data in told] == [(TrapReason.MAC_MOVE, index)]
