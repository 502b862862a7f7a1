# SPDX-License-Identifier: Apache-2.0
"""One TCP stream by iperf3, from a namespace to another."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from vrouter.host import netns

SEGMENT = 1300  # bytes, about: what a retransmission is counted in
BYTES = 128 << 20  # of a stream: a thousand of the largest super-packets, a third of a second
_GRACE = 30  # seconds that a stream may take


@dataclass(frozen=True)
class Sums:
    """What iperf3 says of a stream."""

    received: int
    mbit: float
    retransmits: int

    @property
    def lossy(self) -> float:
        """The part of the segments that had to be sent again."""
        return self.retransmits * SEGMENT / max(1, self.received)


@contextlib.contextmanager
def server(space: str) -> Iterator[None]:
    """An iperf3 server for one stream in namespace `space`; it listens when the block begins."""
    command = ["iperf3", "-s", "-1", "--forceflush"]
    with netns.enter(space):
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    with process:
        try:
            assert process.stdout is not None
            assert any("listening" in line for line in process.stdout), "iperf3 -s ended at once"
            yield
        finally:
            process.kill()


def client(space: str, address: str, *length: str, timeout: float) -> tuple[int | None, str]:
    """The client in namespace `space`: its exit code (None: killed after `timeout`), its report.

    length: iperf3's options, `-t SECONDS` or `-n BYTES`.
    """
    command = ["iperf3", "-J", "-c", address, *length, "--connect-timeout", "5000"]
    with netns.enter(space):
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    with process:
        try:
            output, _ = process.communicate(timeout=timeout)
            return process.returncode, output
        except subprocess.TimeoutExpired:
            return None, ""
        finally:
            process.kill()


def stream(source: str, target: str, address: str) -> Sums:
    """BYTES from namespace `source` to `address` in namespace `target`. It must succeed."""
    with server(target):
        code, output = client(source, address, "-n", str(BYTES), timeout=_GRACE)
    assert code == 0, output
    end = json.loads(output)["end"]
    received = end["sum_received"]
    return Sums(
        received["bytes"], received["bits_per_second"] / 1e6, end["sum_sent"]["retransmits"]
    )
