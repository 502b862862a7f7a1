# SPDX-License-Identifier: Apache-2.0
"""A CNI request as the agent gets it, checked: https://www.cni.dev/docs/spec/."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Any

import msgspec

from vrouter.dpcore.records import IPAddress, IPNetwork

VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
INCOMPATIBLE, UNSUPPORTED, UNKNOWN_CONTAINER, INVALID_ENVIRONMENT = 1, 2, 3, 4
IO_FAILURE, UNDECODABLE, INVALID_CONFIG = 5, 6, 7
TRY_AGAIN, UNAVAILABLE = 11, 50
NO_ADDRESS, NOT_AS_ADDED, REFUSED = 100, 101, 102
# since which version a command is there
_SINCE = {"ADD": "0.3.1", "DEL": "0.3.1", "CHECK": "0.4.0", "STATUS": "1.1.0", "GC": "1.1.0"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*", re.ASCII)
_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", re.ASCII)
_LABEL = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", re.ASCII)
MAX_NAME = 128


class CniError(Exception):
    """A request that fails with a CNI error code."""

    def __init__(self, code: int, why: str, details: str = "") -> None:
        super().__init__(why)
        self.code = code
        self.details = details


@dataclass(frozen=True)
class Request:
    """What a runtime wants. name: of the network configuration; network: ours; mac, ips: what the
    runtime wishes ("" and none: nothing); ranges: first and last address that may be given;
    hostname: "" none; netns: files by which the namespace may be found, netns_id: its device and
    inode, None when the runtime's path leads nowhere."""

    command: str
    version: str
    name: str
    network: str
    container: str = ""
    ifname: str = ""
    netns: tuple[str, ...] = ()
    netns_id: tuple[int, int] | None = None
    mac: str = ""
    ips: tuple[IPAddress, ...] = ()
    ranges: tuple[tuple[IPAddress, IPAddress], ...] = ()
    hostname: str = ""
    mtu: int = 0
    default_route: bool = True
    prev: dict[str, Any] | None = None
    valid: tuple[tuple[str, str], ...] = field(default=())


def split(body: bytes) -> tuple[dict[str, str], bytes]:
    """(environment, stdin) of what the shim sends: KEY=VALUE, NUL after each, NUL, stdin."""
    head, nul, stdin = body.partition(b"\0\0")
    try:
        parts = [part.partition("=") for part in head.decode().split("\0")]
    except UnicodeDecodeError:
        raise CniError(INVALID_ENVIRONMENT, "the environment is not UTF-8") from None
    if not nul or not all(key and equals for key, equals, _ in parts):
        raise CniError(INVALID_ENVIRONMENT, "the request is not one of vrouter-cni")
    return {key: value for key, _, value in parts}, stdin


def decode(stdin: bytes) -> dict[str, Any]:
    """The network configuration. Raises CniError."""
    try:
        config = msgspec.json.decode(stdin)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        why = f"the network configuration on stdin is no JSON: {error}"
        raise CniError(UNDECODABLE, why) from None
    if not isinstance(config, dict):
        raise CniError(UNDECODABLE, "the network configuration on stdin is no JSON object")
    return config


def parse(env: dict[str, str], config: dict[str, Any]) -> Request:
    """What a runtime wants. Raises CniError."""
    command, version = env.get("CNI_COMMAND", ""), config.get("cniVersion")
    if version not in VERSIONS:
        raise CniError(
            INCOMPATIBLE, f"cniVersion is {str(version)[:40]!r}: known are {', '.join(VERSIONS)}"
        )
    if command not in _SINCE:
        raise CniError(INVALID_ENVIRONMENT, f"CNI_COMMAND is {command[:40]!r}: unknown")
    if VERSIONS.index(version) < VERSIONS.index(_SINCE[command]):
        why = f"{command} is of CNI {_SINCE[command]} and newer, the network says {version}"
        raise CniError(INCOMPATIBLE, why)
    name = _config_name(config, "name")
    basics = Request(
        command=command,
        version=version,
        name=name,
        network=_config_name(config, "network", default=name),
        ranges=_ranges(config),
        mtu=_mtu(config),
        default_route=_flag(config, "defaultRoute", default=True),
    )
    if command == "STATUS":
        return basics
    if command == "GC":
        return _changed(basics, valid=_attachments(config))
    return _attachment(basics, env, config)


