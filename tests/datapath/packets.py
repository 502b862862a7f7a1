# SPDX-License-Identifier: Apache-2.0
"""Packets: valid ones for every way into dp-core, and what can be done to spoil them."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from tests.model.const import BROADCAST, MPLS_PORTS, VifType
from tests.model.state import State, ip, ip6, mac
from tests.model.wire import checksum, ether, outer_ipv4, outer_ipv6, udp

from . import states as s

MACS = [
    s.GATEWAY,
    s.ROUTER_MAC,
    s.VM1_MAC,
    s.VM2_MAC,
    s.REMOTE_MAC,
    s.NIC_MAC,
    s.FAR_MAC,
    s.IN_SUB,
    s.IN_VGW,
    s.IN_LEARNER,
    BROADCAST,
    mac("01:00:5e:00:00:05"),
    mac("02:de:ad:00:00:01"),
    mac("33:33:00:00:00:01"),
    *(mac(f"02:00:0a:01:01:{last:02x}") for last in range(4, 22)),
    s.MIRRORED_MAC,
    s.IN_MARKED,
    mac("02:00:0a:01:01:28"),
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
ADDRESSES6 = [
    *(ip6(f"fd00::{last:x}") for last in (*range(1, 15), 0xFE)),
    *(ip6(f"fd00:{second}::1") for second in range(2, 10)),
    *(ip6(f"2001:db8::{last:x}") for last in (1, 2, 3, 9, 10, 0x77)),
    ip6("2001:db8:7::1"),
    ip6("fe80::1"),
    ip6("fe80::77"),
    ip6("ff02::1"),
    ip6("ff02::2"),
    ip6("ff02::1:2"),
    ip6("ff05::1:3"),
    ip6("2001:4860::8"),
    bytes(16),
]
LABELS = [*s.MPLS, 0, 1, 3, 16, 1023, 1024, 0xFFFFF]
VNIS = [*s.VNIS, 0, 1, 0xFFFFFF]
EDGES = [0, 1, 2, 3, 4, 5, 7, 8, 14, 15, 16, 20, 28, 31, 32, 44, 63, 64, 69, 70, 127, 128, 255]


def fit(data: bytes) -> bytes:
    """The frame as the kernel takes it: TEST_RUN wants the IP header that the EtherType promises,
    and the stack, which a copy that comes in again passes, two bytes behind each VLAN tag. A
    tunnel takes two tags, so there is no third."""
    vlan = (b"\x81\x00", b"\x88\xa8")
    least = {b"\x08\x00": 34, b"\x86\xdd": 54}.get(data[12:14], 14)
    if data[12:14] in vlan:
        data = data.ljust(20, b"\0")
        least = 24 if data[16:18] in vlan else 20
    if least == 24 and data[20:22] in vlan:
        data = data[:20] + b"\x88\xb5" + data[22:]
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


def ipv6(
    r: random.Random, src: bytes, dst: bytes, proto: int, payload: bytes, hops: int = 64
) -> bytes:
    """An IPv6 packet; now and then with extension headers, or as a fragment."""
    proto, payload = _extended(r, proto, payload)
    word = 6 << 28 | r.choice((0, 0, 0xB8 << 20, r.getrandbits(20)))
    return struct.pack("!IHBB", word, len(payload), proto, hops) + src + dst + payload


def _extended(r: random.Random, proto: int, payload: bytes) -> tuple[int, bytes]:
    """The payload behind no extension header, or some, or too many."""
    for _ in range(r.choice((0,) * 12 + (1, 1, 2, 3, 8, 9))):
        kind = r.choice((0, 43, 60, 60, 51, 44))
        length = 0 if kind == 44 else r.choice((0, 0, 1, 2))
        size = (length + 2) * 4 if kind == 51 else (length + 1) * 8
        body = r.choice((bytes(size - 2), r.randbytes(size - 2)))
        payload = bytes((proto, length)) + body + payload
        proto = kind
    return proto, payload


def hop_limit(r: random.Random) -> int:
    """A hop limit."""
    return r.choice((64, 64, 64, 255, 2, 1, 0))


def inner_ipv6(r: random.Random) -> bytes:
    """A tenant's IPv6 packet: data, neighbour discovery or DHCPv6."""
    src, dst = r.choice(ADDRESSES6), r.choice(ADDRESSES6)
    kind = r.randrange(10)
    if kind < 5:
        proto = r.choice((6, 17, 17, 58, 58, 47, 59))
        payload = r.randbytes(r.choice((0, 1, 3, 4, 8, 20, 64, 600, 1400, 1460)))
        return ipv6(r, src, dst, proto, payload, hop_limit(r))
    if kind < 9:
        hops = 255 if r.random() < 0.9 else hop_limit(r)
        return ipv6(r, src, dst, 58, nd(r, src), hops)
    sport = 546 if r.random() < 0.8 else r.getrandbits(16)
    return ipv6(r, src, dst, 17, udp(sport, 547, r.randbytes(20)), hop_limit(r))


