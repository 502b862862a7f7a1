# SPDX-License-Identifier: Apache-2.0
"""Routes, MACs, labels, VNIs, counters and configuration over real maps."""

from __future__ import annotations

import time
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

import pytest
from tests.unit.table_fixtures import core, fresh, needs_root

from vrouter.dpcore.changes import Change, Missed
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.errors import BadValue, NoSuchEntry, Refused, TableFull
from vrouter.dpcore.names import SPARES, BridgeFlag, RouteFlag
from vrouter.dpcore.packing import packer
from vrouter.dpcore.records import BridgeEntry, Route, VrfStats

__all__ = ["core", "fresh"]
pytestmark = needs_root

MAC = bytes.fromhex("02000000000a")
BROADCAST = b"\xff" * 6


def net(text: str) -> IPv4Network:
    return IPv4Network(text)


# ---- inet ------------------------------------------------------------------------


def test_longest_prefix_and_exact(core: DpCore) -> None:
    for vrf, prefix, nh in [
        (1, "0.0.0.0/0", 1),
        (1, "10.0.0.0/8", 2),
        (1, "10.1.0.0/16", 3),
        (1, "10.1.1.1/32", 4),
        (2, "10.1.1.0/24", 5),
    ]:
        core.inet.put(Route(vrf=vrf, prefix=net(prefix), nh=nh))
    found = core.inet.lookup(1, IPv4Address("10.1.1.2"))
    assert found == Route(vrf=1, prefix=net("10.1.0.0/16"), nh=3)
    assert core.inet.get(1, net("10.1.0.0/16")) == found
    assert core.inet.get(1, net("10.1.1.0/24")) is None
    assert core.inet.lookup(2, IPv4Address("10.2.0.0")) is None
    last = core.inet.lookup(1, IPv4Address("10.1.1.1"))
    assert last is not None
    assert last.nh == 4
    assert [(r.vrf, str(r.prefix)) for r in core.inet.items() if r.vrf in (1, 2)] == [
        (1, "0.0.0.0/0"),
        (1, "10.0.0.0/8"),
        (1, "10.1.0.0/16"),
        (1, "10.1.1.1/32"),
        (2, "10.1.1.0/24"),
    ]
    assert [r.nh for r in core.inet.items(2)] == [5]
    core.inet.delete(1, net("10.1.0.0/16"))
    shorter = core.inet.lookup(1, IPv4Address("10.1.1.2"))
    assert shorter is not None
    assert shorter.nh == 2
    with pytest.raises(NoSuchEntry, match=r"VRF 1 has no route 10\.1\.0\.0/16"):
        core.inet.delete(1, net("10.1.0.0/16"))


def test_label_and_flags_go_together(core: DpCore) -> None:
    flags = RouteFlag.ARP_PROXY | RouteFlag.ARP_FLOOD
    stored = core.inet.put(
        Route(vrf=3, prefix=net("10.0.0.1/32"), nh=2, label=17, flags=flags, bridge=5)
    )
    assert stored.flags == flags | RouteFlag.LABEL_VALID
    assert core.inet.get(3, net("10.0.0.1/32")) == stored
    again = core.inet.put(
        Route(vrf=3, prefix=net("10.0.0.1/32"), nh=2, flags=RouteFlag.LABEL_VALID)
    )
    assert again.flags == RouteFlag(0)
    assert core.inet.get(3, net("10.0.0.1/32")) == again


