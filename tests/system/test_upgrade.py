# SPDX-License-Identifier: Apache-2.0
"""dp-core exchanged under traffic: no datagram is lost, no entry, and no packet's count.

Datagrams go both ways through the overlay and through vhost0 at once: some while an object is
verified, and 50,000 a second each way (less where the machine is busy) around each exchange.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.system import releases
from tests.system.burst import Burst, End, Pace
from tests.system.helpers import MakeLab, Vrouter
from tests.system.test_kill import kill_while
from vrouter.dpcore import exchange, loader, migrate
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.errors import OtherAbi, Refused, Reloaded
from vrouter.dpcore.instance import Instance, find_instance
from vrouter.dpcore.names import NhType
from vrouter.dpcore.object import OBJECT, known_abi
from vrouter.dpcore.records import Nexthop
from vrouter.dpcore.sizes import Sizes
from vrouter.host import netns
from vrouter.lab import proof
from vrouter.lab.topology import Lab

RATE = 50_000
SPARSE = 2_000
LEAST = 3_000  # a second and way around the exchanges; below that they are hardly seen
RELOADS = 20
SEED = random.randrange(1 << 32)

pytestmark = [pytest.mark.alone, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def lab(make_lab: MakeLab) -> Lab:
    lab: Lab = make_lab()
    proof.ping(lab, "vm1", lab.vm("vm3").ip, 1)
    return lab


@pytest.fixture(scope="module")
def hosts(lab: Lab) -> list[Instance]:
    return [find_instance(lab.instance(name)) for name in ("h1", "h2")]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same dp-core with another checksum."""
    path = tmp_path_factory.mktemp("other") / "other.bpf.o"
    shutil.copy(OBJECT, path)
    with path.open("ab") as file:
        file.write(bytes(8))
    return path


