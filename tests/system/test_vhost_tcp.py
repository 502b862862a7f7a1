# SPDX-License-Identifier: Apache-2.0
"""A TCP session of the host lives on while vhost0 comes and goes."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.system.vhosts import Host
from vrouter.host import netns

pytestmark = pytest.mark.alone
_GAP = 0.2  # seconds
_ROUNDS = 3
_SERVER = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.create_server((sys.argv[1], 7777), family=family) as listener:
    print("listening", flush=True)
    connection, _ = listener.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := connection.recv(64):
        connection.sendall(data)
"""
# prints when each answer came, until its input ends
_CLIENT = """
import select, socket, sys, time
times = []
with socket.create_connection((sys.argv[1], 7777)) as connection:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    print("connected", flush=True)
    while not select.select([sys.stdin], [], [], 0.001)[0]:
        connection.sendall(bytes(64))
        left = 64
        while left:
            left -= len(connection.recv(left))
        times.append(time.monotonic())
print(*times)
"""


def _start(where: str, code: str, address: str) -> subprocess.Popen[str]:
    with netns.enter(where):
        process = subprocess.Popen(
            [sys.executable, "-c", code, address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


@pytest.mark.parametrize("address", ["10.0.0.1", "fd00::1"])
def test_a_session_survives_with_a_gap_below_200_ms(host: Host, address: str) -> None:
    spans: dict[str, list[tuple[float, float]]] = {"up": [], "down": []}

    def timed(what: str, change: Callable[[], object]) -> None:
        start = time.monotonic()
        change()
        spans[what].append((start, time.monotonic()))
        time.sleep(0.3)

    with _start(host.name, _SERVER, address), _start(host.neighbour, _CLIENT, address) as client:
        time.sleep(0.3)
        for _ in range(_ROUNDS):
            timed("up", host.up)
            timed("down", host.down)
        answers = [float(one) for one in client.communicate("", timeout=60)[0].split()]
    assert client.returncode == 0
    for what, when in spans.items():
        gaps = [_longest(answers, *span) for span in when]
        print(f"{address} {what}: longest gaps {[f'{gap * 1000:.0f} ms' for gap in gaps]}")
        # a lost packet would show each time, a busy machine only now and then
        assert min(gaps) < _GAP


def _longest(answers: list[float], start: float, end: float) -> float:
    """The longest time without an answer that touches the span."""
    pairs = itertools.pairwise(answers)
    return max(after - before for before, after in pairs if after >= start and before <= end)
