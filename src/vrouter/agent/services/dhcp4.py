# SPDX-License-Identifier: Apache-2.0
"""DHCPv4 (RFC 2131): every port is told the one address that the desired state gives it.

There are no leases to keep: an address belongs to its port until the desired state says
otherwise, so a renewal never changes it, and any host that runs the VM gives the same answer.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network

from . import facts
from .base import Action, Port, Transmit, Trap
from .declined import DhcpService
from .packet import Packet
from .service import send4
from .wire import dhcp4, ethernet, ipv4, udp
from .wire.dhcp4 import Message

# RFC 2131, section 2: what every client takes; less is not to be asked for
_LEAST_ROOM = 576
_MOST_ROOM = 1500
_HEADERS = 28
_UNTOUCHED = frozenset((dhcp4.KIND, dhcp4.SERVER_ID, dhcp4.LEASE_TIME, dhcp4.T1, dhcp4.T2))


@dataclass(frozen=True, slots=True)
class _Lease:
    """What a port is told."""

    address: IPv4Address
    server: IPv4Address
    subnet: facts.SubnetFacts


class Dhcp4Service(DhcpService):
    """See the module."""

    name = "dhcp"

    def take(self, trap: Trap, packet: Packet) -> Iterable[Action] | None:
        """UDP to port 67."""
        if packet.ports[1] != dhcp4.SERVER_PORT or not isinstance(packet.ip, ipv4.IPv4):
            return None
        message = dhcp4.read(packet.udp().payload)
        port = trap.port
        if port is None:
            return (self.count("from the fabric"),)
        if message.op != 1:
            return (self.count("not a request"),)
        if message.chaddr != facts.of_interface(port.interface).mac:
            return (self.count("unknown client"),)
        lease = self._lease(port)
        if isinstance(lease, str):
            return (self.count(lease),)
        return self._answer(port, packet, message, lease, trap.now)

    def _lease(self, port: Port) -> _Lease | str:
        """What the port is told, or why it is told nothing."""
        address = facts.of_interface(port.interface).first(4)
        if not isinstance(address, IPv4Address):
            return "no address"
        subnet = facts.of_network(port.network).subnet_of(address)
        if subnet is None or not subnet.record.dhcp:
            return "no dhcp in the subnet"
        server = subnet.server or facts.LINK_LOCAL_SERVER
        assert isinstance(server, IPv4Address)
        return _Lease(address, server, subnet)

    def _answer(
        self, port: Port, packet: Packet, message: Message, lease: _Lease, now: float
    ) -> Iterable[Action]:
        server = message.address(dhcp4.SERVER_ID)
        if server is not None and server != lease.server:
            return (self.count("for another server"),)
        match message.kind:
            case dhcp4.DISCOVER:
                return self._reply(port, packet, message, lease, dhcp4.OFFER), self.count("offered")
            case dhcp4.REQUEST:
                return self._request(port, packet, message, lease)
            case dhcp4.INFORM:
                return self._inform(port, packet, message, lease)
            case dhcp4.RELEASE:
                return (self.count("released"),)
            case dhcp4.DECLINE:
                return self._decline(port, message, lease, now)
            case 0:
                return (self.count("dhcp message type"),)
        return (self.count("dhcp message type"),)

    def _request(
        self, port: Port, packet: Packet, message: Message, lease: _Lease
    ) -> Iterable[Action]:
        """RFC 2131, section 4.3.2: which address the client has, by the state that it is in."""
        wanted = message.address(dhcp4.REQUESTED)
        if wanted is None:
            if message.ciaddr == ipv4.ANY:
                return (self.count("no address asked for"),)
            wanted = message.ciaddr
        if wanted != lease.address:
            return self._nak(port, packet, message, lease), self.count("refused")
        return self._reply(port, packet, message, lease, dhcp4.ACK), self.count("acknowledged")

    def _inform(
        self, port: Port, packet: Packet, message: Message, lease: _Lease
    ) -> Iterable[Action]:
        if message.ciaddr != lease.address:
            return (self.count("unknown client"),)
        informed = self._reply(port, packet, message, lease, dhcp4.ACK, informs=True)
        return informed, self.count("informed")

    def _decline(self, port: Port, message: Message, lease: _Lease, now: float) -> Iterable[Action]:
        if message.address(dhcp4.REQUESTED) != lease.address:
            return (self.count("declined another address"),)
        self.note(port, lease.address, now)
        return (self.count("declined"),)

    def _reply(
        self,
        port: Port,
        packet: Packet,
        message: Message,
        lease: _Lease,
        kind: int,
        *,
        informs: bool = False,
    ) -> Transmit:
        """An offer or an acknowledgement."""
        options = {dhcp4.KIND: bytes((kind,)), dhcp4.SERVER_ID: lease.server.packed}
        if not informs:
            seconds = lease.subnet.record.lease_time
            options[dhcp4.LEASE_TIME] = struct.pack("!I", seconds)
            options[dhcp4.T1] = struct.pack("!I", seconds // 2)
            options[dhcp4.T2] = struct.pack("!I", seconds * 7 // 8)
        options |= _echoed(message, dhcp4.CLIENT_ID)
        told = self._told(port, lease)
        asked = message.options.get(dhcp4.ASKED)
        for code in asked if asked is not None else told:
            if code in told and code not in _UNTOUCHED:
                options[code] = told[code]
        options |= _echoed(message, dhcp4.RELAY)
        answer = Message(
            2,
            message.xid,
            message.flags,
            message.ciaddr if kind == dhcp4.ACK else ipv4.ANY,
            ipv4.ANY if informs else lease.address,
            message.giaddr,
            message.chaddr,
            options=options,
        )
        return self._send(port, packet, message, answer, lease)

    def _nak(self, port: Port, packet: Packet, message: Message, lease: _Lease) -> Transmit:
        """Table 3 of RFC 2131; to all, or with the broadcast bit to the relay (section 4.3.2)."""
        relayed = message.giaddr != ipv4.ANY
        answer = Message(
            2,
            message.xid,
            message.flags | (dhcp4.BROADCAST_FLAG if relayed else 0),
            ipv4.ANY,
            ipv4.ANY,
            message.giaddr,
            message.chaddr,
            options={
                dhcp4.KIND: bytes((dhcp4.NAK,)),
                dhcp4.SERVER_ID: lease.server.packed,
                **_echoed(message, dhcp4.CLIENT_ID),
                dhcp4.MESSAGE: b"this port has another address",
                **_echoed(message, dhcp4.RELAY),
            },
        )
        return self._send(port, packet, message, answer, lease)

    def _send(
        self, port: Port, packet: Packet, message: Message, answer: Message, lease: _Lease
    ) -> Transmit:
        """Where to: RFC 2131, section 4.1."""
        target, mac, dport = answer.yiaddr, message.chaddr, dhcp4.CLIENT_PORT
        if message.giaddr != ipv4.ANY:
            target, mac, dport = message.giaddr, packet.eth.source, dhcp4.SERVER_PORT
        elif answer.kind == dhcp4.NAK:
            target, mac = ipv4.BROADCAST, ethernet.BROADCAST
        elif message.ciaddr != ipv4.ANY:
            target = message.ciaddr
        elif message.flags & dhcp4.BROADCAST_FLAG:
            target, mac = ipv4.BROADCAST, ethernet.BROADCAST
        payload = dhcp4.build(answer, _room(message))
        data = udp.build(lease.server, target, dhcp4.SERVER_PORT, dport, payload)
        router = self.world.router_mac
        tags = packet.eth.tags
        return send4(port, mac, router, lease.server, target, udp.PROTO, data, tags=tags)

    def _told(self, port: Port, lease: _Lease) -> dict[int, bytes]:
        """All that can be asked for, in the order in which it is told when nothing is asked:
        RFC 3442 wants classless routes before the router."""
        subnet = lease.subnet
        gateway = subnet.gateway.packed if subnet.gateway is not None else b""
        mtu = self.world.mtu(port.vrf)
        told = {
            dhcp4.SUBNET_MASK: subnet.prefix.netmask.packed,
            dhcp4.ROUTES: _routes(subnet),
            dhcp4.ROUTER: gateway,
            dhcp4.DNS: b"".join(one.packed for one in subnet.resolvers if one.version == 4),
            dhcp4.HOST_NAME: facts.hostname(port.interface).encode("ascii", "ignore")[:255],
            dhcp4.DOMAIN: subnet.record.domain.encode("ascii", "ignore"),
            dhcp4.MTU: struct.pack("!H", min(mtu, 65_535)) if mtu else b"",
            dhcp4.NTP: b"".join(one.packed for one in subnet.ntp if one.version == 4),
        }
        return {code: value for code, value in told.items() if value}


def _routes(subnet: facts.SubnetFacts) -> bytes:
    """The subnet's host routes, and the default route, which a client that takes these does
    not take from option 3 (RFC 3442)."""
    pairs = []
    for one in subnet.record.host_routes:
        prefix, hop = ip_network(one.prefix), ip_address(one.next_hop)
        if isinstance(prefix, IPv4Network) and isinstance(hop, IPv4Address):
            pairs.append((prefix, hop))
    default = IPv4Network("0.0.0.0/0")
    if pairs and isinstance(subnet.gateway, IPv4Address):
        if all(prefix != default for prefix, _ in pairs):
            pairs.append((default, subnet.gateway))
    return dhcp4.routes(pairs)


def _echoed(message: Message, code: int) -> dict[int, bytes]:
    """An option that comes back as it came: RFC 6842; RFC 3046, as the last one."""
    return {code: message.options[code]} if code in message.options else {}


def _room(message: Message) -> int:
    """How long an answer may be, without IP and UDP."""
    value = message.options.get(dhcp4.MOST, b"")
    most = int.from_bytes(value, "big") if len(value) == 2 else _LEAST_ROOM
    return min(max(most, _LEAST_ROOM), _MOST_ROOM) - _HEADERS
