# SPDX-License-Identifier: Apache-2.0
"""Vifs get other idx: what names them follows, the link stays attached, a death in the middle is
mended by the next call."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.unit.table_fixtures import core, needs_root, veth, vif_of
from tests.unit.test_tables_vifs import fresh, uplink

from vrouter.dpcore import link
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.errors import Refused
from vrouter.dpcore.names import NhType, VifType
from vrouter.dpcore.records import Nexthop, Source, Vif

__all__ = ["core", "fresh"]
pytestmark = needs_root
MAC = bytes.fromhex("02000a010101")


@pytest.fixture
def pair(fresh: DpCore) -> Iterator[tuple[DpCore, Vif, Vif]]:
    """A NIC at 2 and its vhost at 3, a nexthop to each."""
    nic, host = uplink(fresh)
    fresh.nexthops.put(Nexthop(id=20, type=NhType.ENCAP, oif=nic.idx, rewrite=bytes(14)))
    fresh.nexthops.put(Nexthop(id=21, type=NhType.RECEIVE, oif=host.idx))
    yield fresh, nic, host
    fresh.nexthops.delete(20)
    fresh.nexthops.delete(21)


def check(core: DpCore, nic: Vif, host: Vif, places: tuple[int, int]) -> None:
    """NIC and vhost are at `places`, whole, and nowhere else."""
    at, upon = places
    found = {vif.idx: vif for vif in core.vifs.items()}
    assert set(found) == {at, upon}
    assert (found[at].name, found[at].xconnect) == (nic.name, upon)
    assert (found[upon].name, found[upon].xconnect) == (host.name, at)
    assert core.vifs.by_ifindex(nic.ifindex) == found[at]
    assert core.vifs.by_ifindex(host.ifindex) == found[upon]
    assert [core.nexthops.get(id) and core.nexthops.get(id).oif for id in (20, 21)] == [at, upon]  # type: ignore[union-attr]
    folder = core.instance.link_dir
    assert sorted(os.listdir(folder)) == sorted([f"vif{at}", f"vif{upon}"])
    assert core.vifs.is_attached(at) and core.vifs.is_attached(upon)


@pytest.mark.parametrize("places", [(0, 1), (3, 2), (3, 7), (7, 2), (2, 9), (2, 3)])
def test_places_change(pair: tuple[DpCore, Vif, Vif], places: tuple[int, int]) -> None:
    core, nic, host = pair
    before = {pin.pin.name: pin.info().id for pin in link.links(core.instance.link_dir)}
    core.vifs.renumber({nic.idx: places[0], host.idx: places[1]})
    check(core, nic, host, places)
    after = {pin.info().id for pin in link.links(core.instance.link_dir)}
    assert after == set(before.values())  # the links themselves stayed


def test_who_may_speak_moves_along(fresh: DpCore) -> None:
    fresh.vifs.add(vif_of(veth("tap1"), 100))
    fresh.vifs.set_sources(100, [Source(mac=MAC)])
    fresh.vifs.renumber({100: 5})
    assert fresh.vifs.sources(5) == (Source(mac=MAC),) and fresh.sources.of(100) == ()


def test_the_agents_vif_stays_the_agents(fresh: DpCore) -> None:
    fresh.vifs.add(vif_of(veth("pkt0"), 30, VifType.AGENT))
    fresh.vifs.renumber({30: 2})
    assert fresh.config.get().agent_vif == 2


def test_a_place_that_is_taken_is_refused(pair: tuple[DpCore, Vif, Vif]) -> None:
    core, nic, host = pair
    core.vifs.add(vif_of(veth("tap1"), 0))
    with pytest.raises(Refused, match="vif0/0 is tap1"):
        core.vifs.renumber({nic.idx: 0})
    core.vifs.renumber({0: 8, nic.idx: 0, host.idx: 1})
    assert core.vifs.by_name("tap1") == core.vifs.get(8)
    core.vifs.delete(8)
    check(core, nic, host, (0, 1))


def test_parts_keep_their_place(fresh: DpCore) -> None:
    parent = fresh.vifs.add(vif_of(veth("tap1"), 100))
    part = replace(
        parent, idx=101, name="sub", type=VifType.VIRTUAL_VLAN, parent=100, vlan=7, ovlan=7
    )
    fresh.vifs.add(part)
    for idx in (100, 101):
        with pytest.raises(Refused, match="has parts or is one"):
            fresh.vifs.renumber({idx: 5})
    fresh.vifs.delete(101)


@pytest.mark.parametrize("step", ["store", "_map", "move_agent", "forget"])
def test_a_death_in_the_middle_is_mended(
    pair: tuple[DpCore, Vif, Vif], step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    core, nic, host = pair

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(core.vifs, step, die)
        with pytest.raises(KeyboardInterrupt):
            core.vifs.renumber({nic.idx: 0, host.idx: 1})
    core.vifs.renumber({nic.idx: 0, host.idx: 1})
    check(core, nic, host, (0, 1))
