# SPDX-License-Identifier: Apache-2.0
"""What the kernel's own TCP serves in a network: the vif of its service namespace, and the routes
of service addresses.

As long as there is no namespace the routes lead to the agent, which makes one of the first packet.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv6Address
from typing import Final

from vrouter.agent.desired.records import Network
from vrouter.agent.facts import Device, alone
from vrouter.agent.plan.entries import Entries, PlannedRoute
from vrouter.agent.plan.fabric import NO_QOS, encap
from vrouter.agent.plan.networks import vrf_of
from vrouter.agent.plan.numbers import NEXTHOP, NH_AGENT, ROUTER_MAC, VIF, Numbers
from vrouter.agent.services.facts import owned
from vrouter.dpcore.names import RouteFlag, VifFeature, VifFlag, VifType
from vrouter.dpcore.records import IPAddress, Source, Vif

# the far end's, in the namespace; no bridge entry has it
SERVICE_MAC: Final = bytes.fromhex("02005e000100")


# the metadata service's by IPv6 (upstream's)
METADATA6: Final = IPv6Address("fe80::a9fe:a9fe")


def plan_local(
    network: Network,
    addresses: Iterable[IPAddress],
    by_agent: Iterable[IPAddress],
    device: Device | None,
    numbers: Numbers,
) -> Entries:
    """addresses: those that belong to services alone; by_agent: likewise, but the way back to who
    speaks with them must be told to the namespace. device: None while there is no namespace.

    Gateways and resolvers stay the agent's (it answers their UDP and ICMP), which hands their TCP
    on; so the vif may speak for them, but no route leads to it.
    """
    entries = Entries()
    vrf = vrf_of(numbers, network.name)
    addresses, by_agent = list(addresses), list(by_agent)
    nexthop = NH_AGENT
    if device is not None:
        nexthop = _vif(entries, network, addresses + by_agent, device, vrf, numbers)
    for address in addresses:
        entries.route[vrf, alone(address)] = PlannedRoute(nexthop, flags=RouteFlag.ARP_PROXY)
    for address in by_agent:
        entries.route[vrf, alone(address)] = PlannedRoute(NH_AGENT, flags=RouteFlag.ARP_PROXY)
    return entries


def _vif(
    entries: Entries,
    network: Network,
    addresses: list[IPAddress],
    device: Device,
    vrf: int,
    numbers: Numbers,
) -> int:
    key = f"local/{network.name}"
    idx = numbers.mine(VIF, key)
    nexthop = encap(numbers.mine(NEXTHOP, key), idx, SERVICE_MAC, ROUTER_MAC, vrf=vrf)
    entries.vif[idx] = Vif(
        idx=idx,
        name=device.name,
        type=VifType.VIRTUAL,
        ifindex=device.ifindex,
        os_ifindex=device.ifindex,
        vrf=vrf,
        mac=ROUTER_MAC,
        nh_id=nexthop.id,
        peer=device.peer_elsewhere,
        flags=VifFlag.L3 | VifFlag.ETREE_ROOT,
        features=VifFeature(0),
        qos=NO_QOS,
    )
    speaks = {*addresses, *owned(network, ROUTER_MAC)}
    allowed = {Source(mac=SERVICE_MAC, prefix=alone(one)) for one in speaks}
    entries.sources[idx] = frozenset({Source(mac=SERVICE_MAC), *allowed})
    return entries.put_nexthop(nexthop)
