# SPDX-License-Identifier: Apache-2.0
"""kill -9 of any process of ours, at any moment: traffic goes on. Loading twice changes nothing."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import mmap
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.system.helpers import SOURCE, MakeLab, Vrouter
from tests.system.traffic import Traffic
from vrouter.dpcore import libbpf, link
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.errors import TableFull
from vrouter.dpcore.instance import Instance, find_instance
from vrouter.dpcore.loader import load
from vrouter.dpcore.maps import open_map
from vrouter.dpcore.names import NhType
from vrouter.dpcore.object import OBJECT
from vrouter.dpcore.records import Nexthop, Vif
from vrouter.host import netns
from vrouter.lab import node, proof
from vrouter.lab.topology import Lab, mac_bytes

SEED = random.randrange(1 << 32)


@pytest.fixture(scope="module")
def lab(make_lab: MakeLab) -> Lab:
    lab: Lab = make_lab()
    proof.ping(lab, "vm1", lab.vm("vm3").ip, 1)
    return lab


@pytest.fixture(scope="module")
def h1(lab: Lab) -> Instance:
    return find_instance(lab.instance("h1"))


def kill_while(work: Callable[[], object], after: float) -> bool:
    """A process of its own does `work` and is killed after so many seconds; was it at it still?

    What it does until then must not fail.
    """
    started, start = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(start, b"!")
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(start)
    os.read(started, 1)
    os.close(started)
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code != 0


def assert_nothing_lost(traffic: Traffic) -> None:
    assert traffic.sent > 100
    assert (traffic.lost, traffic.doubled) == ([[], []], [0, 0]), f"seed {SEED}"


# ---- writers ----------------------------------------------------------------------------


class Rounds:
    """How often the writers went round: memory that they share with this process."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 4)

    def more(self) -> None:
        self._memory[:] = (self.count + 1).to_bytes(4, "little")

    @property
    def count(self) -> int:
        return int.from_bytes(self._memory[:], "little")


def rewrite_everything(instance: Instance, lab: Lab, rounds: Rounds) -> None:
    """Rewrite, for ever, every entry that the traffic uses, in every way that harms nobody."""
    blue = lab.network("blue")
    with DpCore.open(instance) as core:
        nexthops = [one for one in core.nexthops.items() if one.id]
        vifs = [one for one in core.vifs.items() if one.type.name != "STATS"]
        entries = list(core.bridge.items(blue.vrf))
        for turn in itertools.count():
            for nexthop in nexthops:
                put(core, replace(nexthop, encap_family=turn % 2))
            for vif in vifs:
                core.vifs.change(replace(vif, qos=turn % 2))
            core.inet.put_many(list(core.inet.items()))
            for entry in entries:
                core.bridge.put(entry.vrf, entry.mac, entry.nh, entry.label, int(entry.flags))
            core.vxlan.put(blue.vni, core.vxlan.get(blue.vni) or 0)
            # and some that come and go
            core.bridge.put(blue.vrf, mac_bytes("02:00:00:00:77:77"), 1)
            core.bridge.delete(blue.vrf, mac_bytes("02:00:00:00:77:77"))
            core.vxlan.put(7777, 1)
            core.vxlan.delete(7777)
            put(core, Nexthop(id=4000, type=NhType.DISCARD))
            core.nexthops.delete(4000)
            rounds.more()


def put(core: DpCore, nexthop: Nexthop) -> None:
    """As the error says of slots that were freed just now: wait and try again."""
    while True:
        try:
            core.nexthops.put(nexthop)
        except TableFull:
            time.sleep(0.05)
        else:
            return


def shape(instance: Instance) -> tuple[list[object], ...]:
    """What the tables say, without the fields that rewrite_everything() changes."""
    with DpCore.open(instance) as core:
        vifs: list[Vif] = [replace(one, qos=0) for one in core.vifs.items()]
        return (
            [replace(one, encap_family=0) for one in core.nexthops.items() if one.id != 4000],
            [*vifs],
            list(core.inet.items()),
            [replace(one, packets=0, index=0) for one in core.bridge.items() if one.mac[4] != 0x77],
            [pair for pair in core.vxlan.items() if pair[0] != 7777],
            list(core.mpls.items()),
        )


def test_a_writer_killed_in_the_middle(lab: Lab, h1: Instance) -> None:
    pick = random.Random(SEED)
    rounds = Rounds()
    writer = functools.partial(rewrite_everything, h1, lab, rounds)
    before = shape(h1)
    longest = 0.12  # seconds that a writer gets; more on a machine that is busy
    while rounds.count == 0:
        assert longest < 5
        assert kill_while(writer, longest)
        longest *= 1.5
    with Traffic(lab, "vm1", "vm3") as traffic:
        for _ in range(40):
            assert kill_while(writer, pick.uniform(0, longest))
            # the next writer is neither locked out nor confused
            with DpCore.open(h1) as core:
                put(core, Nexthop(id=4001, type=NhType.DISCARD, vrf=pick.randrange(64)))
                core.nexthops.delete(4001)
    assert_nothing_lost(traffic)
    assert rounds.count >= 10, "the writers did not get far"
    assert shape(h1) == before, f"seed {SEED}"
    with DpCore.open(h1) as core:
        core.collect()
        assert set(core.collect().values()) == {0}


# ---- the loader -------------------------------------------------------------------------


