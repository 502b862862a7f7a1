# SPDX-License-Identifier: Apache-2.0
"""Copies that dp-core sends to itself, under way while it is exchanged, are finished."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.system import releases
from tests.system.burst import SO_RCVBUFFORCE
from tests.system.topology import World, label_for
from vrouter.dpcore import exchange, libbpf, loader, testrun
from vrouter.dpcore.btf import Btf
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.instance import Instance
from vrouter.dpcore.maps import ArrayMap, ProgArrayMap, open_map
from vrouter.dpcore.names import DropReason, VifType
from vrouter.dpcore.object import OBJECT
from vrouter.dpcore.records import Member, Vif
from vrouter.dpcore.sizes import SMALL
from vrouter.host import netns as spaces

ENCAPS = ("vxlan", "mplsogre")
VRF, LABEL = 1, 101
PAUSE = 0.0004  # between broadcasts
AGAIN_MAGIC, TRAP, DROP = 0x56000000, 1, 2

pytestmark = [pytest.mark.alone, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def following(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return releases.build_next(tmp_path_factory.mktemp("next"))


class Flood(threading.Thread):
    """Numbered broadcasts of one guest, and what each of the others received."""

    def __init__(self, source: str, receivers: list[str]) -> None:
        super().__init__(name="flood")
        with spaces.enter(source):
            self._out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._out.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self._into = []
        for space in receivers:
            with spaces.enter(space):
                one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
            one.bind(("", 4001))
            one.setblocking(False)
            self._into.append(one)
        self._over = threading.Event()
        self.sent = 0
        self.got: list[Counter[int]] = [Counter() for _ in receivers]

    def run(self) -> None:
        while not self._over.is_set():
            for _ in range(4):
                self._out.sendto(struct.pack("!I", self.sent), ("10.1.0.255", 4001))
                self.sent += 1
            self._receive()
            time.sleep(PAUSE)

    def _receive(self) -> None:
        for one, got in zip(self._into, self.got, strict=True):
            with contextlib.suppress(BlockingIOError):
                while True:
                    got[struct.unpack("!I", one.recv(64))[0]] += 1

    def finish(self) -> None:
        self._over.set()
        self.join()
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline and any(len(got) < self.sent for got in self.got):
            self._receive()
            time.sleep(0.01)
        for one in (self._out, *self._into):
            one.close()


def test_every_receiver_gets_every_broadcast_once(following: Path) -> None:
    """Two kinds of tunnels: one of the two copies of each goes round again. The layout of what
    dp-core notes of it changes, too."""
    with World() as world:
        hosts = [world.host() for _ in range(3)]
        guests = [host.guest(VRF, last) for last, host in enumerate(hosts, 1)]
        for host in hosts[1:]:
            host.accept(LABEL, VRF)
            host.flood(VRF, [guests[hosts.index(host)]], [])
        remote = [
            Member(nh=hosts[0].tunnel(far.ip, far.mac, encap), label=label_for(encap, LABEL))
            for far, encap in zip(hosts[1:], ENCAPS, strict=True)
        ]
        hosts[0].flood(VRF, [guests[0]], remote)
        flood = Flood(guests[0].netns, [guest.netns for guest in guests[1:]])
        flood.start()
        try:
            with spaces.enter(hosts[0].netns):
                for path in (following, OBJECT):
                    assert loader.load(hosts[0].instance, object_path=path).swapped
        finally:
            flood.finish()
        assert flood.sent > 500
        for number, got in enumerate(flood.got):
            lost = flood.sent - len(got)
            assert (lost, set(got.values())) == (0, {1}), (ENCAPS[number], lost, flood.sent)
        with DpCore(hosts[0].instance) as core:
            assert core.stats.drops()[DropReason.RECIRCULATION] == 0


def test_a_copy_is_finished_by_the_dpcore_that_made_it(instance: Instance, following: Path) -> None:
    """A copy is put under way by hand, and let in before and after the old dp-core is gone."""
    loader.load(instance, SMALL, test_mode=True)
    subprocess.run(["ip", "link", "add", "c0", "type", "veth", "peer", "name", "c1"], check=True)
    number = socket.if_nametoindex("c0")
    with DpCore.open(instance) as core:
        core.vifs.add(
            Vif(idx=7, name="c0", type=VifType.VIRTUAL, ifindex=number, os_ifindex=number,
                mac=bytes.fromhex("00005e000100"))
        )  # fmt: skip
    old = libbpf.obj_get(instance.prog_dir / exchange.MAIN)
    with open_map(instance.map_path("again_slots")) as again:
        assert isinstance(again, ArrayMap)
        layout = Btf.from_kernel(again.btf_id).layout("vr_again")
        loader.load(instance, object_path=following, test_mode=True)
        entry = libbpf.obj_get(instance.prog_dir / exchange.ENTRY)
        with open_map(instance.map_path("vr_switch")) as switch:
            assert isinstance(switch, ProgArrayMap)
            for there, reason in (
                (True, DropReason.TRAP_NO_IF),
                (False, DropReason.RECIRCULATION),
            ):
                again.set(9, layout.pack(mark=AGAIN_MAGIC | 9, what=TRAP, param=2, vif=7))
                if there:
                    switch.set_program(1, old)
                else:
                    switch.clear_program(1)
                result = testrun.test_run(entry, bytes(64), number, mark=AGAIN_MAGIC | 9)
                assert (result.cb[0], result.cb[2]) == (DROP, reason), there
    os.close(old)
    os.close(entry)
