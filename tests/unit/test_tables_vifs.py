# SPDX-License-Identifier: Apache-2.0
"""The vif table over real maps and real netdevices."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any

import pytest
from tests.unit.table_fixtures import core, ip, needs_root, new_netns, veth, vif_of

from vrouter.dpcore import link
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.errors import BadValue, DeviceError, NoSuchEntry, Refused
from vrouter.dpcore.names import VRF_NONE, VifFeature, VifFlag, VifTransport, VifType
from vrouter.dpcore.records import Source, Vif, VifStats

__all__ = ["core"]
pytestmark = needs_root

X = VifFlag.XCONNECT
BOTH = VifFlag.L2 | VifFlag.L3
PHYSICAL = VifFlag.VHOST_PHYS


@pytest.fixture
def fresh(core: DpCore) -> Iterator[DpCore]:
    """The module's dp-core; no vif and no netdevice is left behind."""
    yield core
    for vif in sorted(core.vifs.items(), key=lambda vif: vif.type):  # Host comes first
        core.vifs.delete(vif.idx)
    for _, device in socket.if_nameindex():
        if device != "lo" and not device.endswith("p"):
            ip(f"link del {device}")


def flags_of(core: DpCore, idx: int) -> VifFlag:
    vif = core.vifs.get(idx)
    assert vif is not None
    return vif.flags & ~VifFlag.TX_CSUM


def uplink(core: DpCore) -> tuple[Vif, Vif]:
    """A physical vif 2 and a Host vif 3 on top of it."""
    physical = core.vifs.add(vif_of(veth("phys"), 2, VifType.PHYSICAL, flags=PHYSICAL))
    host = core.vifs.add(vif_of(veth("vhost"), 3, VifType.HOST, xconnect=2))
    return physical, host


def test_what_is_added_is_read(fresh: DpCore) -> None:
    vif = vif_of(
        veth("tap1"),
        100,
        vrf=3,
        nh_id=9,
        ip=IPv4Address("10.0.0.1"),
        ip6=IPv6Address("2001:db8::1"),
        mcast_vrf=4,
        qos=-1,
        transport=VifTransport.VIRTUAL,
        peer=True,
        mtu=9160,
        flags=VifFlag.L3 | VifFlag.DHCP,
    )
    added = fresh.vifs.add(vif)
    assert replace(added, flags=added.flags & ~VifFlag.TX_CSUM) == vif
    assert fresh.vifs.get(100) == added
    assert fresh.vifs.by_name("tap1") == added
    assert fresh.vifs.by_ifindex(vif.ifindex) == added
    assert list(fresh.vifs.items()) == [added]
    assert fresh.vifs.is_attached(100)
    assert fresh.vifs.stats(100) == VifStats()
    assert list(fresh.vifs.drops(100)) == list(range(96))
    assert fresh.vifs.by_name("tap2") is None
    assert fresh.vifs.get(101) is None
    assert fresh.vifs.get(-1) is None
    assert fresh.vifs.by_ifindex(1 << 20) is None


def test_delete_leaves_nothing(fresh: DpCore) -> None:
    vif = fresh.vifs.add(vif_of(veth("tap1"), 5))
    fresh.vifs.delete(5)
    assert fresh.vifs.get(5) is None
    assert fresh.vifs.by_ifindex(vif.ifindex) is None
    assert list(link.links(fresh.instance.link_dir)) == []
    for ask in (fresh.vifs.delete, fresh.vifs.stats, fresh.vifs.drops, fresh.vifs.clear_stats):
        with pytest.raises(NoSuchEntry, match="vif0/5"):
            ask(5)
    assert fresh._home.lost_slots("vif_retire", set()) == []
    assert fresh.vifs.add(vif).idx == 5


def test_numbers_for_those_who_ask_for_none(fresh: DpCore) -> None:
    assert fresh.vifs.free_idx(16) == 16
    assert fresh.vifs.free_idx(4350) == 0
    fresh.vifs.add(vif_of(veth("tap1"), 16))
    assert fresh.vifs.free_idx(16) == 0
    fresh.vifs.add(vif_of(veth("tap2"), 0))
    assert fresh.vifs.free_idx(100_000) == 1


