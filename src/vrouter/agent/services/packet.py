# SPDX-License-Identifier: Apache-2.0
"""A frame, opened as far as services need to know whose it is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from .wire import ethernet, ipv4, ipv6, udp
from .wire.ethernet import Ethernet
from .wire.ipv4 import IPv4
from .wire.ipv6 import IPv6
from .wire.malformed import Malformed


@dataclass(frozen=True, slots=True)
class Packet:
    """What a frame holds. ip: None for what is no IP, or is malformed. ports: of UDP, (0, 0)
    without; the checksum has not been looked at."""

    eth: Ethernet
    ip: IPv4 | IPv6 | None
    ports: tuple[int, int]

    def udp(self) -> udp.Udp:
        """The datagram, checked. Raises Malformed, also for a fragment: `fragment`."""
        if self.ip is None:
            raise Malformed("short ip")
        if self.ip.more or self.ip.offset:
            raise Malformed("fragment")
        return udp.read(self.ip.payload, self.ip.source, self.ip.target)


@lru_cache(maxsize=4)
def dissect(frame: bytes) -> Packet | None:
    """None for what is not even Ethernet with an IP header as it should be.

    The services are asked about one frame after the other, so it is kept for a moment.
    """
    try:
        eth = ethernet.read(frame)
    except Malformed:
        return None
    ip: IPv4 | IPv6 | None = None
    try:
        if eth.kind == ethernet.IPV4:
            ip = ipv4.read(eth.payload)
        elif eth.kind == ethernet.IPV6:
            ip = ipv6.read(eth.payload)
    except Malformed:
        return Packet(eth, None, (0, 0))
    if ip is None or ip.proto != udp.PROTO or ip.offset:
        return Packet(eth, ip, (0, 0))
    return Packet(eth, ip, udp.ports(ip.payload))
