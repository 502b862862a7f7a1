# SPDX-License-Identifier: Apache-2.0
"""64-byte packets as fast as one CPU can send and forward them.

The kernel's own packet generator (BPF_PROG_TEST_RUN of an XDP program with live frames) makes
them in the sending VM's namespace; they enter at its `lo`, where a program sends each out of
the VM's device, as if the VM had sent it. A program at the ingress of the receiving VM's device
frees them there, so that no socket's cost is measured; the device's own counter counts them.

All of it, from making a packet to freeing it, happens on the one CPU that calls, so the rate is
the reciprocal of the whole cost of a packet, that of making it included. What that is, is measured
beside: packets that are only made (`made`), and packets sent into a plain veth pair (`sink`).
"""

from __future__ import annotations

import ctypes
import os
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from vrouter.dpcore import libbpf
from vrouter.dpcore.errors import VrouterError
from vrouter.host import netns
from vrouter.host.netlink import Netlink
from vrouter.lab.topology import mac_bytes

from .paths import End, Route

FRAME = 60  # 64 bytes on a wire, where the FCS is sent too
SINK_MTU = 1500
_PROG_SCHED_CLS, _PROG_XDP = 3, 6
_LIVE_FRAMES = 1 << 1
_WARM_UP = 1 << 16  # packets before the clock starts, and to learn how many fit the time
_TC_ACT_SHOT = _XDP_PASS = 2
_BPF_REDIRECT = 23  # enum bpf_func_id

_MOV_IMM, _CALL, _EXIT = 0xB7, 0x85, 0x95


@dataclass(frozen=True)
class Rate:
    """Packets sent and received within `seconds`."""

    sent: int
    received: int
    seconds: float

    @property
    def per_second(self) -> float:
        return self.received / self.seconds

    @property
    def lost(self) -> float:
        """The part of the packets that did not arrive."""
        return 1 - self.received / self.sent if self.sent else 0.0


def frame(source: End, target: End) -> bytes:
    """A UDP packet from one VM to another: FRAME bytes without FCS, checksums right or absent."""
    size = FRAME - 14
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, size, 1, 0, 64, 17, 0,
        IPv4Address(source.ip).packed, IPv4Address(target.ip).packed,
    )  # fmt: skip
    total = sum(struct.unpack("!10H", head))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack("!H", ~total & 0xFFFF) + head[12:]
    udp = struct.pack("!HHHH", 40000, 9, size - 20, 0)
    ethernet = mac_bytes(target.mac) + mac_bytes(source.mac) + b"\x08\x00"
    return (ethernet + head + udp).ljust(FRAME, b"\0")


def measure(route: Route, seconds: float, cpu: int) -> Rate:
    """Send along `route` for about `seconds` on CPU `cpu`. VrouterError if nothing arrives."""
    source, target = route.source, route.target
    packet = frame(source, target)

    def body() -> Rate:
        return _send(packet, source.device, target, seconds, cpu)

    with netns.enter(target.netns), _attached(_drop_all(), target.device):
        rate = netns.run(source.netns, body)
    if not rate.received:
        raise VrouterError(
            f"none of {rate.sent} packets from {source.netns} arrived in {target.netns}"
        )
    return rate


@contextmanager
def sink(name: str) -> Iterator[Route]:
    """A way on which nobody forwards: a veth pair between two namespaces called `name`-..."""
    near = End(f"{name}-near", "out", "192.0.2.1", "02:00:00:00:01:01")
    far = End(f"{name}-far", "in", "192.0.2.2", "02:00:00:00:01:02")
    try:
        for end in (near, far):
            netns.create(end.netns)
        with netns.enter(near.netns), Netlink() as links:
            file = str(netns.path(far.netns))
            macs = {"mac": mac_bytes(near.mac), "peer_mac": mac_bytes(far.mac)}
            links.add_veth(near.device, far.device, mtu=SINK_MTU, peer_netns=file, **macs)
        for end in (near, far):
            with netns.enter(end.netns), Netlink() as links:
                links.add_address(end.device, end.ip, 24)
                links.up("lo")
                links.up(end.device)
        yield Route(near, far, ())
    finally:
        for end in (near, far):
            with suppress(OSError):
                netns.delete(end.netns)


