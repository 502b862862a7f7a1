# SPDX-License-Identifier: Apache-2.0
"""Tables of mirrors, QoS maps and forwarding classes, and the tools that show them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.unit.table_fixtures import core, needs_root

from vrouter.dpcore.core import DpCore
from vrouter.dpcore.errors import BadValue, NoSuchEntry
from vrouter.dpcore.records import ForwardingClass, Mirror, QosMap
from vrouter.tools import mirror, qosmap

__all__ = ["core"]

pytestmark = needs_root
DYNAMIC = Mirror(index=3, nh=40, dynamic=True, metadata=b"\xff\0")


def test_a_mirror_is_kept_changed_and_deleted(core: DpCore) -> None:
    core.mirrors.put(DYNAMIC)
    assert core.mirrors.get(3) == DYNAMIC
    static = Mirror(index=3, nh=41, vni=7000)
    core.mirrors.put(static)
    core.mirrors.put(static)
    assert list(core.mirrors.items()) == [static]
    core.mirrors.delete(3)
    assert core.mirrors.get(3) is None
    with pytest.raises(NoSuchEntry):
        core.mirrors.delete(3)
    assert core.mirrors.collect() == 0


@pytest.mark.parametrize(
    "values",
    [
        {"index": 255},
        {"nh": 1 << 24},
        {"vni": 5},
        {"metadata": b""},
        {"metadata": bytes(17)},
        {"dynamic": False},
    ],
)
def test_a_mirror_that_cannot_be(core: DpCore, values: dict[str, object]) -> None:
    with pytest.raises(BadValue):
        core.mirrors.put(replace(DYNAMIC, **values))  # type: ignore[arg-type]


def test_dp_core_is_told_whether_there_are_qos_maps(core: DpCore) -> None:
    assert core.config.get().qos_maps == 0
    one = QosMap(index=5, dscp=(*range(63), 255))
    core.qos.put(one)
    core.qos.put(replace(one, exp=(7,) * 8))
    core.qos.put(QosMap(index=6))
    assert core.config.get().qos_maps == 2
    assert core.qos.get(5) == replace(one, exp=(7,) * 8)
    core.qos.delete(5)
    core.qos.delete(6)
    assert core.config.get().qos_maps == 0
    assert list(core.qos.items()) == []
    with pytest.raises(NoSuchEntry):
        core.qos.delete(5)


@pytest.mark.parametrize("values", [{"index": 64}, {"exp": (1,) * 7}, {"dot1p": (256,) * 8}])
def test_a_map_that_cannot_be(core: DpCore, values: dict[str, object]) -> None:
    with pytest.raises(BadValue):
        core.qos.put(replace(QosMap(index=1), **values))  # type: ignore[arg-type]


def test_forwarding_classes(core: DpCore) -> None:
    one = ForwardingClass(id=255, dscp=63, exp=7, dot1p=6, queue=255)
    core.qos.put_class(one)
    assert list(core.qos.class_items()) == [one]
    for values in ({"id": 256}, {"dscp": 64}, {"exp": 8}, {"queue": -1}):
        with pytest.raises(BadValue):
            core.qos.put_class(replace(one, **values))


def run(capsys: pytest.CaptureFixture[str], core: DpCore, line: str) -> str:
    """What a tool prints; it must succeed."""
    name, *words = line.split()
    tool = mirror if name == "mirror" else qosmap
    assert tool.main([*words, "--name", core.instance.name]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def test_the_tools(capsys: pytest.CaptureFixture[str], core: DpCore) -> None:
    assert "created mirror 1 -> nexthop 40 (no nexthop 40 yet" in run(
        capsys, core, "mirror --create 1 --nh 40 --dyn"
    )
    assert "nothing changed" in run(capsys, core, "mirror --create 1 --nh 40 --dyn")
    found = json.loads(run(capsys, core, "mirror --get 1 --json"))
    wanted = {"index": 1, "nh": 40, "dynamic": True, "vni": None, "metadata": "ff00"}
    assert found == wanted
    assert run(capsys, core, "mirror --dump").splitlines()[-1] == (
        "    1         40    D          0       0"
    )
    assert "deleted" in run(capsys, core, "mirror --delete 1")
    assert "created forwarding class 1" in run(
        capsys, core, "qosmap --set-fc 1 --dscp 46 --queue 3"
    )
    assert "changed forwarding class 1" in run(capsys, core, "qosmap --set-fc 1 --mpls_qos 5")
    assert json.loads(run(capsys, core, "qosmap --get-fc 1 --json")) == {
        "id": 1,
        "dscp": 46,
        "exp": 5,
        "dot1p": 0,
        "queue": 3,
    }
    assert "no forwarding class 9 yet" in run(capsys, core, "qosmap --set-qos 2 --dscp 8 --fc 9")
    assert json.loads(run(capsys, core, "qosmap --get-qos 2 --json"))["dscp"][8] == 9
    assert "    8         9" in run(capsys, core, "qosmap --dump-qos").splitlines()
    assert "deleted" in run(capsys, core, "qosmap --delete-qos 2")