def test_neither_l2_nor_l3_is_both(fresh: DpCore) -> None:
    vif = fresh.vifs.add(vif_of(veth("tap1"), 5))
    assert flags_of(fresh, 5) == BOTH
    fresh.vifs.change(replace(vif, flags=VifFlag.L2 | VifFlag.POLICY))
    assert flags_of(fresh, 5) == VifFlag.L2 | VifFlag.POLICY
    fresh.vifs.change(replace(vif, flags=VifFlag(0)))
    assert flags_of(fresh, 5) == BOTH


def test_flags_of_the_data_plane_are_its_own(fresh: DpCore) -> None:
    device = veth("tap1")
    vif = fresh.vifs.add(vif_of(device, 5, flags=VifFlag.GRO_NEEDED | VifFlag.L3))
    assert not vif.flags & VifFlag.GRO_NEEDED
    assert vif.flags & VifFlag.TX_CSUM  # a veth has it on
    changed = fresh.vifs.change(replace(vif, flags=VifFlag.L3 | VifFlag.VLAN_OFFLOAD))
    assert changed.flags == VifFlag.L3 | VifFlag.TX_CSUM


def test_a_physical_waits_for_its_host(fresh: DpCore) -> None:
    physical = fresh.vifs.add(vif_of(veth("phys"), 2, VifType.PHYSICAL, flags=PHYSICAL))
    assert not fresh.vifs.is_attached(2)
    assert not physical.flags & X
    fresh.vifs.add(vif_of(veth("vhost"), 3, VifType.HOST, xconnect=2))
    assert fresh.vifs.is_attached(2)
    assert fresh.vifs.is_attached(3)
    assert flags_of(fresh, 2) == BOTH | PHYSICAL | X
    assert flags_of(fresh, 3) == BOTH | X
    found = fresh.vifs.get(2)
    assert found is not None
    assert found.xconnect == 3


def test_a_plain_physical_is_attached_at_once(fresh: DpCore) -> None:
    fresh.vifs.add(vif_of(veth("phys"), 2, VifType.PHYSICAL))
    assert fresh.vifs.is_attached(2)


def test_a_change_without_x_takes_it_away(fresh: DpCore) -> None:
    physical, host = uplink(fresh)
    changed = fresh.vifs.change(replace(physical, flags=VifFlag.L3))
    assert not changed.flags & X
    assert changed.xconnect == 3
    changed = fresh.vifs.change(replace(host, flags=VifFlag.L3, xconnect=None))
    assert changed.xconnect == 2


def test_the_agent_takes_x_away_for_good(fresh: DpCore) -> None:
    uplink(fresh)
    fresh.vifs.add(vif_of(veth("pkt0"), 4, VifType.AGENT, vrf=VRF_NONE))
    assert fresh.config.get().agent_vif == 4
    assert not flags_of(fresh, 2) & X
    assert not flags_of(fresh, 3) & X
    with pytest.raises(Refused, match="vif0/4 is the Agent vif"):
        fresh.vifs.add(vif_of(veth("pkt9"), 9, VifType.AGENT))
    fresh.vifs.delete(4)
    assert fresh.config.get().agent_vif is None
    assert not flags_of(fresh, 3) & X


def test_a_host_beside_an_agent_is_not_crossed(fresh: DpCore) -> None:
    fresh.vifs.add(vif_of(veth("pkt0"), 4, VifType.AGENT, vrf=VRF_NONE))
    uplink(fresh)
    assert flags_of(fresh, 2) == BOTH | PHYSICAL
    assert flags_of(fresh, 3) == BOTH
    assert fresh.vifs.is_attached(2)


def test_host_and_physical_go_in_the_right_order(fresh: DpCore) -> None:
    uplink(fresh)
    with pytest.raises(Refused, match=r"phys \(vif0/2\) carries vhost \(vif0/3\)"):
        fresh.vifs.delete(2)
    fresh.vifs.delete(3)
    assert not fresh.vifs.is_attached(2)
    left = fresh.vifs.get(2)
    assert left is not None
    assert (left.xconnect, left.flags & X) == (None, 0)
    fresh.vifs.add(vif_of("vhost", 3, VifType.HOST, xconnect=2))
    assert fresh.vifs.is_attached(2)
    fresh.vifs.delete(3)
    fresh.vifs.delete(2)
    assert list(fresh.vifs.items()) == []


