# SPDX-License-Identifier: Apache-2.0
"""A way between a network and the host's own stack: the Gateway vif, and what leads out by it."""

from __future__ import annotations

from ipaddress import ip_network

from vrouter.agent.desired.records import Gateway
from vrouter.agent.facts import Device, Facts
from vrouter.agent.plan.entries import Entries, PlannedRoute
from vrouter.agent.plan.fabric import NO_QOS, encap
from vrouter.agent.plan.networks import vrf_of
from vrouter.agent.plan.numbers import LABEL, NEXTHOP, ROUTER_MAC, VIF, Numbers
from vrouter.dpcore.names import VifFlag, VifType
from vrouter.dpcore.records import Vif
from vrouter.host.takeover.pair import inner_end


def plan_gateway(facts: Facts, gateway: Gateway, numbers: Numbers) -> Entries:
    """Nothing as long as its pair is not there; its numbers are its own even then."""
    idx = numbers.mine(VIF, f"gateway/{gateway.name}")
    nexthop = numbers.mine(NEXTHOP, f"gateway/{gateway.name}")
    label = numbers.label(LABEL, f"gateway/{gateway.name}/l3", gateway.label)
    vrf = vrf_of(numbers, gateway.network)
    entries = Entries()
    outer = facts.devices.get(gateway.device)
    inner = facts.devices.get(inner_end(gateway.device))
    if outer is None or inner is None:
        return entries
    entries.vif[idx] = _vif(outer, inner, idx, vrf, nexthop)
    entries.put_nexthop(encap(nexthop, idx, outer.mac, ROUTER_MAC, vrf=vrf))
    entries.mpls[label] = nexthop
    for prefix in gateway.routes:
        entries.route[vrf, ip_network(prefix)] = PlannedRoute(nexthop)
    return entries


def _vif(outer: Device, inner: Device, idx: int, vrf: int, nexthop: int) -> Vif:
    return Vif(
        idx=idx,
        name=outer.name,
        type=VifType.GATEWAY,
        ifindex=inner.ifindex,
        os_ifindex=outer.ifindex,
        vrf=vrf,
        # by it dp-core answers what the host asks for, and addresses what it sends there
        mac=outer.mac,
        nh_id=nexthop,
        flags=VifFlag.L3 | VifFlag.ETREE_ROOT,
        qos=NO_QOS,
    )
