# SPDX-License-Identifier: Apache-2.0
"""IGMP and MLD: the querier of each port (RFC 3376, RFC 3810), and what was reported to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from . import facts
from .base import Action, HearGroups, Port, Transmit, Trap, World
from .membership import (
    LAST_MEMBER,
    LAST_MEMBER_RESPONSE,
    QUERY_INTERVAL,
    RESPONSE,
    ROBUSTNESS,
    STARTUP_COUNT,
    STARTUP_INTERVAL,
    Members,
)
from .packet import Packet
from .service import PacketService, Row
from .wire import ethernet, icmp, igmp, ipv4, ipv6

_ALL_HOSTS = IPv4Address("224.0.0.1")
_MLD = (igmp.MLD_QUERY, igmp.MLD_REPORT, igmp.MLD_DONE, igmp.MLD2_REPORT)
# questions about groups that wait to be repeated, for each port
_PENDING = 64
_TELL_EVERY = 1.0  # seconds, of a port


@dataclass(slots=True)
class _Querier:
    """sent: general queries; next: when the next is due; pending: groups to be asked about
    once more, and when."""

    sent: int
    next: float
    pending: dict[facts.Address, float]


class _MulticastService(PacketService):
    """What IGMP and MLD share: the ports of a network with IGMP have a querier from the start.
    members: for introspection. What is wanted is told (HearGroups), for the tables."""

    version: int

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.members = Members()
        self._queriers: dict[int, _Querier] = {}
        self._told: dict[int, frozenset[bytes]] = {}
        self._told_at: dict[int, float] = {}

    def tick(self, now: float) -> Iterable[Action]:
        """Queries that are due."""
        self.members.expire(now)
        actions: list[Action] = []
        for vif, querier in list(self._queriers.items()):
            port = self.world.port(vif)
            if port is None or not port.network.igmp:
                del self._queriers[vif]
                self.members.forget(vif)
                continue
            for group in [group for group, when in querier.pending.items() if when <= now]:
                del querier.pending[group]
                actions += self._asks(port, group)
            if querier.next <= now:
                actions += self._general(port, querier, now)
        for vif in {*self.members.ports, *self._told}:
            actions += self._changed(vif, now)
        for vif in [vif for vif, at in self._told_at.items() if now - at >= _TELL_EVERY]:
            del self._told_at[vif]
        return actions

    def _changed(self, vif: int, now: float) -> list[Action]:
        """Who is to get what is sent to groups, if that is news; not more often than the tables
        of all should be written for one port."""
        macs = self.members.macs(vif)
        if macs == self._told.get(vif, frozenset()):
            return []
        if now - self._told_at.get(vif, -_TELL_EVERY) < _TELL_EVERY:
            return []
        self._told_at[vif] = now
        if macs:
            self._told[vif] = macs
        else:
            del self._told[vif]
        return [HearGroups(vif, self.version, macs)]

    def remembered(self, now: float) -> Iterable[Row]:
        """Groups that are wanted, by port."""
        for vif, groups in self.members.ports.items():
            for address, group in groups.items():
                yield {
                    "vif": vif,
                    "group": str(address),
                    "sources": " ".join(map(str, group.sources))
                    if group.everything <= now
                    else "all",
                    "version": group.version,
                    "seconds_left": round(group.until - now, 1),
                }

    def _general(self, port: Port, querier: _Querier, now: float) -> list[Action]:
        querier.sent += 1
        startup = querier.sent < STARTUP_COUNT
        querier.next = now + (STARTUP_INTERVAL if startup else QUERY_INTERVAL)
        return self._asks(port, None)

    def _starts(self, port: Port, now: float) -> list[Action]:
        querier = self._queriers[port.vif] = _Querier(0, now, {})
        return self._general(port, querier, now)

    def _reported(
        self, port: Port, records: tuple[igmp.Record, ...], now: float
    ) -> Iterable[Action]:
        asked, results = self.members.report(port.vif, records, now)
        actions: list[Action] = []
        querier = self._queriers.get(port.vif)
        if querier is None:
            actions += self._starts(port, now)
            querier = self._queriers[port.vif]
        for group in dict.fromkeys(asked):
            if group in querier.pending:
                continue
            if len(querier.pending) < _PENDING:
                querier.pending[group] = now + LAST_MEMBER / ROBUSTNESS
                actions += self._asks(port, group)
        actions += self._changed(port.vif, now)
        return [*actions, *[self.count(one) for one in results or ["empty report"]]]

    def port_up(self, port: Port, now: float) -> Iterable[Action]:
        """The first general query."""
        if port.vif in self._queriers or not port.network.igmp:
            return ()
        return self._starts(port, now)

    def _asks(self, port: Port, group: facts.Address | None) -> list[Action]:
        raise NotImplementedError


class IgmpService(_MulticastService):
    """For IPv4."""

    name = "igmp"
    version = 4

    def take(self, trap: Trap, packet: Packet) -> Iterable[Action] | None:
        """Reports and leaves."""
        ip = packet.ip
        if not isinstance(ip, ipv4.IPv4) or ip.proto != ipv4.IGMP:
            return None
        if trap.port is None:
            return (self.count("from the fabric"),)
        if ip.fragment:
            return (self.count("fragment"),)
        records = igmp.read(ip.payload)
        if records is None:
            return (self.count("another querier"),)
        return self._reported(trap.port, records, trap.now)

    def _asks(self, port: Port, group: facts.Address | None) -> list[Action]:
        """From the gateway; without one from 0.0.0.0 (RFC 4541, section 2.1.1)."""
        assert group is None or isinstance(group, IPv4Address)
        target = group or _ALL_HOSTS
        servers = (one.server for one in facts.of_network(port.network).of_version(4))
        source = next((one for one in servers if isinstance(one, IPv4Address)), ipv4.ANY)
        response = LAST_MEMBER_RESPONSE if group else RESPONSE
        message = igmp.query(group, response * 10, ROBUSTNESS, QUERY_INTERVAL)
        data = ipv4.build(
            source,
            target,
            ipv4.IGMP,
            message,
            ttl=1,
            tos=0xC0,
            options=ipv4.ROUTER_ALERT,
        )
        mac = ethernet.group4(target.packed)
        frame = ethernet.build(mac, self.world.router_mac, ethernet.IPV4, data)
        return [Transmit(port.vif, frame), self.count("asked")]


class MldService(_MulticastService):
    """For IPv6: every host has a link-local address, whatever the subnets of its network."""

    name = "mld"
    version = 6

    def take(self, trap: Trap, packet: Packet) -> Iterable[Action] | None:
        """Reports and dones."""
        ip = packet.ip
        if not isinstance(ip, ipv6.IPv6) or ip.proto != ipv6.ICMP or ip.offset or not ip.payload:
            return None
        if ip.payload[0] not in _MLD:
            return None
        message = icmp.read6(ip.payload, ip.source, ip.target)
        if trap.port is None:
            return (self.count("from the fabric"),)
        if ip.hops != 1 or not (ip.source.is_link_local or ip.source == ipv6.ANY):
            return (self.count("not of this link"),)
        if not ip.alert:
            # RFC 3810, section 6.2
            return (self.count("no router alert"),)
        records = igmp.read_mld(message.kind, message.body)
        if records is None:
            return (self.count("another querier"),)
        return self._reported(trap.port, records, trap.now)

    def _asks(self, port: Port, group: facts.Address | None) -> list[Action]:
        assert group is None or isinstance(group, IPv6Address)
        target = group or ipv6.ALL_NODES
        router = self.world.router_mac
        source = ipv6.link_local(router)
        response = LAST_MEMBER_RESPONSE if group else RESPONSE
        body = igmp.mld_query(group, response * 1000, ROBUSTNESS, QUERY_INTERVAL)
        message = icmp.build6(igmp.MLD_QUERY, 0, body, source, target)
        data = ipv6.build(
            source, target, ipv6.HOP_BY_HOP, message, hops=1, extension=ipv6.ROUTER_ALERT
        )
        mac = ethernet.group6(target.packed)
        frame = ethernet.build(mac, router, ethernet.IPV6, data)
        return [Transmit(port.vif, frame), self.count("asked")]
