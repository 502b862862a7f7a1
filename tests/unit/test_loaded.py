# SPDX-License-Identifier: Apache-2.0
"""Links, test runs and ring buffers of a loaded dp-core."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from vrouter.dpcore import bpffs, libbpf, link, loader, ringbuf, testrun
from vrouter.dpcore import object as objects
from vrouter.dpcore.btf import Btf
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.errors import BadValue, Busy, DeviceError, Refused, Reloaded
from vrouter.dpcore.instance import Instance
from vrouter.dpcore.maps import open_map
from vrouter.dpcore.ringbuf import EventReader, RingReader
from vrouter.dpcore.sizes import SMALL
from vrouter.tools.vrouter_trace import flow_text


@pytest.fixture
def loaded(instance: Instance) -> Instance:
    loader.load(instance, SMALL, test_mode=True)
    for command in ("link add v0 type veth peer name v1", "link set v0 up", "link set v1 up"):
        subprocess.run(["ip", *command.split()], check=True)
    return instance


def _program(instance: Instance, name: str) -> int:
    return libbpf.obj_get(instance.prog_dir / name)


def test_links(loaded: Instance) -> None:
    from socket import if_nametoindex

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
    from socket import if_nametoindex

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
    from socket import if_nametoindex

    program = _program(loaded, "vr_dpcore")
    types = Btf.from_object(objects.OBJECT)
    number = if_nametoindex("v0")
    with DpCore.open(loaded) as core, EventReader(core, 3) as reader:
        with pytest.raises(Busy, match=f"process {os.getpid()} "):
            EventReader(core, 1)
        assert core.config.get().events == 3
        _add_vif(core, number)
        testrun.test_run(program, bytes(64), number)
        # the kernel greets IPv6 neighbours on the device, too
        events = [event for event in reader.read(timeout=1) if not event.eth_type]
        assert types.enum("vr_event_kind")["VR_EV_DROP"] in [event.kind for event in events]
        assert {event.vif for event in events} == {7}
        assert events[0].sip is None
        assert not [event for event in reader.read(timeout=0.01) if not event.eth_type]
    with DpCore.open(loaded) as core:
        assert core.config.get().events == 0
    os.close(program)


FLOWS = (
    (
        "45000020000100004011f9f9 0a010101 0a010102 0457 08ae 000c 0000".replace(" ", ""),
        "0800",
        "udp 10.1.1.1:1111 > 10.1.1.2:2222",
    ),
    (
        "60000000000c1140" + "fd" + 14 * "00" + "01" + "fd" + 14 * "00" + "02" + "045708ae000c0000",
        "86dd",
        "udp [fd00::1]:1111 > [fd00::2]:2222",
    ),
    (
        "6000000000083aff" + 16 * "00" + "ff02" + 12 * "00" + "0001" + "8000000000070009",
        "86dd",
        "icmpv6 :: > ff02::1 id 7 seq 9",
    ),
    (
        "6000000000183aff"
        + "fe80"
        + 12 * "00"
        + "0001"
        + "ff02"
        + 12 * "00"
        + "0001"
        + "87000000"
        + 40 * "00",
        "86dd",
        "icmpv6 fe80::1 > ff02::1",
    ),
    (
        "6000000000080040" + "fd" + 14 * "00" + "01" + "fd" + 14 * "00" + "02" + "3a00050200000000",
        "86dd",
        "hop-by-hop fd00::1 > fd00::2",
    ),
    (
        "0001080006040001 020000000001 0a010101 000000000000 0a010102".replace(" ", ""),
        "0806",
        "arp 10.1.1.1 > 10.1.1.2",
    ),
    ("0001", "88cc", "type 0x88cc"),
)


@pytest.mark.parametrize(("payload", "kind", "text"), FLOWS)
def test_an_event_tells_the_addresses(loaded: Instance, payload: str, kind: str, text: str) -> None:
    from socket import if_nametoindex

    program = _program(loaded, "vr_dpcore")
    number = if_nametoindex("v0")
    frame = bytes.fromhex(12 * "02" + kind + payload).ljust(100, b"\0")
    with DpCore.open(loaded) as core, EventReader(core, 3) as reader:
        _add_vif(core, number)
        testrun.test_run(program, frame, number)
        # the kernel's own packets may come in between
        events = [event for event in reader.read(timeout=1) if event.len == len(frame)]
        assert [flow_text(event) for event in events] == [text] * len(events)
        assert len(events) > 1
    os.close(program)


def test_a_reader_of_events_whose_ring_is_replaced(loaded: Instance) -> None:
    """By a load with another size it is told so, and leaves no events switched on behind."""
    with DpCore.open(loaded) as core, EventReader(core, 3) as reader:
        larger = replace(SMALL, events=2 * SMALL.events)
        assert loader.load(loaded, larger, test_mode=True).migrated == ()
        assert core.is_current()
        with pytest.raises(Reloaded, match=f"load of vRouter '{loaded.name}'"):
            reader.read(timeout=0.01)
    # a kept ring is read on, whatever happens to the other tables
    with DpCore.open(loaded) as core, EventReader(core, 3) as reader:
        larger = replace(larger, labels=2 * SMALL.labels)
        assert loader.load(loaded, larger, test_mode=True).migrated == ("config", "mpls")
        assert not reader.read(timeout=0.01)
        assert core.config.get().events == 3
        assert not core.is_current()
        with DpCore.open(loaded) as fresh:
            assert fresh.config.get().events == 3
            fresh.mpls.put(SMALL.labels + 1, 0)
        with pytest.raises(Reloaded, match="try again"):
            core.config.set(agent_vif=None)
    with DpCore.open(loaded) as core:
        assert core.config.get().events == 0


def _read_until_killed(instance: Instance, ready: int) -> None:
    with DpCore.open(instance) as core, EventReader(core, 3):
        os.write(ready, b"!")
        signal.pause()


def test_a_listener_that_was_killed_is_forgotten(
    loaded: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    from socket import if_nametoindex

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
    from vrouter.dpcore.names import VifType
    from vrouter.dpcore.records import Vif

    core.vifs.add(
        Vif(idx=7, name="v0", type=VifType.VIRTUAL, ifindex=number, os_ifindex=number,
            mac=bytes.fromhex("00005e000100"))
    )  # fmt: skip


def test_a_ring_buffer_without_records(loaded: Instance) -> None:
    with open_map(loaded.map_path("test_copies")) as ring, RingReader(ring) as reader:
        assert ring.max_entries == 1 << 20
        assert reader.read() == []
        assert reader.fileno() >= 0


def test_nothing_of_ours_is_left_mounted_twice() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    bpffs.mount()
    bpffs.mount()
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    assert sum(line.split()[4] == str(bpffs.BASE / "bpf") for line in mounts) == 1
