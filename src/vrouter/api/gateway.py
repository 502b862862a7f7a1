# SPDX-License-Identifier: Apache-2.0
"""Upstream's POST and DELETE /gateway: bodies, and the gateways of the desired state they name
(ctl:vnsw/agent/port_ipc/rest_server.cc).

A body is an array of {interface, routing-instance, subnets, routes}; subnets and routes are arrays
of {ip-address, prefix-len}.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network

from vrouter.agent.desired.records import Gateway, Network
from vrouter.api.errors import ApiError

MAX_GATEWAYS = 256
_MAX_PREFIXES = 1024
Find = Callable[[str], Network | None]


def read_gateways(data: object, find: Find) -> list[Gateway]:
    """The gateways of a POST. `find`: the network of a routing instance. Raises ApiError 400."""
    found = [_gateway(one, at, find) for at, one in enumerate(_array(data))]
    _check_twice([one.device for one in found])
    return found


def read_interfaces(data: object) -> list[str]:
    """The interfaces of a DELETE, whatever else stands there. Raises ApiError 400."""
    return [_text(_object(one, at), at, "interface") for at, one in enumerate(_array(data))]


def instance_names(text: str) -> list[str]:
    """What a network of that routing instance may be called here, the most likely one first.

    Upstream names the routing instance "domain:project:network:network".
    """
    parts = text.split(":")
    names = [text]
    if len(parts) == 4:
        names += [":".join(parts[:3]), parts[2]]
    return names


def _array(data: object) -> list[object]:
    if not isinstance(data, list) or not 0 < len(data) <= MAX_GATEWAYS:
        raise ApiError(400, f"expected an array of 1 to {MAX_GATEWAYS} gateways")
    return data


def _object(one: object, at: int) -> dict[str, object]:
    if not isinstance(one, dict):
        raise ApiError(400, f"[{at}]: expected an object with interface and routing-instance")
    return one


def _text(one: dict[str, object], at: int, key: str) -> str:
    value = one.get(key)
    if not isinstance(value, str) or not value:
        raise ApiError(400, f"[{at}].{key}: expected a text")
    return value


def _gateway(data: object, at: int, find: Find) -> Gateway:
    one = _object(data, at)
    device = _text(one, at, "interface")
    instance = _text(one, at, "routing-instance")
    network = find(instance)
    if network is None:
        why = f"there is no network {instance[:200]!r}: add it first"
        raise ApiError(400, f"[{at}].routing-instance: {why}")
    return Gateway(
        name=device,
        device=device,
        network=network.name,
        subnets=_prefixes(one, at, "subnets"),
        routes=_prefixes(one, at, "routes"),
    )


def _prefixes(one: dict[str, object], at: int, key: str) -> tuple[str, ...]:
    data = one.get(key, [])
    if not isinstance(data, list) or len(data) > _MAX_PREFIXES:
        raise ApiError(400, f"[{at}].{key}: expected an array of at most {_MAX_PREFIXES} prefixes")
    return tuple(_prefix(each, f"[{at}].{key}[{number}]") for number, each in enumerate(data))


def _prefix(data: object, where: str) -> str:
    address = data.get("ip-address") if isinstance(data, dict) else None
    length = data.get("prefix-len") if isinstance(data, dict) else None
    if not isinstance(address, str) or not isinstance(length, int) or isinstance(length, bool):
        raise ApiError(400, f"{where}: expected a text ip-address and a number prefix-len")
    try:
        return str(ip_network((address, length)))
    except ValueError as error:
        raise ApiError(400, f"{where}: {str(error)[:200]}") from None


def _check_twice(devices: list[str]) -> None:
    for at, device in enumerate(devices):
        if device in devices[:at]:
            raise ApiError(400, f"[{at}].interface: {device[:60]!r} is here twice")
