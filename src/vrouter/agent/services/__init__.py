# SPDX-License-Identifier: Apache-2.0
"""What the agent answers to VMs through pkt0: one file per packet service.

A service is sans-io: a trapped packet and the time go in, actions come out; `agent/pkt0.py`
carries them out.
"""

from __future__ import annotations

from .addresses import Addresses
from .arp import ArpService
from .base import Service, World
from .bfd import BfdService
from .dhcp4 import Dhcp4Service
from .dhcp6 import Dhcp6Service
from .dns import DnsService
from .dns_forward import HostForwarder
from .dns_resolver import Forwarder, Resolver
from .echo import Echo6Service, EchoService
from .errors import ErrorService
from .learning import AddressService, MacService
from .multicast import IgmpService, MldService
from .nd import NdService
from .ra import RaService
from .tcp import Keeper, TcpService
from .unread import UnreadService


def all_services(
    world: World,
    forwarder: Forwarder | None = None,
    *,
    table: Addresses | None = None,
    resolver: Resolver | None = None,
    keeper: Keeper | None = None,
) -> list[Service]:
    """All services, in the order in which they are to be asked (upstream's).

    forwarder: who asks for DNS names that are no network's; by default the host's resolvers.
    resolver: instead of one that asks by `forwarder`. table: of learnt addresses. keeper: of
    service namespaces; without one TCP is not served.
    """
    table = table or Addresses(world)
    resolver = resolver or Resolver(world, forwarder or HostForwarder())
    arp, nd = ArpService(world, table), NdService(world, table)
    return [
        MacService(world),
        AddressService(world, table, arp, nd),
        Dhcp4Service(world),
        Dhcp6Service(world),
        arp,
        DnsService(world, resolver),
        *([] if keeper is None else [TcpService(world, keeper)]),
        BfdService(world),
        EchoService(world),
        RaService(world),
        nd,
        MldService(world),
        Echo6Service(world),
        IgmpService(world),
        ErrorService(world),
        UnreadService(world),
    ]
