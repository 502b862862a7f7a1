# SPDX-License-Identifier: Apache-2.0
"""The whole plan, kept by units, so that a change is planned anew only where it matters.

A unit is what one object, or one aspect of it, needs: ("interface", name), ("tree", network), ...
A unit's entries are its own: no two units want the same key, except while an entry moves from
one to another within a change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from vrouter.agent.desired.ids import Ids
from vrouter.agent.desired.records import (
    Endpoint,
    Gateway,
    Host,
    Interface,
    LinkLocal,
    Membership,
    Network,
    Record,
    StaticRoute,
)
from vrouter.agent.desired.state import DISCARD, Change, State, key_of
from vrouter.agent.facts import Device, Facts, alone, parse, service_device, service_vrf
from vrouter.agent.plan.entries import Diff, Entries, PlannedMac, compare
from vrouter.agent.plan.fabric import plan_fabric
from vrouter.agent.plan.gateways import plan_gateway
from vrouter.agent.plan.hosts import plan_host
from vrouter.agent.plan.local import METADATA6, plan_local
from vrouter.agent.plan.networks import MOST_GROUPS, plan_groups, plan_network, plan_tree
from vrouter.agent.plan.numbers import NEXTHOP, VIF, VRF, Numbers
from vrouter.agent.plan.stations import plan_endpoint, plan_interface, plan_route
from vrouter.dpcore.records import IPAddress

Unit = tuple[str, str]
FABRIC: Unit = ("fabric", "")
TREE = "tree"
LOCAL = "local"  # what the kernel's own TCP serves in a network
GROUPS = "groups"
R = TypeVar("R", bound=Record)


@dataclass
class Step:
    """What a new plan of some units comes to, and how to take it back."""

    diff: Diff
    old: dict[Unit, Entries | None] = field(default_factory=dict)
    old_uses: dict[Unit, set[tuple[str, str]]] = field(default_factory=dict)


class Planner:
    """Plans `state` with `ids` and `facts`, which others change and tell about."""

    def __init__(self, state: State, ids: Ids, facts: Facts) -> None:
        self.state = state
        self.ids = ids
        self.facts = facts
        self._units: dict[Unit, Entries] = {}
        self._live: set[str] = set()  # interfaces that have a vif
        self._uses: dict[Unit, set[tuple[str, str]]] = {}
        self._users: dict[tuple[str, str], int] = {}
        self.slots: dict[str, dict[bytes, int]] = {}  # of groups, by network and MAC

    # ---- reading ------------------------------------------------------------------

    def wanted(self) -> Entries:
        """All entries of the plan."""
        whole = Entries()
        for entries in self._units.values():
            whole.add(entries)
        return whole

    def wanted_mac(self, vrf: int, mac: bytes) -> PlannedMac | None:
        """The bridge entry that is wanted for a MAC of a network."""
        owner = self.ids.owner(VRF, vrf)
        network = owner.partition("/")[2] if owner else ""
        unit = self.state.owner("mac", network, mac.hex(":"))
        entries = self._units.get(unit) if unit is not None else None
        return None if entries is None else entries.bridge.get((vrf, mac))

    def entries_of(self, unit: Unit) -> Entries | None:
        """What a unit wants, None if it has nothing."""
        return self._units.get(unit)

    def device_of(self, interface: Interface) -> tuple[Device | None, str]:
        """The netdevice of an interface, or None and what it waits for."""
        if not interface.enabled:
            return None, "it is disabled"
        if interface.parent:
            parent = self.state.get(Interface, interface.parent)
            if parent is None:
                return None, f"there is no interface {interface.parent}"
            device, why = self.device_of(parent)
            return device, why and f"{interface.parent} is not active: {why}"
        device = self.facts.devices.get(interface.device)
        if device is None and not interface.device:
            return None, f"no port {interface.uuid} has brought its netdevice yet"
        if device is None:
            return None, f"there is no netdevice {interface.device} yet"
        return device, ""

    def service_addresses(self, network: str) -> list[IPAddress]:
        """The addresses of link-local services, as far as nobody in the network has them."""
        found = {parse(one.address) for one in list(self.state.all(LinkLocal))}
        return [
            address
            for address in sorted(found, key=int)
            if self.state.owner("route", network, str(alone(address))) is None
        ]

    def metadata6(self) -> list[IPAddress]:
        """The address of the metadata service by IPv6, if there is one."""
        return [METADATA6] if any(one.metadata for one in list(self.state.all(LinkLocal))) else []

    def _has_services(self) -> bool:
        return next(self.state.all(LinkLocal), None) is not None

    def tunnel_ends(self) -> list[IPAddress]:
        """The addresses of all remote hosts."""
        return [parse(host.address) for host in list(self.state.all(Host))]

    def release_groups(self) -> None:
        """Give back what an earlier agent numbered for groups, where no group is known now."""
        for key in self.ids.keys(NEXTHOP):
            if "/group/" in key and not self._users.get((NEXTHOP, key)):
                self.ids.release(NEXTHOP, key)

    # ---- which units -----------------------------------------------------------------

    def all_units(self) -> list[Unit]:
        """Every unit that there can be."""
        units = [FABRIC]
        for kind in (Host, Network, Interface, Endpoint, StaticRoute, Gateway):
            units += [key_of(record) for record in self.state.all(kind)]
        for network in self.state.all(Network):
            units += [(TREE, network.name), (GROUPS, network.name), (LOCAL, network.name)]
        return units

    def of_change(self, change: Change) -> list[Unit]:
        """The units that a change of objects concerns."""
        units: dict[Unit, None] = {}
        for key in change.keys:
            for record in (change.before[key], change.after[key]):
                if record is not None:
                    units |= dict.fromkeys(self._of_record(record))
        return list(units)

    def of_devices(self, names: Iterable[str]) -> list[Unit]:
        """The units that netdevices of these names concern."""
        units: dict[Unit, None] = {}
        for name in names:
            owner = self.state.owner("device", name)
            record = self.state.record(owner) if owner else None
            if record is not None:
                units |= dict.fromkeys(self._of_record(record))
            vrf = service_vrf(name)
            network = None if vrf is None else self.ids.owner(VRF, vrf)
            if network is not None:
                units[LOCAL, network.partition("/")[2]] = None
        return list(units)

    def of_fabric(self) -> list[Unit]:
        """The units that vhost0's addresses, routes and neighbours concern."""
        return [FABRIC, *(key_of(host) for host in self.state.all(Host))]

    def _of_record(self, record: Record) -> list[Unit]:
        units: list[Unit] = []
        match record:
            case Network():
                units += [key_of(record), (TREE, record.name)]
                units += [(GROUPS, record.name), (LOCAL, record.name)]
                units += self._users_of(record, Interface, Endpoint, StaticRoute, Gateway)
            case Interface():
                units += [key_of(record), (TREE, record.network), (GROUPS, record.network)]
                for child in self._users_of(record, Interface):
                    network = self.state.need(Interface, child[1]).network
                    units += [child, (TREE, network), (GROUPS, network)]
                units += self._routes_of(record.network)
            case Endpoint():
                units += [key_of(record), *self._routes_of(record.network)]
            case Host():
                units += [key_of(record), FABRIC]
                for key in self.state.needed_by(key_of(record)):
                    user = self.state.record(key)
                    if isinstance(user, Membership):
                        units.append((TREE, user.network))
                    else:
                        units.append(key)
            case Membership():
                units.append((TREE, record.network))
            case StaticRoute() | Gateway():
                units.append(key_of(record))
            case LinkLocal():
                for one in self.state.all(Network):
                    units += [key_of(one), (LOCAL, one.name)]
        # a link-local service gives way to whoever has its address in a network
        if isinstance(record, Interface | Endpoint | StaticRoute) and self._has_services():
            units += [(Network.kind, record.network), (LOCAL, record.network)]
        return units

    def _users_of(self, record: Record, *kinds: type[Record]) -> list[Unit]:
        names = [kind.kind for kind in kinds]
        return sorted(key for key in self.state.needed_by(key_of(record)) if key[0] in names)

    def _routes_of(self, network: str) -> list[Unit]:
        there = self.state.get(Network, network)
        return [] if there is None else self._users_of(there, StaticRoute)

    # ---- planning ----------------------------------------------------------------------

    def replan(self, units: Iterable[Unit]) -> Step:
        """Plan these units anew. Raises Refused when numbers run out; then nothing has changed."""
        step = Step(Diff())
        have, want = Entries(), Entries()
        try:
            # which ports are live is known before trees are planned
            for unit in sorted(dict.fromkeys(units), key=lambda unit: unit[0] in (TREE, GROUPS)):
                numbers = Numbers(self.ids, self.state)
                fresh = self._plan(unit, numbers)
                old = self._units.get(unit)
                step.old[unit] = old
                step.old_uses[unit] = self._uses.get(unit, set())
                if old is not None:
                    have.add(old)
                if fresh is not None:
                    want.add(fresh)
                self._set(unit, fresh, numbers.used if fresh is not None else set())
        except BaseException:
            self.undo(step)
            raise
        for uses in step.old_uses.values():
            for space, key in uses:
                if not self._users.get((space, key)):
                    self.ids.release(space, key)
        step.diff = compare(have, want)
        return step

    def undo(self, step: Step) -> None:
        """Forget a step; whoever calls takes the numbers back too."""
        for unit, old in step.old.items():
            self._set(unit, old, step.old_uses[unit])

    def _set(self, unit: Unit, entries: Entries | None, uses: set[tuple[str, str]]) -> None:
        for use in self._uses.pop(unit, set()):
            self._users[use] -= 1
            if not self._users[use]:
                del self._users[use]
        self._units.pop(unit, None)
        if unit[0] == Interface.kind:
            (self._live.add if entries and entries.vif else self._live.discard)(unit[1])
        if entries is not None:
            self._units[unit] = entries
            self._uses[unit] = uses
            for use in uses:
                self._users[use] = self._users.get(use, 0) + 1

    def _plan(self, unit: Unit, numbers: Numbers) -> Entries | None:
        kind, name = unit
        if unit == FABRIC:
            over_ipv6 = any(":" in host.address for host in self.state.all(Host))
            return plan_fabric(self.facts, numbers, over_ipv6=over_ipv6)
        if kind == TREE:
            return self._tree(name, numbers)
        if kind == LOCAL:
            return self._local(name, numbers)
        if kind == GROUPS:
            return self._groups(name, numbers)
        record = self.state.record(unit)
        match record:
            case Host():
                return plan_host(self.facts, record, numbers)
            case Network():
                return plan_network(
                    self.facts, record, numbers, self.service_addresses(record.name)
                )
            case Interface():
                return self._interface(record, numbers)
            case Endpoint():
                network = self.state.need(Network, record.network)
                host = self.state.need(Host, record.host)
                return plan_endpoint(record, network, host, numbers)
            case StaticRoute():
                return self._route(record, numbers)
            case Gateway():
                return plan_gateway(self.facts, record, numbers)
            case _:
                return None

    def _interface(self, interface: Interface, numbers: Numbers) -> Entries:
        device, _ = self.device_of(interface)
        if device is None:
            self._keep_numbers(interface, numbers)
            return Entries()
        network = self.state.need(Network, interface.network)
        return plan_interface(interface, network, device, numbers)

    @staticmethod
    def _keep_numbers(interface: Interface, numbers: Numbers) -> None:
        """A port that waits for its device has its numbers already: others may be told them."""
        plan_interface(interface, Network(name=interface.network), Device(1, "none"), numbers)

    def _tree(self, name: str, numbers: Numbers) -> Entries | None:
        network = self.state.get(Network, name)
        if network is None:
            return None
        live = [port for _, port in self._users_of(network, Interface) if port in self._live]
        members: list[tuple[Membership, Host]] = []
        for _, member in self._users_of(network, Membership):
            membership = self.state.need(Membership, member)
            members.append((membership, self.state.need(Host, membership.host)))
        return plan_tree(network, live, members, numbers)

    def _local(self, name: str, numbers: Numbers) -> Entries | None:
        network = self.state.get(Network, name)
        if network is None:
            return None
        device = self.facts.devices.get(service_device(numbers.of(VRF, f"network/{name}")))
        if device is not None and not device.peer_elsewhere:
            device = None  # somebody's own of that name
        addresses, by_agent = self.service_addresses(name), self.metadata6()
        return plan_local(network, addresses, by_agent, device, numbers)

    def _groups(self, name: str, numbers: Numbers) -> Entries | None:
        network = self.state.get(Network, name)
        if network is None or not network.igmp or not self.facts.groups:
            return None
        wanted: dict[bytes, list[str]] = {}
        for _, port in self._users_of(network, Interface):
            vif = self.ids.get(VIF, f"interface/{port}")
            if vif is None or port not in self._live:
                continue
            for version in (4, 6):
                for mac in self.facts.groups.get((vif, version), ()):
                    wanted.setdefault(mac, []).append(port)
        slots = self.slots[name] = _slots(wanted, self.slots.get(name, {}))
        return plan_groups(network, wanted, slots, numbers) if wanted else None

    def _route(self, route: StaticRoute, numbers: Numbers) -> Entries:
        network = self.state.need(Network, route.network)
        if route.next_hop in ("", DISCARD):
            host = self.state.need(Host, route.host) if route.host else None
            return plan_route(route, network, None, host, numbers)
        key = self.state.owner("route", route.network, str(alone(route.next_hop)))
        owner = None if key is None else self.state.record(key)
        if isinstance(owner, Endpoint):
            return plan_route(route, network, owner, self.state.need(Host, owner.host), numbers)
        if isinstance(owner, Interface) and self.device_of(owner)[0] is not None:
            return plan_route(route, network, owner, None, numbers)
        return Entries()


def _slots(wanted: Iterable[bytes], before: Mapping[bytes, int]) -> dict[bytes, int]:
    """A slot for each group as long as there are any; who has one keeps it."""
    found = {mac: before[mac] for mac in sorted(wanted) if mac in before}
    free = iter(sorted(set(range(MOST_GROUPS)) - set(found.values())))
    fresh = [mac for mac in sorted(wanted) if mac not in found]
    return found | dict(zip(fresh, free, strict=False))
