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
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from tests.system import agents as helper
from tests.system.helpers import unique, wait_until
from tests.system.service_clients import Wire
from vrouter.agent.facts import service_vrf
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.instance import find_instance
from vrouter.dpcore.names import DropReason
from vrouter.host import netns
from vrouter.host.netlink import Netlink
from vrouter.lab import agents, build, node, topology
from vrouter.lab.topology import Lab

ROUTER = "00:00:5e:00:01:00"
GATEWAY, GATEWAY6, ROUTER_LL = "10.1.1.254", "fd00:10:1:1::fe", "fe80::200:5eff:fe00:100"
METADATA, METADATA6, OTHER = "169.254.169.254", "fe80::a9fe:a9fe", "169.254.7.7"
NOVA_PORT, SECRET = 8775, b"a shared secret"
VM_UUID = "b2c7e3a0-9b1f-4f0e-8a55-0c8d1a2b3c%02d"
PROJECT = "11112222-3333-4444-5555-666677778888"
MANY = 60  # addresses of one name: too long for UDP without EDNS0


class Nova(BaseHTTPRequestHandler):
    """Says what it was asked, as JSON."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/silent":
            time.sleep(1.5)
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

    def do_POST(self) -> None:
        self.do_GET()

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
        f'[metadata]\nsecret_file = "{place}/secret"\ntimeout = 0.5',
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


def devices(lab: Lab) -> dict[str, int]:
    """ifindexes by name."""

    def read() -> dict[str, int]:
        with Netlink() as links:
            found = {one.name: one.ifindex for one in links.links()}
            return {name: at for name, at in found.items() if service_vrf(name) is not None}

    return netns.run(lab.netns("h1"), read)


def test_the_first_packet_is_not_lost(lab: Lab) -> None:
    """One SYN, which nobody repeats, while there is no namespace yet."""
    assert not devices(lab)
    vm = lab.vm("vm1")
    head = Ether(src=vm.mac, dst=ROUTER) / IP(src=vm.ip, dst=METADATA)
    with Wire(lab, "vm1") as wire:
        wire.send(bytes(head / TCP(sport=4321, dport=80, seq=7, flags="S")))
        answers: list[Any] = []

        def answered() -> bool:
            answers.extend(Ether(one) for one in wire.received(0.2))
            return any(TCP in one and one[TCP].flags == "SA" for one in answers)

        wait_until(answered)
    (found,) = [one for one in answers if TCP in one and one[TCP].flags == "SA"]
    assert (found.src, found[IP].src, found[TCP].ack) == (ROUTER, METADATA, 8)
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


def test_what_a_vm_says_of_itself_is_not_believed(lab: Lab) -> None:
    names = (
        "X-Instance-ID",
        "x_instance_id",
        "X-Forwarded-For",
        "X-Tenant-ID",
        "X-Metadata-Provider",
    )
    forged = " ".join(f"-H {name}:forged" for name in names)
    said = curl(lab, "vm1", "/x", forged, "-H Connection:X-Mine -H X-Mine:1 -H X-Kept:1")
    assert "forged" not in str(said["headers"]), said
    assert "x-mine" not in said["headers"] and said["headers"]["x-kept"] == "1"
    assert len(said["names"]) == len(set(said["names"])), said


def test_bodies_and_connections(lab: Lab) -> None:
    """Several requests on one connection, chunked both ways; what is long, HEAD."""
    data = "a" * 20_000
    url = f"http://{METADATA}"
    script = (
        f"curl -sS -m 8 -w ' %{{num_connects}}\n' {url}/1 {url}/chunked -H Transfer-Encoding:chunked "
        f"-H 'Expect: 100-continue' --data {data}"
    )
    lines = node.call(lab, "vm1", ["sh", "-c", script]).stdout.splitlines()
    digest = hashlib.sha256(data.encode()).hexdigest()
    assert [json.loads(line.rpartition(" ")[0])["body"] for line in lines] == [digest, digest]
    assert [line.rpartition(" ")[2] for line in lines] == ["1", "0"], "one connection for both"
    long = call(lab, "vm1", f"curl -sS -m 20 -o /dev/null -w %{{size_download}} {url}/long")
    assert long == "2000000"
    assert status(lab, "vm1", f"{url}/", "-I") == "501", "of this server, which knows no HEAD"


@pytest.mark.parametrize(
    ("vm", "path", "more", "found"),
    [
        ("vm2", "/", "", "404"),
        ("vm1", "/silent", "", "504"),
        ("vm1", "/", "-X BREW", "501"),
        ("vm1", "/", "-H X-Long:" + "a" * 20_000, "431"),
        ("vm1", "/", "--data " + "a" * 70_000, "413"),
        ("vm1", "/", f"--request-target http://{METADATA}/whole", "200"),
        ("vm1", "/", "--request-target nothing", "400"),
    ],
)
def test_errors(lab: Lab, vm: str, path: str, more: str, found: str) -> None:
    assert status(lab, vm, f"http://{METADATA}{path}", more) == found


def test_other_services(lab: Lab) -> None:
    said = json.loads(call(lab, "vm2", f"curl -sS -m 8 http://{OTHER}:8080/plain"))
    assert said["path"] == "/plain" and "x-instance-id" not in said["headers"]
    for port in (81, 82):
        done = call(lab, "vm2", f"curl -s -m 8 -w %{{exitcode}} http://{OTHER}:{port}/")
        # nobody behind the service: a reset (56, or 7 if curl sees it as early); no such service
        assert done in (("56", "7") if port == 81 else ("7",)), done
    assert call(lab, "vm2", f"curl -s -m 8 -w %{{exitcode}} http://{GATEWAY}:22/") == "7"


def test_a_port_has_few_connections(lab: Lab) -> None:
    def hold() -> int:
        held = []
        for _ in range(10):
            with contextlib.suppress(ConnectionResetError):
                held.append(socket.create_connection((METADATA, 80), 5))
        time.sleep(0.3)
        served = 0
        for one in held:
            one.setblocking(False)
            try:
                one.recv(1)
            except BlockingIOError:
                served += 1
            except ConnectionResetError:
                pass
            one.close()
        return served

    assert netns.run(lab.netns("vm1"), hold) == 8
    wait_until(lambda: status(lab, "vm1", f"http://{METADATA}/") == "200")


@pytest.mark.parametrize("server", [GATEWAY, GATEWAY6])
@pytest.mark.parametrize(
    ("question", "code", "answers"),
    [
        ("vm2 A", "NOERROR", ["10.1.1.2"]),
        ("-x 10.1.1.3", "NOERROR", ["vm3."]),
        ("nobody A", "NXDOMAIN", []),
        ("www.example.net A", "REFUSED", []),
    ],
)
def test_dns(lab: Lab, server: str, question: str, code: str, answers: list[str]) -> None:
    said = call(lab, "vm1", f"dig +tcp +tries=1 +time=5 @{server} {question}")
    assert f"status: {code}" in said and "(TCP)" in said, said
    records = [line for line in said.splitlines() if line and line[0] != ";"]
    assert [line.split()[-1] for line in records if "SOA" not in line] == answers, said


def test_dns_of_the_routers_link_local_address(lab: Lab) -> None:
    """A VM's own such address is no route of the network's, and found all the same."""
    call(lab, "vm1", "ip address add fe80::aff:fe01:101/64 dev eth0 nodad")
    said = call(lab, "vm1", f"dig +tcp +tries=1 +time=5 @{ROUTER_LL}%eth0 vm2 A +short")
    assert said.strip() == "10.1.1.2", said


def test_metadata_by_ipv6(lab: Lab) -> None:
    call(lab, "vm4", "ip address add fe80::aff:fe01:101/64 dev eth0 nodad")
    said = json.loads(call(lab, "vm4", f"curl -sS -m 8 -g http://[{METADATA6}%eth0]/six"))
    uuids = {one["name"]: one.get("vm_uuid") for one in wanted(lab)["interface"]}
    assert said["path"] == "/six" and said["headers"]["x-instance-id"] == uuids["vm4"]
    assert said["headers"]["x-forwarded-for"] == "10.1.1.1"
    assert not helper.differences(lab, "h1")


def test_what_is_too_long_for_udp_comes_by_tcp(lab: Lab) -> None:
    cut = call(lab, "vm1", f"dig +ignore +noedns @{GATEWAY} many.example.org")
    assert " tc " in cut.partition("flags:")[2].partition(";")[0], cut
    for option in ("+noedns", "+tcp"):
        said = call(lab, "vm1", f"dig {option} +tries=1 +time=5 @{GATEWAY} many.example.org +short")
        assert len(said.split()) == MANY, said


def test_many_dns_questions_at_once(lab: Lab) -> None:
    """More than fit into a packet, before an answer is read; then silence."""

    def ask() -> tuple[set[bytes], float]:
        ids = [number.to_bytes(2, "big") for number in range(100)]
        tail = b"\1\0\0\1\0\0\0\0\0\0\3vm2\0\0\1\0\1"
        with socket.create_connection((GATEWAY, 53), 5) as one:
            message = b"".join((2 + len(tail)).to_bytes(2, "big") + each + tail for each in ids)
            before = time.monotonic()
            one.sendall(message)
            found: set[bytes] = set()
            data = b""
            while len(found) < len(ids):
                data += one.recv(65_536)
                while len(data) > 2 and len(data) >= 2 + (size := data[0] << 8 | data[1]):
                    found.add(data[2:4])
                    data = data[2 + size :]
            return found - set(ids), time.monotonic() - before

    wrong, seconds = netns.run(lab.netns("vm1"), ask)
    assert not wrong and seconds < 3


def nobody_there(lab: Lab) -> int:
    """How many packets were for a vif whose netdevice is gone."""
    with DpCore.open(find_instance(lab.instance("h1"))) as core:
        return core.stats.drops()[DropReason.INTERFACE_DROP]


def test_the_agent_is_killed_and_the_next_one_serves(lab: Lab) -> None:
    def connected() -> socket.socket:
        return socket.create_connection((METADATA, 80), 5)

    with netns.run(lab.netns("vm1"), connected) as one:
        wait_until(lambda: bool(devices(lab)))
        helper.kill(lab, "h1")
        one.settimeout(5)
        with contextlib.suppress(ConnectionResetError):
            assert one.recv(1) == b"", "it hears that its connection is over"
    before = nobody_there(lab)
    call(lab, "vm2", f"curl -s -m 2 http://{METADATA}/ || true")
    assert nobody_there(lab) >= before + 2, "a SYN, and its repetition"
    with netns.enter(lab.netns("h1")), Netlink() as links:
        # as one whose namespace an unfinished connection has kept
        links.add_veth("vrsvc99", "left", peer_netns=str(netns.path(lab.netns("vm2"))))
    earlier = set(devices(lab).values())
    start_agent(lab)
    # the VM may have told the new agent once more that it has closed
    assert earlier.isdisjoint(devices(lab).values()) and "vrsvc99" not in devices(lab)
    assert not helper.differences(lab, "h1")
    curl(lab, "vm1", "/again")
    assert call(lab, "vm1", f"dig +tcp +time=5 @{GATEWAY} vm2 +short").strip() == "10.1.1.2"
    assert not helper.differences(lab, "h1")


def test_a_device_that_somebody_removes_is_made_again(lab: Lab) -> None:
    curl(lab, "vm1", "/")
    with netns.enter(lab.netns("h1")), Netlink() as links:
        for device in devices(lab):
            links.delete(device)
    assert not helper.differences(lab, "h1")
    curl(lab, "vm1", "/again")
    assert not helper.differences(lab, "h1")


def test_services_follow_the_desired_state(lab: Lab) -> None:
    place = agents.folder(lab, "h1") / "state.toml"
    curl(lab, "vm4", "/")
    curl(lab, "vm1", "/")
    assert len(devices(lab)) == 2
    state = wanted(lab)
    try:
        state["link-local"] = state["link-local"][1:]
        place.write_text(agents.toml(state))
        os.kill(helper.agent_pid(lab, "h1"), signal.SIGHUP)
        wait_until(lambda: not gets(lab, "vm1"))
        assert call(lab, "vm1", f"dig +tcp +time=5 @{GATEWAY} vm2 +short").strip() == "10.1.1.2"
        assert not helper.differences(lab, "h1")
        state = {
            kind: [one for one in rows if "red" not in (one.get("network"), one["name"])]
            for kind, rows in wanted(lab).items()
        }
        place.write_text(agents.toml(state))
        os.kill(helper.agent_pid(lab, "h1"), signal.SIGHUP)
        wait_until(lambda: len(devices(lab)) == 1)
        wait_until(lambda: gets(lab, "vm1"))
        assert not helper.differences(lab, "h1")
    finally:
        place.write_text(agents.toml(wanted(lab)))
        os.kill(helper.agent_pid(lab, "h1"), signal.SIGHUP)
    wait_until(lambda: gets(lab, "vm4"))
    assert not helper.differences(lab, "h1")


def gets(lab: Lab, vm: str) -> bool:
    return call(lab, vm, f"curl -s -m 1 -o /dev/null -w %{{http_code}} http://{METADATA}/") == "200"


def test_without_nova(lab: Lab) -> None:
    """Its counterpart is gone; nothing is left when the agent ends."""
    state = wanted(lab)
    state["link-local"][0]["target_port"] = 1
    (agents.folder(lab, "h1") / "state.toml").write_text(agents.toml(state))
    os.kill(helper.agent_pid(lab, "h1"), signal.SIGHUP)
    wait_until(lambda: status(lab, "vm1", f"http://{METADATA}/") == "502")
    helper.kill(lab, "h1", signal.SIGTERM)
    assert not devices(lab)
    assert not helper.differences(lab, "h1")
    start_agent(lab)
    assert gets(lab, "vm1")
