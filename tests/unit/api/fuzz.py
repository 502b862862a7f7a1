# SPDX-License-Identifier: Apache-2.0
"""Requests that nobody would send: valid ones, spoiled in structure, in values and in bytes."""

from __future__ import annotations

import json
import os
import random
import zlib
from pathlib import Path
from typing import Any

from tests.unit.api.conftest import CONF, NET, PORT, VM_BODY

ROOT = Path(__file__).parents[3]
UUID = PORT["id"]
Case = tuple[str, str, bytes]


def seed(*, soak: bool = False) -> int:
    """$VR_SEED, or one that changes with what is tested; the long runs take a new one."""
    if given := os.environ.get("VR_SEED"):
        return int(given)
    if soak:
        return random.SystemRandom().getrandbits(32)
    folders = ("src/vrouter/api", "src/vrouter/cni", "tests/unit/api")
    sources = sorted(path for folder in folders for path in (ROOT / folder).glob("*.py"))
    return zlib.crc32(b"".join(path.read_bytes() for path in sources))


STATE: dict[str, Any] = {
    "network": [
        {"name": "red", "vni": 7, "subnets": [{"prefix": "10.2.0.0/24", "gateway": "10.2.0.1"}]}
    ],
    "interface": [
        {
            "name": "a",
            "network": "red",
            "device": "tapa",
            "mac": "02:00:00:00:00:01",
            "addresses": ["10.2.0.2"],
        }
    ],
    "host": [{"name": "h2", "address": "172.30.0.2", "encapsulations": ["vxlan"]}],
}
GATEWAY = {
    "interface": "vgw0",
    "routing-instance": "blue",
    "subnets": [{"ip-address": "10.1.1.0", "prefix-len": 24}],
    "routes": [{"ip-address": "0.0.0.0", "prefix-len": 0}],
}
BODIES: list[Any] = [
    PORT, [PORT, PORT], VM_BODY, STATE, STATE["network"][0], [GATEWAY], {}, [], None,
]  # fmt: skip
PATHS = [
    "/port", f"/port/{UUID}", f"/enable-port/{UUID}", f"/disable-port/{UUID}", "/syncports",
    "/gateway", "/vm", f"/vm/{UUID}", f"/vm/{UUID}/{UUID}", "/vm-cfg/pod", "/v1", "/v1/status",
    "/v1/apply", "/v1/apply?dry_run=1", "/v1/network", "/v1/network/red", "/v1/interface/a",
    "/v1/interface?state=1", "/v1/link-local/x", "/nothing", "/",
]  # fmt: skip
METHODS = ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "TRACE", "get", "X" * 30]
STRANGE: list[Any] = [
    None, True, False, 0, -1, 1, 1 << 31, 1 << 63, 1 << 64, 10**60, 1.5, -0.0, 1e308, "", " ",
    "\x00", "a" * 300, "\u202e", "\U0001f600", "../..", "/etc/passwd", "%00", "10.1.1.1",
    "255.255.255.255", "::", "::ffff:10.1.1.1", "fe80::1%1", "0.0.0.0/0", "1.1.1.1/33", "٣", "1_0",
    "ff:ff:ff:ff:ff:ff", "02:00:00:00:00:0g", NET, NET.upper(), UUID, [], {}, [[]], {"": {}},
    [None] * 50, {"name": "x"}, "blue", "red", "vm1", "eth0", "999999999999999999999",
]  # fmt: skip


def spoiled(r: random.Random, value: Any, depth: int = 0) -> Any:
    """`value` with something in it changed, missing, doubled or new."""
    roll = r.random()
    if depth > 6 or roll < 0.12:
        return r.choice(STRANGE)
    if isinstance(value, dict) and value:
        found = dict(value)
        key = r.choice(list(found))
        if roll < 0.25:
            del found[key]
        elif roll < 0.35:
            found[str(r.choice(STRANGE))] = r.choice(STRANGE)
        else:
            found[key] = spoiled(r, found[key], depth + 1)
        return found
    if isinstance(value, list) and value:
        found_list = list(value)
        at = r.randrange(len(found_list))
        if roll < 0.25:
            found_list.append(found_list[at])
        else:
            found_list[at] = spoiled(r, found_list[at], depth + 1)
        return found_list
    if isinstance(value, str) and value and roll < 0.6:
        at = r.randrange(len(value))
        return value[:at] + r.choice("0fz:/.-\x00 é") + value[at + 1 :]
    if isinstance(value, int) and not isinstance(value, bool):
        return value + r.choice((-1, 1, 255, 4096, 1 << 32))
    return r.choice(STRANGE)


def spoiled_bytes(r: random.Random, data: bytes) -> bytes:
    """Bytes flipped, cut off, doubled, nested."""
    roll = r.random()
    if roll < 0.3 or not data:
        return data[: r.randrange(len(data) + 1)]
    if roll < 0.8:
        at = r.randrange(len(data))
        return data[:at] + bytes([r.randrange(256)]) + data[at + 1 :]
    if roll < 0.9:
        return data + data
    return b"[" * r.choice((10, 1000, 50_000)) + data


def rest(r: random.Random) -> Case:
    """(method, path, body) of a request to vrouter-api or to the desired state."""
    method = r.choice(METHODS[:4]) if r.random() < 0.9 else r.choice(METHODS)
    path = r.choice(PATHS)
    if r.random() < 0.2:
        at = r.randrange(len(path))
        path = path[:at] + r.choice("/%?.~\x00é") + path[at + r.randrange(2) :]
    body = r.choice(BODIES)
    for _ in range(r.randrange(4)):
        body = spoiled(r, body)
    data = json.dumps(body).encode()
    return method, path, spoiled_bytes(r, data) if r.random() < 0.15 else data


ENV = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c1",
    "CNI_IFNAME": "eth0",
    "CNI_NETNS": "/run/netns/there-is-none",
    "CNI_ARGS": "K8S_POD_NAME=web-0;IP=10.1.1.9",
    "CNI_PATH": "/opt/cni/bin",
}
RICH = {
    **CONF,
    "ranges": ["10.1.1.64/26", "10.1.1.5-10.1.1.9"],
    "mtu": 1400,
    "runtimeConfig": {"mac": "02:00:00:00:00:09", "ips": ["10.1.1.9/24"]},
    "dns": {"nameservers": ["1.1.1.1"]},
}
COMMANDS = ["ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION", "add", "", "X"]


def cni(r: random.Random) -> tuple[dict[str, str], bytes]:
    """(environment, stdin) of a call of the plugin."""
    env = dict(ENV)
    env["CNI_COMMAND"] = r.choice(COMMANDS[:6]) if r.random() < 0.95 else r.choice(COMMANDS)
    for _ in range(r.randrange(3)):
        key = r.choice(list(env) or ["CNI_IFNAME"])
        if r.random() < 0.3:
            env.pop(key, None)
        else:
            env[key] = str(spoiled(r, env[key]))
    config: Any = {**RICH, "cniVersion": r.choice(("0.3.1", "0.4.0", "1.0.0", "1.1.0", "0.2.0"))}
    if env.get("CNI_COMMAND") == "GC":
        config["cni.dev/valid-attachments"] = [{"containerID": "c1", "ifname": "eth0"}]
    if env.get("CNI_COMMAND") == "CHECK":
        config["prevResult"] = {"interfaces": [{"name": "eth0"}], "ips": []}
    for _ in range(r.randrange(4)):
        config = spoiled(r, config)
    data = json.dumps(config).encode()
    return env, spoiled_bytes(r, data) if r.random() < 0.15 else data
