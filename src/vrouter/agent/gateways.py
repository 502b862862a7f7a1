# SPDX-License-Identifier: Apache-2.0
"""The host's side of gateways: a veth pair for each, and routes into the network by it.

What the agent has made it knows again: a pair by its alias, a route by its protocol number. So
what a gateway leaves behind when nobody wants it any more can be found, and taken away.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Set
from ipaddress import ip_network
from typing import Final

from vrouter.agent import watch
from vrouter.agent.desired.records import Gateway, Network
from vrouter.agent.desired.state import Change, State
from vrouter.agent.facade import Problem, Rejected
from vrouter.agent.facts import Device, Fabric
from vrouter.agent.plan.planner import Planner
from vrouter.agent.world import device_mtu
from vrouter.dpcore.errors import DeviceError, Refused, VrouterError
from vrouter.dpcore.records import IPAddress, IPNetwork
from vrouter.host import netns
from vrouter.host.netlink import Link, Netlink
from vrouter.host.takeover import pair

log: Final = logging.getLogger(__name__)
ALIAS: Final = "vrouter gateway"
PROTOCOL: Final = 118  # of its routes; iproute2's list leaves it free


class Gateways:
    """Those of `state`, as the writer makes them real. links: gives an open socket; note: is
    told of a netdevice."""

    def __init__(
        self,
        state: State,
        planner: Planner,
        links: Callable[[], Netlink],
        note: Callable[[str, Device | None], object],
    ) -> None:
        self._state, self._planner = state, planner
        self._links, self._note = links, note

    def devices(self) -> set[str]:
        """The names of both ends of all pairs."""
        names = {gateway.device for gateway in self._state.all(Gateway)}
        return names | {pair.inner_end(name) for name in names}

    def check(self, change: Change, fabric: Callable[[], Fabric | None]) -> None:
        """Raises Rejected when one would take addresses from the host that it needs. fabric: as
        it is now, since events may be behind."""
        wanted = _of(change.after.values())
        if not wanted:
            return
        known = {ip_network(one) for old in _of(change.before.values()) for one in old.subnets}
        now, ends = fabric(), self._planner.tunnel_ends()
        problems = [one for each in wanted for one in _problems(each, known, now, ends)]
        if problems:
            raise Rejected(problems)

    def make(self, change: Change) -> None:
        """Make the pairs of those that are new. Raises Refused."""
        for one in _of(change.after.values()):
            self._make(one)

    def make_again(self) -> None:
        """Make pairs that somebody has removed, or that the host's restart has."""
        for one in list(self._state.all(Gateway)):
            try:
                self._make(one)
            except VrouterError as error:
                log.error("gateway %s cannot be made: %s", one.name, error)

    def _make(self, gateway: Gateway) -> None:
        network = self._state.need(Network, gateway.network)
        mtu = device_mtu(network, self._planner)
        links = self._links()
        _make(links, gateway, mtu)
        for name in (gateway.device, pair.inner_end(gateway.device)):
            self._note(name, watch.read_device(name, links))

    def settle(self, change: Change | None = None) -> str:
        """Let the host's routes and pairs be those of all gateways, if `change` has any of
        them. What goes wrong, "" nothing."""
        if change is not None and not any(kind == Gateway.kind for kind, _ in change.after):
            return ""
        try:
            _settle(self._links(), self._state.all(Gateway))
        except VrouterError as error:
            log.error("gateways are not as wanted: %s", error)
            return str(error)
        return ""


def _of(records: Iterable[object]) -> list[Gateway]:
    return [one for one in records if isinstance(one, Gateway)]


def _make(links: Netlink, gateway: Gateway, mtu: int) -> None:
    """Make the pair of a gateway, if it is not there. Raises Refused: a netdevice is there that
    is none."""
    there = links.get(gateway.device)
    if there is not None:
        if there.kind != "veth" or links.get(pair.inner_end(there.name)) is None:
            raise Refused(
                f"netdevice {there.name} is there, and no pair {there.name}/"
                f"{pair.inner_end(there.name)}: name a gateway of another device, or remove it"
            )
        return
    over_ipv6 = any(":" in prefix for prefix in gateway.subnets)

    def prepare(outer: Link) -> None:
        links.set(outer, ifalias=ALIAS)
        if not over_ipv6:
            netns.sysctl(f"net/ipv6/conf/{outer.name}/disable_ipv6", 1)

    pair.make(links, gateway.device, None, mtu, prepare)


def _settle(links: Netlink, gateways: Iterable[Gateway]) -> None:
    """Make the host's routes those of `gateways`, and remove pairs that none of them has.

    Raises DeviceError; what can be done is done before.
    """
    wanted = {gateway.device: gateway for gateway in gateways}
    there = {link.name: link for link in links.links()}
    failed: list[str] = []
    for name, link in there.items():
        if link.alias == ALIAS and name not in wanted:
            links.delete(name)
    for name, gateway in wanted.items():
        found = there.get(name)
        if found is None or pair.inner_end(name) not in there:
            failed.append(f"gateway {gateway.name} has no pair {name}/{pair.inner_end(name)}")
            continue
        try:
            _route(links, found, gateway)
        except DeviceError as error:
            failed.append(str(error))
    if failed:
        raise DeviceError("; ".join(failed))


def _route(links: Netlink, link: Link, gateway: Gateway) -> None:
    there = links.routes_by(link, PROTOCOL)
    prefixes = {ip_network(prefix) for prefix in gateway.subnets}
    for prefix in there - prefixes:
        links.delete_route_by(link, prefix, PROTOCOL)
    if any(prefix.version == 6 for prefix in prefixes - there):
        netns.sysctl(f"net/ipv6/conf/{link.name}/disable_ipv6", 0)
    for prefix in prefixes - there:
        links.add_route_by(link, prefix, PROTOCOL)


def _problems(
    gateway: Gateway, known: Set[IPNetwork], fabric: Fabric | None, hosts: Iterable[IPAddress]
) -> Iterator[Problem]:
    """Subnets that would take from the host what it needs. known: prefixes that gateways have
    already; hosts: the ends of its tunnels."""
    if fabric is None:
        return
    needed = {*fabric.local, *fabric.gateways(), *hosts}
    routed = {route.prefix for route in fabric.routes}
    for at, text in enumerate(gateway.subnets):
        prefix, where = ip_network(text), f"gateway {gateway.name}.subnets[{at}]"
        inside = sorted(str(one) for one in needed if one in prefix)
        if inside:
            yield Problem(where, f"the host needs {inside[0]}, which is in {prefix}")
        elif prefix in routed - known:
            yield Problem(where, f"the host has a route to {prefix} already: remove that first")
