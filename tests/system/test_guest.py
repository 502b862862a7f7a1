# SPDX-License-Identifier: Apache-2.0
"""A real VM behind a tap: it talks across two hosts, and its virtio NIC's large packets stay whole."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import pytest

from tests.system.guest import Guest
from tests.system.helpers import MakeLab
from vrouter.dpcore.names import VifType
from vrouter.dpcore.records import Vif
from vrouter.host import netns, ports
from vrouter.host.netlink import Netlink
from vrouter.lab import proof
from vrouter.lab.topology import ROUTER_MAC, Lab, mac_bytes

TAP = "tap-guest"
PORT = 7000
SIZE = 20_000_000  # bytes
WHOLE = 5000  # bytes: the least that the mean packet may have


@pytest.fixture(scope="module")
def lab(make_lab: MakeLab) -> Lab:
    return make_lab()


@pytest.fixture(scope="module")
def guest(lab: Lab) -> Iterator[Guest]:
    """vm2 of the lab, but a real one, on a tap instead of vm2's veth."""
    vm = lab.vm("vm2")
    with netns.enter(lab.netns("h1")):
        ports.make_tap(TAP, mtu=1400)
    with proof.open_host(lab, "h1") as core, netns.enter(lab.netns("h1")):
        old = core.vifs.by_name(vm.tap)
        assert old is not None
        core.vifs.delete(old.idx)
        with Netlink() as links:
            links.set(links.need(vm.tap), state="down")
            link = links.need(TAP)
        core.vifs.add(
            Vif(
                idx=old.idx, name=TAP, type=VifType.VIRTUAL, vrf=old.vrf, mac=ROUTER_MAC,
                nh_id=old.nh_id, ip=old.ip, os_ifindex=link.ifindex, ifindex=link.ifindex,
            )
        )  # fmt: skip
    with Guest(lab.netns("h1"), TAP, vm.mac) as made:
        made.run(f"ip addr add {vm.ip}/24 dev eth0; ip link set eth0 mtu 1400 up")
        yield made


def test_it_reaches_vms_on_both_hosts(lab: Lab, guest: Guest) -> None:
    assert mac_bytes(lab.vm("vm2").mac).hex(":") in guest.run("ip link show eth0")
    for name in ("vm1", "vm3"):
        assert "2 packets received" in guest.run(f"ping -c 2 {lab.vm(name).ip}")


def test_large_packets_of_the_guest_stay_whole(lab: Lab, guest: Guest) -> None:
    guest.run(f"head -c {SIZE} /dev/zero > /tmp/data && httpd -p {PORT} -h /tmp")
    with netns.enter(lab.netns("vm3")), counted(lab) as seen:
        peer = socket.create_connection((lab.vm("vm2").ip, PORT), 30)
        with peer:
            peer.sendall(b"GET /data HTTP/1.0\r\n\r\n")
            got = sum(map(len, iter(lambda: peer.recv(1 << 20), b"")))
    assert got > SIZE
    assert seen["rx_bytes"] / seen["rx_packets"] > WHOLE, seen


def test_large_packets_to_the_guest_stay_whole(lab: Lab, guest: Guest) -> None:
    far = lab.vm("vm3")
    with netns.enter(lab.netns("vm3")):
        listening = socket.create_server((far.ip, PORT))
    with listening, ThreadPoolExecutor(1) as pool, counted(lab) as seen:
        sent = pool.submit(_give, listening)
        assert int(guest.run(f"nc {far.ip} {PORT} | wc -c")) == SIZE
        sent.result(10)
    assert seen["tx_bytes"] / seen["tx_packets"] > WHOLE, seen


def _give(listening: socket.socket) -> None:
    peer, _ = listening.accept()
    with peer:
        peer.sendall(bytes(SIZE))


@contextlib.contextmanager
def counted(lab: Lab) -> Iterator[dict[str, int]]:
    """What the guest's vif counts inside the block; filled when it is left."""
    seen: dict[str, int] = {}
    with proof.open_host(lab, "h1") as core:
        vif = core.vifs.by_name(TAP)
        assert vif is not None
        before = asdict(core.vifs.stats(vif.idx))
        yield seen
        after = asdict(core.vifs.stats(vif.idx))
    seen |= {name: after[name] - before[name] for name in after}
