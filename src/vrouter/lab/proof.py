# SPDX-License-Identifier: Apache-2.0
"""What the demo measures: pings, vif counters, a capture on the wire, dp-core's own events."""

from __future__ import annotations

import contextlib
import os
import random
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

from vrouter.dpcore import libbpf, link
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.errors import VrouterError
from vrouter.dpcore.instance import Instance, find_instance
from vrouter.dpcore.names import EventMask
from vrouter.dpcore.ringbuf import Event, EventReader
from vrouter.host import netns
from vrouter.host.netlink import Netlink
from vrouter.host.vhost import VHOST
from vrouter.lab import node
from vrouter.lab.topology import NIC, VM_DEVICE, Lab

_LOSS = re.compile(r"(\d+) packets transmitted, (\d+) received")
_RTT = re.compile(r"= [\d.]+/([\d.]+)/")
_ICMP = 1
_TAIL = 0.3  # seconds for the last events to come after the ping has ended


@dataclass(frozen=True)
class Ping:
    """Result of one ping: packets sent, answered, average round trip in ms (None: no answer)."""

    sent: int
    answered: int
    rtt: float | None


def ping(
    lab: Lab, source: str, target: str, count: int, *, ident: int | None = None, wait: int = 2
) -> Ping:
    """Ping address `target` from node `source`. VrouterError if ping itself cannot run."""
    command = ["ping", "-n", "-q", "-c", str(count), "-i", "0.05", "-W", str(wait)]
    if ident is not None:
        command += ["-e", str(ident)]
    result = node.call(lab, source, [*command, target])
    found = _LOSS.search(result.stdout)
    if found is None:
        raise VrouterError(f"ping in {source} did not run: {result.stdout.strip()}")
    rtt = _RTT.search(result.stdout)
    return Ping(int(found[1]), int(found[2]), float(rtt[1]) if rtt else None)


def forget_neighbours(lab: Lab, *nodes: str) -> None:
    """Drop the ARP entries of these nodes, or of all, so that the next ping makes fresh ones.

    An old one would be probed again in the middle of a count, even if nobody uses it any more.
    Those of a host with an agent stay: its tunnels are made of them.
    """
    hosts = {host.name for host in lab.hosts}
    for name in nodes or lab.nodes:
        if name in hosts and lab.control == "agent":
            continue
        with netns.enter(lab.netns(name)), Netlink() as links:
            links.flush_neighbours(VHOST if name in hosts else VM_DEVICE)


def open_host(lab: Lab, host: str) -> DpCore:
    """The tables of a lab host."""
    return DpCore.open(find_instance(lab.instance(host)))


@dataclass(frozen=True)
class Counters:
    """Packets of a vif since it was added."""

    rx: int
    tx: int
    drops: int


def counters(lab: Lab) -> dict[tuple[str, str], Counters]:
    """By host and vif name, for every vif of every host."""
    found = {}
    for host in lab.hosts:
        with open_host(lab, host.name) as core:
            for vif in core.vifs.items():
                stats = core.vifs.stats(vif.idx)
                drops = sum(core.vifs.drops(vif.idx).values())
                found[host.name, vif.name] = Counters(stats.rx_packets, stats.tx_packets, drops)
    return found


def risen(
    before: dict[tuple[str, str], Counters], after: dict[tuple[str, str], Counters]
) -> dict[tuple[str, str], Counters]:
    """The difference, for vifs that saw anything."""
    empty = Counters(0, 0, 0)
    result = {}
    for key, now in after.items():
        old = before.get(key, empty)
        change = Counters(now.rx - old.rx, now.tx - old.tx, now.drops - old.drops)
        if change != empty:
            result[key] = change
    return result


def capture(lab: Lab, source: str, target: str) -> str:
    """What tcpdump shows on the wire of one ping there and back, outer headers included."""
    host = lab.vm(source).host
    # one line for each packet and ready at once: -l and immediate mode
    command = ["tcpdump", "-l", "-n", "-e", "--immediate-mode", "-c", "2", "-i", NIC]
    with node.popen(lab, host, [*command, "udp or proto gre"], stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "listening on" in line:
                break
        ping(lab, source, target, 1)
        try:
            output, _ = process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
    return output.rstrip()


def path(lab: Lab, source: str, target: str) -> list[tuple[str, list[Event]]]:
    """The events of one echo request, as each host's dp-core told them, in order of time.

    A list of (host, events of its pass). The packet is known by its ICMP identifier.
    """
    ident = random.randrange(1, 0xFFFF)
    with contextlib.ExitStack() as stack:
        readers = []
        for host in lab.hosts:
            core = stack.enter_context(open_host(lab, host.name))
            readers.append((host.name, stack.enter_context(EventReader(core, EventMask.PATH))))
        ping(lab, source, target, 1, ident=ident)
        passes: list[tuple[str, list[Event]]] = []
        for name, reader in readers:
            passes += [(name, events) for events in _passes(reader)]
    asked = lab.vm(source).ip
    mine = [
        (name, events)
        for name, events in passes
        if any(
            one.proto == _ICMP and one.sport == ident and str(one.sip) == asked for one in events
        )
    ]
    return sorted(mine, key=lambda item: item[1][0].ns)


def _passes(reader: EventReader) -> list[list[Event]]:
    """All waiting events, grouped by the pass of a packet through dp-core."""
    groups: dict[int, list[Event]] = {}
    end = time.monotonic() + _TAIL
    while time.monotonic() < end:
        for event in reader.read(timeout=0.05):
            groups.setdefault(event.id, []).append(event)
    return [sorted(events, key=lambda one: one.ns) for events in groups.values()]


def attach_all(instance: Instance) -> int:
    """Put dp-core back on every vif that lacks it; how many did. Physical ones included."""
    count = 0
    with DpCore.open(instance) as core, instance.enter_netns(), core.lock():
        program = libbpf.obj_get(instance.prog_dir / "vr_entry")
        try:
            for vif in core.vifs.items():
                if not core.vifs.is_attached(vif.idx):
                    pin = instance.link_dir / f"vif{vif.idx}"
                    link.detach(pin)
                    link.attach(program, vif.ifindex, pin).close()
                    count += 1
        finally:
            os.close(program)
    return count


@contextlib.contextmanager
def _guarded(instance: Instance) -> Iterator[None]:
    """Should this process be killed inside the block, another one calls attach_all() for it."""
    wait, tell = os.pipe()
    guard = os.fork()
    if guard == 0:
        with contextlib.suppress(BaseException):
            os.setsid()  # Ctrl-C is not for the guard
            os.close(tell)
            if not os.read(wait, 1):
                attach_all(instance)
        os._exit(0)
    os.close(wait)
    try:
        yield
    finally:
        with contextlib.suppress(BrokenPipeError):
            os.write(tell, b"!")
        os.close(tell)
        os.waitpid(guard, 0)


@contextlib.contextmanager
def detached(instance: Instance) -> Iterator[int]:
    """dp-core taken off all vifs of a host inside the block; gives how many those were."""
    with DpCore.open(instance) as core:
        pins = [
            instance.link_dir / f"vif{vif.idx}"
            for vif in core.vifs.items()
            if core.vifs.is_attached(vif.idx)
        ]
    with _guarded(instance):
        try:
            for pin in pins:
                link.detach(pin)
            yield len(pins)
        finally:
            attach_all(instance)
