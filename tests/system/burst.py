# SPDX-License-Identifier: Apache-2.0
"""Numbered datagrams at tens of thousands a second, by a process of its own for each way.

One loop sends what is due (sendmmsg) and receives what has arrived (recvmmsg).
No more are under way than fit every queue between the two ends, so a number that never
arrives was lost, and not thrown away because somebody was too slow to read: the kernel's own
counts of what it threw away (the socket's queue, the CPU's backlog) are told beside.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import mmap
import os
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from vrouter.host import netns

_CELL = 8
_BURST = 64
_UNDER_WAY = 400  # the smallest queue is a CPU's backlog of 1000, which others use too
_STALLED = 0.1  # seconds after which what is under way counts as lost
_GRACE = 1.0
_TOLD = 1000
_RAMP = 0.05
_NICE = 5  # whoever does what the traffic is to survive must get on with it
SO_RCVBUFFORCE, _MSG_DONTWAIT = 33, 0x40
_libc = ctypes.CDLL(None, use_errno=True)


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("len", ctypes.c_size_t))


class _Header(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p), ("namelen", ctypes.c_uint32),
        ("iov", ctypes.POINTER(_Iovec)), ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p), ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_size_t), ("len", ctypes.c_uint32),
    )  # fmt: skip


class _Messages:
    """Room for some datagrams of one number each, for sendmmsg and recvmmsg."""

    def __init__(self, count: int) -> None:
        self.memory = bytearray(_CELL * count)
        base = ctypes.addressof((ctypes.c_char * len(self.memory)).from_buffer(self.memory))
        self._iov = (_Iovec * count)(*[_Iovec(base + _CELL * at, _CELL) for at in range(count)])
        self.headers = (_Header * count)()
        for at in range(count):
            self.headers[at].iov = ctypes.pointer(self._iov[at])
            self.headers[at].iovlen = 1


@dataclass
class Result:
    """What became of the datagrams of one way. missing: [first, last] of the first gaps;
    pause: longest time without one, in seconds; thrown_away: by a full queue of the socket."""

    sent: int = 0
    received: int = 0
    doubled: int = 0
    late: int = 0
    missing: list[list[int]] = field(default_factory=list)
    pause: float = 0.0
    thrown_away: int = 0
    seconds: float = 0.0
    dense: int = 0  # sent while the pace was the full one, and for how long it was
    dense_seconds: float = 0.0
    lost: int = 0
    backlog: int = 0  # packets that the CPUs' backlogs threw away meanwhile, whosoever's

    @property
    def rate(self) -> float:
        """Datagrams a second while the pace was the full one."""
        return self.dense / self.dense_seconds if self.dense_seconds else 0.0


class Pace:
    """How many datagrams a second each way sends, for all processes: `full` inside dense()."""

    def __init__(self, full: int, else_: int) -> None:
        self._full, self._else = full, else_
        self._shared = memoryview(mmap.mmap(-1, 8)).cast("Q")
        self._shared[0] = else_

    @property
    def now(self) -> int:
        return self._shared[0]

    @property
    def is_full(self) -> bool:
        return self._shared[0] == self._full

    @contextlib.contextmanager
    def dense(self) -> Iterator[None]:
        """The full pace inside the block, and for a moment before and after what is done in it."""
        self._shared[0] = self._full
        time.sleep(_RAMP)
        try:
            yield
            time.sleep(_RAMP)
        finally:
            self._shared[0] = self._else


class _Way:
    def __init__(self, out: socket.socket, into: socket.socket, space: str) -> None:
        self.out, self.into, self.space = out, into, space
        self._to, self._from = _Messages(_BURST), _Messages(4 * _BURST)
        self.result = Result()
        self.expected = 0
        self._gaps: set[int] = set()
        self.last = time.monotonic()

    def send(self, count: int) -> None:
        start = self.result.sent
        struct.pack_into(f"={count}Q", self._to.memory, 0, *range(start, start + count))
        done = _libc.sendmmsg(self.out.fileno(), self._to.headers, count, 0)
        self.result.sent += max(done, 0)

    def receive(self) -> None:
        done = _libc.recvmmsg(
            self.into.fileno(), self._from.headers, 4 * _BURST, _MSG_DONTWAIT, None
        )
        if done <= 0:
            return
        now = time.monotonic()
        self.result.pause = max(self.result.pause, now - self.last)
        self.last = now
        self.result.received += done
        got = struct.unpack_from(f"={done}Q", self._from.memory)
        if got == tuple(range(self.expected, self.expected + done)):
            self.expected += done
            return
        for number in got:
            if number >= self.expected:
                self._gaps.update(range(self.expected, number))
                self.expected = number + 1
            elif number in self._gaps:
                self._gaps.remove(number)
                self.result.late += 1
            else:
                self.result.doubled += 1

    def end(self, seconds: float) -> Result:
        self._gaps.update(range(self.expected, self.result.sent))
        self.result.lost = len(self._gaps)
        for number in sorted(self._gaps)[:_TOLD]:
            if self.result.missing and self.result.missing[-1][1] == number - 1:
                self.result.missing[-1][1] = number
            else:
                self.result.missing.append([number, number])
        self.result.seconds = seconds
        self.result.thrown_away = _thrown_away(self.into, self.space)
        return self.result


def _thrown_away(sock: socket.socket, space: str) -> int:
    number = str(os.fstat(sock.fileno()).st_ino)
    with netns.enter(space):
        lines = Path("/proc/thread-self/net/udp").read_text().splitlines()[1:]
    return next((int(line.split()[-1]) for line in lines if line.split()[9] == number), 0)


def _backlog_drops() -> int:
    lines = Path("/proc/net/softnet_stat").read_text().splitlines()
    return sum(int(line.split()[1], 16) for line in lines)


@dataclass(frozen=True)
class End:
    """A namespace, and an address of it that the other end reaches."""

    space: str
    ip: str


class Burst:
    """Datagrams at `pace` each way between two ends, inside a `with` block; afterwards
    `results` tells what became of them, by direction."""

    def __init__(self, one: End, other: End, pace: Pace, port: int = 9100) -> None:
        self.one, self.other = one, other
        self._pace = pace
        ends = [_open(one, port), _open(other, port)]
        ends[0].connect((other.ip, port))
        ends[1].connect((one.ip, port))
        self._ends = ends
        self._ways = [_Way(ends[0], ends[1], other.space), _Way(ends[1], ends[0], one.space)]
        self.results: list[Result] = []

    def __enter__(self) -> Burst:
        self._children: list[tuple[int, int, int]] = []
        for way in self._ways:
            stop, tell = os.pipe()
            answer, back = os.pipe()
            child = os.fork()
            if child == 0:
                with contextlib.suppress(BaseException):
                    for _, other, _ in self._children:
                        os.close(other)
                    os.close(tell)
                    os.nice(_NICE)
                    os.write(back, json.dumps(vars(self._run(way, stop))).encode())
                os._exit(0)
            os.close(stop)
            os.close(back)
            self._children.append((child, tell, answer))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for _, tell, _ in self._children:
            os.close(tell)
        for child, _, answer in self._children:
            with os.fdopen(answer) as text:
                self.results.append(Result(**json.loads(text.read() or "{}")))
            os.waitpid(child, 0)
        for end in self._ends:
            end.close()

    def _run(self, way: _Way, stop: int) -> Result:
        os.set_blocking(stop, False)
        before, start = _backlog_drops(), time.monotonic()
        way.last = then = start
        due = 0.0
        while not _closed(stop):
            now = time.monotonic()
            # what could not be sent for long is not caught up with
            due = min(due + (now - then) * self._pace.now, _UNDER_WAY)
            full, took, then = self._pace.is_full, now - then, now
            sent = self._step(way, int(due), now)
            due -= sent
            if full:
                way.result.dense += sent
                way.result.dense_seconds += took
            if not sent:
                time.sleep(0.0003)
        seconds = time.monotonic() - start
        deadline = time.monotonic() + _GRACE
        while time.monotonic() < deadline and way.expected < way.result.sent:
            way.receive()
        result = way.end(seconds)
        result.backlog = _backlog_drops() - before
        return result

    def _step(self, way: _Way, due: int, now: float) -> int:
        under_way = way.result.sent - way.expected
        if under_way and now - way.last > _STALLED:
            under_way = 0
        before = way.result.sent
        count = min(due, _BURST, _UNDER_WAY - under_way)
        if count > 0:
            way.send(count)
        way.receive()
        return way.result.sent - before


def _open(end: End, port: int) -> socket.socket:
    with netns.enter(end.space):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20)
    sock.bind((end.ip, port))
    return sock


def _closed(stop: int) -> bool:
    try:
        return os.read(stop, 1) == b""
    except BlockingIOError:
        return False
