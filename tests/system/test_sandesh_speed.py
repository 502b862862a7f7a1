# SPDX-License-Identifier: Apache-2.0
"""A hundred thousand routes through the door. The figures are printed; the limits are those of two
quiet cores (10 s to add, 2 s to dump), times $VR_SLOW: 1 where they are measured, by default 10
for a machine that is busy with other things."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.system.doors import DoorHost, door_host
from tests.system.helpers import SOURCE
from vrouter.dpcore.names import NhType
from vrouter.dpcore.records import Nexthop
from vrouter.dpcore.sizes import SMALL
from vrouter.sandesh import ADD, RESET

pytestmark = [pytest.mark.timing, pytest.mark.timeout(600)]
ROUTES = 100_000
ALONE = 5_000
SLOW = float(os.environ.get("VR_SLOW", "10"))
_WRITER = """
import sys
from vrouter.sandesh.client import Client
with Client(sys.argv[1]) as client:
    print("writes", flush=True)
    number = 0
    while True:
        number += 1
        fields = {"rtr_prefix": bytes((172, 16, number >> 8 & 255, number & 255))}
        fields |= {"rtr_vrf_id": 1, "rtr_family": 2, "rtr_prefix_len": 32, "rtr_nh_id": 5}
        for operation in (0, 2):
            client.request("vr_route_req", operation, **fields)
"""


@pytest.fixture(scope="module")
def host() -> Iterator[DoorHost]:
    with door_host(replace(SMALL, routes=300_000)) as made:
        with made.core() as core:
            core.nexthops.put(Nexthop(id=5, type=NhType.DISCARD))
        made.start()
        yield made


def prefix(number: int) -> bytes:
    return bytes((10, number >> 16, number >> 8 & 255, number & 255))


FIELDS = {"rtr_vrf_id": 1, "rtr_family": 2, "rtr_prefix_len": 32, "rtr_nh_id": 5}


def fill(host: DoorHost) -> float:
    """Adds all routes; the seconds that it took."""
    rows = ({**FIELDS, "rtr_prefix": prefix(number)} for number in range(ROUTES))
    with host.client() as client:
        start = time.monotonic()
        assert client.many("vr_route_req", ADD, rows) == {}
        return time.monotonic() - start


def test_adding(host: DoorHost) -> None:
    took = fill(host)
    print(f"{ROUTES} routes added in {took:.2f} s")
    with host.client() as client:
        start = time.monotonic()
        for number in range(ALONE):
            client.request("vr_route_req", ADD, **FIELDS, rtr_prefix=prefix(number))
        alone = (time.monotonic() - start) / ALONE
        print(f"one after another, each answer waited for: {alone * 1e6:.0f} us each")
    with host.core() as core:
        assert len(core.inet.rows(1)) == ROUTES
    assert took < 10 * SLOW


def test_dumping_while_others_write(host: DoorHost) -> None:
    with host.core() as core:
        filled = len(core.inet.rows(1)) == ROUTES  # by the test before, if it was run
    if not filled:
        fill(host)
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(host.folder)],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
    )
    assert writer.stdout is not None and writer.stdout.readline() == b"writes\n"
    try:
        for as_upstream, limit in ((False, 2.0), (True, 6.0)):
            with host.client(as_upstream=as_upstream) as client:
                start = time.monotonic()
                found = [
                    one.rtr_prefix
                    for one in client.dump("vr_route_req", rtr_vrf_id=1, rtr_family=2)
                ]
                took = time.monotonic() - start
            pages = "short" if as_upstream else "long"
            print(f"{len(found)} routes dumped in {took:.2f} s, {pages} pages, beside a writer")
            there = [one for one in found if one[0] == 10]
            assert there == [prefix(number) for number in range(ROUTES)]
            assert took < limit * SLOW
    finally:
        writer.kill()
        writer.wait()


def test_emptying(host: DoorHost) -> None:
    with host.client() as client:
        start = time.monotonic()
        client.request("vrouter_ops", RESET)
        took = time.monotonic() - start
        print(f"everything emptied in {took:.2f} s")
        assert not list(client.dump("vr_route_req", rtr_vrf_id=1, rtr_family=2))
    assert took < 10 * SLOW
