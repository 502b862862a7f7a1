# SPDX-License-Identifier: Apache-2.0
"""POST and DELETE /gateway as upstream's clients use them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.api.conftest import NET, Api

from vrouter.agent.desired.records import Gateway, Network

BODY: dict[str, Any] = {
    "interface": "vgw0",
    "routing-instance": "blue",
    "subnets": [{"ip-address": "10.1.1.0", "prefix-len": 24}],
    "routes": [{"ip-address": "0.0.0.0", "prefix-len": 0}],
}


def test_a_gateway_comes_and_goes(api: Api) -> None:
    answer = api.ask("POST", "/gateway", [BODY])
    assert (answer.status, answer.body) == (200, b"{}")
    assert api.facade.all(Gateway) == [
        Gateway(name="vgw0", device="vgw0", network="blue", subnets=("10.1.1.0/24",),
                routes=("0.0.0.0/0",))
    ]  # fmt: skip
    assert api.facade.source("gateway", "vgw0") == "api"
    assert api.ask("POST", "/gateway", [{**BODY, "routes": []}]).status == 200
    assert api.facade.all(Gateway)[0].routes == ()
    for _ in range(2):
        answer = api.ask("DELETE", "/gateway", [{**BODY, "subnets": "anything"}])
        assert (answer.status, answer.body) == (200, b"{}")
        assert api.facade.all(Gateway) == []


@pytest.mark.parametrize(
    "instance", ["blue", NET, "default-domain:admin:blue:blue", "a:b:public:public", "x:y"]
)
def test_the_network_of_a_routing_instance(api: Api, instance: str) -> None:
    """By its name, its UUID, or upstream's name of the routing instance, whole or its end."""
    api.run(api.facade.put([Network(name="a:b:public"), Network(name="x:y")], "api"))
    assert api.ask("POST", "/gateway", [{**BODY, "routing-instance": instance}]).status == 200
    wanted = {"a:b:public:public": "a:b:public", "x:y": "x:y"}.get(instance, "blue")
    assert api.facade.all(Gateway)[0].network == wanted


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ([], "expected an array of 1 to 256 gateways"),
        (BODY, "expected an array of 1 to 256 gateways"),
        ([7], "[0]: expected an object"),
        ([BODY, {**BODY, "interface": 1}], "[1].interface: expected a text"),
        ([BODY, BODY], "[1].interface: 'vgw0' is here twice"),
        ([{**BODY, "routing-instance": ""}], "[0].routing-instance: expected a text"),
        ([{**BODY, "routing-instance": "green"}], "there is no network 'green': add it first"),
        ([{**BODY, "subnets": {}}], "[0].subnets: expected an array"),
        ([{**BODY, "subnets": ["10.1.1.0/24"]}], "[0].subnets[0]: expected a text ip-address"),
        ([{**BODY, "routes": [{"ip-address": "0.0.0.0", "prefix-len": True}]}],
         "[0].routes[0]: expected a text ip-address and a number prefix-len"),
        ([{**BODY, "routes": [{"ip-address": "10.1.1.1", "prefix-len": 24}]}], "host bits"),
        ([{**BODY, "routes": [{"ip-address": "10.1.1.0", "prefix-len": 33}]}], "[0].routes[0]: "),
        ([{**BODY, "routes": [{"ip-address": "10.1.1.0", "prefix-len": -1}]}], "[0].routes[0]: "),
        ([{**BODY, "routes": [{"ip-address": "10.1.1.0", "prefix-len": 10**9}]}], "[0].routes"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(api: Api, body: Any, why: str) -> None:
    answer = api.ask("POST", "/gateway", body)
    assert answer.status == 400 and why in answer.text, answer.text
    assert api.facade.all(Gateway) == []
