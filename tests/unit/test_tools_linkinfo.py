# SPDX-License-Identifier: Apache-2.0
"""Devices as the tools see them, without pyroute2."""

from __future__ import annotations

import socket
import struct

import pytest

from vrouter.dpcore.errors import DeviceError
from vrouter.tools.linkinfo import link, parse_link, speed_duplex


def test_loopback() -> None:
    found = link("lo")
    assert found.ifindex == socket.if_nametoindex("lo")
    assert found.mac == bytes(6) and not found.peer_elsewhere
    assert speed_duplex("lo") is None


def test_missing_device() -> None:
    with pytest.raises(DeviceError, match="no device nosuchdev in this network namespace"):
        link("nosuchdev")


def attribute(kind: int, value: bytes) -> bytes:
    raw = struct.pack("=HH", 4 + len(value), kind) + value
    return raw + bytes(-len(raw) % 4)


def test_a_veth_into_another_namespace() -> None:
    body = struct.pack("=BxHiII", 0, 1, 7, 1, 0)
    body += (
        attribute(3, b"tap1\0") + attribute(1, b"\x02\0\0\0\0\x01") + attribute(4, b"\xdc\x05\0\0")
    )
    body += attribute(18, attribute(1, b"veth\0")) + attribute(37, b"\0\0\0\0")
    found = parse_link(body)
    assert (found.name, found.ifindex, found.mtu, found.up) == ("tap1", 7, 1500, True)
    assert found.kind == "veth" and found.peer_elsewhere