def test_a_failed_host_changes_nothing(fresh: DpCore, monkeypatch: pytest.MonkeyPatch) -> None:
    physical = fresh.vifs.add(vif_of(veth("phys"), 2, VifType.PHYSICAL, flags=PHYSICAL))
    host = vif_of(veth("vhost"), 3, VifType.HOST, xconnect=2)
    attach = fresh.vifs._attach

    def failing(vif: Vif) -> None:
        if vif.idx == 2:
            raise DeviceError("no")
        attach(vif)

    monkeypatch.setattr(fresh.vifs, "_attach", failing)
    with pytest.raises(DeviceError):
        fresh.vifs.add(host)
    assert list(fresh.vifs.items()) == [physical]
    assert not fresh.vifs.is_attached(2)
    assert not fresh.vifs.is_attached(3)
    assert fresh.vifs.by_ifindex(host.ifindex) is None
    monkeypatch.undo()
    fresh.vifs.add(host)
    assert fresh.vifs.is_attached(2)


def test_asked_twice_it_changes_nothing(fresh: DpCore) -> None:
    vif = vif_of(veth("tap1"), 5)
    first = fresh.vifs.add(vif)
    slot = fresh._home.words("vif_index").get(5)
    assert fresh.vifs.add(vif) == first
    assert fresh.vifs.change(first) == first
    assert fresh._home.words("vif_index").get(5) == slot


def test_a_dead_device_gives_its_vif_to_a_new_one(fresh: DpCore) -> None:
    first = fresh.vifs.add(vif_of(veth("tap1"), 5))
    with pytest.raises(Refused, match="vif0/5 is tap1"):
        fresh.vifs.add(vif_of(veth("tap2"), 5))
    ip("link del tap1")
    assert not fresh.vifs.is_attached(5)
    second = fresh.vifs.add(vif_of(veth("tap1"), 5))
    assert second.ifindex != first.ifindex
    assert fresh.vifs.is_attached(5)
    assert fresh.vifs.by_ifindex(first.ifindex) is None


def test_big_ifindexes_have_a_table_of_their_own(fresh: DpCore) -> None:
    ip("link add tap1 index 1000000 type veth peer name tap1p")
    vif = fresh.vifs.add(vif_of("tap1", 5))
    assert fresh.vifs.by_ifindex(1_000_000) == vif
    fresh.vifs.delete(5)
    assert fresh.vifs.by_ifindex(1_000_000) is None
    assert list(fresh._home.hash("vif_by_ifindex_big").items()) == []


@pytest.mark.parametrize(
    ("values", "error", "says"),
    [
        ({"idx": 4352}, BadValue, "vifs are 0 to 4351"),
        ({"vrf": 60000}, BadValue, "--size vrfs=N"),
        ({"mac": b""}, BadValue, "6 bytes"),
        ({"nh_id": 1 << 24}, BadValue, "nexthops"),
        ({"type": VifType.XEN_LL}, Refused, "XEN_LL are not made"),
        ({"type": VifType.VIRTUAL_VLAN}, BadValue, "is part of a Virtual vif"),
        ({"src_macs": (bytes(6),)}, BadValue, "only Virtual VLAN vifs"),
        ({"flags": VifFlag.SERVICE}, Refused, "service chains"),
        ({"vlan": 5}, BadValue, "only Virtual VLAN vifs have one"),
        ({"name": "other"}, DeviceError, "is called tap1, not other"),
        ({"name": "x" * 16}, BadValue, "15 bytes"),
        ({"ifindex": 999}, DeviceError, "no netdevice with index 999"),
        ({"xconnect": 3}, BadValue, "cross-connected"),
        ({"type": VifType.HOST, "xconnect": 3}, Refused, "add the Physical one first"),
        ({"flags": VifFlag(0x80000000)}, BadValue, "no such flag"),
        ({"mtu": 70000}, BadValue, "mtu"),
    ],
)
def test_what_cannot_be_is_refused(
    fresh: DpCore, values: dict[str, Any], error: type[Exception], says: str
) -> None:
    vif = replace(vif_of(veth("tap1"), 5), **values)
    with pytest.raises(error, match=says):
        fresh.vifs.add(vif)
    assert list(fresh.vifs.items()) == []


