# SPDX-License-Identifier: Apache-2.0
"""MACs and addresses that packet services have learnt, in the tables.

What is planned is never overwritten by what is learnt. A learnt address that a port uses with
another MAC than its own (an allowed pair) has a nexthop of its own, which puts that MAC on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from vrouter.agent.desired.records import Interface, Network
from vrouter.agent.facts import alone
from vrouter.agent.plan.fabric import ARP_TYPE, IPV4_TYPE
from vrouter.agent.plan.numbers import NEXTHOP, ROUTER_MAC, VIF, VRF
from vrouter.agent.reconcile import Reconciler
from vrouter.agent.services.base import (
    Action,
    ForgetAddress,
    ForgetMac,
    HearGroups,
    LearnAddress,
    LearnMac,
)
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.errors import NoSuchEntry
from vrouter.dpcore.names import BridgeFlag, NhType, RouteFlag
from vrouter.dpcore.records import IPAddress, Nexthop, Route

log: Final = logging.getLogger(__name__)
_MARKS: Final = BridgeFlag.MAC_NEW | BridgeFlag.MAC_MOVED
_AT_ONCE: Final = 256  # entries written in one hold of the lock
_LEARNT: Final = RouteFlag.ARP_PROXY | RouteFlag.MAC_IP_LEARNT


class Learner:
    """Runs in the writer's thread, as all that changes tables."""

    def __init__(self, tables: Reconciler) -> None:
        self._tables = tables
        self._marked: set[tuple[int, bytes]] = set()

    @property
    def _core(self) -> DpCore:
        return self._tables.core

    def act(self, action: Action) -> None:
        """Carry out one of the actions of learning."""
        if isinstance(action, HearGroups):
            self._tables.hear_groups(action.vif, action.version, action.macs)
            return
        with self._core.lock():
            match action:
                case LearnMac():
                    self._learn_mac(action)
                case ForgetMac():
                    self._forget_mac(action.vrf, action.mac)
                case LearnAddress():
                    self._learn_address(action)
                case ForgetAddress():
                    self._forget_address(action.vrf, action.address)
                case _:
                    log.error("this is nothing to learn: %s", action)
        self._tables.keep_numbers()

    def known(self) -> list[LearnMac | LearnAddress]:
        """What an earlier agent has learnt, as the tables have it."""
        found: list[LearnMac | LearnAddress] = []
        for entry in self._core.bridge.items():
            nexthop = self._port_nexthop(entry.nh)
            planned = self._planned(entry.vrf, "mac", entry.mac.hex(":"))
            if nexthop is None or nexthop.oif is None or planned or entry.mac == ROUTER_MAC:
                continue
            if self._learns(entry.vrf):
                found.append(LearnMac(entry.vrf, entry.mac, nexthop.oif, entry.index))
        for table in (self._core.inet, self._core.inet6):
            for route in table.items():
                nexthop = self._port_nexthop(route.nh)
                if nexthop is None or nexthop.oif is None:
                    continue
                if route.flags & RouteFlag.MAC_IP_LEARNT:
                    mac, address = nexthop.rewrite[:6], route.prefix.network_address
                    found.append(LearnAddress(route.vrf, address, mac, nexthop.oif))
        return found

    def packets(self, macs: Iterable[tuple[int, bytes]]) -> dict[tuple[int, bytes], int]:
        """How many packets came from each of these MACs that is still in the tables."""
        entries = [self._core.bridge.get(*key) for key in macs]
        return {(one.vrf, one.mac): one.heard for one in entries if one is not None}

    def sweep(self) -> int:
        """Take away what dp-core has marked as new or moved and nobody has answered for since
        the last call; how many. dp-core tells of a mark once: where that was not heard (a rate,
        an agent that died), or was refused, the next packet is to be told of again.
        """
        there = {(one.vrf, one.mac): one for one in self._core.bridge.marked()}
        left = self._marked & there.keys()
        for start in range(0, len(left), _AT_ONCE):
            with self._core.lock():
                for key in list(left)[start : start + _AT_ONCE]:
                    self._unmark(*key)
        self._marked = set(there) - left
        return len(left)

    def _unmark(self, vrf: int, mac: bytes) -> None:
        entry = self._core.bridge.get(vrf, mac)
        if entry is None or not entry.flags & _MARKS:
            return
        if self._planned(vrf, "mac", mac.hex(":")):
            self._tables.write_planned_mac(vrf, mac)
        elif entry.flags & BridgeFlag.MAC_NEW:
            self._core.bridge.delete(vrf, mac)
        else:
            flags = entry.flags & ~_MARKS
            self._core.bridge.put(vrf, mac, entry.nh, entry.label, int(flags))

    def _port_nexthop(self, number: int) -> Nexthop | None:
        nexthop = self._core.nexthops.get(number)
        return nexthop if nexthop is not None and nexthop.type == NhType.ENCAP else None

    def _learns(self, vrf: int) -> bool:
        owner = self._tables.ids.owner(VRF, vrf)
        network = self._tables.state.get(Network, owner.partition("/")[2]) if owner else None
        return network is not None and network.mac_learning

    def _interface(self, vif: int) -> Interface | None:
        owner = self._tables.ids.owner(VIF, vif)
        name = owner.partition("/")[2] if owner else ""
        entries = self._tables.planner.entries_of((Interface.kind, name))
        if entries is None or vif not in entries.vif:
            return None
        return self._tables.state.get(Interface, name)

    def _planned(self, vrf: int, what: str, value: str) -> bool:
        owner = self._tables.ids.owner(VRF, vrf)
        network = owner.partition("/")[2] if owner else ""
        return self._tables.state.owner(what, network, value) is not None

    def _learn_mac(self, action: LearnMac) -> None:
        interface = self._interface(action.vif)
        if interface is None or action.mac == ROUTER_MAC:
            return
        if self._planned(action.vrf, "mac", action.mac.hex(":")):
            self._tables.write_planned_mac(action.vrf, action.mac)
            return
        nexthop = self._tables.ids.get(NEXTHOP, f"interface/{interface.name}/l2")
        if nexthop is not None:
            # this clears the marks New and Moved
            self._core.bridge.put(action.vrf, action.mac, nexthop)

    def _forget_mac(self, vrf: int, mac: bytes) -> None:
        if mac == ROUTER_MAC or self._planned(vrf, "mac", mac.hex(":")):
            return
        with suppress(NoSuchEntry):
            self._core.bridge.delete(vrf, mac)

    def _learn_address(self, action: LearnAddress) -> None:
        interface = self._interface(action.vif)
        prefix = alone(action.address)
        if interface is None or self._planned(action.vrf, "route", str(prefix)):
            return
        if action.address in self._tables.planner.service_addresses(interface.network):
            return
        key = f"interface/{interface.name}"
        bridged = self._tables.ids.get(NEXTHOP, f"{key}/l2")
        routed = self._tables.ids.get(NEXTHOP, f"{key}/l3")
        if bridged is None or routed is None:
            return
        if action.mac.hex(":") != interface.mac:
            routed = self._own_nexthop(f"{key}/l3/{action.mac.hex(':')}", action)
            if not self._planned(action.vrf, "mac", action.mac.hex(":")):
                self._core.bridge.put(action.vrf, action.mac, bridged)
        entry = self._core.bridge.get(action.vrf, action.mac)
        self._core.routes_of(prefix).put(
            Route(
                vrf=action.vrf,
                prefix=prefix,
                nh=routed,
                flags=_LEARNT,
                bridge=0 if entry is None else entry.index,
            )
        )

    def _own_nexthop(self, key: str, action: LearnAddress) -> int:
        nexthop = Nexthop(
            id=self._tables.ids.give(NEXTHOP, key),
            type=NhType.ENCAP,
            vrf=action.vrf,
            oif=action.vif,
            encap_family=ARP_TYPE,
            rewrite=action.mac + ROUTER_MAC + IPV4_TYPE,
        )
        return self._core.nexthops.put(nexthop).id

    def _forget_address(self, vrf: int, address: IPAddress) -> None:
        prefix = alone(address)
        table = self._core.routes_of(prefix)
        route = table.get(vrf, prefix)
        if route is None or not route.flags & RouteFlag.MAC_IP_LEARNT:
            return
        table.delete(vrf, prefix)
        owner = self._tables.ids.owner(NEXTHOP, route.nh)
        if owner is None or owner.count("/") < 3:
            return  # the port's own
        tables = (self._core.inet, self._core.inet6)
        if any(one.nh == route.nh for table in tables for one in table.items(vrf)):
            return
        entry = self._core.bridge.by_index(route.bridge) if route.bridge else None
        if entry is not None:
            self._forget_mac(vrf, entry.mac)
        with suppress(NoSuchEntry):
            self._core.nexthops.delete(route.nh)
        self._tables.ids.release(NEXTHOP, owner)
