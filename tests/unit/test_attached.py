# SPDX-License-Identifier: Apache-2.0
"""Links, test runs and ring buffers of a loaded dp-core."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from socket import if_nametoindex

import pytest

from vrouter.dpcore import libbpf, link, loader, ringbuf, testrun
from vrouter.dpcore import object as objects
from vrouter.dpcore.btf import Btf
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.errors import BadValue, Busy, DeviceError, Refused
from vrouter.dpcore.instance import Instance
from vrouter.dpcore.maps import open_map
from vrouter.dpcore.names import VifType
from vrouter.dpcore.records import Vif
from vrouter.dpcore.ringbuf import EventReader, RingReader
from vrouter.dpcore.sizes import SMALL


@pytest.fixture
def loaded(instance: Instance) -> Instance:
    loader.load(instance, SMALL, test_mode=True)
    for command in ("link add v0 type veth peer name v1", "link set v0 up", "link set v1 up"):
        subprocess.run(["ip", *command.split()], check=True)
    return instance


def _program(instance: Instance, name: str) -> int:
    return libbpf.obj_get(instance.prog_dir / name)


def test_links(loaded: Instance) -> None:
    entry, pin = _program(loaded, "vr_entry"), loaded.link_dir / "vif1"
    first, second = if_nametoindex("v0"), if_nametoindex("v1")
    try:
        with link.attach(entry, first, pin) as one:
            assert one.info().ifindex == first
            same = one.info()
        with link.attach(entry, first, pin) as one:
            assert one.info() == same
            one.update(_program(loaded, "vr_dpcore"))
            assert one.info().prog_id != same.prog_id
            one.update(entry)
        with pytest.raises(Refused, match="vif1 is attached to netdevice"):
            link.attach(entry, second, pin)
        with pytest.raises(DeviceError, match="for another vif"):
            link.attach(entry, first, loaded.link_dir / "vif2")
        with pytest.raises(DeviceError, match="no netdevice with index 9999"):
            link.attach(entry, 9999, loaded.link_dir / "vif3")
        assert [opened.pin.name for opened in link.links(loaded.link_dir)] == ["vif1"]
        assert link.detach(pin)
        assert not link.detach(pin)
        link.attach(entry, first, pin).close()
        subprocess.run(["ip", "link", "del", "v0"], check=True)
        with link.open_link(pin) as one:
            assert one.info().ifindex == 0
        subprocess.run(
            ["ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1"], check=True
        )
        with link.attach(entry, if_nametoindex("v0"), pin) as one:
            assert one.info().ifindex == if_nametoindex("v0")
        loader.unload(loaded)
        # the program is off at once, not when the kernel gets round to it
        loader.load(loaded, SMALL)
        link.attach(entry, if_nametoindex("v0"), pin).close()
    finally:
        os.close(entry)


def test_a_test_run_says_what_dpcore_decided(loaded: Instance) -> None:
    program = _program(loaded, "vr_dpcore")
    try:
        result = testrun.test_run(program, bytes(64), if_nametoindex("v0"), mark=5)
        # no vif on that netdevice: INVALID_IF
        assert result.cb[0] == 2
        assert result.cb[2] == 3
        assert result.packet_out == bytes(64)
        with pytest.raises(DeviceError):
            testrun.test_run(program, bytes(64), 9999)
        with pytest.raises(BadValue):
            testrun.test_run(program, bytes(13), if_nametoindex("v0"))
    finally:
        os.close(program)


def test_events_are_read_and_switched_off_again(loaded: Instance) -> None:
    program = _program(loaded, "vr_dpcore")
    types = Btf.from_object(objects.OBJECT)
    number = if_nametoindex("v0")
    with DpCore.open(loaded) as core, EventReader(core, 3) as reader:
        with pytest.raises(Busy, match=f"process {os.getpid()} "):
            EventReader(core, 1)
        assert core.config.get().events == 3
        _add_vif(core, number)
        testrun.test_run(program, bytes(64), number)
        events = reader.read(timeout=1)
        assert types.enum("vr_event_kind")["VR_EV_DROP"] in [event.kind for event in events]
        assert {event.vif for event in events} == {7}
        assert events[0].sip is None
        assert reader.read(timeout=0.01) == []
    with DpCore.open(loaded) as core:
        assert core.config.get().events == 0
    os.close(program)


def _read_until_killed(instance: Instance, ready: int) -> None:
    with DpCore.open(instance) as core, EventReader(core, 3):
        os.write(ready, b"!")
        signal.pause()


def test_a_listener_that_was_killed_is_forgotten(
    loaded: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = if_nametoindex("v0")
    monkeypatch.setattr(ringbuf, "_LEASE_NS", 300_000_000)
    hear, ready = os.pipe()
    child = os.fork()
    if not child:
        try:
            _read_until_killed(loaded, ready)
        finally:
            os._exit(1)
    assert os.read(hear, 1) == b"!"
    with DpCore.open(loaded) as core:
        _add_vif(core, number)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert core.config.get().events == 3
        time.sleep(0.4)
        program = _program(loaded, "vr_dpcore")
        testrun.test_run(program, bytes(64), number)
        assert core.config.get().events == 0
        with EventReader(core, 1) as reader:
            testrun.test_run(program, bytes(64), number)
            assert len(reader.read(timeout=1)) == 1
    for fd in (hear, ready, program):
        os.close(fd)


def _add_vif(core: DpCore, number: int) -> None:
    core.vifs.add(
        Vif(idx=7, name="v0", type=VifType.VIRTUAL, ifindex=number, os_ifindex=number,
            mac=bytes.fromhex("00005e000100"))
    )  # fmt: skip


def test_a_ring_buffer_without_records(loaded: Instance) -> None:
    with open_map(loaded.map_path("test_copies")) as ring, RingReader(ring) as reader:
        assert ring.max_entries == 1 << 20
        assert reader.read() == []
        assert reader.fileno() >= 0