def test_one_device_is_one_vif(fresh: DpCore) -> None:
    vif = fresh.vifs.add(vif_of(veth("tap1"), 5))
    with pytest.raises(Refused, match="tap1 is vif0/5 already"):
        fresh.vifs.add(replace(vif, idx=6))


@pytest.mark.parametrize(
    "change",
    [
        lambda vif: replace(vif, type=VifType.AGENT),
        lambda vif: replace(vif, name="other"),
        lambda vif: replace(vif, os_ifindex=77),
        lambda vif: replace(vif, ifindex=77),
        lambda vif: replace(vif, xconnect=77),
    ],
)
def test_what_a_change_cannot_do(fresh: DpCore, change: Callable[[Vif], Vif]) -> None:
    vif = fresh.vifs.add(vif_of(veth("tap1"), 5))
    with pytest.raises(Refused):
        fresh.vifs.change(change(vif))
    assert fresh.vifs.get(5) == vif
    with pytest.raises(NoSuchEntry):
        fresh.vifs.change(replace(vif, idx=6))


def test_packets_are_counted_and_cleared(fresh: DpCore) -> None:
    vif = fresh.vifs.add(vif_of(veth("tap1"), 5))
    ip("link set tap1p up")
    ip("link set tap1 up")
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind(("tap1p", 0))
        sock.send(b"\x02" * 12 + b"\x88\xb5" + bytes(46))
    deadline = time.monotonic() + 5
    while not fresh.vifs.stats(5).rx_packets and time.monotonic() < deadline:
        time.sleep(0.01)
    counted = fresh.vifs.stats(5)
    assert counted.rx_packets > 0
    assert counted.rx_bytes >= 60
    assert sum(fresh.vifs.drops(5).values()) > 0
    ip("link set tap1p down")
    fresh.vifs.clear_stats(5)
    assert fresh.vifs.stats(5) == VifStats()
    assert sum(fresh.vifs.drops(5).values()) == 0
    assert fresh.vifs.get(5) == vif