def nd(r: random.Random, src: bytes) -> bytes:
    """A message of neighbour discovery, its checksum anything."""
    kind = r.choice((133, 134, 135, 135, 135, 135, 136, 136, 137))
    target = r.choice((*ADDRESSES6, src))
    body = bytes(4) if kind == 133 else r.choice((bytes(4), r.randbytes(4))) + target
    options = r.choice((b"", b"\x01\x01" + r.choice(MACS), b"\x01\x01" + r.choice(MACS) + bytes(8)))
    code = 0 if r.random() < 0.95 else 1
    return struct.pack("!BBH", kind, code, r.getrandbits(16)) + body + options


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
    kind = r.randrange(15)
    if kind < 6:
        proto, payload = 0x0800, inner_ipv4(r)
    elif kind < 8:
        proto, payload = 0x0806, arp(r)
    elif kind < 14:
        proto, payload = 0x86DD, inner_ipv6(r)
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
    inside = frame(r) if r.random() < 0.5 else r.choice((inner_ipv4, inner_ipv6))(r)
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
    kind = r.randrange(9)
    if kind == 0:
        proto, payload = 1, quoted(r)
    elif kind < 3:
        proto, payload = 47, _gre(r)
    else:
        port = 4789 if kind < 6 else r.choice(MPLS_PORTS)
        body = _vxlan(r) if port == 4789 else _mpls(r)
        proto, payload = 17, udp(r.getrandbits(16), port, body)
    if r.random() < 0.4:
        return ether(s.NIC_MAC, s.FAR_MAC, 0x86DD) + _outer6(r, proto, payload)
    source = r.choice((s.FAR, s.FAR, s.OTHER, s.TOR_IP, s.PEER, r.choice(ADDRESSES)))
    target = s.SELF if r.random() < 0.9 else r.choice(ADDRESSES)
    if r.random() < 0.85:
        packet = outer_ipv4(proto, r.getrandbits(16), source, target, payload)
    else:
        packet = ipv4(r, source, target, proto, payload)
    return ether(s.NIC_MAC, s.FAR_MAC, 0x0800) + packet


def _outer6(r: random.Random, proto: int, payload: bytes) -> bytes:
    source = r.choice((s.FAR6, s.FAR6, s.OTHER6, r.choice(ADDRESSES6)))
    target = s.SELF6 if r.random() < 0.9 else r.choice(ADDRESSES6)
    if r.random() < 0.85:
        return outer_ipv6(proto, r.getrandbits(20), source, target, payload)
    return ipv6(r, source, target, proto, payload, hop_limit(r))


def from_agent(r: random.Random) -> bytes:
    """What an agent writes to pkt0."""
    vif = r.choice((s.VM1, s.VM2, s.FABRIC, s.HOST, s.AGENT, s.GONE, 500))
    vrf = r.choice((0, s.BLUE, s.BLUE, s.RED_VRF, 65535))
    command, diag = r.choice((0, 1, 1, 2, 99)), r.choice((0, 0, 1))
    head = struct.pack("!HHHIIIIIB3x", vif, vrf, command, diag, r.choice((diag, 1)), 0, 0, 0, 0)
    return ether(s.GATEWAY, s.GATEWAY, 0x0800) + head + frame(r)


def udp6(r: random.Random, src: bytes) -> tuple[int, bytes]:
    """DHCPv6 and other UDP."""
    ports = r.choice((546, 547, 53)), r.choice((546, 547, 53))
    return 17, struct.pack("!HHHH", *ports, 12, 0) + bytes(4)


