# SPDX-License-Identifier: Apache-2.0
"""Many clients at once: those that stop reading, or that die, harm nobody."""

from __future__ import annotations

import errno
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.system.doors import DoorHost, door_host
from tests.system.helpers import SOURCE, wait_until
from tests.unit import sandesh_by_hand as by_hand
from vrouter.dpcore.names import NhType
from vrouter.dpcore.records import Nexthop
from vrouter.host import netns
from vrouter.sandesh import ADD, DEL, DUMP, GET, Client, SandeshError
from vrouter.sandesh.codec import decode

CLIENTS = 50
EACH = 30


@pytest.fixture(scope="module")
def host() -> Iterator[DoorHost]:
    with door_host() as made:
        with made.core() as core:
            core.nexthops.put(Nexthop(id=5, type=NhType.DISCARD))
        made.start()
        yield made


def raw(host: DoorHost) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(str(host.folder / "dpdk_netlink"))
    return sock


def work(host: DoorHost, number: int, failed: list[BaseException]) -> None:
    """Adds labels of its own and reads them back."""
    try:
        with host.client() as client:
            labels = range(100 + number * EACH, 100 + (number + 1) * EACH)
            for label in labels:
                client.request("vr_mpls_req", ADD, mr_label=label, mr_nhid=5)
                assert client.get("vr_mpls_req", mr_label=label).mr_nhid == 5
            assert {one.mr_label for one in client.dump("vr_mpls_req")} >= set(labels)
    except BaseException as error:
        failed.append(error)


def test_fifty_at_once(host: DoorHost) -> None:
    """One is killed in the middle of a request, one never reads, one sends half a frame."""
    request = by_hand.frame(by_hand.message("vr_interface_req", {"h_op": DUMP, "vifr_marker": -1}))
    deaf = raw(host)
    deaf.setblocking(False)
    half = raw(host)
    half.send(request[:30])
    code = (
        "import sys, time\nfrom vrouter.sandesh.client import Client\n"
        "c = Client(sys.argv[1])\nc.send_raw(bytes.fromhex(sys.argv[2]))\n"
        "print('sent', flush=True)\ntime.sleep(60)\n"
    )
    killed = subprocess.Popen(
        [sys.executable, "-c", code, str(host.folder), request[:40].hex()],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
    )
    assert killed.stdout is not None and killed.stdout.readline() == b"sent\n"
    failed: list[BaseException] = []
    threads = [
        threading.Thread(target=work, args=(host, number, failed)) for number in range(CLIENTS)
    ]
    try:
        for thread in threads:
            thread.start()
        killed.send_signal(signal.SIGKILL)
        sent = 0
        while any(thread.is_alive() for thread in threads):
            try:
                sent += deaf.send(request)
            except BlockingIOError:
                time.sleep(0.01)
        for thread in threads:
            thread.join(60)
    finally:
        killed.kill()
        killed.wait()
        deaf.close()
        half.close()
    assert not failed, failed[:3]
    assert sent > 0
    with host.core() as core:
        assert len(list(core.mpls.items())) == CLIENTS * EACH


def test_what_is_sent_ahead_sees_what_was_sent_before_it(host: DoorHost) -> None:
    route = {"rtr_vrf_id": 1, "rtr_family": 2, "rtr_prefix_len": 32, "rtr_nh_id": 77}
    add = [
        by_hand.message("vr_route_req", {"h_op": ADD, **route, "rtr_prefix": bytes((10, 0, 0, n))})
        for n in range(1, 4)
    ]
    make = by_hand.message(
        "vr_nexthop_req", {"h_op": ADD, "nhr_id": 77, "nhr_type": NhType.DISCARD}
    )
    gone = by_hand.message("vr_nexthop_req", {"h_op": DEL, "nhr_id": 77})
    order = [make, add[0], add[1], gone, add[2], make, add[2], gone]
    with host.client() as client:
        client.send_raw(b"".join(map(by_hand.frame, order)))
        codes = [next(decode(client.receive()[0].payload)).resp_code for _ in order]
    assert codes == [0, 0, 0, 0, -errno.ENOENT, 0, 0, 0]


