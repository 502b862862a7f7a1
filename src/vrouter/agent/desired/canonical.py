# SPDX-License-Identifier: Apache-2.0
"""What a record must be like by itself, and its canonical form."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any, TypeVar

import msgspec

from vrouter.agent.desired.records import (
    Bfd,
    Endpoint,
    Gateway,
    Host,
    Interface,
    LinkLocal,
    Membership,
    Network,
    Record,
    StaticRoute,
    Subnet,
)
from vrouter.agent.facade import Problem
from vrouter.agent.facts import service_vrf
from vrouter.dpcore.mpls import RESERVED
from vrouter.dpcore.records import IPAddress, IPNetwork

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_HOSTNAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_-]{1,63})*\.?")
_TARGET = re.compile(rf"[0-9a-fA-F:]*:[0-9a-fA-F:.]*|{_HOSTNAME.pattern}")
_PAIR = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,13}")  # the other end has a letter more
_MAX_LABEL, _MAX_VNI = (1 << 20) - 1, (1 << 24) - 1
R = TypeVar("R", bound=msgspec.Struct)


class Checker:
    """Collects what is wrong; each method gives the value in canonical form, or as it was."""

    def __init__(self, path: str, problems: list[Problem]) -> None:
        self.path = path
        self.problems = problems

    def wrong(self, key: str, why: str) -> None:
        self.problems.append(Problem(f"{self.path}.{key}" if key else self.path, why))

    def under(self, key: str) -> Checker:
        return Checker(f"{self.path}.{key}", self.problems)

    def mac(self, key: str, text: str) -> str:
        low = text.lower().replace("-", ":")
        if not _MAC.fullmatch(low):
            self.wrong(key, f"{text!r} is no MAC address such as 02:00:0a:01:01:01")
        elif int(low[:2], 16) & 1 or not int(low.replace(":", ""), 16):
            self.wrong(key, f"{low} is the MAC of a group or of nobody: a port has its own")
        return low

    def address(self, key: str, text: str) -> str:
        try:
            address = ip_address(text)
        except ValueError:
            self.wrong(key, f"{text!r} is no IPv4 or IPv6 address")
            return text
        if address.is_multicast or address.is_unspecified or text == "255.255.255.255":
            self.wrong(key, f"{address} is no address of one host")
        return str(address)

    def prefix(self, key: str, text: str) -> str:
        try:
            network = ip_network(text)
        except ValueError as error:
            self.wrong(key, f"{text!r} is no prefix such as 10.1.1.0/24: {error}")
            return text
        if network.is_multicast:
            self.wrong(key, f"{network} are groups: they are handled without being named")
        return str(network)

    def number(self, key: str, value: int, low: int, high: int, *, none: int | None = 0) -> int:
        if value != none and not low <= value <= high:
            other = "" if none is None else f" ({none}: none)"
            self.wrong(key, f"{value} is not {low} to {high}{other}")
        return value

    def label(self, key: str, value: int) -> int:
        return self.number(key, value, RESERVED, _MAX_LABEL)

    def match(self, key: str, text: str, pattern: re.Pattern[str], what: str) -> str:
        if text and not pattern.fullmatch(text):
            self.wrong(key, f"{text!r} is no {what}")
        return text

    def each(
        self, key: str, values: tuple[Any, ...], one: Callable[[str, Any], Any]
    ) -> tuple[Any, ...]:
        found = tuple(one(f"{key}[{at}]", value) for at, value in enumerate(values))
        for at, value in enumerate(found):
            if value in found[:at]:
                self.wrong(f"{key}[{at}]", f"{_shown(value)} is here twice")
        return found


def canonical(record: Record, path: str, problems: list[Problem]) -> Record:
    """The record in canonical form; what is wrong with it alone goes to `problems`."""
    check = Checker(path, problems)
    if not _NAME.fullmatch(record.name):
        check.wrong("name", f"{record.name!r} is no name: letters, digits and . _ : @ -, up to 128")
    return _BY_KIND[record.kind](check, record)


def mac_bytes(text: str) -> bytes:
    """Six bytes of a canonical MAC."""
    return bytes.fromhex(text.replace(":", ""))


def _shown(value: Any) -> str:
    return str(getattr(value, "prefix", value))


def _network(check: Checker, record: Network) -> Network:
    check.match("uuid", record.uuid, _UUID, "UUID")
    check.number("vni", record.vni, 1, _MAX_VNI)
    check.label("flood_label", record.flood_label)
    check.number("mtu", record.mtu, 576, 65535)
    subnets = tuple(
        _subnet(check.under(f"subnets[{at}]"), one) for at, one in enumerate(record.subnets)
    )
    _check_overlap(check, subnets)
    return msgspec.structs.replace(record, subnets=subnets)


def _check_overlap(check: Checker, subnets: tuple[Subnet, ...]) -> None:
    seen: list[IPNetwork] = []
    for at, subnet in enumerate(subnets):
        try:
            network = ip_network(subnet.prefix)
        except ValueError:
            continue
        for other in seen:
            if network.version == other.version and network.overlaps(other):
                check.wrong(f"subnets[{at}].prefix", f"{network} overlaps {other}")
        seen.append(network)


def _subnet(check: Checker, subnet: Subnet) -> Subnet:
    prefix = check.prefix("prefix", subnet.prefix)
    gateway = check.address("gateway", subnet.gateway) if subnet.gateway else ""
    dns = check.address("dns", subnet.dns) if subnet.dns else ""
    check.number("lease_time", subnet.lease_time, 60, 0xFFFFFFFF, none=None)
    check.match("domain", subnet.domain, _HOSTNAME, "domain name")
    inside = _parsed(prefix)
    if inside is not None:
        for key, address in (("gateway", gateway), ("dns", dns)):
            if address and not _within(address, inside):
                check.wrong(key, f"{address} is not in {inside}")
    routes = []
    for at, one in enumerate(subnet.host_routes):
        under = check.under(f"host_routes[{at}]")
        routes.append(
            msgspec.structs.replace(
                one,
                prefix=under.prefix("prefix", one.prefix),
                next_hop=under.address("next_hop", one.next_hop),
            )
        )
    return msgspec.structs.replace(
        subnet,
        prefix=prefix,
        gateway=gateway,
        dns=dns,
        dns_servers=check.each("dns_servers", subnet.dns_servers, check.address),
        ntp_servers=check.each("ntp_servers", subnet.ntp_servers, check.address),
        host_routes=tuple(routes),
    )


def _interface(check: Checker, record: Interface) -> Interface:
    for key in ("uuid", "vm_uuid", "project"):
        check.match(key, getattr(record, key), _UUID, "UUID")
    check.match("hostname", record.hostname, _HOSTNAME, "host name")
    check.label("label", record.label)
    check.label("l2_label", record.l2_label)
    if record.parent:
        check.number("vlan", record.vlan, 1, 4094, none=None)
        if record.device:
            check.wrong("device", "a sub-interface is on its parent's device: leave it out")
    elif not record.device and not record.uuid:
        why = "is missing: the tap or veth that carries the port, or a uuid by which one brings it"
        check.wrong("device", why)
    elif len(record.device.encode()) > 15 or "/" in record.device or " " in record.device:
        check.wrong("device", f"{record.device!r} is no name of a netdevice")
    elif service_vrf(record.device) is not None:
        check.wrong("device", f"{record.device} leads to a service namespace of the agent's")
    if record.vlan and not record.parent:
        check.wrong("vlan", "only a sub-interface has one: name its parent")
    pairs = []
    for at, pair in enumerate(record.allowed_address_pairs):
        under = check.under(f"allowed_address_pairs[{at}]")
        mac = under.mac("mac", pair.mac) if pair.mac else ""
        pairs.append(
            msgspec.structs.replace(pair, prefix=under.prefix("prefix", pair.prefix), mac=mac)
        )
    return msgspec.structs.replace(
        record,
        mac=check.mac("mac", record.mac),
        addresses=check.each("addresses", record.addresses, check.address),
        allowed_address_pairs=tuple(pairs),
    )


def _host(check: Checker, record: Host) -> Host:
    if not record.encapsulations:
        check.wrong("encapsulations", "is empty: name at least one of mplsoudp, mplsogre, vxlan")
    check.each("encapsulations", record.encapsulations, lambda key, one: one)
    mac = check.mac("mac", record.mac) if record.mac else ""
    return msgspec.structs.replace(
        record, address=check.address("address", record.address), mac=mac
    )


def _endpoint(check: Checker, record: Endpoint) -> Endpoint:
    check.label("label", record.label)
    check.label("l2_label", record.l2_label)
    return msgspec.structs.replace(
        record,
        mac=check.mac("mac", record.mac),
        addresses=check.each("addresses", record.addresses, check.address),
    )


def _membership(check: Checker, record: Membership) -> Membership:
    check.label("flood_label", record.flood_label)
    return record


def _route(check: Checker, record: StaticRoute) -> StaticRoute:
    check.label("label", record.label)
    next_hop = record.next_hop
    if bool(next_hop) == bool(record.host):
        check.wrong("next_hop", "say where it leads: next_hop (an address, or discard), or host")
    elif next_hop and next_hop != "discard":
        next_hop = check.address("next_hop", next_hop)
    return msgspec.structs.replace(
        record, prefix=check.prefix("prefix", record.prefix), next_hop=next_hop
    )


def _link_local(check: Checker, record: LinkLocal) -> LinkLocal:
    address = check.address("address", record.address)
    inside = _parsed("169.254.0.0/16")
    if inside is not None and not _within(address, inside):
        check.wrong("address", f"{address} is not in {inside}")
    check.number("port", record.port, 1, 65535, none=None)
    check.number("target_port", record.target_port, 1, 65535)
    if not record.target:
        check.wrong("target", "is missing: the address or the name of the host that serves it")
    check.match("target", record.target, _TARGET, "address or host name")
    return msgspec.structs.replace(record, address=address)


def _bfd(check: Checker, record: Bfd) -> Bfd:
    # the agent looks once a second; RFC 5880 counts in 32 bits of microseconds
    for key in ("min_tx", "min_rx"):
        check.number(key, getattr(record, key), 1000, 4_000_000, none=None)
    check.number("multiplier", record.multiplier, 1, 255, none=None)
    return msgspec.structs.replace(record, peer=check.address("peer", record.peer))


def _gateway(check: Checker, record: Gateway) -> Gateway:
    if not _PAIR.fullmatch(record.device):
        why = "is no name of a pair of netdevices: letters, digits, - and _, up to 14"
        check.wrong("device", f"{record.device!r} {why}")
    check.label("label", record.label)
    if not record.subnets and not record.routes:
        check.wrong("subnets", "is empty, and routes too: nothing would lead through it")
    subnets = check.each("subnets", record.subnets, check.prefix)
    for at, prefix in enumerate(subnets):
        if str(prefix).endswith("/0"):
            check.wrong(f"subnets[{at}]", f"{prefix} would take the host's own default route")
    return msgspec.structs.replace(
        record, subnets=subnets, routes=check.each("routes", record.routes, check.prefix)
    )


def _parsed(prefix: str) -> IPNetwork | None:
    try:
        return ip_network(prefix)
    except ValueError:
        return None


def _within(text: str, network: IPNetwork) -> bool:
    try:
        address: IPAddress = ip_address(text)
    except ValueError:
        return True  # said already
    return address in network


_BY_KIND: dict[str, Callable[[Checker, Any], Record]] = {
    "network": _network,
    "interface": _interface,
    "host": _host,
    "endpoint": _endpoint,
    "membership": _membership,
    "route": _route,
    "link-local": _link_local,
    "bfd": _bfd,
    "gateway": _gateway,
}
