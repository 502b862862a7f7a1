# SPDX-License-Identifier: Apache-2.0
"""The API's application over an agent in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.unit.api.asgi import Answer, ask
from tests.unit.api.memory import MemoryFacade

from vrouter.agent.desired.records import Network, Subnet
from vrouter.api.ports import Ports
from vrouter.api.server import main_app
from vrouter.cni.server import CniApi

T = TypeVar("T")
NET = "11111111-2222-3333-4444-555555555555"
BLUE = Network(
    name="blue",
    uuid=NET,
    vni=5001,
    subnets=(
        Subnet(prefix="10.1.1.0/24", gateway="10.1.1.254", domain="blue.test"),
        Subnet(prefix="fd00:10:1:1::/64", gateway="fd00:10:1:1::fe"),
    ),
)

ONE = "00000000-0000-0000-0000-000000000001"
TWO = "00000000-0000-0000-0000-000000000002"
VM = "00000000-0000-0000-0000-0000000000aa"
PORT: dict[str, Any] = {
    "id": ONE,
    "instance-id": VM,
    "vn-id": NET,
    "vm-project-id": "b168ea26fa0c49c1a84e1566d9565fa5",
    "display-name": "vm1",
    "ip-address": "10.1.1.1",
    "ip6-address": "fd00:10:1:1:0::1",
    "system-name": "tap1",
    "mac-address": "02:00:0A:01:01:01",
    "type": 0,
    "rx-vlan-id": -1,
    "tx-vlan-id": -1,
}
VM_BODY = {
    "time": "now",
    "vm-id": "c0ffee",
    "vm-uuid": VM,
    "vm-name": "pod",
    "host-ifname": "tapc0ffee",
    "vm-ifname": "eth0",
    "vm-namespace": "/proc/5/ns/net",
    "vn-uuid": NET,
    "vmi-uuid": ONE,
}
CONF = {"cniVersion": "1.1.0", "name": "pods", "type": "vrouter-cni", "network": "blue"}


class Api:
    """An application with all that is behind it, and a loop to run it in."""

    def __init__(self, folder: Path, token: str | None = "secret", stale: float = 60.0) -> None:
        self.loop = asyncio.new_event_loop()
        self.facade = MemoryFacade(BLUE)
        self.folder = folder
        self.token = token
        self.stale = stale
        self.restart()

    def restart(self) -> None:
        """An agent over the same files and the same desired state."""
        self.ports = Ports(self.facade, self.folder, self.stale)
        self.cni = CniApi(self.facade)
        self.app = main_app(self.facade, self.ports, self.cni, self.token)
        self.run(self.ports.start())

    def close_agent_and_restart(self) -> None:
        """The agent ends, and another one starts."""
        self.run(self.ports.stop())
        self.cni.close()
        self.restart()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` to its end."""
        return self.loop.run_until_complete(work)

    def ask(self, method: str, path: str, body: Any = b"", **more: Any) -> Answer:
        """One request, as root by the unix socket unless `client` says otherwise."""
        return self.run(ask(self.app, method, path, body, **more))

    def close(self) -> None:
        """End it."""
        self.run(self.ports.stop())
        self.cni.close()
        self.loop.close()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """An API with network blue."""
    one = Api(tmp_path / "ports")
    yield one
    one.close()
