# SPDX-License-Identifier: Apache-2.0
"""Port files: what a port of upstream's API is, checked, and kept on disk; standard library only.

`vrouter-port-control` and the os-vif plugin write a file before they call the agent, so that a
port is not lost while no agent runs; the agent reads them at its start. Keys as upstream's
(ctl:vnsw/agent/port_ipc/port_ipc_handler.cc).
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
NIL = "00000000-0000-0000-0000-000000000000"
_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", re.ASCII)
TYPES = {"NovaVMPort": 0, "NameSpacePort": 1, "ESXiPort": 2, "RemotePort": 2}
REMOTE = 2
_TEXTS = (
    *("id", "instance-id", "vn-id", "vm-project-id", "display-name", "ip-address"),
    *("ip6-address", "system-name", "mac-address"),
)
_NUMBERS = {"type": (0, 2), "rx-vlan-id": (-1, 4095), "tx-vlan-id": (-1, 4095)}
_OPTIONAL = {"vhostuser-mode": (-1, 1), "link-state": (0, 1)}
_MAX_TEXT = 255


class BadPort(ValueError):  # noqa: N818 - it says what happened
    """What makes a port impossible, in one line that names the key."""


def check_uuid(text: object, key: str) -> str:
    """`text` as a UUID. Raises BadPort; upper-case hex is refused, as upstream does."""
    if not isinstance(text, str) or UUID.fullmatch(text) is None:
        raise BadPort(f"{key} is {str(text)[:60]!r}: expected a UUID in lower-case hex")
    return text


def check_device(text: object, key: str) -> str:
    """`text` as the name of a netdevice (dev_valid_name in the kernel). Raises BadPort."""
    good = isinstance(text, str) and text.isprintable() and text.isascii()
    if not good or not 0 < len(str(text)) < 16 or re.search(r"[/:\s]|^\.\.?$", str(text)):
        raise BadPort(f"{key} is {str(text)[:60]!r}: expected a netdevice, 1 to 15 characters")
    return str(text)


def check_port(data: object) -> dict[str, Any]:
    """A port as the API takes it, canonical: addresses as `ipaddress` prints them, "" for none.

    Raises BadPort; upstream's rules (section 5.5 of its description).
    """
    if not isinstance(data, dict):
        raise BadPort("expected an object, or an array of objects")
    port: dict[str, Any] = {key: _text(data, key) for key in _TEXTS}
    port |= {key: _number(data, key, *span) for key, span in _NUMBERS.items()}
    port |= {k: _number(data, k, *span) for k, span in _OPTIONAL.items() if k in data}
    check_uuid(port["id"], "id")
    check_device(port["system-name"], "system-name")
    for key in ("instance-id", "vn-id", "vm-project-id"):
        port[key] = _dashed(port[key])
        if key != "vn-id" and port[key]:
            check_uuid(port[key], key)
    if port["id"] == NIL:
        raise BadPort("id is nil: expected the UUID of the port")
    if port["type"] == 0 and not port["vn-id"]:
        raise BadPort("vn-id is nil: a port of type 0 needs the UUID of its network")
    if _MAC.fullmatch(port["mac-address"]) is None or not port["mac-address"].strip("0:"):
        raise BadPort(f"mac-address is {port['mac-address'][:60]!r}: expected six bytes, not zero")
    port["mac-address"] = port["mac-address"].lower()
    port["ip-address"] = _address(port, "ip-address", 4)
    port["ip6-address"] = _address(port, "ip6-address", 6)
    for key in ("rx-vlan-id", "tx-vlan-id"):
        if port[key] != -1:
            raise BadPort(
                f"{key} is {port[key]}: expected -1; a port on a VLAN of another one is an "
                "interface with `parent` and `vlan` in the desired state"
            )
    return port


def check_vm(data: object) -> dict[str, Any]:
    """A container's interface as POST /vm takes it (section 5.7). Raises BadPort."""
    if not isinstance(data, dict):
        raise BadPort("expected an object")
    keys = ("vm-uuid", "vmi-uuid", "host-ifname")
    vm = {key: _text(data, key) for key in keys}
    for key in ("vm-id", "vm-name", "vm-ifname", "vm-namespace", "vn-uuid", "time"):
        if key in data:
            vm[key] = _text(data, key)
    check_uuid(vm["vm-uuid"], "vm-uuid")
    check_uuid(vm["vmi-uuid"], "vmi-uuid")
    check_device(vm["host-ifname"], "host-ifname")
    return vm


def _text(data: Mapping[str, Any], key: str) -> str:
    if key not in data:
        raise BadPort(f"{key} is missing")
    value = data[key]
    if not isinstance(value, str):
        raise BadPort(f"{key} is {str(value)[:60]!r}: expected a text")
    if len(value) > _MAX_TEXT or not value.isprintable():
        raise BadPort(f"{key} is too long or has characters that cannot be printed")
    return value


def _dashed(text: str) -> str:
    """OpenStack writes the UUIDs of projects without dashes; no UUID is "" here."""
    if text in ("None", NIL):
        return ""
    if re.fullmatch(r"[0-9a-f]{32}", text, re.ASCII):
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
    return text


def _number(data: Mapping[str, Any], key: str, least: int, most: int) -> int:
    if key not in data:
        raise BadPort(f"{key} is missing")
    value = data[key]
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise BadPort(f"{key} is {str(value)[:60]!r}: expected a number from {least} to {most}")
    return value


def _address(port: Mapping[str, Any], key: str, version: int) -> str:
    text = port[key]
    if text in ("", "None"):
        return ""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        address = None
    if address is None or address.version != version or "%" in text:
        raise BadPort(f"{key} is {text[:60]!r}: expected an IPv{version} address")
    return "" if address.is_unspecified else str(address)


def stamped(data: Mapping[str, Any], author: str) -> dict[str, Any]:
    """`data` as a file keeps it: with who wrote it, and when (UTC)."""
    return {**data, "author": author, "time": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())}


def prepare(path: Path, data: Mapping[str, Any]) -> Path:
    """A file that becomes `path` by being renamed; what it holds is on disk. Raises OSError."""
    path.parent.mkdir(mode=0o770, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(fresh, "w", encoding="utf-8") as handle:
            handle.write(json.dumps(data, indent=4) + "\n")
            handle.flush()
            os.fsync(handle.fileno())
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    return fresh


def write(path: Path, data: Mapping[str, Any]) -> None:
    """Write a file in one step. Raises OSError."""
    os.replace(prepare(path, data), path)


def read(path: Path) -> dict[str, Any]:
    """The object in a file. Raises BadPort when there is none, OSError."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadPort(f"it is no JSON: {error}") from None
    if not isinstance(data, dict):
        raise BadPort("expected an object")
    return data


def names(folder: Path) -> Iterator[Path]:
    """The files of `folder` whose name is a UUID; others are none of ours."""
    if folder.is_dir():
        yield from sorted(p for p in folder.iterdir() if UUID.fullmatch(p.name) and p.is_file())
