# SPDX-License-Identifier: Apache-2.0
"""Packets: valid ones for every way into dp-core, and what can be done to spoil them."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from tests.model.const import BROADCAST, MPLS_PORTS, VifType
from tests.model.state import State, ip, mac
from tests.model.wire import checksum, ether, outer_ipv4, udp

from . import states as s

MACS = [
    s.GATEWAY,
    s.ROUTER_MAC,
    s.VM1_MAC,
    s.VM2_MAC,
    s.REMOTE_MAC,
    s.NIC_MAC,
    s.FAR_MAC,
    BROADCAST,
    mac("01:00:5e:00:00:05"),
    mac("02:de:ad:00:00:01"),
    *(mac(f"02:00:0a:01:01:{last:02x}") for last in (*range(4, 14), 0x12, 0x13)),
    s.HEARD_GROUP,
]
ADDRESSES = [
    *(ip(f"10.1.1.{last}") for last in (*range(1, 12), 254)),
    *(ip(f"10.1.{third}.1") for third in range(2, 19)),
    *(ip(f"172.30.0.{last}") for last in (1, 2, 3, 9, 10, 77)),
    ip("10.0.0.1"),
    ip("8.8.8.8"),
    ip("169.254.7.7"),
    ip("224.0.0.5"),
    ip("225.1.2.3"),
    ip("255.255.255.255"),
    bytes(4),
]
LABELS = [*s.MPLS, 0, 3, 16, 1023, 1024, 0xFFFFF]
VNIS = [*s.VNIS, 0, 1, 0xFFFFFF]
EDGES = [0, 1, 2, 3, 4, 5, 7, 8, 14, 15, 16, 20, 28, 31, 32, 44, 63, 64, 69, 70, 127, 128, 255]


def fit(data: bytes) -> bytes:
    """The frame as the kernel takes it: TEST_RUN wants the IP header that the EtherType promises,
    and the stack, which a copy that comes in again passes, two bytes behind each VLAN tag."""
    vlan = (b"\x81\x00", b"\x88\xa8")
    least = {b"\x08\x00": 34, b"\x86\xdd": 54}.get(data[12:14], 14)
    if data[12:14] in vlan:
        least = 24 if data[16:18] in vlan else 20
    return data.ljust(least, b"\0")


def ipv4(r: random.Random, src: bytes, dst: bytes, proto: int, payload: bytes) -> bytes:
    """An IPv4 packet with a right checksum; now and then with options or as a fragment."""
    options = r.randbytes(4 * r.choice((0, 0, 0, 0, 1, 10)))
    frag = r.choice((0, 0, 0, 0, 0, 0, 0x4000, 0x2000, 0x2001, 5))
    ttl = r.choice((64, 64, 64, 255, 2, 1, 0))
    head = struct.pack(
        "!BBHHHBBH",
        0x45 + len(options) // 4,
        r.choice((0, 0, 0xB8)),
        20 + len(options) + len(payload),
        r.getrandbits(16),
        frag,
        ttl,
        proto,
        0,
    )
    head += src + dst + options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def ipv6(r: random.Random) -> bytes:
    """An IPv6 packet."""
    payload = r.randbytes(r.choice((0, 3, 4, 8, 60)))
    proto = r.choice((6, 17, 58, 0))
    return struct.pack("!IHBB", 6 << 28, len(payload), proto, 64) + r.randbytes(32) + payload


def inner_ipv4(r: random.Random) -> bytes:
    """A tenant's packet."""
    proto = r.choice((1, 6, 17, 17, 47, 89))
    size = r.choice((0, 3, 4, 8, 20, 64, 600, 1400, 1480))
    payload = r.randbytes(size)
    return ipv4(r, r.choice(ADDRESSES), r.choice(ADDRESSES), proto, payload)


def arp(r: random.Random) -> bytes:
    """An ARP request or reply; gratuitous now and then."""
    target = r.choice(ADDRESSES)
    sender = r.choice((r.choice(ADDRESSES), r.choice(ADDRESSES), target, bytes(4)))
    op = r.choice((1, 1, 1, 2))
    head = struct.pack("!HHBBH", 1, 0x0800, 6, 4, op)
    data = head + r.choice(MACS) + sender + r.choice((bytes(6), r.choice(MACS))) + target
    return data + bytes(r.choice((0, 0, 18)))


def frame(r: random.Random) -> bytes:
    """A tenant's frame."""
    kind = r.randrange(10)
    if kind < 6:
        proto, payload = 0x0800, inner_ipv4(r)
    elif kind < 8:
        proto, payload = 0x0806, arp(r)
    elif kind < 9:
        proto, payload = 0x86DD, ipv6(r)
    else:
        proto, payload = r.choice((0x88CC, 0x8847, 0x0805, 0x0027)), r.randbytes(r.randrange(60))
    tag = b""
    if r.random() < 0.06:
        tag = struct.pack("!HH", r.choice((0x8100, 0x88A8)), r.getrandbits(16))
    dst = r.choice(MACS) if proto != 0x0806 or r.random() < 0.4 else BROADCAST
    return dst + r.choice(MACS) + tag + struct.pack("!H", proto) + payload