def test_a_load_killed_in_the_middle(lab: Lab, h1: Instance, tmp_path: Path) -> None:
    """Loads of the same code and of other code, in turn."""
    pick = random.Random(SEED)
    other = tmp_path / "other.bpf.o"
    shutil.copy(OBJECT, other)
    with other.open("ab") as file:
        file.write(bytes(8))  # the same code under another checksum
    turns = itertools.cycle((other, OBJECT))
    with h1.enter_netns():
        begin = time.monotonic()
        assert load(h1, object_path=other).swapped
        whole = time.monotonic() - begin
        killed = 0
        with Traffic(lab, "vm1", "vm3") as traffic:
            for _ in range(12):
                work = functools.partial(load, h1, object_path=next(turns))
                killed += kill_while(work, pick.uniform(0, whole))
            load(h1)
        result = load(h1)
    assert_nothing_lost(traffic)
    assert killed >= 4
    assert (result.created, result.swapped) == (False, False)
    assert not h1.staging_dir.exists()
    assert sorted(pin.name for pin in h1.prog_dir.iterdir()) == ["vr_dpcore", "vr_entry"]


# ---- whole commands ---------------------------------------------------------------------


COMMANDS = (
    ("vrouter", "load"),
    ("vrouter", "status"),
    ("vrouter", "trace"),
    ("vif", "--list"),
    ("nh", "--list"),
    ("nh", "--create", "4002", "--type", "5"),
    ("rt", "-c", "-v", "1", "-f", "1", "-e", "02:00:00:00:77:78", "-n", "1"),
    ("rt", "--dump", "1", "--family", "bridge"),
    ("mpls", "--create", "900", "--nh", "1"),
    ("vxlan", "--create", "7778", "--nh", "1"),
    ("dropstats",),
)


def start(lab: Lab, command: tuple[str, ...]) -> subprocess.Popen[bytes]:
    code = f"import sys; from vrouter.tools.{command[0]} import main; sys.exit(main())"
    with netns.enter(lab.netns("h1")):
        return subprocess.Popen(
            [sys.executable, "-c", code, *command[1:]],
            env={**node.environment(lab, "h1"), "PYTHONPATH": str(SOURCE)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def test_commands_killed_at_random(lab: Lab, h1: Instance) -> None:
    pick = random.Random(SEED)
    with Traffic(lab, "vm1", "vm3") as traffic:
        for command in COMMANDS * 2:
            process = start(lab, command)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(pick.uniform(0.02, 0.5))
            process.kill()
            process.wait()
    assert_nothing_lost(traffic)


def test_the_events_of_a_killed_trace_can_be_read_by_the_next(lab: Lab, h1: Instance) -> None:
    with Traffic(lab, "vm1", "vm3") as traffic:
        process = start(lab, ("vrouter", "trace"))
        with DpCore.open(h1) as core:
            deadline = time.monotonic() + 5
            while not core.config.get().events and time.monotonic() < deadline:
                time.sleep(0.01)
            assert core.config.get().events
            process.kill()
            process.wait()
        time.sleep(0.3)  # traffic while nobody reads
    assert_nothing_lost(traffic)
    assert [host for host, _ in proof.path(lab, "vm1", lab.vm("vm3").ip)] == ["h1", "h2"]
    with DpCore.open(h1) as core:
        assert core.config.get().events == 0


def test_a_lab_command_killed(lab: Lab) -> None:
    """Whoever runs a command in a VM may be killed; a second `lab up` too."""
    with Traffic(lab, "vm1", "vm3") as traffic:
        for after in (0.1, 0.3, 0.5):
            for command in (
                ("vrouter", "lab", "exec", "--id", lab.id, "vm1", "--", "sleep", "9"),
                ("vrouter", "lab", "up", "two-hosts", "--control", "tables", "--id", lab.id),
            ):
                process = start(lab, command)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(after)
                process.kill()
                process.wait()
    assert_nothing_lost(traffic)


# ---- loading twice ----------------------------------------------------------------------


def everything(instance: Instance) -> dict[str, object]:
    """Pins with the ids behind them, which program runs, the registry, counters."""
    found: dict[str, object] = {"registry": instance.registry_path.read_text()}
    for pin in sorted(instance.pin_dir.glob("maps/*")):
        with open_map(pin) as one:
            found[f"maps/{pin.name}"] = (one.id, one.max_entries)
    for pin in sorted(instance.prog_dir.iterdir()):
        fd = libbpf.obj_get(pin)
        info = libbpf.ProgInfo()
        libbpf.object_info(fd, info)
        os.close(fd)
        found[f"progs/{pin.name}"] = info.id
    found["links"] = {one.pin.name: one.info() for one in link.links(instance.link_dir)}
    with DpCore.open(instance) as core:
        found["tables"] = shape(instance)
        found["config"] = core.config.get()
        found["drops"] = core.stats.drops()
        found["vifs"] = {vif.idx: core.vifs.stats(vif.idx) for vif in core.vifs.items()}
    return found


def test_loading_twice_changes_nothing(lab: Lab, h1: Instance, vrouter: Vrouter) -> None:
    assert proof.ping(lab, "vm1", lab.vm("vm3").ip, 3).answered == 3
    proof.forget_neighbours(lab)  # nobody asks for them meanwhile: counters would rise
    before = everything(h1)
    with h1.enter_netns():
        result = load(h1)
        assert (result.created, result.swapped) == (False, False)
        assert everything(h1) == before
        said = vrouter("load", "--name", h1.name)
        assert (said.returncode, said.stderr) == (0, "")
        assert said.stdout == f"vrouter: instance {h1.name} is loaded already; nothing changed\n"
        assert json.loads(vrouter("load", "--name", h1.name, "--json").stdout)["changed"] is False
        assert everything(h1) == before
