# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PT028 - test_run() is no test of pytest
"""Run a program on one packet, through BPF_PROG_TEST_RUN."""

from __future__ import annotations

import ctypes
import errno
import struct
from dataclasses import dataclass
from typing import Any, Final

from . import libbpf
from .errors import BadValue, DeviceError

# struct __sk_buff of <linux/bpf.h>: the fields that the kernel lets a test set
_SIZE: Final = 192
_MARK, _IFINDEX, _CB, _GSO_SEGS, _GSO_SIZE = 8, 40, 48, 164, 176
_ROOM: Final = 65536
MAX_PACKET: Final = 3712  # of what fits beside the skb in the page that the kernel uses
MIN_PACKET: Final = 14


@dataclass(frozen=True, slots=True)
class TestResult:
    """retval: TC_ACT_*; packet_out, cb and mark as the program left them; duration of
    one run in ns (mean over `repeat`)."""

    __test__ = False
    retval: int
    packet_out: bytes
    cb: tuple[int, ...]
    mark: int
    duration_ns: int


def test_run(
    prog_fd: int,
    packet: bytes,
    ifindex: int,
    *,
    mark: int = 0,
    gso_size: int = 0,
    repeat: int = 1,
) -> TestResult:
    """Runs the sched_cls program on `packet` (14 to 3712 bytes, Ethernet header first),
    as if received by netdevice `ifindex` of the caller's network namespace.

    A redirect is decided, not done; a clone is really sent. All repeats see the
    same packet, changed by the runs before. Raises BadValue, DeviceError (no such
    netdevice), VrouterError.
    """
    if not MIN_PACKET <= len(packet) <= MAX_PACKET:
        why = f"must be {MIN_PACKET} to {MAX_PACKET} bytes long"
        raise BadValue("packet", f"{len(packet)} bytes", why)
    context = bytearray(_SIZE)
    struct.pack_into("=I", context, _MARK, mark)
    struct.pack_into("=I", context, _IFINDEX, ifindex)
    if gso_size:
        struct.pack_into("=I", context, _GSO_SIZE, gso_size)
        struct.pack_into("=I", context, _GSO_SEGS, -(-len(packet) // gso_size))
    context_in = (ctypes.c_char * _SIZE).from_buffer(context)
    context_out = ctypes.create_string_buffer(_SIZE)
    out = ctypes.create_string_buffer(_ROOM)
    opts = libbpf.TestRunOpts(
        sz=ctypes.sizeof(libbpf.TestRunOpts),
        data_in=ctypes.cast(ctypes.c_char_p(packet), ctypes.c_void_p),
        data_size_in=len(packet),
        data_out=ctypes.addressof(out),
        data_size_out=_ROOM,
        ctx_in=ctypes.addressof(context_in),
        ctx_size_in=_SIZE,
        ctx_out=ctypes.addressof(context_out),
        ctx_size_out=_SIZE,
        repeat=repeat,
    )
    _run(prog_fd, opts, ifindex)
    return TestResult(
        retval=opts.retval,
        packet_out=ctypes.string_at(out, opts.data_size_out),
        cb=struct.unpack_from("=5I", context_out, _CB),
        mark=struct.unpack_from("=I", context_out, _MARK)[0],
        duration_ns=opts.duration,
    )


# the name is that of the system call's command, not a test of pytest's
test_run.__test__ = False  # type: ignore[attr-defined]


def _run(prog_fd: int, opts: Any, ifindex: int) -> None:
    lib = libbpf.lib()
    while (result := lib.bpf_prog_test_run_opts(prog_fd, ctypes.byref(opts))) == -errno.EINTR:
        pass
    if result == -errno.ENODEV:
        raise DeviceError(f"there is no netdevice with index {ifindex} in this network namespace")
    libbpf.check(result, f"cannot run the program on a packet for netdevice {ifindex}")
