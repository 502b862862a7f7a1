# SPDX-License-Identifier: Apache-2.0
"""Packets that the kernel drops, by the tracepoint skb:kfree_skb.

The tracepoint sees the whole machine; what is looked for are places in the kernel that no
healthy packet is dropped at. Who drops some there on purpose watches too: one at a time does.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.system.helpers import unique

# where a GSO packet is cut, on its way to a device or into a socket
SEGMENTATION = re.compile(r"validate_xmit|gso|segment|skb_checksum_help|skb_mac_gso|queue_rcv_skb")
_PLACES = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))
_LINE = re.compile(r"location=([^+\s]+)\S* reason: (\S+)")
# drops that come in thousands and are nowhere near: a full capture socket, a program's wish
_NOISE = ("PACKET_SOCK_ERROR", "TC_INGRESS", "TC_EGRESS")
_SYMBOL = re.compile(r'\{\s*(\d+),\s*"(\w+)"\s*\}')
_OVERRUN = re.compile(r"^overrun: (\d+)", re.MULTILINE)


class Trace:
    """An instance of its own of the kernel's tracing, with only this tracepoint."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> Trace:
        self._folder.mkdir()
        try:
            self._write("buffer_size_kb", "4096")
            self._leave_out_noise()
            self._write("events/skb/kfree_skb/enable", "1")
        except BaseException:
            self._folder.rmdir()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._write("events/skb/kfree_skb/enable", "0")
        self._folder.rmdir()

    def _leave_out_noise(self) -> None:
        known = (self._folder / "events/skb/kfree_skb/format").read_text()
        numbers = [number for number, name in _SYMBOL.findall(known) if name in _NOISE]
        if numbers:
            wanted = " && ".join(f"reason != {number}" for number in numbers)
            self._write("events/skb/kfree_skb/filter", wanted)

    def _write(self, name: str, text: str) -> None:
        (self._folder / name).write_text(text)

    def drops(self) -> Counter[tuple[str, str]]:
        """(function of the kernel, reason) of every drop since the start."""
        self._write("tracing_on", "0")
        text = (self._folder / "trace").read_text()
        lost = 0
        for stats in self._folder.glob("per_cpu/cpu*/stats"):
            lost += sum(map(int, _OVERRUN.findall(stats.read_text())))
        self._write("tracing_on", "1")
        assert lost == 0, f"{lost} events did not fit into the buffer: not all drops are known"
        return Counter((found[1], found[2]) for found in _LINE.finditer(text))

    def at_segmentation(self) -> Counter[tuple[str, str]]:
        """Those of them where packets are cut."""
        found = self.drops()
        return Counter({key: n for key, n in found.items() if SEGMENTATION.search(key[0])})


@contextlib.contextmanager
def tracing() -> Iterator[Trace]:
    """Watch the tracepoint inside the block, and nobody else does meanwhile."""
    with _instances() as instances:
        lock = os.open(instances, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with Trace(instances / f"vrouter-{unique('t')}") as trace:
                yield trace
        finally:
            os.close(lock)


@contextlib.contextmanager
def _instances() -> Iterator[Path]:
    """The folder of tracing instances; tracefs is mounted for it if it is nowhere."""
    for place in _PLACES:
        if (place / "instances").is_dir():
            yield place / "instances"
            return
    with tempfile.TemporaryDirectory(prefix="tracefs-") as place_of_our_own:
        subprocess.run(["mount", "-t", "tracefs", "tracefs", place_of_our_own], check=True)
        try:
            yield Path(place_of_our_own, "instances")
        finally:
            subprocess.run(["umount", place_of_our_own], check=True)
