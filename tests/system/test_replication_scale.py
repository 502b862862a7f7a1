# SPDX-License-Identifier: Apache-2.0
"""Broadcast in a large network: 1,000 local vifs and 200 hosts, every receiver's own count.

The kernel keeps what veths are given in one backlog per CPU, of 1,000 packets by default for
the whole machine: the test raises it in the initial namespace, and puts it back.
"""

from __future__ import annotations

import json
import struct
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from tests.system.frames import Tap, ethernet, udp
from tests.system.topology import BROADCAST, ROUTER_MAC, TUNNEL_FLAG, Host, World, run_in
from vrouter.dpcore.names import DropReason, Family, NhFlag, NhType, VifFlag, VifType
from vrouter.dpcore.records import Member, Vif
from vrouter.host import netns
from vrouter.host.netlink import Netlink

LOCALS, REMOTES, FRAMES, VRF = 1000, 200, 3, 1
BACKLOG = Path("/proc/sys/net/core/netdev_max_backlog")
ENCAPS = ("vxlan", "mplsoudp", "mplsogre")
OUTER = {"vxlan": 4789, "mplsoudp": 6635}


@contextmanager
def backlog(packets: int) -> Iterator[None]:
    """A larger backlog inside the block; the sysctl is the machine's, not a namespace's."""
    before = BACKLOG.read_text()
    BACKLOG.write_text(str(packets))
    try:
        yield
    finally:
        BACKLOG.write_text(before)


def plug_in_locals(host: Host, space: str) -> list[int]:
    """1,000 vifs whose far ends are the devices g0 ... of namespace `space`; their nexthops."""
    lines = [
        f"link add t{n} type veth peer name g{n} netns {space}\nlink set t{n} up"
        for n in range(LOCALS)
    ]
    batch(host.netns, lines)
    batch(space, [f"link set g{n} up" for n in range(LOCALS)])
    nexthops = []
    with netns.enter(host.netns), Netlink() as links, host.core.lock():
        for number in range(LOCALS):
            link = links.need(f"t{number}")
            vif = host.core.vifs.add(
                Vif(
                    idx=host.core.vifs.free_idx(link.ifindex),
                    name=link.name,
                    type=VifType.VIRTUAL,
                    vrf=VRF,
                    mac=ROUTER_MAC,
                    flags=VifFlag.L2 | VifFlag.L3,
                    os_ifindex=link.ifindex,
                    ifindex=link.ifindex,
                    peer=True,
                )
            )
            nexthops.append(host.put(type=NhType.ENCAP, family=Family.BRIDGE, vrf=VRF, oif=vif.idx))
    return nexthops


def batch(space: str, lines: list[str]) -> None:
    """`ip -batch` in a namespace."""
    path = Path(f"/tmp/{space}.batch")
    path.write_text("\n".join(lines) + "\n")
    try:
        run_in(space, f"ip -batch {path}", timeout=120)
    finally:
        path.unlink()


def received(space: str) -> Counter[str]:
    """What each receiver has counted."""
    links = json.loads(run_in(space, "ip -j -s link show"))
    return Counter(
        {one["ifname"]: one["stats64"]["rx"]["packets"] for one in links if one["ifname"] != "lo"}
    )


def far_host(number: int) -> tuple[str, bytes]:
    """Address and MAC of a host that is only on paper."""
    return f"172.29.1.{number}", bytes((2, 0, 0, 1, 0, number))


def members(host: Host) -> list[Member]:
    """200 tunnels of three kinds."""
    found = []
    for number in range(REMOTES):
        ip, mac = far_host(number)
        kind = NhFlag.VALID | TUNNEL_FLAG[ENCAPS[number % 3]]
        tunnel = host.put(
            type=NhType.TUNNEL,
            flags=kind,
            oif=host.nic,
            sip=IPv4Address(host.ip),
            dip=IPv4Address(ip),
            rewrite=mac + host.mac + b"\x08\x00",
        )
        found.append(Member(nh=tunnel, label=5000 + number))
    return found


def on_the_wire(frames: list[tuple[str, bytes]]) -> Counter[tuple[str, str]]:
    """How often each far host, and by which encapsulation, was sent a copy."""
    seen: Counter[tuple[str, str]] = Counter()
    names = {port: name for name, port in OUTER.items()}
    for device, data in frames:
        # the bridge shows what its port received a second time
        if device != "p1" or data[12:14] != b"\x08\x00" or data[30:33] != bytes((172, 29, 1)):
            continue
        kind = "mplsogre" if data[23] == 47 else names[struct.unpack_from("!H", data, 36)[0]]
        seen[str(IPv4Address(data[30:34])), kind] += 1
    return seen


@pytest.mark.timeout(300)
def test_a_thousand_vifs_and_two_hundred_hosts() -> None:
    with World() as world, backlog(20 * LOCALS):
        host = world.host()
        space = world.namespace("many")
        nexthops = plug_in_locals(host, space)
        tops = [
            host._composite(NhFlag.COMPOSITE_ENCAP, VRF, tuple(Member(nh=n) for n in nexthops)),
            host._composite(NhFlag.COMPOSITE_EVPN, VRF, tuple(members(host))),
        ]
        top = host._composite(NhFlag.MULTICAST, VRF, tuple(Member(nh=n) for n in tops))
        host.core.bridge.put(VRF, BROADCAST, top)
        before, drops = received(space), host.core.stats.drops()
        body = udp("10.1.0.1", "10.1.0.255", 1, 2, b"to all of them")
        with Tap(world.fabric, "p1") as wire, Tap(space, "g0") as sender:
            for _ in range(FRAMES):
                sender.send(ethernet(BROADCAST, bytes((2, 0, 10, 1, 0, 1)), 0x0800, body))
                time.sleep(0.3)
            moved = wait_for(space, before)
            wanted = Counter({f"g{n}": FRAMES for n in range(1, LOCALS)})
            assert moved == wanted
            seen = on_the_wire(wire.read())
            assert wire.lost() == 0
        far = [(far_host(n)[0], ENCAPS[n % 3]) for n in range(REMOTES)]
        assert seen == Counter(dict.fromkeys(far, FRAMES))
        lost = {
            DropReason(reason) for reason, n in host.core.stats.drops().items() if n > drops[reason]
        }
        assert lost == {DropReason.CLONED_ORIGINAL}


def wait_for(space: str, before: Counter[str]) -> Counter[str]:
    """What the receivers have counted since, once all is there."""
    deadline = time.monotonic() + 10
    while True:
        moved = received(space) - before
        if sum(moved.values()) >= FRAMES * (LOCALS - 1) or time.monotonic() > deadline:
            return moved
        time.sleep(0.2)
