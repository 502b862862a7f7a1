# SPDX-License-Identifier: Apache-2.0
"""One VLAN tag is not part of the MTU: what dp-core sends on the kernel takes, what the kernel
would lose dp-core counts."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.datapath.rig import own_netns
from vrouter.dpcore import loader
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.instance import Instance
from vrouter.dpcore.names import DropReason, Family, NhFlag, NhType, VifFlag, VifType
from vrouter.dpcore.records import Nexthop, Vif
from vrouter.dpcore.sizes import SMALL

SENDER, RECEIVER = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
MTU = 1500
HEAD = RECEIVER + SENDER
TAG = b"\x81\x00\x00\x07"
PART_TAG = b"\x81\x00\x00\x64"  # VLAN 100
TYPE = b"\x88\xb5"
PORT = Vif(
    idx=0,
    name="",
    type=VifType.VIRTUAL,
    ifindex=0,
    os_ifindex=0,
    vrf=1,
    mac=bytes.fromhex("00005e000100"),
    flags=VifFlag.L2 | VifFlag.L3,
)


@pytest.fixture
def core() -> Iterator[DpCore]:
    """Two ports, the far ends of one MTU and of a larger one; what a part of the first receives
    goes to the second too."""
    instance = Instance(f"t-{os.getpid()}-vlan")
    with own_netns():
        try:
            loader.load(instance, SMALL)
            with DpCore.open(instance) as opened:
                _ports(opened)
                yield opened
        finally:
            loader.unload(instance)


def _ports(core: DpCore) -> None:
    for idx, name, mtu in ((1, "in", MTU + 100), (2, "out", MTU)):
        for command in (
            f"link add {name} mtu {mtu} type veth peer name {name}p mtu {mtu}",
            f"link set {name} up",
            f"link set {name}p up",
        ):
            subprocess.run(["ip", *command.split()], check=True)
        _add(core, idx, name)
    number = socket.if_nametoindex("in")
    part = replace(PORT, idx=3, name="part", type=VifType.VIRTUAL_VLAN, parent=1)
    core.vifs.add(replace(part, ifindex=number, os_ifindex=number, vlan=100, ovlan=100))
    core.nexthops.put(
        Nexthop(id=5, type=NhType.ENCAP, family=Family.BRIDGE, flags=NhFlag.VALID, vrf=1, oif=2)
    )
    core.bridge.put(1, RECEIVER, 5)


def _add(core: DpCore, idx: int, name: str) -> None:
    number = socket.if_nametoindex(name)
    core.vifs.add(replace(PORT, idx=idx, name=name, ifindex=number, os_ifindex=number))


def arrives(frame: bytes) -> bool:
    """Whether the frame, sent by the first port, reaches the far end of the second."""
    with (
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003)) as far,
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as near,
    ):
        far.bind(("outp", 0x0003))
        far.settimeout(1)
        near.bind(("inp", 0))
        near.send(frame)
        try:
            while far.recv(4096)[:12] != HEAD:
                pass
        except TimeoutError:
            return False
        return True


@pytest.mark.parametrize(
    ("tags", "length", "passes"),
    [
        (b"", MTU, True),
        (b"", MTU + 1, False),
        (TAG, MTU, True),
        (TAG, MTU + 1, False),
        (TAG + TAG, MTU - 4, True),
        (TAG + TAG, MTU - 3, False),
        (PART_TAG + TAG, MTU, True),
        (PART_TAG + TAG, MTU + 1, False),
    ],
)
def test_the_kernel_takes_what_is_sent_on(
    core: DpCore, tags: bytes, length: int, passes: bool
) -> None:
    assert arrives(HEAD + tags + TYPE + bytes(length)) == passes
    assert core.stats.drops()[DropReason.TOO_BIG] == (0 if passes else 1)
