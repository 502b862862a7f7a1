# SPDX-License-Identifier: Apache-2.0
"""vrouter-api as upstream's clients use it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.api.conftest import ONE, PORT, TWO, VM, VM_BODY, Api

from vrouter.agent.desired.records import Interface, Network
from vrouter.agent.facade import Problem, Rejected


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in PORT.items() if name != key}


def test_a_port_is_an_interface_and_a_file(api: Api) -> None:
    answer = api.ask("POST", "/port", PORT)
    assert (answer.status, answer.body) == (200, b"{}")
    assert api.facade.get(Interface, ONE) == Interface(
        name=ONE,
        uuid=ONE,
        network="blue",
        device="tap1",
        mac="02:00:0a:01:01:01",
        addresses=("10.1.1.1", "fd00:10:1:1::1"),
        vm="vm1",
        vm_uuid=VM,
        project="b168ea26-fa0c-49c1-a84e-1566d9565fa5",
    )
    assert api.facade.source("interface", ONE) == "port"
    kept = json.loads((api.folder / ONE).read_text())
    assert kept["author"] == "vrouter-agent" and kept["time"] and kept["id"] == ONE
    shown = api.ask("GET", f"/port/{ONE}").json
    assert (shown["plen"], shown["gateway"], shown["v6-gateway"]) == (
        24,
        "10.1.1.254",
        "fd00:10:1:1::fe",
    )
    assert shown["active"] is True and shown["vn-name"] == "blue"
    assert api.ask("DELETE", f"/port/{ONE}").body == b"{}"
    assert api.facade.all(Interface) == [] and list(api.folder.iterdir()) == []
    assert api.ask("DELETE", f"/port/{ONE}").status == 200
    assert api.ask("GET", f"/port/{ONE}").status == 404


WRONG: list[tuple[Any, str]] = [
    *((without(key), f"{key} is missing") for key in PORT),
    ({**PORT, "id": ONE.replace("0001", "000A")}, "id is"),
    ({**PORT, "id": "../../etc/passwd"}, "id is"),
    ({**PORT, "id": "00000000-0000-0000-0000-000000000000"}, "id is nil"),
    ({**PORT, "id": 5}, "id is '5': expected a text"),
    ({**PORT, "vn-id": "00000000-0000-0000-0000-000000000000"}, "vn-id is nil"),
    ({**PORT, "instance-id": "x"}, "instance-id is"),
    ({**PORT, "mac-address": "02:00:0a:01:01"}, "mac-address is"),
    ({**PORT, "mac-address": "00:00:00:00:00:00"}, "mac-address is"),
    ({**PORT, "ip-address": "10.1.1"}, "ip-address is"),
    ({**PORT, "ip-address": "fd00::1"}, "ip-address is"),
    ({**PORT, "ip6-address": "10.1.1.1"}, "ip6-address is"),
    ({**PORT, "ip6-address": "fe80::1%eth0"}, "ip6-address is"),
    ({**PORT, "system-name": "a" * 16}, "system-name is"),
    ({**PORT, "system-name": "../x"}, "system-name is"),
    ({**PORT, "system-name": ""}, "system-name is"),
    ({**PORT, "display-name": "x" * 256}, "display-name is too long"),
    ({**PORT, "display-name": "a\x00b"}, "display-name is too long or has"),
    ({**PORT, "type": 3}, "type is"),
    ({**PORT, "type": True}, "type is"),
    ({**PORT, "type": 10**40}, "type is"),
    ({**PORT, "rx-vlan-id": 7}, "rx-vlan-id is 7"),
    ({**PORT, "tx-vlan-id": 5000}, "tx-vlan-id is"),
    ({**PORT, "vhostuser-mode": "x"}, "vhostuser-mode is"),
    ([PORT, {**PORT, "id": "x"}], "id is"),
    ([PORT, PORT], "same id"),
    ([], "1 to 4096 ports"),
    ([[PORT]], "expected an object"),
    (5, "expected an object"),
    (None, "expected an object"),
    (b"", "no JSON"),
    (b"{", "no JSON"),
    (b'{"id": NaN}', "no JSON"),
    (b'{"id": 1' + b"0" * 5000 + b"}", "no JSON"),
    (b"\xff\xfe", "no JSON"),
    (b"[" * 200_000, "nested too deep"),
]


@pytest.mark.parametrize(("body", "why"), WRONG, ids=[why[:30] for _, why in WRONG])
def test_a_bad_port_is_refused_whole(api: Api, body: Any, why: str) -> None:
    answer = api.ask("POST", "/port", body)
    assert answer.status == 400
    assert answer.text[0] == "{" and answer.text[-1] == "}" and why in answer.text
    assert "\n" not in answer.text and len(answer.body) < 400
    assert api.facade.all(Interface) == [] and not api.folder.exists()


def test_what_the_agent_refuses_leaves_no_file(api: Api) -> None:
    api.ask("POST", "/port", PORT)
    answer = api.ask("POST", "/port", {**PORT, "id": TWO})
    assert answer.status == 400 and "addresses" in answer.text
    assert [path.name for path in api.folder.iterdir()] == [ONE]


def test_an_existing_file_stays(api: Api) -> None:
    api.ask("POST", "/port", PORT)
    before = (api.folder / ONE).read_bytes()
    api.ask("POST", "/port", {**PORT, "system-name": "tap9"})
    assert (api.folder / ONE).read_bytes() == before
    assert api.facade.all(Interface)[0].device == "tap9"


def test_a_port_waits_for_its_network(api: Api) -> None:
    red = "99999999-2222-3333-4444-555555555555"
    assert api.ask("POST", "/port", {**PORT, "vn-id": red}).status == 200
    shown = api.ask("GET", f"/port/{ONE}").json
    assert shown["active"] is False and red in shown["why"]
    answer = api.ask("PUT", "/v1/network/red", {"uuid": red})
    assert answer.status == 200
    assert api.facade.all(Interface)[0].network == "red"
    assert api.ask("GET", f"/port/{ONE}").json["active"] is True


def test_a_network_by_its_name(api: Api) -> None:
    assert api.ask("POST", "/port", {**PORT, "vn-id": "blue"}).status == 200
    assert api.facade.all(Interface)[0].network == "blue"


WANTED = {"uuid": ONE, "network": "blue", "mac": "02:00:0a:01:01:07", "addresses": ["10.1.1.7"]}


def test_an_address_from_the_desired_state(api: Api) -> None:
    anonymous = {**PORT, "ip-address": "0.0.0.0", "ip6-address": "None"}
    assert api.ask("POST", "/port", anonymous).status == 200
    assert api.facade.all(Interface) == []
    assert "no address" in api.ask("GET", f"/port/{ONE}").json["why"]
    assert api.ask("PUT", "/v1/interface/web", WANTED).status == 200
    (one,) = api.facade.all(Interface)
    assert (one.name, one.device, one.addresses) == ("web", "tap1", ("10.1.1.7",))
    assert api.facade.source("interface", "web") == "api"
    assert api.ask("GET", f"/port/{ONE}").json["ip-address"] == "10.1.1.7"
    # the same again takes the device from nobody
    assert api.ask("PUT", "/v1/interface/web", WANTED).json["changed"] == []
    assert api.ask("DELETE", f"/port/{ONE}").status == 200
    assert api.facade.all(Interface)[0].device == ""


def test_a_port_gives_way_to_an_interface_of_its_uuid(api: Api) -> None:
    api.ask("POST", "/port", PORT)
    refused = api.ask("PUT", "/v1/interface/web", {**WANTED, "network": "none"})
    assert refused.status == 422
    assert [one.name for one in api.facade.all(Interface)] == [ONE]
    assert api.ask("PUT", "/v1/interface/web", WANTED).status == 200
    (one,) = api.facade.all(Interface)
    assert (one.name, one.device) == ("web", "tap1")
    # and comes back when that goes
    assert api.ask("DELETE", "/v1/interface/web").status == 200
    api.run(api.ports.retry())
    assert [one.name for one in api.facade.all(Interface)] == [ONE]


def test_only_ports_of_type_2_can_be_switched(api: Api) -> None:
    api.ask("POST", "/port", [PORT, {**PORT, "id": TWO, "type": 2, "ip-address": "10.1.1.2",
                                     "ip6-address": "::"}])  # fmt: skip
    answer = api.ask("PUT", f"/disable-port/{ONE}")
    assert answer.status == 400 and "type 2" in answer.text
    assert api.ask("PUT", f"/disable-port/{TWO}").status == 200
    two = api.facade.get(Interface, TWO)
    assert two is not None and not two.enabled
    api.close_agent_and_restart()
    assert not api.facade.all(Interface)[1].enabled
    assert api.ask("PUT", f"/enable-port/{TWO}").status == 200
    assert api.facade.all(Interface)[1].enabled
    assert api.ask("PUT", f"/enable-port/{VM}").status == 404


def test_files_are_read_at_the_start(api: Api) -> None:
    api.ask(
        "POST", "/port", [PORT, {**PORT, "id": TWO, "ip-address": "10.1.1.2", "ip6-address": ""}]
    )
    (api.folder / TWO).unlink()  # as vrouter-port-control does while no agent runs
    (api.folder / "notes.txt").write_text("none of ours")
    (api.folder / VM).write_text("{")
    changed = json.loads((api.folder / ONE).read_text())
    (api.folder / ONE).write_text(json.dumps({**changed, "system-name": "tap8"}))
    api.close_agent_and_restart()
    (one,) = api.facade.all(Interface)
    assert (one.name, one.device) == (ONE, "tap8")


def test_one_bad_file_keeps_no_other_from_coming_back(api: Api) -> None:
    api.ask("POST", "/port", PORT)
    same = json.loads((api.folder / ONE).read_text())
    (api.folder / TWO).write_text(json.dumps({**same, "id": TWO}))  # the same address
    api.facade.records.pop(("interface", ONE))
    api.facade.sources.pop(("interface", ONE))
    api.close_agent_and_restart()
    assert [one.name for one in api.facade.all(Interface)] == [ONE]
    assert "addresses" in api.ask("GET", f"/port/{TWO}").json["why"]


def test_stale_ports_go_after_a_sync(tmp_path: Path) -> None:
    api = Api(tmp_path / "ports", stale=0.2)
    try:
        two = {**PORT, "id": TWO, "ip-address": "10.1.1.2", "ip6-address": ""}
        api.ask("POST", "/port", [PORT, two])
        assert api.ask("POST", "/syncports").body == b"{}"
        api.ask("POST", "/port", PORT)
        api.run(asyncio.sleep(0.1))
        assert len(api.facade.all(Interface)) == 2
        api.run(asyncio.sleep(0.3))
        assert [one.name for one in api.facade.all(Interface)] == [ONE]
        assert [path.name for path in api.folder.iterdir()] == [ONE]
    finally:
        api.close()


def test_a_container_by_vm(api: Api) -> None:
    api.ask("PUT", "/v1/interface/web", {**WANTED, "vm": "k8s__default__web"})
    found = api.ask("GET", "/vm-cfg/k8s__default__web").json
    assert [one["id"] for one in found] == [ONE] and not found[0]["active"]
    assert api.ask("POST", "/vm", VM_BODY).body == b"{}"
    assert (api.folder / "vm" / VM / ONE).is_file()
    (one,) = api.ask("GET", f"/vm/{VM}").json
    assert (one["system-name"], one["active"], one["vmi-uuid"]) == ("tapc0ffee", True, ONE)
    assert api.ask("GET", f"/vm/{VM}/{ONE}").json == [one]
    assert api.ask("GET", f"/vm/{VM}/{TWO}").status == 404
    api.close_agent_and_restart()
    assert api.ask("GET", f"/vm/{VM}").json[0]["active"]
    assert api.ask("DELETE", f"/vm/{VM}").body == b"{}"
    assert api.facade.all(Interface)[0].device == ""
    assert not (api.folder / "vm" / VM).exists()
    assert api.ask("GET", f"/vm/{VM}").status == 404
    assert api.ask("GET", "/vm-cfg/nobody").status == 404
    assert api.ask("POST", "/vm", {**VM_BODY, "host-ifname": "a/b"}).status == 400


def test_a_container_that_is_refused_leaves_no_folder(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.ask("PUT", "/v1/interface/web", WANTED)

    async def refuse(*_: Any) -> None:
        raise Rejected([Problem("interface web.device", "it has an owner")])

    monkeypatch.setattr(api.facade, "put", refuse)
    answer = api.ask("POST", "/vm", VM_BODY)
    assert answer.status == 400 and "it has an owner" in answer.text
    assert not (api.folder / "vm" / VM).exists()


def test_ports_of_an_l2_network_need_no_address(api: Api) -> None:
    api.run(api.facade.put([Network(name="l2", forwarding="l2")], "api"))
    body = {**PORT, "vn-id": "l2", "ip-address": "0.0.0.0", "ip6-address": ""}
    assert api.ask("POST", "/port", body).status == 200
    assert api.facade.all(Interface)[0].addresses == ()
