# SPDX-License-Identifier: Apache-2.0
"""Networks and interfaces of the desired state, with their text read.

What `owned()` gives is what the network itself answers for: the routes of these addresses lead
to the agent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from vrouter.agent.desired.records import Interface, Network, Subnet

from .wire import ethernet, ipv6

Address = IPv4Address | IPv6Address
Prefix = IPv4Network | IPv6Network

# Who answers where a subnet has neither gateway nor resolver: hosts take it for a link's own.
LINK_LOCAL_SERVER = IPv4Address("169.254.169.254")


@dataclass(frozen=True, slots=True)
class SubnetFacts:
    """A subnet. server: the address that services answer from (gateway, else dns).

    resolver: the address at which DNS is answered. resolvers: what VMs are told to ask.
    """

    record: Subnet
    prefix: Prefix
    gateway: Address | None
    resolver: Address | None
    resolvers: tuple[Address, ...]
    ntp: tuple[Address, ...]

    @property
    def server(self) -> Address | None:
        both = (self.gateway, self.resolver)
        same = (one for one in both if one is not None and one.version == self.prefix.version)
        return next(same, None)

    @property
    def slaac(self) -> bool:
        """Whether hosts make their addresses themselves (RFC 4862)."""
        return self.prefix.version == 6 and not self.record.dhcp and self.prefix.prefixlen == 64


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """A network. owned: gateways and resolvers of its subnets."""

    record: Network
    subnets: tuple[SubnetFacts, ...]
    owned: frozenset[Address]

    def subnet_of(self, address: Address) -> SubnetFacts | None:
        """The narrowest subnet that has the address."""
        found = [
            one
            for one in self.subnets
            if one.prefix.version == address.version and address in one.prefix
        ]
        return max(found, key=lambda one: one.prefix.prefixlen, default=None)

    def of_version(self, version: int) -> Iterator[SubnetFacts]:
        """Subnets of IPv4 or IPv6."""
        return (one for one in self.subnets if one.prefix.version == version)

    def server_for(self, address: Address) -> Address | None:
        """From which address the network speaks to `address`: its subnet's, else any."""
        own = self.subnet_of(address)
        if own is not None and own.server is not None:
            return own.server
        servers = (one.server for one in self.of_version(address.version))
        return next((one for one in servers if one is not None), None)


@dataclass(frozen=True, slots=True)
class PairFacts:
    """An allowed address pair."""

    prefix: Prefix
    mac: bytes


@dataclass(frozen=True, slots=True)
class InterfaceFacts:
    """An interface."""

    mac: bytes
    addresses: tuple[Address, ...]
    pairs: tuple[PairFacts, ...]

    def first(self, version: int) -> Address | None:
        """The address that DHCP gives."""
        return next((one for one in self.addresses if one.version == version), None)

    def may_use(self, address: Address, mac: bytes) -> bool:
        """Whether an allowed address pair has the address with the MAC."""
        return any(
            one.mac == mac and one.prefix.version == address.version and address in one.prefix
            for one in self.pairs
        )


def _address(text: str) -> Address | None:
    return ip_address(text) if text else None


def _subnet(record: Subnet) -> SubnetFacts:
    prefix = ip_network(record.prefix)
    gateway = _address(record.gateway)
    resolver = _address(record.dns) or gateway
    told = tuple(ip_address(one) for one in record.dns_servers)
    if not told and resolver is not None:
        told = (resolver,)
    ntp = tuple(ip_address(one) for one in record.ntp_servers)
    return SubnetFacts(record, prefix, gateway, resolver, told, ntp)


@lru_cache(maxsize=8192)
def of_network(record: Network) -> NetworkFacts:
    """A network's."""
    subnets = tuple(_subnet(one) for one in record.subnets)
    owned = {one.gateway for one in subnets} | {one.resolver for one in subnets}
    return NetworkFacts(record, subnets, frozenset(one for one in owned if one is not None))


@lru_cache(maxsize=8192)
def of_interface(record: Interface) -> InterfaceFacts:
    """An interface's."""
    mac = ethernet.parse(record.mac)
    pairs = tuple(
        PairFacts(ip_network(one.prefix), ethernet.parse(one.mac) if one.mac else mac)
        for one in record.allowed_address_pairs
    )
    return InterfaceFacts(mac, tuple(ip_address(one) for one in record.addresses), pairs)


@lru_cache(maxsize=8192)
def owned(record: Network, router_mac: bytes) -> frozenset[Address]:
    """All addresses of the network's own: gateways, resolvers, with an IPv6 subnet the
    router's link-local one, and where DHCP needs it 169.254.169.254."""
    facts = of_network(record)
    addresses = set(facts.owned)
    if any(True for _ in facts.of_version(6)):
        addresses.add(ipv6.link_local(router_mac))
    if any(one.record.dhcp and one.server is None for one in facts.of_version(4)):
        addresses.add(LINK_LOCAL_SERVER)
    return frozenset(addresses)


def hostname(record: Interface) -> str:
    """What DNS and DHCP call the VM of an interface."""
    return record.hostname or record.vm or record.name
