# SPDX-License-Identifier: Apache-2.0
"""The doors themselves: sockets, modes, slow clients, and the tools that come in by them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.system.helpers import unique
from tests.unit.api.conftest import NET, ONE, PORT
from tests.unit.api.serving import ask, served

from vrouter.agent.desired.records import Interface, Network
from vrouter.api import client, doors, paths
from vrouter.api.config import ApiConfig
from vrouter.cni import shim
from vrouter.dpcore import loader
from vrouter.dpcore.errors import Refused
from vrouter.dpcore.instance import Instance
from vrouter.dpcore.sizes import Sizes
from vrouter.host import netns as spaces
from vrouter.host.netlink import Netlink

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it loads dp-core")
BIN = Path(sys.executable).parent


@pytest.fixture
def loaded(instance: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Instance:
    """A loaded vRouter in a namespace with a loopback, and a folder of state."""
    monkeypatch.setenv("VROUTER_STATE_DIR", str(tmp_path / "lib"))
    monkeypatch.setenv("VROUTER_NAME", instance.name)
    with Netlink() as links:
        links.up("lo")
    loader.load(instance, Sizes.from_args("small", []))
    return instance


def tool(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BIN / words[0], *words[1:]], capture_output=True, text=True, timeout=60)


def test_modes_and_the_token(loaded: Instance, tmp_path: Path) -> None:
    path = loaded.run_dir / "api.sock"
    with served(loaded) as facade:
        assert path.stat().st_mode & 0o7777 == 0o660
        token = tmp_path / "lib" / loaded.name / "token"
        assert token.stat().st_mode & 0o7777 == 0o640
        assert len(token.read_text().strip()) > 40
        assert ask(9091, "PUT", "/v1/network/red", {})[0] == 401
        bearer = {"Authorization": f"Bearer {token.read_text().strip()}"}
        assert ask(9091, "PUT", "/v1/network/red", {}, **bearer)[0] == 200
        assert client.call(str(path), "PUT", "/v1/network/green", {})[0] == 200
        assert [one.name for one in facade.all(Network)] == ["blue", "green", "red"]
        kept = token.read_text()
    assert not path.exists() and list(loaded.run_dir.glob(".*")) == []
    with served(loaded):
        assert token.read_text() == kept
    with pytest.raises(client.NoAgent):
        client.call(str(path), "GET", "/v1")


def test_the_group_may_come_in_and_nobody_else(
    loaded: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = 54321
    monkeypatch.setattr(doors, "group_id", lambda: group)
    monkeypatch.setattr(paths, "group_id", lambda: group)
    code = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); "
        "s.sendall(sys.argv[2].encode() + b' HTTP/1.1\\r\\nHost: x\\r\\nConnection: close"
        "\\r\\nContent-Length: 0\\r\\n\\r\\n'); print(s.recv(99).split()[1].decode())"
    )

    def connect(request: str, gid: int) -> str:
        words = ["/usr/bin/python3", "-IS", "-c", code, str(loaded.run_dir / "api.sock"), request]
        done = subprocess.run(words, capture_output=True, text=True, user=54321, group=gid, extra_groups=[])  # fmt: skip
        return done.stdout.strip() or done.stderr.splitlines()[-1]

    with served(loaded):
        assert connect("GET /v1/status", group) == "200"
        assert connect("DELETE /v1/network/blue", group) == "200"
        assert connect("POST /cni", group) == "403"
        assert connect("GET /v1/status", 54322).startswith("PermissionError")
        token = tmp_path / "lib" / loaded.name / "token"
        assert (token.stat().st_gid, token.parent.stat().st_mode & 0o7777) == (group, 0o750)
        assert (token.parent / "ports").stat().st_mode & 0o7777 == 0o2770


def test_ports_are_on_the_loopback_only(loaded: Instance) -> None:
    with served(loaded):
        listening = Path("/proc/thread-self/net/tcp").read_text().splitlines()[1:]
        where = sorted(line.split()[1] for line in listening if line.split()[3] == "0A")
        assert where == ["0100007F:1F95", "0100007F:2383"]


def test_a_taken_port_is_refused_and_nothing_stays(loaded: Instance) -> None:
    with socket.create_server(("127.0.0.1", 9091)):
        with pytest.raises(Refused, match="9091"), served(loaded):
            pass
    assert not (loaded.run_dir / "api.sock").exists()
    with socket.create_server(("127.0.0.1", 8085)):
        with pytest.raises(Refused, match="8085"), served(loaded):
            pass
        with served(loaded, ApiConfig(introspect_port=0)):
            assert ask(9091, "GET", "/v1/status")[0] == 200


def test_the_socket_of_an_agent_that_died_is_replaced(loaded: Instance) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(loaded.run_dir / "api.sock"))
    with served(loaded):
        assert client.call(str(loaded.run_dir / "api.sock"), "GET", "/v1")[0] == 200


def test_slow_clients_block_nobody(loaded: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "HEAD_SECONDS", 1.5)
    monkeypatch.setattr(doors, "REQUEST_SECONDS", 1.5)
    with served(loaded):
        starts = (b"POST /port HT", b"POST /port HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        slow = [socket.create_connection(("127.0.0.1", 9091)) for _ in range(200)]
        for number, one in enumerate(slow):
            one.sendall(starts[number % 2])
        began = time.monotonic()
        assert ask(9091, "GET", "/v1/status")[0] == 200
        assert time.monotonic() - began < 1
        end = time.monotonic() + 8
        for number, one in enumerate(slow):
            one.settimeout(max(0.1, end - time.monotonic()))
            try:
                if number % 2 == 0:
                    one.sendall(b"T")  # a drop now and then is no progress
                while one.recv(4096):
                    pass
            except ConnectionError:
                pass
            one.close()
        assert time.monotonic() < end


def test_too_many_connections_by_tcp_leave_the_socket_open(loaded: Instance) -> None:
    with served(loaded):
        many = [
            socket.create_connection(("127.0.0.1", port))
            for port in (8085, 9091)
            for _ in range(300)
        ]
        assert client.call(str(loaded.run_dir / "api.sock"), "GET", "/v1")[0] == 200
        for one in many:
            one.close()
        assert ask(8085, "GET", "/healthz")[0] == 200


def test_every_link_of_introspection_leads_somewhere(loaded: Instance) -> None:
    subprocess.run(
        [*["ip", "link", "add", "tap1", "type", "veth", "peer", "name", "peer1"]], check=True
    )
    for words in (
        "vif --add tap1 --mac 02:00:00:00:00:01 --vrf 1 --type virtual --id 11",
        "nh --create 30 --type 2 --oif 11 --smac 00:00:5e:00:01:00 --dmac 02:00:0a:01:01:01",
        "rt -c -v 1 -n 30 -p 10.1.1.1 -l 32 -f 0",
        "rt -c -v 1 -n 30 -e 02:00:0a:01:01:01 -f 1",
        "mpls --create 20 --nh 30",
        "vxlan --create 5001 --nh 30",
    ):
        done = tool(*words.split())
        assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = {}

    def follow(path: str) -> None:
        if path in seen:
            return
        status, seen[path] = ask(8085, "GET", path)
        assert status == 200, (path, seen[path])
        links_of(seen[path])

    def links_of(value: Any) -> None:
        if isinstance(value, dict):
            for key, one in value.items():
                if key in ("links", "link", "next") and one is not None:
                    for path in one.values() if isinstance(one, dict) else [one]:
                        follow(path)
                else:
                    links_of(one)
        elif isinstance(value, list):
            for one in value:
                links_of(one)

    with served(loaded) as facade:
        facade.records["interface", "a"] = Interface(
            name="a",
            network="blue",
            device="tap1",
            mac="02:00:0a:01:01:01",
            addresses=("10.1.1.1",),
        )
        facade.sources["interface", "a"] = "file"
        follow("/agent")
        status, page = ask(8085, "GET", "/")
        assert status == 200 and 'href="/metrics"' in page
        for path in ("/interfaces/999", "/vrfs/9999", "/vrfs/1/ipx", "/labels/7", "/nothing",
                     "/nexthops/70000", "/desired/x"):  # fmt: skip
            assert ask(8085, "GET", path)[0] == 404, path
        assert ask(8085, "GET", "/nexthops?limit=x")[0] == 400
        assert ask(8085, "POST", "/agent")[0] == 405
        assert ask(8085, "GET", "/agent", Host="evil.test")[0] == 403
        first = ask(8085, "GET", "/nexthops?limit=1")[1]
        assert first["next"] == "/nexthops?offset=1&limit=1"
        facade.ready = False
        assert ask(8085, "GET", "/healthz")[0] == 503
    assert {"/interfaces/11", "/vrfs/1", "/vrfs/1/inet", "/vrfs/1/inet6", "/vrfs/1/bridge",
            "/nexthops/30", "/labels/20", "/vxlans/5001", "/neighbours", "/dhcp", "/dns",
            "/packets", "/desired/network"} <= set(seen)  # fmt: skip
    assert seen["/interfaces/11"]["interface"] == "a"
    assert seen["/vrfs/1/inet"]["items"][0]["prefix"] == "10.1.1.1/32"
    assert set(seen["/dhcp"]["counters"]) == {"dhcp", "dhcp6"}
    assert seen["/dns"]["counters"]["dns-tcp"] == {"answered": 4}
    assert 'vrouter_table_entries{table="nexthops"} ' in seen["/metrics"]
    assert (
        'vrouter_vif_rx_packets_total{device="tap1",interface="a",type="Virtual",vif="11"}'
        in (seen["/metrics"])
    )
    assert 'vrouter_service_packets_total{result="answered",service="dhcp"} 3.0' in seen["/metrics"]
    from prometheus_client.parser import text_string_to_metric_families as families

    assert len(list(families(seen["/metrics"]))) > 10


FILE = f"""
[[network]]
name = "blue"
uuid = "{NET}"
vni = 5001
[[network.subnets]]
prefix = "10.1.1.0/24"
gateway = "10.1.1.254"