def _attachment(basics: Request, env: dict[str, str], config: Any) -> Request:
    """ADD, DEL and CHECK are about one interface of one container."""
    command = basics.command
    args = _args(env.get("CNI_ARGS", ""))
    path = env.get("CNI_NETNS", "")
    if not path and command != "DEL":
        raise CniError(INVALID_ENVIRONMENT, f"CNI_NETNS is missing: {command} needs it")
    runtime = config.get("runtimeConfig", {})
    if not isinstance(runtime, dict):
        raise CniError(INVALID_CONFIG, "runtimeConfig: expected a table")
    prev = config.get("prevResult")
    if prev is not None and not isinstance(prev, dict):
        raise CniError(INVALID_CONFIG, "prevResult: expected a table")
    if command == "CHECK" and prev is None:
        raise CniError(INVALID_CONFIG, "prevResult is missing: CHECK needs it")
    if command == "ADD" and prev is not None:
        raise CniError(UNSUPPORTED, "prevResult: this plugin makes interfaces, it follows no other")
    wished = _mac(runtime.get("mac") or args.get("MAC", ""))
    return _changed(
        basics,
        container=_environment_name(env, "CNI_CONTAINERID"),
        ifname=_ifname(env),
        netns=_paths(env.get("VROUTER_NETNS_FD", ""), path),
        netns_id=_netns_id(env.get("VROUTER_NETNS_ID", "")),
        mac=wished,
        ips=_ips(runtime.get("ips"), args.get("IP", "")),
        hostname=_hostname(args),
        prev=prev,
    )


def _changed(request: Request, **values: Any) -> Request:
    return Request(**{**request.__dict__, **values})


def _config_name(config: dict[str, Any], key: str, default: str | None = None) -> str:
    value = config.get(key, default)
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= MAX_NAME:
        raise CniError(INVALID_CONFIG, f"{key} is {str(value)[:40]!r}: expected a name")
    if key == "name" and _NAME.fullmatch(value) is None:
        raise CniError(INVALID_CONFIG, f"name is {value[:40]!r}: only letters, digits, _ . and -")
    return value


def _environment_name(env: dict[str, str], key: str) -> str:
    value = env.get(key, "")
    if _NAME.fullmatch(value) is None or len(value) > MAX_NAME:
        raise CniError(INVALID_ENVIRONMENT, f"{key} is {value[:40]!r}: expected a name")
    return value


def _ifname(env: dict[str, str]) -> str:
    value = env.get("CNI_IFNAME", "")
    bad = not value.isprintable() or not value.isascii() or re.search(r"[/:\s]", value)
    if bad or not 0 < len(value) < 16 or value in (".", ".."):
        why = f"CNI_IFNAME is {value[:40]!r}: expected the name of a netdevice"
        raise CniError(INVALID_ENVIRONMENT, why)
    return value


def _args(text: str) -> dict[str, str]:
    """CNI_ARGS: KEY=VALUE;KEY=VALUE."""
    found = {}
    for part in text.split(";") if text else []:
        key, equals, value = part.partition("=")
        if not equals or not key:
            why = f"CNI_ARGS: {part[:40]!r} is not KEY=VALUE"
            raise CniError(INVALID_ENVIRONMENT, why)
        found[key.strip()] = value.strip()
    return found


def _paths(fd: str, path: str) -> tuple[str, ...]:
    """The shim's file first: its path is the agent's only when both see the same mounts."""
    if fd and re.fullmatch(r"/proc/\d+/fd/\d+", fd, re.ASCII) is None:
        raise CniError(INVALID_ENVIRONMENT, "VROUTER_NETNS_FD: expected /proc/PID/fd/FD")
    return tuple(filter(None, (fd, path)))


