# SPDX-License-Identifier: Apache-2.0
"""Echo requests, without pause, while a test does something else.

ping(8) counts what is under way as lost when it is told to stop; this waits for it.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from vrouter.host import netns

_GRACE = 2.0  # seconds for the last answers
_HEAD = struct.Struct("!BBHHHI")  # ICMP header, then a number that does not come round
_V4, _V6 = (8, 0), (128, 129)  # request, reply: RFC 792, RFC 4443


@dataclass
class Pings:
    """How many were sent and answered, once the block is over."""

    sent: int = 0
    answered: int = 0
    lost: set[int] = field(default_factory=set)


@contextlib.contextmanager
def pinging(space: str, address: str, interval: float = 0.002) -> Iterator[Pings]:
    """Numbered packets, and their answers, all the time while the block runs; from namespace
    `space`, one each `interval` seconds."""
    result, over = Pings(), threading.Event()
    version = ipaddress.ip_address(address).version
    with netns.enter(space):
        if version == 4:
            end = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        else:
            end = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    with end:
        end.setblocking(False)
        end.connect((address, 0))
        thread = threading.Thread(target=_run, args=(end, version, interval, result, over))
        thread.start()
        try:
            yield result
        finally:
            over.set()
            thread.join()


def _run(
    end: socket.socket, version: int, interval: float, result: Pings, over: threading.Event
) -> None:
    request, reply = _V4 if version == 4 else _V6
    ours = os.getpid() & 0xFFFF ^ end.fileno()
    while not over.is_set():
        packet = _HEAD.pack(request, 0, 0, ours, result.sent & 0xFFFF, result.sent)
        result.lost.add(result.sent)
        result.sent += 1
        # what is not even sent is not answered either
        with contextlib.suppress(OSError):
            end.send(_summed(packet) if version == 4 else packet)
        _read(end, reply, ours, result)
        time.sleep(interval)
    deadline = time.monotonic() + _GRACE
    while result.lost and time.monotonic() < deadline:
        _read(end, reply, ours, result)
        time.sleep(interval)


def _read(end: socket.socket, reply: int, ours: int, result: Pings) -> None:
    while True:
        try:
            data = end.recv(2048)
        except BlockingIOError:
            return
        except OSError:  # an ICMP error about one of them
            continue
        if end.family == socket.AF_INET:
            data = data[(data[0] & 15) * 4 :]
        if len(data) < _HEAD.size:
            continue
        kind, _, _, ident, _, number = _HEAD.unpack_from(data)
        if (kind, ident) == (reply, ours) and number in result.lost:
            result.lost.remove(number)
            result.answered += 1


def _summed(packet: bytes) -> bytes:
    """With its checksum (RFC 792), which the kernel leaves to the sender over IPv4."""
    total = sum(struct.unpack(f"!{len(packet) // 2}H", packet))
    total = (total & 0xFFFF) + (total >> 16)
    return packet[:2] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + packet[4:]
