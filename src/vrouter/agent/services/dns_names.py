# SPDX-License-Identifier: Apache-2.0
"""Which DNS names are a network's own, and what they mean.

Its own are: the host names of its VMs, alone and in the domain of a subnet; all else in such a
domain; and the reverse names of addresses in its subnets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from . import facts
from .base import World
from .wire.dns import Query

A, SOA, PTR, AAAA, ANY = 1, 6, 12, 28, 255


@dataclass(frozen=True, slots=True)
class Local:
    """What the network says of one of its names. exists: else NXDOMAIN; empty records of a
    name that exists are NODATA. zone: for the SOA record of a denial."""

    exists: bool
    addresses: tuple[facts.Address, ...] = ()
    pointer: str = ""
    zone: str = ""


def find(world: World, network: facts.NetworkFacts, query: Query) -> Local | None:
    """None for a name that is not the network's."""
    try:
        text = ".".join(label.decode("ascii") for label in query.labels).lower()
    except UnicodeDecodeError:
        return None
    if any(b"." in label for label in query.labels) or not text:
        return None
    address = reverse(text)
    if address is not None:
        return _pointer(world, network, address, text)
    return _forward(world, network, text, query.kind)


def reverse(text: str) -> facts.Address | None:
    """The address of a whole name in in-addr.arpa or ip6.arpa, in lower case."""
    parts = text.split(".")
    try:
        if text.endswith(".in-addr.arpa") and len(parts) == 6:
            return IPv4Address(".".join(reversed(parts[:4])))
        if (
            text.endswith(".ip6.arpa")
            and len(parts) == 34
            and all(len(one) == 1 for one in parts[:32])
        ):
            digits = "".join(reversed(parts[:32]))
            return IPv6Address(bytes.fromhex(digits))
    except ValueError:
        return None
    return None


def _domains(network: facts.NetworkFacts) -> Sequence[str]:
    """Longest first."""
    names = {one.record.domain.strip(".").lower() for one in network.subnets}
    return sorted(names - {""}, key=len, reverse=True)


def _pointer(
    world: World, network: facts.NetworkFacts, address: facts.Address, text: str
) -> Local | None:
    subnet = network.subnet_of(address)
    if subnet is None:
        return None
    host = world.name_of(network.record.name, address)
    zone = text.split(".", 1)[1]
    if not host:
        return Local(address in network.owned, zone=zone)
    domain = subnet.record.domain.strip(".")
    return Local(True, pointer=f"{host}.{domain}" if domain else host, zone=zone)


def _forward(world: World, network: facts.NetworkFacts, text: str, kind: int) -> Local | None:
    name = network.record.name
    for domain in _domains(network):
        if text == domain:
            return Local(True, zone=domain)
        if text.endswith("." + domain):
            host = text[: -len(domain) - 1]
            found = tuple(world.addresses_of(name, host))
            return Local(bool(found), found, zone=domain)
    if "." in text:
        return None
    found = tuple(world.addresses_of(name, text))
    # a host name alone means nothing to the servers of the world; NS or DS of "com" does
    if not found and kind not in (A, AAAA):
        return None
    return Local(bool(found), found, zone=text)
