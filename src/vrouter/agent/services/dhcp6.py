# SPDX-License-Identifier: Apache-2.0
"""DHCPv6 (RFC 8415): the one address of a port, and what hosts are told besides.

As with DHCPv4 there are no leases to keep. The server's DUID is made of the router's MAC, which is
the same on every host: a VM that was moved goes on with the same server.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address

from . import facts
from .base import Action, Port, Transmit, Trap
from .declined import DhcpService
from .packet import Packet
from .service import send6
from .wire import dhcp6, ipv6, udp
from .wire.dhcp6 import Message, Option
from .wire.malformed import Malformed

# RFC 8415, section 7.2: within IRT_MINIMUM and a day, as often as leases are renewed
_LEAST_REFRESH = 600
_BY_SERVER_ID = (dhcp6.REQUEST, dhcp6.RENEW, dhcp6.RELEASE, dhcp6.DECLINE)
_WITHOUT_SERVER_ID = (dhcp6.SOLICIT, dhcp6.CONFIRM, dhcp6.REBIND)
_WITHOUT_CLIENT_ID = (dhcp6.INFORMATION,)


@dataclass(frozen=True, slots=True)
class _Client:
    """Who asks, and what it is told. address: None when its subnet has no stateful DHCP."""

    port: Port
    packet: Packet
    address: IPv6Address | None
    subnet: facts.SubnetFacts | None
    subnets: Sequence[facts.SubnetFacts]


class Dhcp6Service(DhcpService):
    """See the module."""

    name = "dhcp6"

    @property
    def duid(self) -> bytes:
        """The server's."""
        return dhcp6.duid_ll(self.world.router_mac)

    def take(self, trap: Trap, packet: Packet) -> Iterable[Action] | None:
        """UDP to port 547."""
        ip = packet.ip
        if packet.ports[1] != dhcp6.SERVER_PORT or not isinstance(ip, ipv6.IPv6):
            return None
        data = packet.udp().payload
        port = trap.port
        if port is None:
            return (self.count("from the fabric"),)
        if not ip.source.is_link_local:
            return (self.count("source is not link-local"),)
        if packet.eth.source != facts.of_interface(port.interface).mac:
            return (self.count("unknown client"),)
        if data[:1] == bytes((dhcp6.RELAY_FORWARD,)):
            return (self.count("relayed"),)
        message = dhcp6.read(data)
        self._check(message)
        client = self._client(port, packet)
        server = message.one(dhcp6.SERVER_ID)
        if server is not None and server != self.duid:
            return (self.count("for another server"),)
        if not ip.target.is_multicast:
            return self._unicast(client, message)
        return self._answer(client, message, trap.now)

    def _check(self, message: Message) -> None:
        """RFC 8415, section 16: what a message must and must not have."""
        server = message.one(dhcp6.SERVER_ID) is not None
        client = message.one(dhcp6.CLIENT_ID) is not None
        if message.kind not in (*_BY_SERVER_ID, *_WITHOUT_SERVER_ID, *_WITHOUT_CLIENT_ID):
            raise Malformed("dhcp message type")
        if not client and message.kind not in _WITHOUT_CLIENT_ID:
            raise Malformed("no client id")
        if message.kind in _BY_SERVER_ID and not server:
            raise Malformed("no server id")
        if message.kind in _WITHOUT_SERVER_ID and server:
            raise Malformed("server id")
        if message.kind == dhcp6.INFORMATION and any(
            code in (dhcp6.IA_NA, dhcp6.IA_TA, dhcp6.IA_PD) for code, _ in message.options
        ):
            raise Malformed("association in an information request")

    def _client(self, port: Port, packet: Packet) -> _Client:
        network = facts.of_network(port.network)
        subnets = list(network.of_version(6))
        address = facts.of_interface(port.interface).first(6)
        subnet = network.subnet_of(address) if address is not None else None
        if not isinstance(address, IPv6Address) or subnet is None or not subnet.record.dhcp:
            return _Client(port, packet, None, subnet, subnets)
        return _Client(port, packet, address, subnet, subnets)

    def _unicast(self, client: _Client, message: Message) -> Iterable[Action]:
        """Nobody was told that it may (RFC 8415, section 18.4)."""
        if message.kind not in _BY_SERVER_ID:
            return (self.count("unicast"),)
        status = dhcp6.status(dhcp6.USE_MULTICAST, "to ff02::1:2")
        return self._send(client, message, dhcp6.REPLY, [status]), self.count("told to multicast")

    def _answer(self, client: _Client, message: Message, now: float) -> Iterable[Action]:
        match message.kind:
            case dhcp6.SOLICIT:
                return self._solicit(client, message)
            case dhcp6.REQUEST | dhcp6.RENEW | dhcp6.REBIND:
                options = [*self._associations(client, message), *self._told(client, message)]
                return self._send(client, message, dhcp6.REPLY, options), self.count("replied")
            case dhcp6.CONFIRM:
                return self._confirm(client, message)
            case dhcp6.RELEASE:
                return self._release(client, message)
            case dhcp6.DECLINE:
                return self._decline(client, message, now)
        if not client.subnets:
            return (self.count("no subnet"),)
        told = self._told(client, message)
        return self._send(client, message, dhcp6.REPLY, told), self.count("informed")

    def _solicit(self, client: _Client, message: Message) -> Iterable[Action]:
        if client.address is None:
            return (self.count("no address"),)
        options = [*self._associations(client, message), *self._told(client, message)]
        if message.one(dhcp6.RAPID_COMMIT) is not None:
            options.append((dhcp6.RAPID_COMMIT, b""))
            return self._send(client, message, dhcp6.REPLY, options), self.count("replied")
        options.append((dhcp6.PREFERENCE, b"\xff"))
        return self._send(client, message, dhcp6.ADVERTISE, options), self.count("advertised")

    def _confirm(self, client: _Client, message: Message) -> Iterable[Action]:
        """RFC 8415, section 18.3.3: whether the addresses are of this link."""
        asked = [
            one
            for value in message.every(dhcp6.IA_NA)
            for one in dhcp6.association(value).addresses
        ]
        if not asked:
            return (self.count("nothing to confirm"),)
        on_link = all(any(one in each.prefix for each in client.subnets) for one in asked)
        code = dhcp6.SUCCESS if on_link else dhcp6.NOT_ON_LINK
        status = dhcp6.status(code, "of this link" if on_link else "of another link")
        result = "confirmed" if on_link else "not on link"
        return self._send(client, message, dhcp6.REPLY, [status]), self.count(result)

    def _release(self, client: _Client, message: Message) -> Iterable[Action]:
        options = [dhcp6.status(dhcp6.SUCCESS, "released"), *self._unbound(client, message)]
        return self._send(client, message, dhcp6.REPLY, options), self.count("released")

    def _decline(self, client: _Client, message: Message, now: float) -> Iterable[Action]:
        held = [dhcp6.association(value) for value in message.every(dhcp6.IA_NA)]
        if client.address is not None and any(client.address in one.addresses for one in held):
            self.note(client.port, client.address, now)
        options = [dhcp6.status(dhcp6.SUCCESS, "noted"), *self._unbound(client, message)]
        return self._send(client, message, dhcp6.REPLY, options), self.count("declined")

    def _unbound(self, client: _Client, message: Message) -> list[Option]:
        """NoBinding for each IA whose addresses are not the port's (RFC 8415, 18.3.7)."""
        options = []
        for value in message.every(dhcp6.IA_NA):
            one = dhcp6.association(value)
            if client.address is None or client.address not in one.addresses:
                status = dhcp6.status(dhcp6.NO_BINDING, "not of this port")
                options.append(_empty(dhcp6.IA_NA, one.iaid + bytes(8), status))
        return options

    def _associations(self, client: _Client, message: Message) -> list[Option]:
        """The first IA_NA gets the address; what it had besides has no lifetime any more. There
        are none for more, and neither temporary addresses nor prefixes."""
        options: list[Option] = []
        given = False
        for code, value in message.options:
            if code == dhcp6.IA_NA:
                one = dhcp6.association(value)
                if given or client.address is None or client.subnet is None:
                    status = dhcp6.status(dhcp6.NO_ADDRESSES, "one address for a port")
                    options.append(_empty(code, one.iaid + bytes(8), status))
                    continue
                given = True
                options.append(_bound(one, client.address, client.subnet.record.lease_time))
            elif code == dhcp6.IA_TA:
                status = dhcp6.status(dhcp6.NO_ADDRESSES, "no temporary addresses")
                options.append(_empty(code, _iaid(value), status))
            elif code == dhcp6.IA_PD:
                status = dhcp6.status(dhcp6.NO_PREFIX, "no prefixes")
                options.append(_empty(code, _iaid(value) + bytes(8), status))
        return options

    def _told(self, client: _Client, message: Message) -> list[Option]:
        """What it asks for and there is."""
        asked = dhcp6.asked(message)
        subnets = [client.subnet] if client.subnet is not None else client.subnets
        resolvers = _v6(one for subnet in subnets for one in subnet.resolvers)
        ntp = _v6(one for subnet in subnets for one in subnet.ntp)
        domains = dict.fromkeys(one.record.domain for one in subnets if one.record.domain)
        lease = min((one.record.lease_time for one in subnets), default=_LEAST_REFRESH)
        told = {
            dhcp6.DNS: dhcp6.addresses(resolvers),
            dhcp6.DOMAINS: dhcp6.domains(list(domains)),
            dhcp6.SNTP: dhcp6.addresses(ntp),
            dhcp6.NTP: dhcp6.ntp(ntp),
        }
        if message.kind == dhcp6.INFORMATION:
            told[dhcp6.REFRESH] = struct.pack("!I", max(lease, _LEAST_REFRESH))
        return [(code, value) for code, value in told.items() if value and code in asked]

    def _send(
        self, client: _Client, message: Message, kind: int, options: Sequence[Option]
    ) -> Transmit:
        packet = client.packet
        assert isinstance(packet.ip, ipv6.IPv6)
        router = self.world.router_mac
        head = [(dhcp6.SERVER_ID, self.duid)]
        duid = message.one(dhcp6.CLIENT_ID)
        if duid is not None:
            head.insert(0, (dhcp6.CLIENT_ID, duid))
        payload = dhcp6.build(Message(kind, message.xid, (*head, *options)))
        source, target = ipv6.link_local(router), packet.ip.source
        data = udp.build(source, target, dhcp6.SERVER_PORT, dhcp6.CLIENT_PORT, payload)
        mac, tags = packet.eth.source, packet.eth.tags
        return send6(client.port, mac, router, source, target, udp.PROTO, data, tags=tags)


def _bound(one: dhcp6.Association, address: IPv6Address, lifetime: int) -> Option:
    old = [dhcp6.ia_address(other, 0, 0) for other in one.addresses[:4] if other != address]
    return dhcp6.ia_na(one.iaid, lifetime, [dhcp6.ia_address(address, lifetime, lifetime), *old])


def _empty(code: int, head: bytes, status: Option) -> Option:
    return code, head + dhcp6.option(*status)


def _iaid(value: bytes) -> bytes:
    if len(value) < 4:
        raise Malformed("dhcp option cut short")
    return value[:4]


def _v6(many: Iterable[facts.Address]) -> list[IPv6Address]:
    return list(dict.fromkeys(one for one in many if isinstance(one, IPv6Address)))
