# SPDX-License-Identifier: Apache-2.0
"""/v1: the desired state over HTTP, and who may ask."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.api.asgi import TCP
from tests.unit.api.conftest import Api

from vrouter.agent.desired.records import Host, Network
from vrouter.api import guard

STATE: dict[str, list[dict[str, Any]]] = {
    "network": [{"name": "red", "vni": 5002, "subnets": [{"prefix": "10.2.0.0/24"}]}],
    "host": [{"name": "h2", "address": "172.30.0.2", "encapsulations": ["vxlan"]}],
}


def test_apply_makes_it_all_there_is(api: Api) -> None:
    plan = api.ask("POST", "/v1/apply?dry_run=1", STATE).json
    assert plan["dry_run"] and plan["removed"] == [{"kind": "network", "name": "blue"}]
    assert [one.name for one in api.facade.all(Network)] == ["blue"]
    done = api.ask("POST", "/v1/apply", STATE).json
    assert {**done, "dry_run": True} == plan
    assert [one.name for one in api.facade.all(Network)] == ["red"]
    assert api.facade.all(Host) == [
        Host(name="h2", address="172.30.0.2", encapsulations=("vxlan",))
    ]
    assert api.ask("GET", "/v1/host").json == [STATE["host"][0]]


WRONG: list[tuple[Any, list[str]]] = [
    ({"network": [{"nam": "x"}]}, ["network[0].nam", "network[0].name"]),
    ({"network": [{"name": "x", "vni": "5"}]}, ["network[0].vni"]),
    ({"network": [{"name": "x", "mtu": 1.5}]}, ["network[0].mtu"]),
    ({"network": [{"name": "x", "forwarding": "l4"}]}, ["network[0].forwarding"]),
    ({"network": [{"name": "x", "subnets": [{"gatway": "x"}, 5]}]},
     ["network[0].subnets[0].gatway", "network[0].subnets[0].prefix", "network[0].subnets[1]"]),
    ({"network": {}}, ["network"]),
    ({"nets": []}, ["nets"]),
    ([], [""]),
]  # fmt: skip


@pytest.mark.parametrize(("body", "paths"), WRONG, ids=[str(paths)[:50] for _, paths in WRONG])
def test_a_bad_state_is_refused_whole(api: Api, body: Any, paths: list[str]) -> None:
    answer = api.ask("POST", "/v1/apply", body)
    assert answer.status == 422
    assert sorted(one["path"] for one in answer.json["problems"]) == sorted(paths)
    assert all(one["why"] for one in answer.json["problems"])
    assert [one.name for one in api.facade.all(Network)] == ["blue"]


def test_what_the_agent_refuses_comes_with_its_path(api: Api) -> None:
    answer = api.ask("PUT", "/v1/interface/a", {"network": "none", "mac": "02:00:00:00:00:01"})
    assert answer.status == 422
    assert answer.json["problems"][0]["path"] == "interface.a.network"


def test_one_object(api: Api) -> None:
    assert api.ask("GET", "/v1/network/red").status == 404
    assert api.ask("PUT", "/v1/network/red", {"name": "green"}).status == 422
    assert api.ask("PUT", "/v1/network/red", {"vni": 7}).json["added"]
    assert api.ask("GET", "/v1/network/red").json == {"name": "red", "vni": 7}
    assert api.ask("GET", "/v1/network/red?state=1").json["source"] == "api"
    assert api.ask("GET", "/v1/network/red?state=2").status == 400
    assert api.ask("DELETE", "/v1/network/red").json["removed"]
    assert api.ask("DELETE", "/v1/network/red").status == 404
    assert api.ask("GET", "/v1/nets").status == 404
    assert api.ask("PUT", "/v1/network/a/b", {}).status == 200  # the agent judges names
    assert api.ask("GET", "/v1/status").json["ready"] is True


def tcp(api: Api, method: str, path: str, body: Any = b"", **headers: str) -> int:
    return api.ask(method, path, body, client=TCP, **headers).status


SECRET = {"authorization": "Bearer secret"}


def test_changes_by_tcp_need_the_token(api: Api) -> None:
    assert tcp(api, "GET", "/v1/network") == 200
    assert tcp(api, "PUT", "/v1/network/red", {}) == 401
    assert tcp(api, "POST", "/port", {}) == 401
    assert tcp(api, "PUT", "/v1/network/red", {}, authorization="Bearer wrong") == 401
    assert tcp(api, "PUT", "/v1/network/red", {}, authorization="Basic secret") == 401
    assert tcp(api, "PUT", "/v1/network/red", {}, authorization="Bearer s\u00e9cret") == 401
    assert [one.name for one in api.facade.all(Network)] == ["blue"]
    assert tcp(api, "PUT", "/v1/network/red", {}, **SECRET) == 200


def test_the_token_can_be_switched_off(api: Api) -> None:
    api.token = None
    api.close_agent_and_restart()
    assert tcp(api, "PUT", "/v1/network/red", {}) == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:9091", 200),
        ("localhost", 200),
        ("localhost:9091", 200),
        ("[::1]:9091", 200),
        ("evil.test:9091", 403),
        ("127.0.0.1.evil.test", 403),
        ("evil.test:127.0.0.1", 403),
        ("", 403),
    ],
)
def test_a_name_that_was_rebound_is_refused(api: Api, host: str, status: int) -> None:
    assert tcp(api, "GET", "/v1/network", host=host) == status


def test_pages_of_other_origins_are_refused(api: Api) -> None:
    assert tcp(api, "GET", "/v1/network", origin="http://evil.test") == 403
    assert tcp(api, "POST", "/v1/apply", {}, origin="null", **SECRET) == 403
    assert tcp(api, "GET", "/v1/network", origin="http://127.0.0.1:9091") == 200


def test_bodies_and_paths_are_limited(api: Api) -> None:
    large = b" " * (guard.MAX_BODY + 1)
    assert api.ask("POST", "/v1/apply", large).status == 413
    lying = {"content-length": "10"}
    assert api.ask("POST", "/v1/apply", large, **lying).status == 413
    assert api.ask("POST", "/v1/apply", b"{}", **{"content-length": "9" * 30}).status == 413
    assert api.ask("POST", "/v1/apply", b"{}", **{"content-length": "x"}).status == 413
    assert api.ask("GET", "/v1/network/" + "x" * 2000).status == 414


def test_unknown_paths_and_methods(api: Api) -> None:
    assert api.ask("GET", "/nothing").json["error"]
    assert api.ask("PATCH", "/v1/apply").status == 405
    assert api.ask("GET", "/port").text.startswith("{/port")


def test_cni_is_for_root_by_the_socket(api: Api) -> None:
    assert tcp(api, "POST", "/cni", {}, **SECRET) == 403
    assert api.ask("POST", "/cni", {}, client=("unix", 1000)).status == 403
    assert api.ask("POST", "/cni", {}).json["code"] == 4
    assert api.ask("POST", "/cni", b"CNI_COMMAND=ADD\0\0{}").json["code"] == 1
    assert api.ask("POST", "/cni", b"\xff=1\0\0{}").json["code"] == 4
