# SPDX-License-Identifier: Apache-2.0
"""The nexthop table over real maps."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest
from tests.unit.table_fixtures import core, fresh, needs_root, veth, vif_of

from vrouter.dpcore.core import DpCore
from vrouter.dpcore.errors import BadValue, NoSuchEntry, Refused, TableFull
from vrouter.dpcore.names import Family, HashField, NhFlag, NhType
from vrouter.dpcore.records import Member, Nexthop

__all__ = ["core", "fresh"]
pytestmark = needs_root

HEADER = bytes.fromhex("0200000000020200000000010800")
VALID = NhFlag.VALID
TUNNEL: dict[str, Any] = {
    "type": NhType.TUNNEL,
    "flags": VALID | NhFlag.TUNNEL_UDP_MPLS,
    "oif": 7,
    "sip": IPv4Address("192.0.2.1"),
    "dip": IPv4Address("192.0.2.2"),
    "rewrite": HEADER,
}


@pytest.fixture(autouse=True)
def _vif(core: DpCore) -> None:
    if core.vifs.get(7) is None:
        core.vifs.add(vif_of(veth("out"), 7))


def in_use(core: DpCore) -> tuple[int, int]:
    home = core._home
    counts = [
        sum(state == 1 for _, state in home.words(name).nonzero())
        for name in ("nexthop_retire", "member_retire")
    ]
    return counts[0], counts[1]


def test_a_list_gets_empty_and_full_again(core: DpCore) -> None:
    several = tuple(Member(nh=number) for number in range(1, 80))
    one = Nexthop(
        id=90,
        type=NhType.COMPOSITE,
        family=Family.BRIDGE,
        flags=NhFlag.VALID | NhFlag.COMPOSITE_ENCAP,
        members=several,
    )
    for members in (several, (), several[:3], several, several[::-1], ()):
        core.nexthops.put(replace(one, members=members))
        found = core.nexthops.get(90)
        assert found is not None and found.members == members
    core.nexthops.delete(90)


def test_what_is_put_is_read(core: DpCore) -> None:
    tunnel = Nexthop(id=10, **TUNNEL, vrf=3, encap_family=0x806)
    encap = Nexthop(id=11, type=NhType.ENCAP, family=Family.BRIDGE, oif=7)
    vxlan = Nexthop(
        id=12,
        **TUNNEL | {"flags": VALID | NhFlag.TUNNEL_VXLAN | NhFlag.L3_VXLAN},
        rw_dst_mac=bytes.fromhex("02aabbccddee"),
    )
    for nexthop in (tunnel, encap, vxlan):
        assert core.nexthops.put(nexthop) == nexthop
        assert core.nexthops.get(nexthop.id) == nexthop
    assert [nh for nh in core.nexthops.items() if 10 <= nh.id <= 12] == [tunnel, encap, vxlan]


def test_zero_is_discard_and_stays(core: DpCore) -> None:
    zero = core.nexthops.get(0)
    assert zero is not None
    assert zero.type == NhType.DISCARD
    with pytest.raises(Refused, match="nexthop 0 is Discard"):
        core.nexthops.put(Nexthop(id=0, type=NhType.DISCARD))
    with pytest.raises(Refused, match="nexthop 0 is Discard"):
        core.nexthops.delete(0)


def test_a_change_takes_a_new_slot_and_the_same_one_none(core: DpCore) -> None:
    nexthop = Nexthop(id=20, type=NhType.VRF_TRANSLATE, vrf=2)
    core.nexthops.put(nexthop)
    slot, used = core._home.words("nexthop_index").get(20), in_use(core)
    core.nexthops.put(nexthop)
    assert core._home.words("nexthop_index").get(20) == slot
    core.nexthops.put(replace(nexthop, vrf=3))
    assert core._home.words("nexthop_index").get(20) != slot
    assert in_use(core) == used
    assert core._home.words("nexthop_retire").get(slot) > 1


@pytest.mark.parametrize("count", [0, 1, 31, 32, 100])
def test_members_of_every_count(core: DpCore, count: int) -> None:
    before = in_use(core)
    members = tuple(Member(nh=i + 100, label=None if i % 2 else i) for i in range(count))
    flags = VALID | NhFlag.COMPOSITE_EVPN
    nexthop = Nexthop(id=30, type=NhType.COMPOSITE, flags=flags, members=members)
    core.nexthops.put(nexthop)
    assert core.nexthops.get(30) == nexthop
    core.nexthops.put(replace(nexthop, members=members[:1]))
    core.nexthops.delete(30)
    assert core.nexthops.get(30) is None
    assert in_use(core) == before
    with pytest.raises(NoSuchEntry):
        core.nexthops.delete(30)


def test_no_rewrite_keeps_the_old_one(core: DpCore) -> None:
    encap = Nexthop(id=40, type=NhType.ENCAP, oif=7, rewrite=HEADER)
    core.nexthops.put(encap)
    kept = core.nexthops.put(replace(encap, rewrite=b"", vrf=1))
    assert kept.rewrite == HEADER
    assert core.nexthops.get(40) == replace(encap, vrf=1)
    core.nexthops.put(Nexthop(id=40, type=NhType.L2_RECEIVE))
    assert core.nexthops.put(replace(encap, rewrite=b"")).rewrite == b""


def test_a_place_holder_may_lack_what_a_valid_one_needs(core: DpCore) -> None:
    flags = NhFlag.TUNNEL_GRE
    bare = Nexthop(id=41, type=NhType.TUNNEL, flags=flags, dip=IPv4Address("192.0.2.9"))
    assert core.nexthops.put(bare) == bare


@pytest.mark.parametrize(
    ("values", "error", "says"),
    [
        ({"id": 1 << 24}, BadValue, "--size nexthops=N"),
        ({"type": NhType.DEAD}, BadValue, "type"),
        ({"oif": 8}, BadValue, "no such vif"),
        ({"oif": None}, BadValue, "needs a vif"),
        ({"vrf": 65535}, BadValue, "vrf"),
        ({"family": Family.INET6}, BadValue, "has IPv6 addresses"),
        ({"sip": None}, BadValue, "both outer addresses"),
        ({"rewrite": b"123"}, BadValue, "Ethernet header of 14"),
        ({"rewrite": bytes(33)}, BadValue, "longer than 32"),
        ({"flags": VALID | NhFlag.TUNNEL_GRE | NhFlag.TUNNEL_VXLAN}, BadValue, "one of MPLSoGRE"),
        ({"flags": VALID | NhFlag.TUNNEL_UDP}, BadValue, "port of the analyzer"),
        ({"flags": VALID | NhFlag.MPLS_O_MPLS}, Refused, "come later"),
        ({"flags": VALID | NhFlag.CRYPT_TRAFFIC}, Refused, "encrypted traffic come"),
        ({"flags": VALID | NhFlag.TUNNEL_VXLAN | NhFlag.L3_VXLAN}, BadValue, "remote router"),
        ({"members": (Member(nh=1),)}, BadValue, "only a Composite"),
        ({"sport": 70000}, BadValue, "sport"),
        ({"type": NhType.RECEIVE, "family": Family.BRIDGE}, BadValue, "Receive"),
        ({"type": NhType.COMPOSITE, "flags": VALID}, BadValue, "one of Multicast"),
        ({"hash_fields": HashField.DIP}, BadValue, "only ECMP composites hash"),
        (
            {
                "type": NhType.COMPOSITE,
                "flags": VALID | NhFlag.COMPOSITE_ECMP,
                "members": (Member(nh=2),) * 257,
            },
            BadValue,
            "up to 256",
        ),
    ],
)
def test_what_cannot_be_is_refused(
    core: DpCore, values: dict[str, Any], error: type[Exception], says: str
) -> None:
    before = in_use(core)
    with pytest.raises(error, match=says):
        core.nexthops.put(Nexthop(**{"id": 50, **TUNNEL, **values}))
    assert core.nexthops.get(50) is None
    assert in_use(core) == before


def test_a_composite_cannot_hold_itself(core: DpCore) -> None:
    flags = VALID | NhFlag.MULTICAST
    with pytest.raises(BadValue, match="its own member"):
        core.nexthops.put(
            Nexthop(id=51, type=NhType.COMPOSITE, flags=flags, members=(Member(nh=51),))
        )


def test_members_that_do_not_fit_leave_nothing_behind(core: DpCore) -> None:
    before = in_use(core)
    size = core._home.array("member_slots").max_entries
    members = tuple(Member(nh=1) for _ in range(31 * (size + 1)))
    flags = VALID | NhFlag.COMPOSITE_ENCAP
    with pytest.raises(TableFull, match="nexthop members"):
        core.nexthops.put(Nexthop(id=60, type=NhType.COMPOSITE, flags=flags, members=members))
    assert in_use(core) == before


def test_ref_counts(core: DpCore) -> None:
    core.nexthops.put(Nexthop(id=70, type=NhType.L2_RECEIVE))
    before = core.nexthops.ref_counts()[70]
    core.mpls.put(70, 70)
    core.vxlan.put(70, 70)
    core.bridge.put(1, bytes.fromhex("020000000070"), 70)
    flags = VALID | NhFlag.COMPOSITE_ENCAP
    member = (Member(nh=70),)
    core.nexthops.put(Nexthop(id=71, type=NhType.COMPOSITE, flags=flags, members=member))
    assert before == 1
    assert core.nexthops.ref_counts()[70] == 5


def test_collect_frees_what_a_dead_writer_took(fresh: DpCore) -> None:
    flags = VALID | NhFlag.COMPOSITE_ENCAP
    kept = Nexthop(id=1, type=NhType.COMPOSITE, flags=flags, members=(Member(nh=2),) * 40)
    fresh.nexthops.put(kept)
    before = in_use(fresh)
    fresh.nexthops._slots.allocate()
    fresh.nexthops._chunks.allocate()
    fresh.bridge._slots.allocate()
    assert fresh.collect() == {
        "vif": 0,
        "nexthop": 2,
        "inet6": 0,
        "bridge": 1,
        "vxlan": 0,
        "mirror": 0,
    }
    assert in_use(fresh) == before
    assert fresh.nexthops.get(1) == kept
    assert sum(fresh.collect().values()) == 0