@pytest.mark.skipif(os.sched_getaffinity(0) < {0, 1}, reason="needs the CPUs 0 and 1")
def test_one_cpu_is_cleared_and_the_others_are_not(fresh: DpCore) -> None:
    fresh.vifs.add(vif_of(veth("tap1"), 5))
    fresh.vifs.add(vif_of(veth("tap2"), 6))
    before = os.sched_getaffinity(0)
    for port in ("tap1", "tap2"):
        ip(f"link set {port}p up")
        ip(f"link set {port} up")
        for cpu in (0, 1):  # what a veth sends is received on the same CPU
            os.sched_setaffinity(0, {cpu})
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
                sock.bind((f"{port}p", 0))
                sock.send(b"\x02" * 12 + b"\x88\xb5" + bytes(46))
        os.sched_setaffinity(0, before)
    deadline = time.monotonic() + 5
    while not all(fresh.vifs.stats(idx, core=cpu).rx_packets for idx in (5, 6) for cpu in (0, 1)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    ip("link set tap1p down")
    ip("link set tap2p down")
    kept = {(idx, cpu): fresh.vifs.stats(idx, core=cpu) for idx, cpu in ((5, 0), (6, 0), (6, 1))}
    fresh.vifs.clear_stats(5, core=1)
    assert os.sched_getaffinity(0) == before
    assert fresh.vifs.stats(5, core=1) == VifStats()
    assert kept == {at: fresh.vifs.stats(at[0], core=at[1]) for at in kept}
    with pytest.raises(BadValue, match="has CPUs 0 to"):
        fresh.vifs.clear_stats(5, core=1000)


def test_adding_again_mends_what_a_dead_writer_left(fresh: DpCore) -> None:
    physical, host = uplink(fresh)
    tap = fresh.vifs.add(vif_of(veth("tap1"), 5))
    agent = fresh.vifs.add(vif_of(veth("pkt0"), 4, VifType.AGENT, vrf=VRF_NONE))
    for idx in (2, 3, 5):
        link.detach(fresh.vifs._pin(idx))
    fresh._home.words("vif_by_ifindex").set(tap.ifindex, 0)
    fresh.vifs._write(replace(physical, xconnect=None))
    fresh.config.set(agent_vif=None)
    for vif in (tap, host, agent):
        fresh.vifs.add(vif)
    assert all(fresh.vifs.is_attached(idx) for idx in (2, 3, 4, 5))
    assert fresh.vifs.by_ifindex(tap.ifindex) == fresh.vifs.get(5)
    mended = fresh.vifs.get(2)
    assert mended is not None
    assert mended.xconnect == 3
    assert fresh.config.get().agent_vif == 4


def test_a_vif_of_another_namespace_is_refused(fresh: DpCore) -> None:
    with new_netns():
        vif = vif_of(veth("tap1"), 5)
        with pytest.raises(Refused, match="another network namespace"):
            fresh.vifs.add(vif)
    assert list(fresh.vifs.items()) == []


def part_of(parent: Vif, idx: int, **values: Any) -> Vif:
    """A Virtual VLAN vif of VLAN 100."""
    fields: dict[str, Any] = {
        "name": f"sub{idx}",
        "type": VifType.VIRTUAL_VLAN,
        "ifindex": parent.ifindex,
        "os_ifindex": parent.os_ifindex,
        "parent": parent.idx,
        "vlan": 100,
        "ovlan": 100,
    }
    return Vif(idx=idx, **{**fields, **values})


def test_parts_of_a_vif(fresh: DpCore) -> None:
    """They need no netdevice, are found by VLAN and sender, and go before their parent."""
    vifs = fresh.vifs
    parent = vifs.add(vif_of(veth("tap1"), 5))
    one = vifs.add(part_of(parent, 6))
    assert vifs.get(5).features == VifFeature.SUBVIFS  # type: ignore[union-attr]
    assert vifs.is_attached(6) and vifs.by_ifindex(parent.ifindex) == vifs.get(5)
    with pytest.raises(Refused, match="has VLAN 100 of vif0/5 already"):
        vifs.add(part_of(parent, 7))
    other = vifs.add(part_of(parent, 7, src_macs=(b"\2\0\0\0\0\1", b"\2\0\0\0\0\2")))
    assert vifs.get(7) == other
    with pytest.raises(Refused, match="carries sub6"):
        vifs.delete(5)
    moved = vifs.change(replace(one, vlan=200, vrf=2))
    assert vifs.add(part_of(parent, 8)).vlan == 100 and vifs.get(6) == moved
    for idx in (6, 7, 8):
        vifs.delete(idx)
    assert vifs.get(5) == parent
    vifs.delete(5)
    with pytest.raises(Refused, match="name a Virtual vif"):
        vifs.add(part_of(parent, 6))


def test_sources_of_a_vif(fresh: DpCore) -> None:
    """Each MAC stands alone too; a change of the vif leaves them; they go with it."""
    vifs, mac = fresh.vifs, b"\2\0\0\0\0\1"
    tap = vifs.add(vif_of(veth("tap1"), 5))
    assert vifs.sources(5) is None
    pairs = [Source(mac=mac, prefix=ip_network(one)) for one in ("10.0.0.0/8", "fd00::/64")]
    assert vifs.set_sources(5, pairs)
    assert not vifs.set_sources(5, pairs)
    assert vifs.sources(5) == (Source(mac=mac), *pairs)
    vifs.change(replace(tap, vrf=3))
    assert vifs.sources(5) == (Source(mac=mac), *pairs)
    assert vifs.set_sources(5, pairs[:1])
    assert vifs.sources(5) == (Source(mac=mac), pairs[0])
    assert vifs.set_sources(5, ())
    assert vifs.sources(5) == ()
    assert vifs.set_sources(5, None)
    assert vifs.sources(5) is None
    vifs.set_sources(5, pairs)
    vifs.delete(5)
    assert fresh.sources.all() == {}
