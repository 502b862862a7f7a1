# SPDX-License-Identifier: Apache-2.0
"""Puts the parts together."""

from __future__ import annotations

from collections.abc import Callable

from vrouter.agent.local.client import Allow, Tell
from vrouter.agent.local.config import MetadataConfig, TcpConfig, read_secret, tls_context
from vrouter.agent.local.dns import DnsOverTcp
from vrouter.agent.local.metadata import Metadata, Nova
from vrouter.agent.local.relay import Relay
from vrouter.agent.local.services import LocalServices, Write
from vrouter.agent.reconcile import Reconciler
from vrouter.agent.services.addresses import Addresses
from vrouter.agent.services.base import Port
from vrouter.agent.services.dns_resolver import Resolver
from vrouter.agent.world import LiveWorld
from vrouter.dpcore.records import IPAddress


class Handlers:
    """See services.Handlers."""

    def __init__(self, resolver: Resolver, allow: Allow, tell: Tell) -> None:
        self.dns = DnsOverTcp(resolver, allow, tell)
        self.relay = Relay(tell)
        self.metadata = Metadata(Nova(), allow, tell)


def local_services(
    tables: Callable[[], Reconciler],
    write: Write,
    world: LiveWorld,
    learnt: Addresses,
    resolver: Resolver,
    allow: Allow,
    tell: Tell,
) -> tuple[LocalServices, Handlers]:
    """learnt: whose an address is beside those that ports were given."""

    def port_of(vrf: int, address: IPAddress) -> Port | None:
        entry = learnt.get(vrf, address)
        return world.port_of(vrf, address) if entry is None else world.port(entry.vif)

    handlers = Handlers(resolver, allow, tell)
    return LocalServices(tables, write, world, port_of, handlers, tell), handlers


def configure(
    services: LocalServices, handlers: Handlers, tcp: TcpConfig, metadata: MetadataConfig
) -> None:
    """From now on. Raises Refused."""
    secret, context = read_secret(metadata), tls_context(metadata)
    handlers.metadata.nova = Nova(secret, context, metadata.timeout)
    services.config = tcp
