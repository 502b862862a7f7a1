# SPDX-License-Identifier: Apache-2.0
"""IPv6 frames for the tables of cases, built with scapy, which makes the checksums."""

from __future__ import annotations

from ipaddress import IPv6Address

from scapy.layers.inet import UDP
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.packet import Packet, Raw

from tests.model.hash import hashword

from . import states as s
from .frames import eth, label, text

SELF_IP6, FAR_IP6, OTHER_IP6 = "2001:db8::1", "2001:db8::2", "2001:db8::3"
ALL_NODES, ALL_ROUTERS = "ff02::1", "ff02::2"


def udp6(dst: str, src: str = "fd00::1", *, hops: int = 64, size: int = 4) -> Packet:
    """A UDP packet from port 1111 to port 2222 with `size` bytes of payload."""
    head = IPv6(src=src, dst=dst, hlim=hops)
    return head / UDP(sport=1111, dport=2222) / Raw(b"x" * size)


def group_mac(address: str) -> bytes:
    """The MAC of a multicast group (RFC 2464)."""
    return b"\x33\x33" + IPv6Address(address).packed[12:]


def solicited_node(address: str) -> str:
    """The group that has to hear a solicitation for an address."""
    last = IPv6Address(address).packed[13:]
    return str(IPv6Address(IPv6Address("ff02::1:ff00:0").packed[:13] + last))


def ns(
    target: str,
    *,
    src: str = "fd00::1",
    mac: bytes = s.VM1_MAC,
    dst: bytes | None = None,
    layers: tuple[Packet, ...] = (),
    hops: int = 255,
    option: bool = True,
    code: int = 0,
) -> bytes:
    """A neighbour solicitation; to the solicited-node group, or by unicast to the MAC `dst`.

    `layers` stand between frame and IPv6 (tags) or behind it (extension headers).
    """
    to = solicited_node(target) if dst is None else target
    message = ICMPv6ND_NS(tgt=target, code=code)
    if option and src != "::":
        message /= ICMPv6NDOptSrcLLAddr(lladdr=text(mac))
    tags = [one for one in layers if one.name == "802.1Q"]
    packet = IPv6(src=src, dst=to, hlim=hops)
    for one in layers:
        if one.name != "802.1Q":
            packet /= one
    return eth(dst or group_mac(to), mac, *tags, packet / message)


def na(ask: bytes, mac: bytes, target: str, *, src: str = "fd00::1", router: int = 0) -> bytes:
    """The answer to a solicitation of `src`: `mac` has the target."""
    message = ICMPv6ND_NA(R=router, S=1, O=1, tgt=target)
    message /= ICMPv6NDOptDstLLAddr(lladdr=text(mac))
    return eth(ask[6:12], mac, IPv6(src=target, dst=src, hlim=255) / message)


def advert(dst_mac: bytes, dst: str, *, mac: bytes = s.VM1_MAC, src: str = "fd00::1") -> bytes:
    """What a VM says of its own address."""
    message = ICMPv6ND_NA(R=0, S=0, O=1, tgt=src) / ICMPv6NDOptDstLLAddr(lladdr=text(mac))
    return eth(dst_mac, mac, IPv6(src=src, dst=dst, hlim=255) / message)


def rs(dst: str = ALL_ROUTERS, *, tagged: tuple[Packet, ...] = ()) -> bytes:
    """A router solicitation of vm1."""
    packet = IPv6(src="fe80::a", dst=dst, hlim=255) / ICMPv6ND_RS()
    return eth(group_mac(dst), s.VM1_MAC, *tagged, packet)


def dhcp6(sport: int = 546, dst: str = "ff02::1:2") -> bytes:
    """A DHCPv6 message of vm1."""
    packet = IPv6(src="fe80::a", dst=dst, hlim=1) / UDP(sport=sport, dport=547) / Raw(b"dhcp")
    return eth(group_mac(dst), s.VM1_MAC, packet)


