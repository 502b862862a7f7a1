# SPDX-License-Identifier: Apache-2.0
"""Addresses for containers: the first of a subnet that nobody has.

Who has one is read from the desired state, which is the only record: interfaces here, endpoints
elsewhere, gateways, resolvers. Several hosts that share a subnet each need a range of their own
(`ranges` in the network configuration), for no host knows what another is giving at the moment.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

from vrouter.agent.desired.records import Endpoint, Interface, Network, Subnet
from vrouter.agent.facade import Facade
from vrouter.cni.request import INVALID_CONFIG, NO_ADDRESS, CniError, Request
from vrouter.dpcore.records import IPAddress, IPNetwork

Span = tuple[int, int]


def allocate(
    facade: Facade, network: Network, request: Request, reserved: Iterable[tuple[str, str]]
) -> tuple[str, ...]:
    """An address of each IP version that the network has subnets of: the one wished, else the
    first free one; none of a version that `ranges` names no range of. reserved: (network,
    address) of those that are being given at the moment.

    Raises CniError: none is free, or what is wished cannot be had.
    """
    subnets = [ipaddress.ip_network(one.prefix) for one in network.subnets]
    for wish in request.ips:
        if not any(wish in subnet for subnet in subnets):
            why = f"ips: {wish} is in no subnet of network {network.name}"
            raise CniError(INVALID_CONFIG, why)
    taken = set(_taken(facade, network))
    taken |= {ipaddress.ip_address(one) for name, one in reserved if name == network.name}
    found: list[str] = []
    for version in (4, 6):
        mine = [
            (subnet, record)
            for subnet, record in zip(subnets, network.subnets, strict=True)
            if subnet.version == version
        ]
        wishes = [one for one in request.ips if one.version == version]
        ranged = not request.ranges or any(one.version == version for one, _ in request.ranges)
        if mine and (ranged or wishes):
            found.append(str(_pick(mine, wishes, taken, request, network.name)))
    if subnets and not found:
        why = f"ranges: none is of an IP version that network {network.name} has a subnet of"
        raise CniError(INVALID_CONFIG, why)
    return tuple(found)


def _pick(
    subnets: list[tuple[IPNetwork, Subnet]],
    wishes: list[IPAddress],
    taken: set[IPAddress],
    request: Request,
    name: str,
) -> IPAddress:
    version = subnets[0][0].version
    for wish in wishes:
        if wish in taken:
            raise CniError(NO_ADDRESS, f"ips: {wish} of network {name} is somebody's already")
        return wish
    numbers = {int(one) for one in taken if one.version == version}
    make = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
    for subnet, _ in subnets:
        for first, last in _spans(subnet, request.ranges):
            free = _first_free(first, last, numbers)
            if free is not None:
                return make(free)
    where = "ranges of this host" if request.ranges else "subnets"
    raise CniError(NO_ADDRESS, f"the {where} in network {name} have no IPv{version} address left")


def _spans(subnet: IPNetwork, ranges: Iterable[tuple[IPAddress, IPAddress]]) -> Iterator[Span]:
    """The numbers that may be given in `subnet`: without its first and its last address, where
    it has more than two (RFC 4291 section 2.6.1 keeps the first for routers)."""
    first, last = int(subnet.network_address), int(subnet.broadcast_address)
    if last - first > 1:
        first, last = first + 1, last - 1
    wanted = [(a, b) for a, b in ranges if a.version == subnet.version]
    if not list(ranges):
        yield first, last
    for low, high in wanted:
        if int(low) <= last and int(high) >= first:
            yield max(first, int(low)), min(last, int(high))


def _first_free(first: int, last: int, taken: set[int]) -> int | None:
    """The first number of the span that is not taken: at most len(taken) + 1 are looked at."""
    for number in range(first, min(last, first + len(taken)) + 1):
        if number not in taken:
            return number
    return None


def _taken(facade: Facade, network: Network) -> Iterator[IPAddress]:
    texts: list[str] = []
    for subnet in network.subnets:
        texts += [subnet.gateway, subnet.dns, *subnet.dns_servers, *subnet.ntp_servers]
    for port in facade.all(Interface):
        if port.network == network.name:
            texts += port.addresses
            texts += [_host(pair.prefix) for pair in port.allowed_address_pairs]
    for endpoint in facade.all(Endpoint):
        if endpoint.network == network.name:
            texts += endpoint.addresses
    return (ipaddress.ip_address(text) for text in texts if text)


def _host(prefix: str) -> str:
    """The address of an allowed pair that is one; wider prefixes are shared on purpose."""
    network = ipaddress.ip_network(prefix)
    return str(network.network_address) if network.num_addresses == 1 else ""