def _netns_id(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    if re.fullmatch(r"\d{1,20}:\d{1,20}", text, re.ASCII) is None:
        raise CniError(INVALID_ENVIRONMENT, "VROUTER_NETNS_ID: expected DEVICE:INODE")
    device, _, inode = text.partition(":")
    return int(device), int(inode)


def _mac(value: object) -> str:
    if value == "":
        return ""
    good = isinstance(value, str) and _MAC.fullmatch(value) is not None
    if not good or int(str(value)[:2], 16) & 1 or not str(value).strip("0:"):
        raise CniError(INVALID_CONFIG, f"mac is {str(value)[:40]!r}: expected a unicast MAC")
    return str(value).lower()


def _ips(wished: object, arg: str) -> tuple[IPAddress, ...]:
    """Addresses that the runtime wishes, by the capability `ips` or the argument IP."""
    texts = wished if wished is not None else arg.split(",") if arg else []
    if not isinstance(texts, list):
        raise CniError(INVALID_CONFIG, "runtimeConfig.ips: expected a list of addresses")
    found = []
    for text in texts:
        try:
            if not isinstance(text, str) or "%" in text:
                raise ValueError
            found.append(ipaddress.ip_address(text.partition("/")[0]))
        except ValueError:
            raise CniError(INVALID_CONFIG, f"ips: {str(text)[:60]!r} is no address") from None
    if len({one.version for one in found}) != len(found):
        raise CniError(INVALID_CONFIG, "ips: give one address of each IP version at most")
    return tuple(found)


def _ranges(config: dict[str, Any]) -> tuple[tuple[IPAddress, IPAddress], ...]:
    """`ranges`: prefixes, or FIRST-LAST, out of which this host gives addresses."""
    texts = config.get("ranges", [])
    if not isinstance(texts, list):
        raise CniError(INVALID_CONFIG, "ranges: expected a list of prefixes or FIRST-LAST")
    return tuple(_range(text) for text in texts)


def _range(text: object) -> tuple[IPAddress, IPAddress]:
    try:
        if not isinstance(text, str) or "%" in text:
            raise ValueError
        first, dash, last = text.partition("-")
        if not dash:
            whole: IPNetwork = ipaddress.ip_network(text)
            return whole.network_address, whole.broadcast_address
        low, high = ipaddress.ip_address(first.strip()), ipaddress.ip_address(last.strip())
        if low.version != high.version or int(low) > int(high):
            raise ValueError
        return low, high
    except ValueError:
        why = f"ranges: {str(text)[:60]!r} is neither a prefix nor FIRST-LAST"
        raise CniError(INVALID_CONFIG, why) from None


def _mtu(config: dict[str, Any]) -> int:
    value = config.get("mtu", 0)
    if type(value) is not int or (value and not 68 <= value <= 65535):
        raise CniError(INVALID_CONFIG, f"mtu is {str(value)[:40]!r}: expected 68 to 65535")
    return value


def _flag(config: dict[str, Any], key: str, *, default: bool) -> bool:
    value = config.get(key, default)
    if not isinstance(value, bool):
        raise CniError(INVALID_CONFIG, f"{key} is {str(value)[:40]!r}: expected true or false")
    return value


def _hostname(args: dict[str, str]) -> str:
    """What DNS calls the container: its pod's name, where Kubernetes tells it."""
    name = args.get("K8S_POD_NAME", "")
    return name if _LABEL.fullmatch(name) else ""


def _attachments(config: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    found = config.get("cni.dev/valid-attachments")
    if not isinstance(found, list):
        raise CniError(INVALID_CONFIG, "cni.dev/valid-attachments is missing: GC needs it")
    valid = []
    for one in found:
        pair = (one.get("containerID"), one.get("ifname")) if isinstance(one, dict) else (0, 0)
        if not all(isinstance(part, str) for part in pair):
            why = "cni.dev/valid-attachments: expected {containerID, ifname}"
            raise CniError(INVALID_CONFIG, why)
        valid.append((str(pair[0]), str(pair[1])))
    return tuple(valid)
