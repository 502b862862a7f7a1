# SPDX-License-Identifier: Apache-2.0
"""The door under inputs that are no requests: it stays up, keeps its size, and writes nothing."""

from __future__ import annotations

import errno
import random
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from tests.system import sandesh_fuzz as fuzz
from tests.system.doors import DoorHost, door_host
from vrouter.sandesh import Client

_GROWTH = 8 << 10  # kilobytes that the door may grow by, of its 60 to 70 thousand


@pytest.fixture
def host() -> Iterator[DoorHost]:
    with door_host() as made:
        made.start(far=False)
        yield made


def contents(host: DoorHost) -> list[Any]:
    """Everything in the tables."""
    with host.core() as core:
        found: list[Any] = [*core.vifs.items(), *core.nexthops.items(), *core.inet.items()]
        found += [*core.inet6.items(), *core.bridge.items(), *core.mpls.items()]
        found += [*core.vxlan.items(), *core.mirrors.items(), *core.qos.items()]
        return [*found, *core.qos.class_items()]


def run_malformed(host: DoorHost, r: random.Random, count: int) -> None:
    before = contents(host)
    with host.client(as_upstream=True) as client:
        for _ in range(count):
            frame = fuzz.malformed(r)
            client.send_raw(frame)
            (answer,) = client.receive()
            code = struct.unpack_from(">i", answer.payload, 25)[0]
            assert code == -errno.EINVAL, frame.hex()
    assert contents(host) == before


def run_anything(host: DoorHost, r: random.Random, count: int) -> None:
    client: Client | None = None
    try:
        for data, goes_on in fuzz.frames(r, count):
            client = client or host.client(as_upstream=True)
            client.send_raw(data)
            if goes_on:
                client.receive()
            else:
                client.close()
                client = None
    finally:
        if client is not None:
            client.close()


def check_alive(host: DoorHost) -> None:
    with host.client() as client:
        assert client.get("vrouter_ops").vo_interfaces == 4352
    assert "Traceback" not in host.log(), host.log()[-4000:]


def run(host: DoorHost, start: int, rounds: int, each: int) -> None:
    r = random.Random(start)
    sizes: list[int] = []
    for _ in range(rounds):
        run_malformed(host, r, each)
        run_anything(host, r, each)
        check_alive(host)
        (host.folder / "log").write_text("")
        sizes.append(host.memory())
    print(f"VR_SEED={start}, resident kilobytes: {sizes}")
    middle = sizes[len(sizes) // 3]
    assert sizes[-1] - middle < _GROWTH, sizes


@pytest.mark.timeout(600)
def test_twenty_thousand(host: DoorHost) -> None:
    run(host, fuzz.seed(), 10, 1000)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_a_million(host: DoorHost) -> None:
    run(host, fuzz.seed(soak=True), 100, 5000)
