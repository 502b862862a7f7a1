# SPDX-License-Identifier: Apache-2.0
"""Hand a frame to a netdevice as if it had received it, whatever kind of device it is.

A program of four instructions is run on the frame by BPF_PROG_TEST_RUN; a clone that it sends to
the ingress of a netdevice is really sent.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Final

from . import libbpf
from .errors import DeviceError
from .testrun import MAX_PACKET, MIN_PACKET, test_run

__all__ = ["MAX_PACKET", "MIN_PACKET", "Injector"]

_SCHED_CLS: Final = 3
_CLONE_REDIRECT: Final = 13  # enum bpf_func_id
_INGRESS: Final = 1  # BPF_F_INGRESS


class Injector:
    """For one netdevice of the namespace in which it is used."""

    def __init__(self, ifindex: int) -> None:
        self.ifindex = ifindex
        text = b"".join(
            (
                _code(0xB7, 2, imm=ifindex),  # r2 = ifindex
                _code(0xB7, 3, imm=_INGRESS),  # r3 = flags; r1 is the skb
                _code(0x85, imm=_CLONE_REDIRECT),
                _code(0x95),  # return what that said
            )
        )
        count = ctypes.c_size_t(len(text) // 8)
        fd = libbpf.lib().bpf_prog_load(
            _SCHED_CLS, b"vr_inject", b"Dual BSD/GPL", text, count, None
        )
        self._fd = libbpf.check(fd, "cannot load the program that hands frames to a netdevice")

    def close(self) -> None:
        """Frees the program."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def receive(self, frame: bytes) -> None:
        """The netdevice receives `frame` (14 to 3712 bytes). Raises BadValue, DeviceError: it is
        gone or down."""
        result = test_run(self._fd, frame, self.ifindex)
        if result.retval:
            raise DeviceError(f"netdevice {self.ifindex} does not take a frame: is it down?")


def _code(code: int, dst: int = 0, imm: int = 0) -> bytes:
    return struct.pack("=BBhi", code, dst, 0, imm)
