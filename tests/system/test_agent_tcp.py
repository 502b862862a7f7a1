# SPDX-License-Identifier: Apache-2.0
"""What VMs are served by TCP: metadata, link-local services, DNS; real clients in their
namespaces."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.system import agents as helper
from tests.system.helpers import unique, wait_until
from vrouter.agent.plan.local import vrf_of_device
from vrouter.host import netns
from vrouter.host.netlink import Netlink
from vrouter.lab import agents, build, node, topology
from vrouter.lab.topology import Lab

GATEWAY, GATEWAY6, ROUTER_LL = "10.1.1.254", "fd00:10:1:1::fe", "fe80::200:5eff:fe00:100"
METADATA, OTHER = "169.254.169.254", "169.254.7.7"
NOVA_PORT, SECRET = 8775, b"a shared secret"
VM_UUID = "b2c7e3a0-9b1f-4f0e-8a55-0c8d1a2b3c%02d"
PROJECT = "11112222-3333-4444-5555-666677778888"
MANY = 60  # addresses of one name: too long for UDP without EDNS0


class Nova(BaseHTTPRequestHandler):
    """Says what it was asked, as JSON."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/silent":
            time.sleep(3)
        size = int(self.headers.get("Content-Length", 0))
        said = {
            "method": self.command,
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "names": [name.lower() for name, _ in self.headers.items()],
            "body": hashlib.sha256(self.rfile.read(size)).hexdigest(),
        }
        data = json.dumps(said).encode()
        self.send_response(200)
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for at in range(0, len(data), 100):
                piece = data[at : at + 100]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")
            return
        if self.path == "/long":
            data = bytes(2_000_000)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_PUT = do_GET

    def log_message(self, *args: Any) -> None:
        """Not to the terminal."""


@contextlib.contextmanager
def nova(lab: Lab) -> Iterator[None]:
    server = netns.run(lab.netns("h1"), lambda: ThreadingHTTPServer(("127.0.0.1", NOVA_PORT), Nova))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def resolver(lab: Lab) -> Iterator[None]:
    """A DNS server on h1 one of whose names has many addresses."""
    command = "dnsmasq -k --no-resolv --no-hosts --conf-file=/dev/null --pid-file= --user=root"
    command += " --listen-address=127.0.0.1 --bind-interfaces"
    many = [f"--host-record=many.example.org,192.0.2.{number}" for number in range(1, MANY + 1)]
    with netns.enter(lab.netns("h1")):
        process = subprocess.Popen([*command.split(), *many])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def wanted(lab: Lab) -> dict[str, Any]:
    state = agents.desired(lab, lab.host("h1"))
    for number, interface in enumerate(state["interface"]):
        if interface["name"] != "vm2":
            interface |= {"vm_uuid": VM_UUID % number, "project": PROJECT}
    state["link-local"] = [
        {
            "name": "metadata",
            "address": METADATA,
            "port": 80,
            "target": "127.0.0.1",
            "target_port": NOVA_PORT,
            "metadata": True,
        },
        {
            "name": "plain",
            "address": OTHER,
            "port": 8080,
            "target": "localhost",
            "target_port": NOVA_PORT,
        },
        {"name": "nobody", "address": OTHER, "port": 81, "target": "127.0.0.1", "target_port": 1},
    ]
    return state


def start_agent(lab: Lab, *more: str) -> None:
    place = agents.folder(lab, "h1")
    (place / "state.toml").write_text(agents.toml(wanted(lab)))
    (place / "secret").write_bytes(SECRET + b"\n")
    lines = [
        f'desired_state = "{place}/state.toml"',
        '[services]\nresolvers = ["127.0.0.1"]',
        f'[metadata]\nsecret_file = "{place}/secret"\ntimeout = 1.0',
        "[tcp]\nconnections_per_port = 8",
    ]
    (place / "agent.toml").write_text("\n".join((*lines, *more)))
    arguments = ["--name", lab.instance("h1"), "--config", str(place / "agent.toml")]
    agents.run(lab.netns("h1"), arguments, place / "agent.log")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = build.up(
        topology.plan("two-hosts", unique("t"), encap="vxlan", control="agent"), lambda line: None
    )
    try:
        with resolver(lab), nova(lab):
            helper.kill(lab, "h1", signal.SIGTERM)
            start_agent(lab)
            yield lab
            log = (agents.folder(lab, "h1") / "agent.log").read_text()
            assert "Traceback" not in log, log
    finally:
        (agents.folder(lab, "h1") / "secret").unlink(missing_ok=True)
        build.down(lab.id, lambda line: None)


def call(lab: Lab, vm: str, command: str) -> str:
    return node.call(lab, vm, command.split()).stdout


def curl(lab: Lab, vm: str, path: str, *more: str) -> Any:
    said = call(lab, vm, f"curl -sS -m 8 {' '.join(more)} http://{METADATA}{path}")
    return json.loads(said)


def status(lab: Lab, vm: str, url: str, *more: str) -> str:
    return call(lab, vm, f"curl -s -m 8 -o /dev/null -w %{{http_code}} {' '.join(more)} {url}")


def devices(lab: Lab) -> list[str]:
    def read() -> list[str]:
        with Netlink() as links:
            return [one.name for one in links.links() if vrf_of_device(one.name) is not None]

    return netns.run(lab.netns("h1"), read)


def test_the_first_packet_is_not_lost(lab: Lab) -> None:
    assert not devices(lab)
    before = time.monotonic()
    curl(lab, "vm1", "/latest/meta-data/")
    assert time.monotonic() - before < 0.9, "a SYN that was lost comes again after a second"
    assert len(devices(lab)) == 1
    assert not helper.differences(lab, "h1")


def test_nova_hears_whose_vm_it_is_in_each_network(lab: Lab) -> None:
    """vm1 and vm4 have the same address, in two networks."""
    uuids = {one["name"]: one.get("vm_uuid") for one in wanted(lab)["interface"]}
    assert lab.vm("vm1").ip == lab.vm("vm4").ip
    for vm in ("vm1", "vm4"):
        said = curl(lab, vm, "/latest/meta-data/x?y=z", "-A", "cloud-init")
        assert (said["method"], said["path"]) == ("GET", "/latest/meta-data/x?y=z")
        headers = said["headers"]
        assert headers["x-instance-id"] == uuids[vm]
        assert headers["x-forwarded-for"] == "10.1.1.1"
        assert headers["x-tenant-id"] == PROJECT.replace("-", "")
        signature = hmac.new(SECRET, str(uuids[vm]).encode(), hashlib.sha256).hexdigest()
        assert headers["x-instance-id-signature"] == signature
        assert headers["user-agent"] == "cloud-init"
    assert len(devices(lab)) == 2
    assert not helper.differences(lab, "h1")
