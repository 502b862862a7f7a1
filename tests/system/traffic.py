# SPDX-License-Identifier: Apache-2.0
"""Numbered datagrams between two VMs, both ways, while a test does something else."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from types import TracebackType

from vrouter.host import netns
from vrouter.lab.topology import Lab

PORT = 9000
INTERVAL = 0.001
_GRACE = 2.0  # seconds for the last ones to arrive


class Traffic:
    """Runs inside a `with` block; afterwards `sent`, `lost` and `doubled` tell by direction."""

    def __init__(self, lab: Lab, one: str, other: str) -> None:
        self._ends = [lab.vm(one).ip, lab.vm(other).ip]
        self._sockets = []
        for name in (one, other):
            with netns.enter(lab.netns(name)):
                end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            end.bind(("", PORT))
            end.setblocking(False)
            self._sockets.append(end)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic")
        self._got: list[list[int]] = [[], []]
        self.sent = 0

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        for end in self._sockets:
            end.close()

    @property
    def lost(self) -> list[list[int]]:
        """Numbers that did not arrive, by direction."""
        return [sorted(set(range(self.sent)) - set(got)) for got in self._got]

    @property
    def doubled(self) -> list[int]:
        """How many arrived more than once, by direction."""
        return [len(got) - len(set(got)) for got in self._got]

    def _run(self) -> None:
        while not self._stop.is_set():
            for way in (0, 1):
                data = struct.pack("!I", self.sent)
                self._sockets[way].sendto(data, (self._ends[1 - way], PORT))
            self.sent += 1
            self._read()
            time.sleep(INTERVAL)
        deadline = time.monotonic() + _GRACE
        while any(len(got) < self.sent for got in self._got) and time.monotonic() < deadline:
            self._read()
            time.sleep(INTERVAL)

    def _read(self) -> None:
        for way in (0, 1):
            with contextlib.suppress(BlockingIOError):
                while True:
                    data = self._sockets[1 - way].recv(64)
                    self._got[way].append(struct.unpack("!I", data)[0])
