# SPDX-License-Identifier: Apache-2.0
"""CNI from the shim's entry to real veths in real namespaces, every version."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.system.helpers import unique
from tests.unit.api.conftest import BLUE, CONF, Api

from vrouter.agent.desired.records import Interface, Network, Subnet
from vrouter.cni import shim
from vrouter.cni.request import VERSIONS
from vrouter.host import netns as spaces

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes namespaces")


class Runtime:
    """A container runtime: calls the shim's entry function, whose socket is the agent's handler."""

    def __init__(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        self.api = api
        self.spaces: list[str] = []
        monkeypatch.setattr(shim, "_ask", self._ask)

    def _ask(self, path: str, body: bytes, command: str) -> tuple[bytes, str]:
        answer = self.api.ask("POST", "/cni", body)
        return str(answer.status).encode(), answer.text

    def space(self) -> str:
        name = unique("cni")
        spaces.create(name)
        self.spaces.append(name)
        return str(spaces.path(name))

    def __call__(
        self, command: str, space: str = "", config: Any = None, **env: str
    ) -> tuple[int, Any]:
        """(exit code, what was printed)."""
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": "c1",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": "/opt/cni/bin",
            **({"CNI_NETNS": space} if space else {}),
            **env,
        }
        text = config if isinstance(config, bytes) else json.dumps(config or CONF).encode()
        code, printed = shim.run(environment, text)
        return code, json.loads(printed) if printed else None


@pytest.fixture
def cni(netns: None, api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    one = Runtime(api, monkeypatch)
    api.facade.there = lambda name: Path("/proc/self/net/dev").read_text().find(f"{name}:") >= 0
    yield one
    for name in one.spaces:
        spaces.delete(name)


def ip(space: str, *words: str) -> Any:
    done = subprocess.run(
        ["ip", "-n", Path(space).name, "-j", *words], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def of(version: str, **more: Any) -> dict[str, Any]:
    return {**CONF, "cniVersion": version, **more}


@pytest.mark.parametrize("version", VERSIONS)
def test_add_in_the_form_of_each_version(cni: Runtime, version: str) -> None:
    space = cni.space()
    code, result = cni("ADD", space, of(version))
    assert code == 0, result
    (interface,) = cni.api.facade.all(Interface)
    host, inside = result["interfaces"]
    assert result["cniVersion"] == version
    assert (host["name"], inside["name"]) == (interface.device, "eth0")
    assert (inside["mac"], inside["sandbox"]) == (interface.mac, space)
    assert ("mtu" in inside) == (version == "1.1.0")
    old = version in ("0.3.1", "0.4.0")
    four, six = result["ips"]
    assert four == {
        "address": "10.1.1.1/24",
        "gateway": "10.1.1.254",
        "interface": 1,
        **({"version": "4"} if old else {}),
    }
    assert six["address"] == "fd00:10:1:1::1/64" and six.get("version") == ("6" if old else None)
    assert result["routes"] == [
        {"dst": "0.0.0.0/0", "gw": "10.1.1.254"},
        {"dst": "::/0", "gw": "fd00:10:1:1::fe"},
    ]
    assert result["dns"] == {
        "nameservers": ["10.1.1.254", "fd00:10:1:1::fe"],
        "domain": "blue.test",
        "search": ["blue.test"],
    }
    # and it is so
    (link,) = ip(space, "link", "show", "eth0")
    assert (link["address"], link["mtu"], link["operstate"]) == (interface.mac, 1430, "UP")
    (shown,) = ip(space, "addr", "show", "eth0")
    assert [f"{one['local']}/{one['prefixlen']}" for one in shown["addr_info"]] == [
        "10.1.1.1/24",
        "fd00:10:1:1::1/64",
    ]
    assert ip(space, "route")[0]["gateway"] == "10.1.1.254"
    assert any(one["dst"] == "default" for one in ip(space, "-6", "route"))
    assert ip(space, "link", "show", "lo")[0]["flags"].count("UP")
    assert cni("DEL", space, of(version)) == (0, None)
    assert cni.api.facade.all(Interface) == []
    assert [one["ifname"] for one in ip(space, "link")] == ["lo"]


def test_asked_twice_it_gives_the_same(cni: Runtime) -> None:
    space = cni.space()
    first = cni("ADD", space)
    assert cni("ADD", space) == first
    assert len(cni.api.facade.all(Interface)) == 1
    # what is lost of it is made anew
    subprocess.run(["ip", "-n", Path(space).name, "link", "del", "eth0"], check=True)
    code, again = cni("ADD", space)
    assert code == 0 and again["ips"] == first[1]["ips"]
    assert len(ip(space, "link")) == 2
    assert cni("DEL", space) == (0, None)
    assert cni("DEL", space) == (0, None)


def test_two_interfaces_of_a_container(cni: Runtime) -> None:
    space = cni.space()
    assert cni("ADD", space)[0] == 0
    code, second = cni("ADD", space, CNI_IFNAME="eth1")
    assert code == 0 and second["ips"][0]["address"] == "10.1.1.2/24"
    assert cni("ADD", space, of("1.1.0", name="other"), CNI_IFNAME="eth1")[1]["code"] == 4
    assert len(cni.api.facade.all(Interface)) == 2
    assert cni("DEL", space)[0] == 0
    assert [one["ifname"] for one in ip(space, "link")] == ["lo", "eth1"]


def test_del_without_a_namespace(cni: Runtime) -> None:
    space = cni.space()
    cni("ADD", space)
    device = cni.api.facade.all(Interface)[0].device
    spaces.delete(Path(space).name)
    assert cni("DEL") == (0, None)
    assert cni.api.facade.all(Interface) == []
    assert subprocess.run(["ip", "link", "show", device], capture_output=True).returncode


def test_check(cni: Runtime) -> None:
    space = cni.space()
    _, result = cni("ADD", space)
    conf = {**CONF, "prevResult": result}
    assert cni("CHECK", space, conf) == (0, None)
    assert cni("CHECK", space)[1]["code"] == 7  # without prevResult
    assert cni("CHECK", space, {**conf, "cniVersion": "0.3.1"})[1]["code"] == 1
    name = Path(space).name
    for spoil, words in (
        ("addr del 10.1.1.1/24 dev eth0", "10.1.1.1/24"),
        ("link set eth0 down", "down"),
        ("link del eth0", "no interface"),
    ):
        subprocess.run(["ip", "-n", name, *spoil.split()], check=True)
        code, error = cni("CHECK", space, conf)
        assert code == 1 and error["code"] == 101 and words in error["msg"], error
    cni("DEL", space)
    assert "no such interface" in cni("CHECK", space, conf)[1]["msg"]


def test_gc_removes_what_is_not_valid(cni: Runtime) -> None:
    for number in range(3):
        assert cni("ADD", cni.space(), CNI_CONTAINERID=f"c{number}")[0] == 0
    assert cni("ADD", cni.space(), of("1.1.0", name="others"))[0] == 0
    valid = [{"containerID": "c1", "ifname": "eth0"}, {"containerID": "gone", "ifname": "eth0"}]
    conf = {**CONF, "cni.dev/valid-attachments": valid}
    assert cni("GC", "", conf) == (0, None)
    left = sorted((one.name.split(":")[0], one.vm) for one in cni.api.facade.all(Interface))
    assert left == [("others", "c1"), ("pods", "c1")]
    assert cni("GC", "", CONF)[1]["code"] == 7
    assert cni("GC", "", {**conf, "cniVersion": "1.0.0"})[1]["code"] == 1


def test_status_and_version(cni: Runtime) -> None:
    assert cni("STATUS") == (0, None)
    assert cni("STATUS", "", {**CONF, "network": "none"})[1]["code"] == 50
    assert cni("STATUS", "", of("1.0.0"))[1]["code"] == 1
    assert cni("VERSION") == (
        0,
        {"cniVersion": "1.1.0", "supportedVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]},
    )
    cni.api.facade.ready = False
    assert cni("STATUS")[1]["code"] == 50
    assert cni("ADD", cni.space())[1]["code"] == 11


def test_wishes_of_the_runtime(cni: Runtime) -> None:
    space = cni.space()
    wish = {"ips": ["10.1.1.77/24"], "mac": "02:AA:00:00:00:01"}
    code, result = cni("ADD", space, {**CONF, "runtimeConfig": wish, "mtu": 1300})
    assert code == 0 and result["ips"][0]["address"] == "10.1.1.77/24"
    assert result["interfaces"][1]["mac"] == "02:aa:00:00:00:01"
    assert result["interfaces"][1]["mtu"] == 1300
    code, error = cni("ADD", cni.space(), CNI_CONTAINERID="c2", CNI_ARGS="IP=10.1.1.77")
    assert code == 1 and error["code"] == 100 and "10.1.1.77" in error["msg"]
    assert cni("ADD", cni.space(), CNI_CONTAINERID="c2", CNI_ARGS="IP=10.9.9.9")[1]["code"] == 7
    args = "IgnoreUnknown=1;K8S_POD_NAME=web-0"
    assert cni("ADD", cni.space(), CNI_CONTAINERID="c3", CNI_ARGS=args)[0] == 0
    assert [one.hostname for one in cni.api.facade.all(Interface)] == ["", "web-0"]


def test_addresses_end(cni: Runtime) -> None:
    tiny = Network(name="tiny", subnets=(Subnet(prefix="10.7.0.0/29", gateway="10.7.0.1"),))
    cni.api.run(cni.api.facade.put([tiny], "file"))
    conf = {**CONF, "network": "tiny", "ranges": ["10.7.0.0-10.7.0.3"]}
    found = [cni("ADD", cni.space(), conf, CNI_CONTAINERID=f"c{n}") for n in range(3)]
    assert [one[1]["ips"][0]["address"] for one in found[:2]] == ["10.7.0.2/29", "10.7.0.3/29"]
    assert found[2][1]["code"] == 100
    assert cni("DEL", "", conf, CNI_CONTAINERID="c0")[0] == 0
    assert (
        cni("ADD", cni.space(), conf, CNI_CONTAINERID="c9")[1]["ips"][0]["address"] == "10.7.0.2/29"
    )


def test_ranges_of_one_ip_version(cni: Runtime) -> None:
    code, result = cni("ADD", cni.space(), {**CONF, "ranges": ["10.1.1.64/26"]})
    assert code == 0 and [one["address"] for one in result["ips"]] == ["10.1.1.64/24"]
    assert cni("ADD", cni.space(), {**CONF, "ranges": ["10.9.0.0/24"]}, CNI_CONTAINERID="c2")[1][
        "code"
    ] == 100  # fmt: skip
    v4 = Network(name="v4", subnets=(Subnet(prefix="10.8.0.0/24"),))
    cni.api.run(cni.api.facade.put([v4], "file"))
    conf = {**CONF, "network": "v4", "ranges": ["fd00::/64"]}
    assert cni("ADD", cni.space(), conf, CNI_CONTAINERID="c3")[1]["code"] == 7


def test_parallel_adds_share_nothing(cni: Runtime) -> None:
    places = [cni.space() for _ in range(16)]

    async def all_at_once() -> list[tuple[bool, Any]]:
        def request(number: int, space: str) -> bytes:
            env = (
                "CNI_COMMAND=ADD",
                f"CNI_CONTAINERID=c{number}",
                "CNI_IFNAME=eth0",
                f"CNI_NETNS={space}",
            )
            return "\0".join([*env, "", json.dumps(CONF)]).encode()

        work = [cni.api.cni.handle(request(n, space)) for n, space in enumerate(places)]
        again = [cni.api.cni.handle(request(0, places[0])) for _ in range(4)]
        return list(await asyncio.gather(*work, *again))

    found = cni.api.run(all_at_once())
    assert not any(failed for failed, _ in found), found
    addresses = {told["ips"][0]["address"] for _, told in found}
    assert len(addresses) == 16 and len(cni.api.facade.all(Interface)) == 16
    assert not cni.api.cni._busy and not cni.api.cni._reserved


def test_what_the_agent_refuses_leaves_nothing(cni: Runtime) -> None:
    space = cni.space()
    before = Path("/proc/self/net/dev").read_text()

    def refuse(*_: Any) -> Any:
        from vrouter.dpcore.errors import TableFull

        raise TableFull("nexthops", 5, "load with --size nexthops=N")

    cni.api.facade._check = refuse  # type: ignore[assignment, method-assign]
    code, error = cni("ADD", space)
    assert code == 1 and error["code"] == 102 and "nexthops" in error["msg"]
    assert Path("/proc/self/net/dev").read_text() == before
    assert [one["ifname"] for one in ip(space, "link")] == ["lo"]


WRONG: list[tuple[Any, dict[str, str], int]] = [
    (b"", {}, 6),
    (b"[]", {}, 6),
    (b"[" * 100_000, {}, 6),
    (of("0.2.0"), {}, 1),
    (of("2.0.0"), {}, 1),
    ({**CONF, "cniVersion": 5}, {}, 1),
    ({**CONF, "name": ""}, {}, 7),
    ({**CONF, "name": "a/b"}, {}, 7),
    ({**CONF, "network": "none"}, {}, 7),
    ({**CONF, "network": 5}, {}, 7),
    ({**CONF, "mtu": 5}, {}, 7),
    ({**CONF, "mtu": True}, {}, 7),
    ({**CONF, "ranges": ["10.1.1.9-10.1.1.1"]}, {}, 7),
    ({**CONF, "ranges": "x"}, {}, 7),
    ({**CONF, "defaultRoute": 1}, {}, 7),
    ({**CONF, "runtimeConfig": {"mac": "01:00:00:00:00:01"}}, {}, 7),
    ({**CONF, "runtimeConfig": {"ips": ["x"]}}, {}, 7),
    ({**CONF, "runtimeConfig": {"ips": ["10.1.1.1", "10.1.1.2"]}}, {}, 7),
    ({**CONF, "prevResult": {}}, {}, 2),
    ({**CONF, "instance": "a/b"}, {}, 7),
    ({**CONF, "socket": "x"}, {}, 7),
    (CONF, {"CNI_COMMAND": "BREW"}, 4),
    (CONF, {"CNI_CONTAINERID": ""}, 4),
    (CONF, {"CNI_CONTAINERID": "a b"}, 4),
    (CONF, {"CNI_IFNAME": "a" * 16}, 4),
    (CONF, {"CNI_IFNAME": "../x"}, 4),
    (CONF, {"CNI_ARGS": "x"}, 4),
    (CONF, {"CNI_NETNS": ""}, 4),
    (CONF, {"CNI_NETNS": "/run/netns/there-is-none"}, 3),
    (CONF, {"CNI_NETNS": "/etc/passwd"}, 4),
    (CONF, {"CNI_NETNS": "/proc/self/ns/uts"}, 4),
    (CONF, {"CNI_NETNS": "/proc/thread-self/ns/net"}, 4),
]


@pytest.mark.parametrize(("config", "env", "code"), WRONG)
def test_what_is_wrong_has_its_code(
    cni: Runtime, config: Any, env: dict[str, str], code: int
) -> None:
    space = cni.space() if "CNI_NETNS" not in env else ""
    status, error = cni("ADD", space, config, **env)
    assert status == 1 and error["code"] == code, error
    assert error["cniVersion"] in VERSIONS and error["msg"]
    assert cni.api.facade.all(Interface) == [] and cni.api.facade.all(Network) == [BLUE]