@pytest.fixture(scope="module")
def following(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dp-core of the next release: other layouts of nearly all tables."""
    return releases.build_next(tmp_path_factory.mktemp("next"))


@pytest.fixture
def as_found(hosts: list[Instance]) -> Iterator[None]:
    """Both hosts run this release's dp-core again after the test."""
    yield
    for host in hosts:
        load(host, OBJECT)


def load(
    host: Instance, path: Path, watched: Watched | None = None, sizes: Sizes | None = None
) -> loader.LoadResult:
    """Load `path` on a host; with the full traffic of `watched` around the exchange."""
    with host.enter_netns(), pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as full:
        if watched is not None:
            real = exchange.switch_to

            def switch_to(*args: Any) -> None:
                full.enter_context(watched.pace.dense())
                real(*args)

            patch.setattr(exchange, "switch_to", switch_to)
        return loader.load(host, sizes, object_path=path)


# ---- nothing lost -----------------------------------------------------------------------


def device_packets(space: str, device: str) -> tuple[int, int]:
    """(received, sent) packets that the kernel counted at a device."""
    with netns.enter(space):
        text = Path("/proc/thread-self/net/dev").read_text()
    line = next(one for one in text.splitlines() if one.strip().startswith(f"{device}:"))
    numbers = [int(word) for word in line.partition(":")[2].split()]
    return numbers[1], numbers[9]


class Watched:
    """Traffic by the overlay and by vhost0, and what dp-core must have counted of it."""

    def __init__(self, lab: Lab, ways: slice = slice(None)) -> None:
        """ways: slice(1) by the overlay only, slice(1, 2) by vhost0 only."""
        self.lab = lab
        ends = [[End(lab.netns(name), lab.vm(name).ip) for name in ("vm1", "vm3")]]
        ends += [[End(lab.netns(name), lab.host(name).ip) for name in ("h1", "h2")]]
        self.pace = Pace(RATE, SPARSE)
        self.bursts = [Burst(one, two, self.pace) for one, two in ends[ways]]

    def __enter__(self) -> Watched:
        self._before = self._counted()
        with contextlib.ExitStack() as stack:
            for burst in self.bursts:
                stack.enter_context(burst)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _counted(self) -> list[int]:
        """What the kernel and what dp-core counted of vm1's packets; drops; vm3's in the bridge."""
        lab = self.lab
        received, sent = device_packets(lab.netns("vm1"), "eth0")
        with DpCore(find_instance(lab.instance("h1"))) as core:
            tap = core.vifs.by_name("tap-vm1")
            assert tap is not None
            stats = core.vifs.stats(tap.idx)
            vm3 = [one for one in core.bridge.items() if one.mac.hex(":") == lab.vm("vm3").mac]
            drops = sum(core.stats.drops().values())
            return [sent, stats.rx_packets, received, stats.tx_packets, drops, vm3[0].packets]

    def check(self) -> None:
        """Nothing was lost, doubled or counted wrongly."""
        told = [
            (one.sent, round(one.rate), one.lost, one.doubled, one.thrown_away, one.backlog)
            for burst in self.bursts
            for one in burst.results
        ]
        text = f"(sent, a second, lost, doubled, by socket, by backlogs) {told}, seed {SEED}"
        print(text)
        for burst in self.bursts:
            for one in burst.results:
                assert (one.lost, one.doubled) == (0, 0), f"{text}: {one.missing[:20]}"
                assert one.sent > 1000 and (not one.dense_seconds or one.rate > LEAST), text
        moved = [
            after - before for after, before in zip(self._counted(), self._before, strict=True)
        ]
        sent, rx, received, tx, drops, bridge = moved
        assert (rx, tx, drops) == (sent, received, 0), moved
        assert bridge <= sent, moved
        if self.bursts[0].one.space == self.lab.netns("vm1"):
            assert self.bursts[0].results[0].sent <= bridge, moved


def test_twenty_reloads(lab: Lab, hosts: list[Instance], other: Path, as_found: None) -> None:
    with Watched(lab) as watched:
        for number in range(RELOADS // 2):
            for host in hosts:
                result = load(host, other if number % 2 == 0 else OBJECT, watched)
                assert (result.swapped, result.migrated) == (True, ())
    watched.check()


@pytest.mark.soak
@pytest.mark.parametrize("way", [0, 1], ids=["overlay", "vhost0"])
def test_reloads_at_the_full_pace(
    lab: Lab, hosts: list[Instance], other: Path, as_found: None, way: int
) -> None:
    """All the time, and one way at a time."""
    with Watched(lab, slice(way, way + 1)) as watched, watched.pace.dense():
        for number in range(RELOADS):
            load(hosts[0], other if number % 2 == 0 else OBJECT)
    watched.check()


TABLES = {"vif_slots", "nexthop_slots", "member_slots", "bridge", "inet", "config"}
COUNTED = {"vif_stats", "vrf_stats", "vif_drops", "drop_stats"}


def contents(host: Instance) -> dict[str, object]:
    """All that the tables say, without what the traffic changes."""
    with DpCore(host) as core:
        return {
            "vifs": list(core.vifs.items()),
            "nexthops": list(core.nexthops.items()),
            "inet": list(core.inet.items()),
            "bridge": [replace(one, packets=0) for one in core.bridge.items()],
            "vxlan": list(core.vxlan.items()),
            "mpls": list(core.mpls.items()),
            "config": replace(core.config.get(), abi_version=0),
        }


def test_an_upgrade_with_other_layouts_and_back(
    lab: Lab, hosts: list[Instance], following: Path, as_found: None
) -> None:
    before = [contents(host) for host in hosts]
    with Watched(lab) as watched:
        for host in hosts:
            result = load(host, following, watched)
            assert set(result.migrated) >= TABLES | COUNTED
        assert [contents(host) for host in hosts] == before
        with DpCore(hosts[0]) as core:
            raw = core._home.array("config").get(0)
            fields = core.layouts.layout("vr_config").unpack(raw)
            assert fields["ageing"] == releases.DEFAULT_AGEING
            assert max(core.stats.drops()) == 127
        # a writer of the new tables is seen by the new dp-core, and by the old one afterwards
        for host in hosts:
            with DpCore(host) as core:
                core.nexthops.put(Nexthop(id=4003, type=NhType.DISCARD, vrf=3))
        for host in hosts:
            assert set(load(host, OBJECT, watched).migrated) >= TABLES | COUNTED
    watched.check()
    for host in hosts:
        with DpCore.open(host) as core:
            assert core.nexthops.get(4003) == Nexthop(id=4003, type=NhType.DISCARD, vrf=3)
            core.nexthops.delete(4003)
    assert [contents(host) for host in hosts] == before


# ---- killed -----------------------------------------------------------------------------

BEFORE_THE_SWITCH = ("plan", "fill", "switch_to")
AFTER_IT = ("_update_links", "_wait_for_copies", "_move_counters", "_exchange", "_commit")


def load_and_die_at(host: Instance, path: Path, step: str) -> None:
    """A process loads `path` and is killed (-9) right before that step."""
    child = os.fork()
    if child == 0:

        def deadly(*_: object, **__: object) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        with contextlib.suppress(BaseException):
            setattr(migrate if hasattr(migrate, step) else exchange, step, deadly)
            load(host, path)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status), step


def test_an_upgrade_killed_at_every_step(
    lab: Lab, hosts: list[Instance], following: Path, as_found: None
) -> None:
    """The old dp-core runs or the new one, and a writer finds out which; nobody loads again."""
    h1 = hosts[0]
    before = contents(h1)
    paths = [OBJECT, following]
    with Watched(lab) as watched:
        for step in BEFORE_THE_SWITCH:
            load_and_die_at(h1, following, step)
            with DpCore.open(h1) as core, core.lock():
                assert not h1.staging_dir.exists(), step
        for step in AFTER_IT:
            paths.reverse()
            load_and_die_at(h1, paths[0], step)
            assert h1.staging_dir.exists(), step
            # what is open are the old tables, or the new ones where the pins were exchanged
            with DpCore(h1) as core:
                assert core.nexthops.get(0)
                if step == "_commit":
                    core.nexthops.put(Nexthop(id=4004, type=NhType.DISCARD))
                else:
                    with pytest.raises(Reloaded, match="try again"):
                        core.nexthops.put(Nexthop(id=4004, type=NhType.DISCARD))
            assert not h1.staging_dir.exists(), step
            with DpCore(h1) as core:
                core.nexthops.put(Nexthop(id=4004, type=NhType.DISCARD))
                core.nexthops.delete(4004)
        load(h1, OBJECT)
    watched.check()
    assert contents(h1) == before


@pytest.mark.soak
def test_loads_killed_at_random(
    lab: Lab, hosts: list[Instance], following: Path, as_found: None
) -> None:
    pick = random.Random(SEED)
    before = contents(hosts[0])
    with Watched(lab) as watched, watched.pace.dense():
        for number in range(40):
            path = (following, OBJECT)[number % 2]
            kill_while(lambda p=path: load(hosts[0], p), pick.uniform(0.3, 2.5))  # type: ignore[misc]
        load(hosts[0], OBJECT)
    watched.check()
    assert contents(hosts[0]) == before


# ---- refused ----------------------------------------------------------------------------


def test_tools_of_another_release_and_a_value_that_does_not_fit(
    lab: Lab, hosts: list[Instance], following: Path, as_found: None, vrouter: Vrouter
) -> None:
    h1 = hosts[0]
    load(h1, following)
    now = known_abi() or 0
    wanted = rf"version {now + 1}, .* version {now}: .*`vrouter load --name"
    with pytest.raises(OtherAbi, match=wanted):
        DpCore.open(h1)
    said = vrouter("status", "--name", h1.name)
    assert said.returncode == 0, said.stderr
    assert f"tables of version {now + 1}" in said.stdout
    told = json.loads(vrouter("status", "--name", h1.name, "--json").stdout)
    assert (told["abi_version"], told["tools_abi_version"]) == (now + 1, now)
    with DpCore(h1) as core:
        vif = core.vifs.by_name("tap-vm1")
        assert vif is not None
        with core.lock():
            core.vifs._write(replace(vif, qos=70_000))  # as the tools of that release would
    found = contents(h1)
    with h1.enter_netns():
        said = vrouter("load", "--name", h1.name)
    assert said.returncode == 3
    assert "table vif_slots: field qos holds a value that does not fit" in said.stderr
    assert contents(h1) == found
    assert not h1.staging_dir.exists()
    proof.ping(lab, "vm1", lab.vm("vm3").ip, 1)
    with DpCore(h1) as core:
        core.vifs.change(vif)
    with h1.enter_netns():
        said = vrouter("load", "--name", h1.name)
    assert said.returncode == 0, said.stderr
    assert "carried over" in said.stdout
    DpCore.open(h1).close()


def test_sizes_change_under_traffic(lab: Lab, hosts: list[Instance], as_found: None) -> None:
    h1 = hosts[0]
    before = contents(h1)
    sizes = loader.loaded_sizes(h1)
    larger = replace(sizes, nexthops=2 * sizes.nexthops, bridge=2 * sizes.bridge, vrfs=128)
    with Watched(lab) as watched:
        with h1.enter_netns():
            result = load(h1, OBJECT, watched, larger)
            assert {"nexthop_index", "bridge", "vrf_stats"} <= set(result.migrated)
            with DpCore.open(h1) as core:
                core.nexthops.put(Nexthop(id=sizes.nexthops + 5, type=NhType.DISCARD))
            with pytest.raises(Refused, match=r"entry 4101 of table nexthop_index is in use"):
                loader.load(h1, sizes)
            with DpCore.open(h1) as core:
                core.nexthops.delete(sizes.nexthops + 5)
            with pytest.raises(Refused, match="number of ifindexes changes by unloading"):
                loader.load(h1, replace(sizes, ifindexes=2 * sizes.ifindexes))
            load(h1, OBJECT, watched, sizes)
    watched.check()
    assert contents(h1) == before