[[interface]]
name = "web"
network = "blue"
device = "tap7"
mac = "02:00:0a:01:01:07"
addresses = ["10.1.1.7"]
"""


def test_the_tools(loaded: Instance, tmp_path: Path) -> None:
    file = tmp_path / "state.toml"
    file.write_text(FILE)
    away = tool("vrouter", "apply", str(file))
    assert away.returncode == 3 and "does not answer" in away.stderr
    with served(loaded) as facade:
        plan = tool("vrouter", "apply", str(file), "--dry-run")
        assert plan.stdout == (
            "vrouter apply: would add interface web\nvrouter apply: would change network blue\n"
        )
        assert facade.all(Interface) == []
        assert tool("vrouter", "apply", str(file)).stdout == (
            "vrouter apply: added interface web\nvrouter apply: changed network blue\n"
        )
        assert "nothing changed" in tool("vrouter", "apply", str(file)).stdout
        table = tool("vrouter", "get", "interface").stdout.splitlines()
        assert table[0].split() == ["NAME", "NETWORK", "DEVICE", "MAC", "ADDRESSES", "VM", "SOURCE",
                                    "STATE"]  # fmt: skip
        assert table[1].split()[:5] == ["web", "blue", "tap7", "02:00:0a:01:01:07", "10.1.1.7"]
        one = json.loads(tool("vrouter", "get", "interface", "web", "--json").stdout)
        assert one["state"]["active"] and one["source"] == "file"
        assert (
            "subnets[0].prefix           10.1.1.0/24"
            in tool("vrouter", "get", "network", "blue").stdout
        )
        assert tool("vrouter", "get", "interface", "x").returncode == 3
        file.write_text(FILE.replace("gateway", "gatway").replace("5001", '"x"'))
        bad = tool("vrouter", "apply", str(file))
        assert bad.returncode == 3 and bad.stderr.splitlines() == [
            f"vrouter: {file}: network[0].vni: expected `int`, got `str`",
            f"vrouter: {file}: network[0].subnets[0].gatway: there is no such key; did you mean gateway",
            f"vrouter: {file} is refused; nothing changed",
        ]
        file.write_text("[[network")
        assert tool("vrouter", "apply", str(file)).returncode == 2
        assert (
            tool("vrouter", "delete", "interface", "web").stdout
            == "vrouter: deleted interface web\n"
        )
        assert "nothing changed" in tool("vrouter", "delete", "interface", "web").stdout
        assert facade.all(Interface) == []


OPTIONS = (
    f"--uuid={ONE} --instance_uuid={PORT['instance-id']} --vn_uuid={NET} "
    "--vm_project_uuid=b168ea26fa0c49c1a84e1566d9565fa5 --ip_address=10.1.1.1 --ipv6_address=None "
    "--vm_name=vm1 --mac=02:00:0a:01:01:01 --tap_name=tap1 --port_type=NovaVMPort "
    "--tx_vlan_id=-1 --rx_vlan_id=-1"
).split()


def test_port_control(loaded: Instance, tmp_path: Path) -> None:
    folder = tmp_path / "lib" / loaded.name / "ports"
    away = tool("vrouter-port-control", "--oper=add", *OPTIONS)
    assert away.returncode == 0 and "does not answer" in away.stdout
    assert json.loads((folder / ONE).read_text())["author"] == "vrouter-port-control"
    with served(loaded) as facade:
        assert facade.all(Interface)[0].device == "tap1"
        done = tool("vrouter-port-control", "--oper=add", *OPTIONS)
        assert (done.returncode, done.stdout.split()[-1]) == (0, "done")
        assert tool("vrouter-port-control", "--oper=disable", f"--uuid={ONE}").returncode == 3
        two = [word.replace(ONE, ONE[:-1] + "2") for word in OPTIONS]
        refused = tool("vrouter-port-control", "--oper=add", *two)
        assert refused.returncode == 3 and "addresses" in refused.stderr
        assert [one.name for one in folder.iterdir()] == [ONE]
        assert tool("vrouter-port-control", "--oper=delete", f"--uuid={ONE}").returncode == 0
        assert facade.all(Interface) == [] and list(folder.iterdir()) == []
    for words, code in (
        (["--oper=add", *OPTIONS, "--vif_type=VhostUser"], 3),
        (["--oper=add", *(one for one in OPTIONS if "tap" not in one)], 2),
        (["--oper=add", *OPTIONS, "--mac=x"], 2),
        (["--oper=delete", "--uuid=../x"], 2),
        (["--oper=enable", f"--uuid={ONE}"], 3),
    ):
        assert tool("vrouter-port-control", *words).returncode == code, words


def test_the_shim_as_runtimes_run_it(loaded: Instance, tmp_path: Path) -> None:
    """Copied to a folder of plugins, by real processes, 8 at a time."""
    assert tool("vrouter-cni", "--install", str(tmp_path)).returncode == 0
    names = [unique("shim") for _ in range(8)]
    results: dict[int, Any] = {}

    def call(number: int, command: str) -> None:
        env = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": f"c{number}",
            "CNI_IFNAME": "eth0",
            "CNI_NETNS": str(spaces.path(names[number])),
        }
        conf = {
            "cniVersion": "1.0.0",
            "name": "blue",
            "type": "vrouter-cni",
            "instance": loaded.name,
        }
        done = subprocess.run(
            [tmp_path / "vrouter-cni"],
            env=env,
            input=json.dumps(conf).encode(),
            capture_output=True,
        )
        assert done.stderr == b""
        results[number] = json.loads(done.stdout or "null")

    def at_once(command: str) -> None:
        threads = [threading.Thread(target=call, args=(n, command)) for n in range(8)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()

    try:
        for name in names:
            spaces.create(name)
        call(0, "ADD")
        assert results[0]["code"] == shim.TRY_AGAIN
        call(0, "VERSION")
        assert results[0]["supportedVersions"] == list(shim.VERSIONS)
        with served(loaded) as facade:
            at_once("ADD")
            addresses = {one["ips"][0]["address"] for one in results.values()}
            assert len(addresses) == 8 == len(facade.all(Interface))
            at_once("DEL")
            assert results == dict.fromkeys(range(8)) and facade.all(Interface) == []
    finally:
        for name in names:
            spaces.delete(name)


def test_the_plugin_runs_by_another_python_than_compiled_it(tmp_path: Path) -> None:
    assert tool("vrouter-cni", "--install", str(tmp_path)).returncode == 0
    file = tmp_path / "vrouter-cni"
    text = file.read_text()
    head, code = text.split("TAG, CODE = ", 1)
    assert code.startswith("('cpython-")
    rest = code.partition("\n")[2]
    cases = {"as made": text, "by another": f"{head}TAG, CODE = 'cpython-10', b'none'\n{rest}"}
    for what, written in cases.items():
        file.write_text(written)
        done = subprocess.run([file], env={"CNI_COMMAND": "VERSION"}, capture_output=True)
        assert (done.returncode, done.stderr) == (0, b""), what
        assert json.loads(done.stdout)["supportedVersions"] == list(shim.VERSIONS), what
        done = subprocess.run([file], env={}, capture_output=True)
        assert done.returncode == 2 and done.stderr.startswith(b"A container runtime runs this")


def test_the_shim_imports_next_to_nothing(loaded: Instance) -> None:
    """A runtime waits for it: json, socket and what they bring would double its time."""
    code = (
        "import os, sys; before = set(sys.modules); space = {'__name__': 'x'}; "
        "exec(open(sys.argv[1]).read(), space); "
        "space['run'](dict(os.environ), sys.argv[2].encode()); "
        "print(sorted(set(sys.modules) - before))"
    )
    conf = json.dumps({"cniVersion": "1.1.0", "name": "blue"})
    with served(loaded):
        done = subprocess.run(
            ["/usr/bin/python3", "-IS", "-c", code, shim.__file__, conf],
            capture_output=True,
            text=True,
            env={"VROUTER_NAME": loaded.name, "CNI_COMMAND": "STATUS"},
        )
    assert done.stdout == "['__future__', '_socket']\n", done.stderr


def test_os_vif_plugs_and_unplugs(loaded: Instance, tmp_path: Path) -> None:
    import os_vif
    from os_vif import exception, objects

    from vrouter.osvif import privileged

    privileged.context.set_client_mode(False)
    os_vif.initialize()
    subnet = objects.subnet.Subnet(
        ips=objects.fixed_ip.FixedIPList(objects=[objects.fixed_ip.FixedIP(address="10.1.1.1")])
    )
    network = objects.network.Network(
        id=NET, mtu=1400, subnets=objects.subnet.SubnetList(objects=[subnet])
    )
    values: dict[str, Any] = {
        "id": ONE,
        "address": "02:00:0a:01:01:01",
        "network": network,
        "plugin": "vrouter",
        "vif_name": "tap1",
    }
    vif = objects.vif.VIFGeneric(**values)
    instance = objects.instance_info.InstanceInfo(
        uuid=PORT["instance-id"], name="vm1", project_id="b168ea26fa0c49c1a84e1566d9565fa5"
    )
    described = os_vif.host_info().plugin_info
    assert "vrouter" in [one.plugin_name for one in described]
    with served(loaded) as facade:
        os_vif.plug(vif, instance)
        os_vif.plug(vif, instance)
        (one,) = facade.all(Interface)
        assert (one.name, one.device, one.addresses, one.vm) == (ONE, "tap1", ("10.1.1.1",), "vm1")
        with Netlink() as links:
            assert links.need("tap1").mtu == 1400
        user = objects.vif.VIFVHostUser(**values, path="/x", mode="client")
        with pytest.raises(exception.PlugException, match="DPDK"):
            os_vif.plug(user, instance)
        os_vif.unplug(vif, instance)
        os_vif.unplug(vif, instance)
        assert facade.all(Interface) == []
        with Netlink() as links:
            assert links.get("tap1") is None
    os_vif.plug(vif, instance)  # no agent: the file suffices
    assert (tmp_path / "lib" / loaded.name / "ports" / ONE).exists()
    with served(loaded) as facade:
        assert [one.name for one in facade.all(Interface)] == [ONE]
    os_vif.unplug(vif, instance)