def icmp6(r: random.Random, src: bytes) -> tuple[int, bytes]:
    """Neighbour discovery, MLD and the rest of ICMPv6."""
    kind = r.choice((128, 130, 131, 132, 133, 134, 135, 135, 136, 136, 137, 143))
    body = struct.pack("!BBHI", kind, 0, 0, 0)
    if kind in (135, 136, 137):
        body += r.choice((src, r.choice(ADDRESSES6)))
    for _ in range(r.choice((0, 0, 1, 1, 2, 6, 7))):
        size = r.choice((1, 1, 1, 2, 0))
        body += bytes((r.choice((1, 1, 2, 14)), size)) + r.choice(MACS) + bytes(8 * (size // 2))
    return 58, body


def extended(r: random.Random, proto: int, data: bytes) -> tuple[int, bytes]:
    """The payload behind extension headers."""
    for _ in range(r.choice((0, 0, 0, 1, 2, 6, 7))):
        kind = r.choice((0, 43, 60, 44, 51))
        offset = r.choice((0, 0, 1, 8)) if kind == 44 else 0
        size = r.choice((0, 0, 1))
        length = {44: 8, 51: (size + 2) * 4}.get(kind, (size + 1) * 8)
        data = struct.pack("!BBH", proto, size, offset).ljust(length, b"\0") + data
        proto = kind
    return proto, data


def link_local(mac: bytes) -> bytes:
    """The address that a host makes of its MAC."""
    return b"\xfe\x80" + bytes(6) + bytes((mac[0] ^ 2,)) + mac[1:3] + b"\xff\xfe" + mac[3:]


ADDRESSES6 = [
    bytes(16),
    ip6("fd00::1"),
    ip6("fd00::2"),
    ip6("fe80::1234"),
    link_local(s.VM1_MAC),
    link_local(s.VM2_MAC),
]


def spoken(r: random.Random) -> bytes:
    """What a VM whose sources are checked may say, and what it may not."""
    source = r.choice((s.VM1_MAC, s.VM1_MAC, s.VM2_MAC, r.choice(MACS)))
    target = r.choice((BROADCAST, r.choice(MACS), *BPDUS))
    kind = r.randrange(5)
    if kind == 0:
        payload = ipv4(r, r.choice(SPEAKERS), r.choice(ADDRESSES), r.choice((6, 17)), _dhcp(r))
        return ether(target, source, 0x0800) + payload
    if kind == 1:
        claimed = r.choice(SPEAKERS)
        head = struct.pack("!HHBBH", 1, 0x0800, 6, 4, r.choice((1, 2)))
        owner = r.choice((source, source, r.choice(MACS)))
        body = head + owner + claimed + bytes(6) + r.choice((claimed, r.choice(SPEAKERS)))
        return ether(target, source, 0x0806) + body
    if kind == 4:
        return ether(target, source, 0x88CC) + bytes(20)
    address = r.choice((*ADDRESSES6, link_local(source)))
    proto, data = extended(r, *r.choice((udp6, icmp6, icmp6))(r, address))
    head = struct.pack("!IHBB", 6 << 28, len(data), proto, 255)
    packet = head + address + r.choice(ADDRESSES6) + data
    return ether(target, source, 0x86DD) + packet


def served(r: random.Random) -> bytes:
    """What a vif may trap, and what is like it."""
    source = r.choice((s.VM1_MAC, s.FLOODS_DHCP, r.choice(MACS)))
    target = r.choice((BROADCAST, s.GROUP, s.GATEWAY, r.choice(MACS)))
    kind = r.randrange(5)
    if kind >= 3:
        inner = udp6(r, bytes(16)) if kind == 3 else extended(r, *icmp6(r, bytes(16)))
        proto, data = inner
        head = struct.pack("!IHBB", 6 << 28, len(data), proto, 255)
        return ether(target, source, 0x86DD) + head + r.randbytes(32) + data
    proto = r.choice((2, 17, 17))
    if kind == 2:
        data = udp(r.getrandbits(16), 3784, bytes((0x20, r.getrandbits(8))) + bytes(22))
        return ether(target, source, 0x0800) + ipv4(r, ip("10.1.1.1"), ip("10.1.1.11"), 17, data)
    payload = ipv4(r, r.choice(SPEAKERS), r.choice(ADDRESSES), proto, _dhcp(r))
    return ether(target, source, 0x0800) + payload


def quoted(r: random.Random) -> bytes:
    """An ICMP message about a packet, most likely of one of our tunnels."""
    proto = r.choice((17, 17, 47, 1))
    second = 0x8847 if proto == 47 else r.choice((4789, 6635, 51234, 53))
    data = struct.pack("!HHI", 50000 if proto == 17 else 0, second, 0)
    inside = ipv4(r, r.choice((s.SELF, s.SELF, s.FAR)), s.FAR, proto, data)
    return struct.pack("!BBHI", r.choice((3, 3, 11, 12, 5, 8)), 4, 0, 1400) + inside


def _dhcp(r: random.Random) -> bytes:
    ports = r.choice((67, 68, 68, 53)), r.choice((67, 67, 68))
    return struct.pack("!HHHH", *ports, 12, 0) + bytes(r.choice((4, 4, 0)))


SPEAKERS = [ip("10.1.1.1"), ip("10.1.1.1"), ip("10.1.2.9"), bytes(4), ip("10.1.1.2")]
BPDUS = [bytes.fromhex(one) for one in ("0180c2000000", "0180c2000008", "01000ccccccd")]


def valid(r: random.Random, state: State) -> tuple[int, bytes]:
    """A vif of the state, and a packet that may come in by it."""
    entries = [vif for vif in state.vifs.values() if vif.parent is None]
    vif = r.choice([*entries, state.vifs[s.FABRIC], state.vifs[s.FABRIC]])
    if vif.type == VifType.PHYSICAL and r.random() < 0.85:
        return vif.idx, tunnelled(r)
    if vif.type == VifType.AGENT and r.random() < 0.9:
        return vif.idx, from_agent(r)
    if vif.idx in (s.SERVED, s.VM1, s.CHECKED) and r.random() < 0.3:
        return vif.idx, fit(served(r))
    if vif.sources is not None and r.random() < 0.7:
        return vif.idx, fit(spoken(r))
    if vif.idx in (s.PARENT, s.NATIVE, s.PARENT_MIRRORED) and r.random() < 0.7:
        data = r.choice((spoken, frame, frame))(r)
        tci = r.choice((100, 100, 200, 400, 500, 0, 300)) | r.choice((0, 0, 0xE000, 0x1000))
        tpid = r.choice((0x8100, 0x8100, 0x88A8))
        return vif.idx, fit(data[:12] + struct.pack("!HH", tpid, tci) + data[12:])
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