def outer6(payload: Packet, *, src: str = FAR_IP6, dst: str = SELF_IP6) -> bytes:
    """What another host sends to this one."""
    return eth(s.NIC_MAC, s.FAR_MAC, IPv6(src=src, dst=dst) / payload)


def vxlan6(vni: int, frame: bytes, *, src: str = FAR_IP6, chksum: int = 0) -> bytes:
    """A VXLAN packet of another host."""
    head = b"\x08\0\0\0" + (vni << 8).to_bytes(4, "big")
    return outer6(UDP(sport=50000, dport=4789, chksum=chksum) / Raw(head + frame), src=src)


def mplsoudp6(number: int, inside: bytes, *, src: str = FAR_IP6, port: int = 6635) -> bytes:
    """An MPLSoUDP packet of another host."""
    return outer6(UDP(sport=50000, dport=port, chksum=0) / Raw(label(number) + inside), src=src)


def mplsogre6(number: int, inside: bytes, *, src: str = FAR_IP6) -> bytes:
    """An MPLSoGRE packet of another host."""
    body = b"\0\0\x88\x47" + label(number) + inside
    return eth(s.NIC_MAC, s.FAR_MAC, IPv6(src=src, dst=SELF_IP6, nh=47) / Raw(body))


def fold(address: str) -> int:
    """The exclusive or of the four words of an address."""
    raw = IPv6Address(address).packed
    words = (int.from_bytes(raw[at : at + 4], "little") for at in range(0, 16, 4))
    result = 0
    for word in words:
        result ^= word
    return result


def hash6(
    src: str, dst: str, vrf: int, *, ports: tuple[int, int] = (1111, 2222), proto: int = 17
) -> int:
    """The hash of an IPv6 packet; the function itself is tested against vectors."""
    raw = ports[0].to_bytes(2, "big") + ports[1].to_bytes(2, "big")
    words = [fold(src), fold(dst), int.from_bytes(raw, "little"), proto << 16 | vrf]
    return hashword(words, s.SEED)


def port_of(value: int) -> int:
    """The outer source port of a hash."""
    return 49152 + (value * 16383 >> 32)


def sent6(payload: Packet, value: int, dst: str, *, nh: int | None = None) -> bytes:
    """A packet that dp-core sends to another host; `value`: hash of what is inside."""
    head = IPv6(src=SELF_IP6, dst=dst, fl=value & 0xFFFFF, hlim=64)
    if nh is not None:
        head.nh = nh
    return eth(s.FAR_MAC, s.NIC_MAC, head / payload)


def sent_vxlan6(vni: int, frame: bytes, value: int | None, *, dst: str = FAR_IP6) -> bytes:
    """The VXLAN packet that dp-core must make of a frame; `value` None: no hash."""
    sport = 52000 if value is None else port_of(value)
    head = b"\x08\0\0\0" + (vni << 8).to_bytes(4, "big")
    return sent6(_udp(sport, 4789, head + frame), value or 0, dst)


def sent_mplsoudp6(
    number: int, data: bytes, value: int | None, *, ttl: int = 64, dst: str = FAR_IP6
) -> bytes:
    """The MPLSoUDP packet that dp-core must make of a frame or an IP packet."""
    sport = 51000 if value is None else port_of(value)
    return sent6(_udp(sport, 6635, label(number, ttl=ttl) + data), value or 0, dst)


def sent_mplsogre6(number: int, data: bytes, value: int | None, *, ttl: int = 64) -> bytes:
    """The MPLSoGRE packet that dp-core must make of a frame or an IP packet."""
    body = b"\0\0\x88\x47" + label(number, ttl=ttl) + data
    return sent6(Raw(body), value or 0, FAR_IP6, nh=47)


def _udp(sport: int, dport: int, body: bytes) -> Packet:
    return UDP(sport=sport, dport=dport, chksum=0) / Raw(body)