def made(route: Route, seconds: float, cpu: int) -> float:
    """Packets per second that are only made: freed before they are sent out of any device."""
    packet = frame(route.source, route.target)

    def body() -> float:
        os.sched_setaffinity(0, {cpu})
        with _attached(_drop_all(), "lo"):
            count = _fitting(packet, seconds)
            return count / _run(packet, count)

    return netns.run(route.source.netns, body)


def _send(packet: bytes, device: str, target: End, seconds: float, cpu: int) -> Rate:
    """Runs on a thread of its own, in the sender's namespace."""
    os.sched_setaffinity(0, {cpu})
    with Netlink() as links:
        out = links.need(device).ifindex
    with _attached(_redirect_to(out), "lo"):
        count = _fitting(packet, seconds)
        before = _received(target)
        took = _run(packet, count)
        return Rate(count, _received(target) - before, took)


def _fitting(packet: bytes, seconds: float) -> int:
    """How many packets take about `seconds`; caches, ARP and the CPU's clock are warm then.

    They go in one call: to begin and to end one takes the kernel some 15 ms.
    """
    return max(_WARM_UP, int(_WARM_UP / _run(packet, _WARM_UP) * seconds))


def _received(end: End) -> int:
    with netns.enter(end.netns):
        for line in Path("/proc/thread-self/net/dev").read_text(encoding="ascii").splitlines():
            name, _, counters = line.partition(":")
            if name.strip() == end.device:
                return int(counters.split()[1])
    raise VrouterError(f"{end.netns} has lost its device {end.device}")


def _run(packet: bytes, repeat: int) -> float:
    """Make and send `repeat` packets on this CPU; the seconds that it took."""
    options = libbpf.TestRunOpts()
    options.sz = ctypes.sizeof(options)
    data = ctypes.create_string_buffer(packet, len(packet))
    options.data_in = ctypes.addressof(data)
    options.data_size_in = len(packet)
    options.repeat = repeat
    options.flags = _LIVE_FRAMES
    program = _pass_all()
    start = time.perf_counter()
    result = libbpf.lib().bpf_prog_test_run_opts(program, ctypes.byref(options))
    took = time.perf_counter() - start
    libbpf.check(result, "cannot generate packets (BPF_F_TEST_XDP_LIVE_FRAMES)")
    return took


def _instruction(code: int, register: int = 0, immediate: int = 0) -> bytes:
    return struct.pack("=BBhi", code, register, 0, immediate)


def _load(kind: int, name: str, *instructions: bytes) -> int:
    load: Any = libbpf.lib().bpf_prog_load
    text, count = b"".join(instructions), len(instructions)
    result = load(kind, name.encode(), b"Dual BSD/GPL", text, ctypes.c_size_t(count), None)
    return libbpf.check(result, f"cannot load the benchmark's program {name}")


@cache
def _pass_all() -> int:
    code = (_instruction(_MOV_IMM, 0, _XDP_PASS), _instruction(_EXIT))
    return _load(_PROG_XDP, "bench_pass", *code)


@cache
def _drop_all() -> int:
    code = (_instruction(_MOV_IMM, 0, _TC_ACT_SHOT), _instruction(_EXIT))
    return _load(_PROG_SCHED_CLS, "bench_drop", *code)


@cache
def _redirect_to(ifindex: int) -> int:
    return _load(
        _PROG_SCHED_CLS,
        "bench_out",
        _instruction(_MOV_IMM, 1, ifindex),
        _instruction(_MOV_IMM, 2, 0),
        _instruction(_CALL, 0, _BPF_REDIRECT),
        _instruction(_EXIT),
    )


@contextmanager
def _attached(program: int, device: str) -> Iterator[None]:
    """The program at the ingress of a device of the calling thread's namespace."""
    with ExitStack() as stack:
        with Netlink() as links:
            ifindex = links.need(device).ifindex
        fd = libbpf.lib().bpf_link_create(program, ifindex, libbpf.TCX_INGRESS, None)
        stack.callback(os.close, libbpf.check(fd, f"cannot attach to {device}"))
        yield