@pytest.mark.parametrize(
    ("values", "error", "says"),
    [
        ({"vrf": 65535}, BadValue, "--size vrfs=N"),
        ({"nh": 1 << 24}, BadValue, "--size nexthops=N"),
        ({"label": 1 << 24}, BadValue, "label"),
        ({"flags": RouteFlag(0x100)}, BadValue, "no such flag"),
        ({"bridge": 1 << 30}, BadValue, "bridge"),
        ({"prefix": IPv6Network("2001:db8::/32")}, BadValue, "holds IPv4 prefixes"),
    ],
)
def test_wrong_routes(
    core: DpCore, values: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        core.inet.put(Route(**{"vrf": 4, "prefix": net("10.0.0.0/8"), "nh": 1, **values}))
    assert list(core.inet.items(4)) == []


def test_the_fast_packer_packs_as_the_layout_does(core: DpCore) -> None:
    for struct, names in [
        ("vr_inet_key", ("prefixlen", "vrf", "addr")),
        ("vr_route", ("nh", "label", "bridge", "flags", "plen")),
        ("vr_route", ("plen", "nh")),
    ]:
        layout = core.layouts.layout(struct)
        values = [0x81, 0x0203, 0x0405, 6, 7][: len(names)]
        packed = packer(layout, names)(*values)
        assert packed == layout.pack(**dict(zip(names, values, strict=True)))


@pytest.mark.alone
def test_many_routes_are_fast(core: DpCore) -> None:
    count = min(100_000, core.inet.size - 1000)
    routes = [
        Route(vrf=9, prefix=IPv4Network((0x0A000000 + i, 32)), nh=1, label=20) for i in range(count)
    ]
    start = time.process_time()
    assert core.inet.put_many(routes) == count
    seconds = time.process_time() - start
    assert seconds / count * 100_000 < 2
    found = core.inet.lookup(9, IPv4Address(0x0A000000 + count - 1))
    assert found is not None
    assert found.label == 20
    assert sum(1 for _ in core.inet.items(9)) == count
    assert core.inet.delete_many((9, route.prefix) for route in routes) == count
    assert list(core.inet.items(9)) == []


# ---- bridge ------------------------------------------------------------------------


def test_a_mac_is_changed_in_place(core: DpCore) -> None:
    first = core.bridge.put(1, MAC, 5, label=100, flags=BridgeFlag.FLOOD_DHCP)
    assert first.flags == BridgeFlag.VALID | BridgeFlag.LABEL_VALID | BridgeFlag.FLOOD_DHCP
    assert core.bridge.get(1, MAC) == first
    assert core.bridge.by_index(first.index) == first
    words = core.bridge._words
    words[first.index * core.bridge._step + core.bridge._packets_at] = 42
    second = core.bridge.put(1, MAC, 6)
    assert (second.index, second.nh, second.label, second.packets) == (first.index, 6, None, 42)
    core.bridge.put(2, MAC, 7)
    assert core.bridge.get(1, MAC) == second
    core.bridge.delete(1, MAC)
    assert core.bridge.get(1, MAC) is None
    assert core.bridge.by_index(first.index) is None
    with pytest.raises(NoSuchEntry, match="02:00:00:00:00:0a"):
        core.bridge.delete(1, MAC)
    anew = core.bridge.put(1, MAC, 8)
    assert anew.packets == 0
    assert anew.index != first.index


def test_bridge_items_are_in_order(core: DpCore) -> None:
    keys = [(5, BROADCAST), (5, MAC), (4, BROADCAST)]
    entries = [BridgeEntry(vrf=vrf, mac=mac, nh=1) for vrf, mac in keys]
    assert core.bridge.put_many(entries) == 3
    found = [(e.vrf, e.mac) for e in core.bridge.items() if e.vrf in (4, 5)]
    assert found == [(4, BROADCAST), (5, MAC), (5, BROADCAST)]
    assert [e.mac for e in core.bridge.items(4)] == [BROADCAST]


def test_an_entry_half_deleted_is_taken_up_again(core: DpCore) -> None:
    entry = core.bridge.put(6, MAC, 1)
    core.bridge._words[entry.index * core.bridge._step + core.bridge._word_at] = 0
    assert core.bridge.get(6, MAC) is None
    again = core.bridge.put(6, MAC, 2)
    assert (again.index, again.nh) == (entry.index, 2)


def test_many_macs_and_a_full_table(fresh: DpCore) -> None:
    def entries(count: int, vrf: int) -> list[BridgeEntry]:
        macs = (b"\x02" + i.to_bytes(5, "big") for i in range(count))
        return [BridgeEntry(vrf=vrf, mac=mac, nh=1, label=3) for mac in macs]

    fresh.bridge.put_many(entries(1000, 1))
    fresh.bridge.put_many(entries(2000, 1))
    assert sum(1 for _ in fresh.bridge.items()) == 2000
    free = fresh.bridge.size - 1 - fresh.bridge._slots.used()
    with pytest.raises(TableFull):
        fresh.bridge.put_many(entries(free + 1, 2))
    assert list(fresh.bridge.items(2)) == []
    assert sum(1 for _ in fresh.bridge.items(1)) == 2000


@pytest.mark.parametrize(
    ("values", "error", "says"),
    [
        ({"mac": b"123"}, BadValue, "6 bytes"),
        ({"vrf": -1}, BadValue, "vrf"),
        ({"nh": 1 << 24}, BadValue, "nh"),
        ({"label": -1}, BadValue, "label"),
        ({"flags": 0x8000}, BadValue, "no such flag"),
        ({"flags": 0x10}, Refused, "L2 control word come later"),
    ],
)
def test_wrong_macs(
    core: DpCore, values: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        core.bridge.put(**{"vrf": 8, "mac": MAC, "nh": 1, **values})
    assert list(core.bridge.items(8)) == []


# ---- labels and VNIs ------------------------------------------------------------------


def test_labels(core: DpCore) -> None:
    core.mpls.put(16, 3)
    core.mpls.put(core.mpls.size - 1, 0)
    core.mpls.put(16, 4)
    assert core.mpls.get(16) == 4
    assert core.mpls.get(core.mpls.size) is None
    assert [item for item in core.mpls.items() if item[0] != 70] == [
        (16, 4),
        (core.mpls.size - 1, 0),
    ]
    core.mpls.delete(16)
    assert core.mpls.get(16) is None
    with pytest.raises(NoSuchEntry):
        core.mpls.delete(16)
    for label in (15, core.mpls.size, -1):
        with pytest.raises(BadValue, match="--size labels=N"):
            core.mpls.put(label, 1)
    with pytest.raises(BadValue, match="nexthops"):
        core.mpls.put(17, 1 << 24)


def test_vnis(core: DpCore) -> None:
    core.vxlan.put(4096, 3)
    core.vxlan.put(0xFFFFFF, 0)
    core.vxlan.put(4096, 5)
    assert core.vxlan.get(4096) == 5
    assert core.vxlan.get(4097) is None
    assert list(core.vxlan.items()) == [(4096, 5), (0xFFFFFF, 0)]
    core.vxlan.delete(4096)
    assert list(core.vxlan.items()) == [(0xFFFFFF, 0)]
    with pytest.raises(NoSuchEntry):
        core.vxlan.delete(4096)
    for vni in (0, 1 << 24, -1):
        with pytest.raises(BadValue, match="VNIs are 1 to"):
            core.vxlan.put(vni, 1)
        assert core.vxlan.get(vni) is None


# ---- counters and configuration ---------------------------------------------------------


def test_counters_start_at_zero_and_are_complete(core: DpCore) -> None:
    drops = core.stats.drops()
    assert list(drops) == list(range(96))
    assert core.stats.drops(core=0).keys() == drops.keys()
    with pytest.raises(BadValue, match="core cannot be 4000"):
        core.stats.drops(core=4000)
    assert core.stats.vrf(1) == VrfStats()
    with pytest.raises(BadValue, match="vrf"):
        core.stats.vrf(1 << 16)
    core.stats.clear_drops()
    core.stats.clear_vrf(1)
    assert not any(core.stats.drops().values())
    assert list(core.stats.vrfs()) == []


def test_configuration(core: DpCore) -> None:
    before = core.config.get()
    assert before.agent_vif is None
    core.config.set(agent_vif=2, events=3)
    after = core.config.get()
    assert (after.agent_vif, after.events, after.hash_seed) == (2, 3, before.hash_seed)
    core.config.set(agent_vif=None, events=0)
    assert core.config.get() == before
    with pytest.raises(BadValue, match="no such field"):
        core.config.set(abi_version=2)
    with pytest.raises(BadValue, match="32 bits"):
        core.config.set(hash_seed=1 << 32)


def test_opening_is_cheap_and_closing_lets_go(core: DpCore) -> None:
    start = time.perf_counter()
    opened = DpCore.open(core.instance)
    opened.config.get()
    assert time.perf_counter() - start < 0.1
    opened.bridge.put(7, MAC, 1)
    opened.close()
    assert core.bridge.get(7, MAC) is not None


# ---- inet6 -----------------------------------------------------------------------


def net6(text: str) -> IPv6Network:
    return IPv6Network(text)


def test_longest_ipv6_prefix_and_fallback(core: DpCore) -> None:
    for prefix, nh in [("::/0", 1), ("fd00::/16", 2), ("fd00:1::/65", 3), ("fd00:1::5/128", 4)]:
        core.inet6.put(Route(vrf=11, prefix=net6(prefix), nh=nh))
    core.inet6.put(Route(vrf=12, prefix=net6("fd00:1::5/128"), nh=5))

    def takes(text: str) -> int:
        found = core.inet6.lookup(11, IPv6Address(text))
        assert found is not None
        return found.nh

    assert [takes(f"fd00:1::{last}") for last in ("5", "6", "8000:0:0:1")] == [4, 3, 2]
    assert takes("2001:db8::1") == 1
    assert core.inet6.get(11, net6("fd00:1::/64")) is None
    core.inet6.delete(11, net6("fd00:1::5/128"))
    assert takes("fd00:1::5") == 3
    with pytest.raises(NoSuchEntry, match="VRF 11 has no route"):
        core.inet6.delete(11, net6("fd00:1::5/128"))
    core.inet6.put(Route(vrf=11, prefix=net6("fd00:1::/65"), nh=9, label=17))
    assert [(str(r.prefix), r.nh, r.label) for r in core.inet6.items(11)] == [
        ("::/0", 1, None),
        ("fd00::/16", 2, None),
        ("fd00:1::/65", 9, 17),
    ]
    assert core.inet6.delete_many([(11, net6("::/0")), (11, net6("::/1"))]) == 1
    assert core.inet6.lookup(11, IPv6Address("2001:db8::1")) is None


def test_ipv6_is_not_for_the_other_table(core: DpCore) -> None:
    with pytest.raises(BadValue, match="holds IPv6 prefixes"):
        core.inet6.put(Route(vrf=1, prefix=net("10.0.0.0/8"), nh=1))


def test_lengths_are_counted_anew(core: DpCore) -> None:
    """What a writer left that died is put right; what is there stays."""
    core.inet6.put(Route(vrf=13, prefix=net6("fd00::/48"), nh=1))
    core.inet6._count(13, 99, 1)
    core.inet6._slots.allocate()
    assert core.inet6.collect() == 1
    assert core.inet6._in_use(13) == [48]
    assert core.inet6.lookup(13, IPv6Address("fd00::1")) is not None


# ---- changes ---------------------------------------------------------------------


def test_changes_are_told_in_order(core: DpCore) -> None:
    at = core.changes.done
    entry = core.bridge.put(14, MAC, 3)
    core.inet.put(Route(vrf=14, prefix=net("10.0.0.0/8"), nh=2, label=7, bridge=entry.index))
    core.inet6.put(Route(vrf=14, prefix=net6("fd00::/8"), nh=3))
    core.inet6.delete(14, net6("fd00::/8"))
    core.inet.delete(14, net("10.0.0.0/8"))
    core.bridge.delete(14, MAC)
    _, found = core.changes.read(at)
    changes = [one for one in found if isinstance(one, Change)]
    assert [(one.operation.name, one.family.name) for one in changes] == [
        ("ADD", "BRIDGE"),
        ("ADD", "INET"),
        ("ADD", "INET6"),
        ("DELETE", "INET6"),
        ("DELETE", "INET"),
        ("DELETE", "BRIDGE"),
    ]
    assert (changes[1].mac, changes[1].mac_index, changes[1].label) == (MAC, entry.index, 7)
    assert {one.vrf for one in changes} == {14}


def test_a_slow_reader_is_told_what_it_missed(core: DpCore) -> None:
    at, size = core.changes.done, core.changes.size
    many = [Route(vrf=15, prefix=IPv4Network((0x0B000000 + i, 32)), nh=1) for i in range(size + 5)]
    core.inet.put_many(many)
    done, found = core.changes.read(at)
    assert done == at + size + 5
    assert found[0] == Missed(5)
    assert len(found) == size + 1
    core.inet.delete_many((15, route.prefix) for route in many)


def test_what_failed_is_not_told(core: DpCore) -> None:
    at = core.changes.done
    with pytest.raises(RuntimeError), core.lock(), core.changes.noted([bytes(48)]):
        raise RuntimeError
    assert core.changes.read(at) == (at, [])


def test_indexes_are_kept_ready_for_what_is_learnt(fresh: DpCore) -> None:
    """Those that were used are replaced; none that is ready is taken for lost."""
    spare = fresh.bridge._spare
    assert len(dict(spare.nonzero())) == SPARES
    assert fresh.bridge.collect() == 0
    for slot in range(3):
        spare.set(slot, 0)
    assert fresh.bridge.refill() == 3
    indexes = [index for _, index in spare.nonzero()]
    assert len(set(indexes)) == SPARES
    # three indexes were taken, and never named
    assert fresh.bridge.collect() == 3
