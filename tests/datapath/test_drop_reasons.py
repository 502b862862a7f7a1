# SPDX-License-Identifier: Apache-2.0
"""Drops that no packet alone makes happen: something around it is not as it should be."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from vrouter.dpcore import libbpf, loader
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.exchange import ENTRY
from vrouter.dpcore.instance import Instance
from vrouter.dpcore.maps import ProgArrayMap, open_map
from vrouter.dpcore.names import DropReason
from vrouter.dpcore.sizes import SMALL
from vrouter.dpcore.testrun import test_run as run_program

from . import states as s
from .frames import eth, ip, request
from .rig import Rig, own_netns, rig

LOOPBACK = 1  # its ifindex
ASK = request("10.1.1.6", spa="10.1.1.6")  # replicated, and a copy goes to the agent


@pytest.fixture
def loaded() -> Iterator[Rig]:
    with rig(s.WITH_AGENT) as one:
        yield one


def drops(one: Rig, reason: DropReason) -> tuple[int, int]:
    """How many packets were dropped for it: of all, of those of vif NO_PROXY."""
    return one.core.stats.drops()[reason], one.core.vifs.drops(s.NO_PROXY)[reason]


def test_a_copy_that_cannot_come_in_again(loaded: Rig) -> None:
    """A device that is down receives nothing, its own copies neither."""
    before = loaded.outcome(s.NO_PROXY, ASK)
    assert drops(loaded, DropReason.CLONE_FAIL) == (0, 0)
    subprocess.run(["ip", "link", "set", f"d{s.NO_PROXY}", "down"], check=True)
    after = loaded.outcome(s.NO_PROXY, ASK)
    lost = len(before.copies) - len(after.copies)
    assert lost > 0
    assert drops(loaded, DropReason.CLONE_FAIL) == (lost, lost)


def test_no_memory_for_a_copy(loaded: Rig) -> None:
    """In a test the copies' memory is a ring buffer: it is full when nobody reads it."""
    for _ in range(2000):
        loaded.inject(s.NO_PROXY, ASK)
        if lost := drops(loaded, DropReason.MCAST_CLONE_FAIL)[0]:
            break
    assert drops(loaded, DropReason.MCAST_CLONE_FAIL) == (lost, lost)
    assert lost > 0
    loaded.outcome(s.NO_PROXY, ASK)
    full = drops(loaded, DropReason.MCAST_CLONE_FAIL)
    loaded.outcome(s.NO_PROXY, ASK)
    assert drops(loaded, DropReason.MCAST_CLONE_FAIL) == full, "there is room again"


@pytest.mark.parametrize("length", [20, 1400])
def test_a_netdevice_that_is_gone(loaded: Rig, length: int) -> None:
    frame = eth(s.VM2_MAC, s.VM1_MAC, ip("10.1.1.2"), bytes(length))
    assert loaded.outcome(s.VM1, frame).out_vif == s.VM2
    subprocess.run(["ip", "link", "del", f"d{s.VM2}"], check=True)
    lost = loaded.outcome(s.VM1, frame)
    assert (lost.out_vif, lost.reason) == (None, DropReason.INTERFACE_DROP)
    assert loaded.core.stats.drops()[DropReason.INTERFACE_DROP] == 1
    assert loaded.core.vifs.drops(s.VM1)[DropReason.INTERFACE_DROP] == 1


def test_no_dpcore_in_the_switch(instance: Instance) -> None:
    with own_netns():
        loader.load(instance, SMALL, test_mode=True)
        entry = libbpf.obj_get(instance.prog_dir / ENTRY)
        run_program(entry, bytes(64), LOOPBACK)
        with DpCore.open(instance) as core, open_map(instance.map_path("vr_switch")) as switch:
            assert core.stats.drops()[DropReason.NOWHERE_TO_GO] == 0
            assert isinstance(switch, ProgArrayMap)
            switch.clear_program(0)
            result = run_program(entry, bytes(64), LOOPBACK)
            assert result.retval == 2  # TC_ACT_SHOT
            assert core.stats.drops()[DropReason.NOWHERE_TO_GO] == 1
        os.close(entry)
