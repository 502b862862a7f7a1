# SPDX-License-Identifier: Apache-2.0
"""Drops that only real netdevices make happen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.frames import ETH_IPV4, ETH_LOCAL, Tap, ethernet, udp
from tests.system.helpers import wait_until
from tests.system.topology import BROADCAST, Host, World, run_in
from vrouter.dpcore.names import DropReason

VRF, LABEL = 1, 77
FAR = bytes((2, 0, 10, 1, 0, 77))
HUGE, LARGE = 60_000, 20_000  # an MTU; more than BPF_SKB_MAX_LEN, 16 kB, to which a packet may grow


@pytest.fixture
def host() -> Iterator[Host]:
    with World() as world:
        yield world.host()


def test_no_room_for_an_outer_header(host: Host) -> None:
    """The kernel refuses to lengthen a packet of 20 kB, which all devices would take."""
    guest = host.guest(VRF, 1)
    tunnel = host.tunnel("172.29.0.99", bytes((2, 0, 0, 0, 9, 99)), "mplsoudp")
    host.core.bridge.put(VRF, FAR, tunnel, LABEL)
    for space, device in ((host.netns, "eth0"), (host.netns, "tap1-1"), (guest.netns, "eth0")):
        run_in(space, f"ip link set {device} mtu {HUGE}")
    old = host.core.stats.drops()
    with Tap(guest.netns) as out:
        for length in (1000, LARGE):
            body = udp(guest.ip, "10.1.0.77", 1, 2, bytes(length))
            out.send(ethernet(FAR, guest.mac, ETH_IPV4, body))
    wait_until(lambda: host.core.stats.drops() != old)
    new = host.core.stats.drops()
    assert {one: new[one] - old[one] for one in new if new[one] != old[one]} == {DropReason.PUSH: 1}
    assert host.core.vifs.drops(guest.vif)[DropReason.PUSH] == 1


def test_a_device_that_refuses_a_copy(host: Host) -> None:
    """One of three receivers is down: the others get theirs, and the loss is counted."""
    guests = [host.guest(VRF, number) for number in (1, 2, 3)]
    host.flood(VRF, guests, [])
    run_in(host.netns, "ip link set tap1-2 down")
    sender, lost, third = guests
    with Tap(sender.netns) as out, Tap(third.netns) as there:
        out.send(ethernet(BROADCAST, sender.mac, ETH_LOCAL, b"to everybody"))
        wait_until(lambda: any(b"to everybody" in frame for _, frame in there.read()))
    drops = host.core.vifs.drops(sender.vif)
    assert {DropReason(one): count for one, count in drops.items() if count} == {
        DropReason.INTERFACE_TX_DISCARD: 1,
        DropReason.CLONED_ORIGINAL: 1,
    }
    assert host.core.vifs.stats(lost.vif).tx_packets == 0
    assert host.core.vifs.stats(third.vif).tx_packets == 1


def test_a_device_that_is_gone(host: Host) -> None:
    """What is known to lead there, short or long, and what is for all: each loss is counted."""
    guests = [host.guest(VRF, number) for number in (1, 2, 3)]
    host.flood(VRF, guests, [])
    run_in(host.netns, "ip link del tap1-2")
    sender, gone, third = guests
    with Tap(sender.netns) as out, Tap(third.netns) as there:
        for length in (1, 1000):
            body = udp(sender.ip, gone.ip, 1, 2, bytes(length))
            out.send(ethernet(gone.mac, sender.mac, ETH_IPV4, body))
        out.send(ethernet(BROADCAST, sender.mac, ETH_LOCAL, b"to everybody"))
        wait_until(lambda: any(b"to everybody" in frame for _, frame in there.read()))
    drops = host.core.vifs.drops(sender.vif)
    assert {DropReason(one): count for one, count in drops.items() if count} == {
        DropReason.INTERFACE_DROP: 3,
        DropReason.CLONED_ORIGINAL: 1,
    }
    assert host.core.vifs.stats(gone.vif).tx_packets == 0
