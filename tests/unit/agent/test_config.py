# SPDX-License-Identifier: Apache-2.0
"""The agent's configuration: what may stand in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from vrouter.agent import config
from vrouter.dpcore.errors import Refused


def read(tmp_path: Path, text: str) -> config.Config:
    path = tmp_path / "agent.toml"
    path.write_text(text)
    return config.read(path)


def test_the_door_for_upstreams_tools(tmp_path: Path) -> None:
    assert read(tmp_path, "").sandesh == config.Sandesh(sock_dir="", far_netns="")
    found = read(tmp_path, '[sandesh]\nsock_dir = "/run/vrouter/sockets"\nfar_netns = "vms"\n')
    assert found.sandesh == config.Sandesh(sock_dir="/run/vrouter/sockets", far_netns="vms")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[sandesh]\nfar_netns = "vms"\n', "sandesh.far_netns .*there is no door"),
        ('[sandesh]\nsock_dir = "sockets"\n', "sandesh.sock_dir .*does not begin with /"),
        ('[sandesh]\nsock-dir = "/run"\n', "unknown field `sock-dir`"),
        ("[services]\nrate = 0.0\n", "a rate is above 0"),
        ('[services]\nresolvers = ["nobody"]\n', "'nobody' does not appear to be"),
        ("services = 1\n", "Expected `object`"),
        ("[services\n", "Expected ']'"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        read(tmp_path, text)
