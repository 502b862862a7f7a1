# SPDX-License-Identifier: Apache-2.0
"""The agent's own configuration, /etc/vrouter/agent.toml; every key has a default."""

from __future__ import annotations

import tomllib
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Literal

import msgspec

from vrouter.agent.local import config as local
from vrouter.api.config import ApiConfig
from vrouter.dpcore.errors import BadValue, Refused

DEFAULT: Final = Path("/etc/vrouter/agent.toml")


class Services(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Packets a second that a port may have answered by each packet service, and at once.
    resolvers: addresses that are asked for DNS names of no network (none: those of
    /etc/resolv.conf)."""

    rate: float = 200.0
    burst: float = 400.0
    resolvers: tuple[str, ...] = ()


class Log(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much is told: debug, info, warning or error."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class Sandesh(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The door for upstream's tools, as `vrouter sandesh` has them. sock_dir: the folder of its
    sockets ("" no door). far_netns: for the far ends of netdevices that it makes ("" it makes
    none)."""

    sock_dir: str = ""
    far_netns: str = ""


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything. desired_state: a file that is applied at start and on SIGHUP ("" none).
    api: the doors by HTTP. sandesh: the door for upstream's tools. tcp, metadata: what VMs are
    served by TCP."""

    desired_state: str = ""
    services: Services = Services()
    log: Log = Log()
    api: ApiConfig = ApiConfig()
    tcp: local.TcpConfig = local.TcpConfig()
    metadata: local.MetadataConfig = local.MetadataConfig()
    sandesh: Sandesh = Sandesh()


def read(path: Path | None) -> Config:
    """The configuration in `path`; None: of the usual place, if it is there. Raises Refused."""
    place = path or DEFAULT
    try:
        text = place.read_text(encoding="utf-8")
    except FileNotFoundError:
        if path is None:
            return Config()
        raise Refused(f"there is no configuration {path}") from None
    except OSError as error:
        raise Refused(f"cannot read {place}: {error.strerror}") from None
    try:
        found = msgspec.convert(tomllib.loads(text), Config, strict=True)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise Refused(f"{place}: {error}") from None
    if found.services.rate <= 0 or found.services.burst < 1:
        raise BadValue("services", "rate, burst", "a rate is above 0, a burst 1 or more")
    try:
        for one in found.services.resolvers:
            ip_address(one)
    except ValueError as error:
        raise BadValue("services", "resolvers", str(error)) from None
    local.check(found.tcp, found.metadata)
    _check_door(found.sandesh)
    return found


def _check_door(found: Sandesh) -> None:
    if found.far_netns and not found.sock_dir:
        raise BadValue(
            "sandesh.far_netns", found.far_netns, "without sock_dir there is no door that uses it"
        )
    if found.sock_dir and not found.sock_dir.startswith("/"):
        raise BadValue("sandesh.sock_dir", found.sock_dir, "it does not begin with /")
