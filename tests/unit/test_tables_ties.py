# SPDX-License-Identifier: Apache-2.0
"""Vifs that are tied to their netdevices beside other work, and netdevices that are begun with."""

from __future__ import annotations

import os

import pytest
from tests.unit.table_fixtures import core, ip, needs_root, veth, vif_of

from vrouter.dpcore import libbpf, link, netdev
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.errors import DeviceError

__all__ = ["core"]
pytestmark = needs_root


def is_taken(core: DpCore, device: str) -> bool:
    """Whether this dp-core is attached there, pinned or not."""
    entry = libbpf.obj_get(core.instance.prog_dir / "vr_entry")
    try:
        os.close(link.create(entry, netdev.index(device)))
    except DeviceError:
        return True
    finally:
        os.close(entry)
    return False


def pins(core: DpCore) -> dict[str, int]:
    found = {}
    for opened in link.links(core.instance.link_dir):
        with opened:
            found[opened.pin.name] = opened.info().ifindex
    return found


def test_a_netdevice_that_was_begun_with_becomes_a_vif(core: DpCore) -> None:
    vif = vif_of(veth("early"), 10)
    core.vifs.ties.begin([vif.ifindex])
    with core.vifs.ties.together():
        core.vifs.add(vif)
    assert is_taken(core, "early") and pins(core) == {"vif10": vif.ifindex}
    core.vifs.ties.forget()
    assert core.vifs.is_attached(10)
    with core.vifs.ties.together():
        core.vifs.delete(10)
    assert pins(core) == {}
    with core.vifs.ties.together():
        assert not is_taken(core, "early")
    ip("link del early")


def test_one_that_becomes_no_vif_is_left(core: DpCore) -> None:
    number = netdev.index(veth("never"))
    core.vifs.ties.begin([number])
    core.vifs.ties.forget()
    assert not is_taken(core, "never")
    with DpCore.open(core.instance) as other:
        other.vifs.ties.begin([number])
        assert is_taken(core, "never")
    assert not is_taken(core, "never")
    ip("link del never")


def test_what_cannot_be_begun_with_is_found_out_later(core: DpCore) -> None:
    vif = core.vifs.add(vif_of(veth("twice"), 11))
    core.vifs.ties.begin([vif.ifindex, 1 << 20])
    with core.vifs.ties.together():
        core.vifs.add(vif)
        with pytest.raises(DeviceError, match="netdevice with index"):
            core.vifs.add(vif_of("twice", 12, ifindex=1 << 20, os_ifindex=1 << 20))
    assert pins(core) == {"vif11": vif.ifindex}
    core.vifs.delete(11)
    ip("link del twice")


def test_one_that_fails_takes_no_other_with_it(core: DpCore) -> None:
    gone, stays = vif_of(veth("gone"), 13), vif_of(veth("stays"), 14)
    core.vifs.ties.begin([gone.ifindex, stays.ifindex])

    def both() -> None:
        with core.vifs.ties.together():
            core.vifs.add(gone)
            core.vifs.add(stays)
            ip("link del gone")

    with pytest.raises(DeviceError, match=r"^gone: there is no netdevice"):
        both()
    assert pins(core) == {"vif14": stays.ifindex}
    for idx in (13, 14):
        core.vifs.delete(idx)
    ip("link del stays")