def _wrapped(r: random.Random) -> bytes:
    """What stands behind a label of the multicast tree."""
    head = struct.pack("!II", 0x08000000, r.choice(VNIS) << 8) + frame(r)
    packet = outer_ipv4(17, r.getrandbits(16), s.FAR, s.SELF, udp(50000, 4789, head))
    return r.choice((0, 0, 0, 0, 1)).to_bytes(4, "big") + packet


def _mpls(r: random.Random) -> bytes:
    ttl = r.choice((64, 64, 64, 255, 2, 1, 0))
    label = r.choice(LABELS)
    entry = label << 12 | r.choice((0, 0, 7)) << 9 | ttl
    entry |= 0x100 if r.random() < 0.95 else 0
    inside = frame(r) if r.random() < 0.5 else r.choice((inner_ipv4, ipv6))(r)
    if label > 1023 and r.random() < 0.8:
        inside = _wrapped(r)
    return struct.pack("!I", entry) + inside


def _gre(r: random.Random) -> bytes:
    flags = r.choice((0, 0, 0, 0x8000, 0x2000, 0xA000, 0x1000, 1))
    proto = 0x8847 if r.random() < 0.9 else 0x0800
    return struct.pack("!HH", flags, proto) + bytes(4 * (flags >> 12).bit_count()) + _mpls(r)


def _vxlan(r: random.Random) -> bytes:
    flags = r.choice((0x08000000,) * 8 + (0, 0x09000000, 0x08000001))
    return struct.pack("!II", flags, r.choice(VNIS) << 8 | r.choice((0, 0, 0xFF))) + frame(r)


def tunnelled(r: random.Random) -> bytes:
    """A packet of the fabric: most are tunnels to this host."""
    kind = r.randrange(4)
    source = r.choice((s.FAR, s.FAR, s.OTHER, s.TOR_IP, s.PEER, r.choice(ADDRESSES)))
    target = s.SELF if r.random() < 0.9 else r.choice(ADDRESSES)
    if kind == 0:
        proto, payload = 47, _gre(r)
    else:
        port = 4789 if kind == 1 else r.choice(MPLS_PORTS)
        body = _vxlan(r) if port == 4789 else _mpls(r)
        proto, payload = 17, udp(r.getrandbits(16), port, body)
    if r.random() < 0.85:
        packet = outer_ipv4(proto, r.getrandbits(16), source, target, payload)
    else:
        packet = ipv4(r, source, target, proto, payload)
    return ether(s.NIC_MAC, s.FAR_MAC, 0x0800) + packet


def from_agent(r: random.Random) -> bytes:
    """What an agent writes to pkt0."""
    vif = r.choice((s.VM1, s.VM2, s.FABRIC, s.HOST, s.AGENT, s.GONE, 500))
    vrf = r.choice((0, s.BLUE, s.BLUE, s.RED_VRF, 65535))
    head = struct.pack("!HHHIIIIIB3x", vif, vrf, r.choice((0, 1, 1, 2, 99)), 0, 0, 0, 0, 0, 0)
    return ether(s.GATEWAY, s.GATEWAY, 0x0800) + head + frame(r)


def valid(r: random.Random, state: State) -> tuple[int, bytes]:
    """A vif of the state, and a packet that may come in by it."""
    vif = r.choice([*state.vifs.values(), state.vifs[s.FABRIC], state.vifs[s.FABRIC]])
    if vif.type == VifType.PHYSICAL and r.random() < 0.85:
        return vif.idx, tunnelled(r)
    if vif.type == VifType.AGENT and r.random() < 0.9:
        return vif.idx, from_agent(r)
    return vif.idx, fit(frame(r))


def _flip(r: random.Random, data: bytearray) -> None:
    data[r.randrange(min(len(data), 120))] ^= 1 << r.randrange(8)


def _edge(r: random.Random, data: bytearray) -> None:
    data[r.randrange(min(len(data), 120))] = r.choice(EDGES)


def _word(r: random.Random, data: bytearray) -> None:
    at = r.randrange(min(len(data) - 1, 120))
    struct.pack_into(
        "!H", data, at, r.choice((0, 1, 0xFFFF, 0x0800, 0x0806, 0x8100, 0x86DD, 0x8847))
    )


def _cut(r: random.Random, data: bytearray) -> None:
    del data[r.randrange(14, len(data) + 1) :]


def _grow(r: random.Random, data: bytearray) -> None:
    data.extend(bytes(r.randrange(1, 40)))


def _double(r: random.Random, data: bytearray) -> None:
    at = r.randrange(min(len(data), 80))
    length = r.choice((4, 8, 14, 20))
    data[at:at] = data[at : at + length]


MUTATIONS: list[Callable[[random.Random, bytearray], None]] = [
    _flip,
    _flip,
    _edge,
    _edge,
    _word,
    _cut,
    _grow,
    _double,
]


def mutate(r: random.Random, data: bytes) -> bytes:
    """The packet with one to three things wrong."""
    spoiled = bytearray(data)
    for _ in range(r.choice((1, 1, 2, 3))):
        r.choice(MUTATIONS)(r, spoiled)
    return fit(bytes(spoiled[:3600]))