def test_a_client_that_never_reads_takes_no_memory(host: DoorHost) -> None:
    payload = by_hand.message("vr_interface_req", {"h_op": DUMP, "vifr_marker": -1})
    request = by_hand.frame(payload)
    with host.client() as client:
        client.get("vrouter_ops")
        before = host.memory()
        deaf = [raw(host) for _ in range(20)]
        for sock in deaf:
            sock.settimeout(0.2)
            try:
                for _ in range(20_000):
                    sock.sendall(request)
                raise AssertionError("the door reads on, though its answers are not read")
            except TimeoutError:
                pass
        # at most a few hundred kilobytes each
        assert host.memory() - before < 20 * 1024
        assert client.get("vrouter_ops").vo_interfaces == 4352
        for sock in deaf:
            sock.close()


def test_what_was_asked_before_a_client_closed_its_side_is_answered(host: DoorHost) -> None:
    request = by_hand.frame(by_hand.message("vrouter_ops", {"h_op": GET}))
    with raw(host) as sock:
        sock.sendall(request * 20)
        sock.shutdown(socket.SHUT_WR)
        sock.settimeout(10)
        data = b""
        while part := sock.recv(1 << 16):
            data += part
    count, at = 0, 0
    while at < len(data):
        at += struct.unpack_from("=I", data, at)[0]
        count += 1
    assert count == 20


def test_requests_a_byte_at_a_time(host: DoorHost) -> None:
    request = by_hand.frame(by_hand.message("vrouter_ops", {"h_op": GET}))
    with host.client() as client:
        for byte in request:
            client.send_raw(bytes((byte,)))
        (answer,) = client.receive()
        assert b"vr_response" in answer.payload


def test_a_frame_that_cannot_be_ends_only_its_connection(host: DoorHost) -> None:
    with host.client() as other:
        with raw(host) as sock:
            sock.settimeout(10)
            sock.sendall(struct.pack("=IHHII", 1 << 30, 0x20, 1, 1, 0))
            assert sock.recv(10) == b""
        assert other.get("vrouter_ops").vo_interfaces == 4352


def test_a_second_door_is_refused(host: DoorHost) -> None:
    code = "import sys; from vrouter.tools.vrouter import main; sys.exit(main())"
    words = ["sandesh", "--name", host.instance.name, "--sock-dir", str(host.folder)]
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 3
    assert "another door serves" in done.stderr and done.stderr.count("\n") == 1
    with host.client() as client:
        assert client.get("vrouter_ops").vo_interfaces == 4352


def test_an_instance_that_is_not_loaded(host: DoorHost) -> None:
    code = "import sys; from vrouter.tools.vrouter import main; sys.exit(main())"
    words = ["sandesh", "--name", "no-such", "--sock-dir", str(host.folder / "other")]
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1 and "not loaded" in done.stderr
    assert not (host.folder / "other").exists()


def test_a_writer_that_holds_the_lock(host: DoorHost) -> None:
    """Reading goes on; a write waits for the other writer."""
    done: list[Any] = []

    def write() -> None:
        with host.client() as client:
            try:
                client.request("vr_mpls_req", ADD, mr_label=99, mr_nhid=5)
                done.append(0)
            except SandeshError as error:
                done.append(error.errno)

    with netns.enter(host.near), host.core() as core:
        with core.lock():
            thread = threading.Thread(target=write)
            thread.start()
            time.sleep(0.5)
            assert done == []
        thread.join(20)
    wait_until(lambda: done == [0])


def test_dumps_of_many_clients_are_whole(host: DoorHost) -> None:
    with host.client() as client:
        wanted = [one.mr_label for one in client.dump("vr_mpls_req")]
        others = [host.client(as_upstream=True) for _ in range(20)]
        dumps = [other.dump("vr_mpls_req") for other in others]
        found: list[list[int]] = [[] for _ in dumps]
        left = list(range(len(dumps)))
        while left:
            for number in list(left):
                one = next(dumps[number], None)
                if one is None:
                    left.remove(number)
                else:
                    found[number].append(one.mr_label)
        assert all(one == wanted for one in found)
        for other in others:
            other.close()
    assert isinstance(client, Client)
