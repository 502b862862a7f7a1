# SPDX-License-Identifier: Apache-2.0
"""Settings of the machine that hurt dp-core, each with the command that mends it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vrouter.dpcore import bpffs, netdev, netns
from vrouter.dpcore.errors import DeviceError, VrouterError
from vrouter.dpcore.names import NhType, VifType

if TYPE_CHECKING:
    from vrouter.dpcore.core import DpCore
    from vrouter.dpcore.records import Vif

SYS = Path("/proc/sys")
OUTER = 50  # bytes that VXLAN puts before a packet, the most that any of our tunnels does
GRO = "rx-gro"
SEGMENTATION = ("tx-tcp-segmentation", "tx-generic-segmentation", GRO)


@dataclass(frozen=True)
class Limit:
    """One setting: its name, its value, what it does to us, and the command that changes it."""

    name: str
    value: str
    why: str
    command: str


def limits(core: DpCore) -> list[Limit]:
    """What hurts here; empty when nothing does. Changes nothing."""
    found = [*_backlog(core), *_kernel()]
    with contextlib.suppress(VrouterError), core.instance.enter_netns():
        # a namespace that is gone has no settings
        vifs = list(core.vifs.items())
        found += [*_reverse_path(vifs), *_bridges(), *_mtus(vifs), *_exception_pair(core)]
        for vif in vifs:
            if vif.type == VifType.PHYSICAL:
                found += _offloads(vif.name)
    return found


def _read(name: str) -> int | None:
    """A sysctl, of the calling thread's network namespace where it has one of its own."""
    try:
        return int((SYS / name.replace(".", "/")).read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def _read_of_machine(name: str) -> int | None:
    """A sysctl that only the first network namespace shows."""
    host = bpffs.host_process()
    try:
        fd = os.open(f"{host or '/proc/self'}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return _read(name)
    try:
        with netns.entered(fd):
            return _read(name)
    except (OSError, VrouterError):
        return _read(name)
    finally:
        os.close(fd)


def _sysctl(name: str, value: int) -> str:
    return f"sysctl -w {name}={value}"


def _backlog(core: DpCore) -> Iterator[Limit]:
    """The copies of one frame wait in one CPU's queue: two floods must fit."""
    name = "net.core.netdev_max_backlog"
    room, copies = _read_of_machine(name), largest_flood(core)
    if room is not None and room < 2 * copies:
        why = f"a flood makes {copies} copies at once, and what does not fit is dropped"
        yield Limit(name, str(room), why, _sysctl(name, max(2000, 4 * copies)))


def largest_flood(core: DpCore) -> int:
    """How many copies the largest composite makes of one frame."""
    nexthops = {one.id: one for one in core.nexthops.items() if one.type == NhType.COMPOSITE}
    largest = 0
    for top in nexthops.values():
        parts = [nexthops[one.nh] for one in top.members if one.nh in nexthops]
        plain = len(top.members) - len(parts)
        largest = max(largest, plain + sum(len(part.members) for part in parts))
    return largest


def _kernel() -> Iterator[Limit]:
    for name, worst, why in (
        ("net.core.bpf_jit_harden", 2, "every constant of dp-core is blinded, which slows packets"),
        ("kernel.bpf_stats_enabled", 1, "every run of dp-core is timed, which slows packets"),
    ):
        value = _read_of_machine(name)
        if value is not None and value >= worst:
            yield Limit(name, str(value), why, _sysctl(name, 0))


def _reverse_path(vifs: list[Vif]) -> Iterator[Limit]:
    every = _read("net.ipv4.conf.all.rp_filter") or 0
    for vif in vifs:
        if vif.type == VifType.HOST:
            name = f"net.ipv4.conf.{vif.name}.rp_filter"
            own = _read(name)
            # the kernel goes by the larger of the two
            if own is not None and max(every, own) == 1:
                why = "the host drops what comes by another way than its answer would go"
                yield Limit(name, "1", why, _sysctl(name, 2))


def _bridges() -> Iterator[Limit]:
    for what in ("iptables", "ip6tables", "arptables"):
        name = f"net.bridge.bridge-nf-call-{what}"
        if _read(name) == 1:
            why = "frames on bridges behind a vif are given to the host's firewall"
            yield Limit(name, "1", why, _sysctl(name, 0))


def _mtus(vifs: list[Vif]) -> Iterator[Limit]:
    """A guest's packets must fit the NIC with the tunnel's header before them."""
    physical = [_mtu(vif.name) for vif in vifs if vif.type == VifType.PHYSICAL]
    room = min((mtu for mtu in physical if mtu), default=0)
    guests = [(_mtu(vif.name), vif.name) for vif in vifs if vif.type == VifType.VIRTUAL]
    if room and guests and max(guests)[0] + OUTER > room:
        mtu, name = max(guests)
        nic = next(vif.name for vif in vifs if vif.type == VifType.PHYSICAL)
        why = f"packets of {name} (MTU {mtu}) do not fit {nic} (MTU {room}) with a tunnel's header"
        yield Limit(f"MTU of {nic}", str(room), why, f"ip link set {nic} mtu {mtu + OUTER}")


def _mtu(device: str) -> int:
    try:
        return netdev.mtu(device)
    except DeviceError:
        return 0


def _exception_pair(core: DpCore) -> Iterator[Limit]:
    config = core.config.get()
    for ifindex in (config.exception_out, config.exception_in):
        try:
            name = netdev.name(ifindex) if ifindex else ""
        except DeviceError:
            name = ""
        if name and netdev.is_up(name):
            continue
        why = "guests are not told of packets that are too long or went too far"
        mend = f"ip link set {name} up" if name else "vrouter load"
        yield Limit(name or "exception pair", "down" if name else "missing", why, mend)
        return


def _offloads(device: str) -> Iterator[Limit]:
    from vrouter.host import offload  # noqa: PLC0415 - only where there is a NIC

    try:
        features = offload.get(device)
    except DeviceError:
        return
    for name in SEGMENTATION:
        # a veth merges nothing unless it is told to: what comes by it is merged already
        if features.get(name) is False and not (name == GRO and netdev.driver(device) == "veth"):
            why = "large packets are cut into small ones in software, or never made"
            yield Limit(f"{name} of {device}", "off", why, f"ethtool -K {device} {name} on")
    if features.get("rx-lro"):
        why = "packets that the NIC merged cannot be sent on"
        yield Limit(f"rx-lro of {device}", "on", why, f"ethtool -K {device} rx-lro off")
