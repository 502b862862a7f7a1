# SPDX-License-Identifier: Apache-2.0
"""Headers that are too short or contradict themselves, wherever an IPv4 header is read."""

from __future__ import annotations

import struct

from tests.model.const import Drop

from . import states as s
from .frames import eth, ip, mplsoudp, outer_gre, vxlan
from .table import Case, Names, drop, rows

B = s.BLUE
GOOD = bytes(ip("10.1.1.2"))
WHOLE = len(GOOD)


def patched(at: int, value: bytes) -> bytes:
    """The good packet with some bytes overwritten."""
    return GOOD[:at] + value + GOOD[at + len(value) :]


BAD = {
    "version 6": patched(0, b"\x65"),
    "version 0": patched(0, b"\x05"),
    "header of 0 bytes": patched(0, b"\x40"),
    "header of 16 bytes": patched(0, b"\x44"),
    "header longer than the packet": patched(0, b"\x4f"),
    "length 0": patched(2, b"\0\0"),
    "length 19": patched(2, b"\0\x13"),
    "length one more than there is": patched(2, (WHOLE + 1).to_bytes(2, "big")),
    "length 65535": patched(2, b"\xff\xff"),
    "one byte missing": GOOD[:-1],
}


def read(where: str, vif: int, dst: bytes, counts: Names = (), **bridge: bytes) -> list[Case]:
    """Each bad packet, where the header is read."""
    macs = ((B, bridge["mac"]),) if bridge else ()
    return [
        drop(
            f"{where}: {name}",
            vif,
            eth(dst, s.VM1_MAC, packet, type=0x0800),
            Drop.INVALID_PACKET,
            counts,
            macs,
        )
        for name, packet in BAD.items()
    ]


INSIDE = [
    drop(
        f"behind a label: {name}",
        s.FABRIC,
        mplsoudp(1000, packet),
        Drop.INVALID_PACKET,
        ((0, "receives"),),
    )
    for name, packet in BAD.items()
    if name != "version 6"
]
BY_VNI = [
    drop(
        f"behind a VNI for the gateway: {name}",
        s.FABRIC,
        vxlan(5001, eth(s.GATEWAY, s.REMOTE_MAC, packet, type=0x0800)),
        Drop.INVALID_PACKET,
        ((0, "receives"), (B, "vrf_translates"), (B, "l2_receives")),
        ((B, s.GATEWAY),),
    )
    for name, packet in BAD.items()
]


def cut(packet: bytes, area: int) -> bytes:
    """A tunnel packet of this host's whose IP and UDP lengths end after so many bytes of L4."""
    head, l4 = packet[14:34], packet[34 : 34 + area]
    if head[9] == 17 and area >= 8:
        l4 = l4[:4] + struct.pack("!H", area) + l4[6:]
    return packet[:14] + head[:2] + struct.pack("!H", 20 + area) + head[4:] + l4


INNER_FRAME = eth(s.VM1_MAC, s.REMOTE_MAC, ip("10.1.1.1"))
INNER_PACKET = bytes(ip("10.1.1.1"))
GRE_PACKET = outer_gre(b"\xa0\0\x88\x47" + bytes(8) + mplsoudp(1000, INNER_PACKET)[42:])
# every length of L4 that does not reach the end of what must be there
CUT = [
    drop(
        f"{name}: {area} bytes of L4",
        s.FABRIC,
        cut(packet, area),
        Drop.INVALID_PACKET,
        ((0, "receives"),),
    )
    for name, packet, whole in (
        ("VXLAN", vxlan(5001, INNER_FRAME), 8 + 8 + 14),
        ("MPLSoUDP, a frame", mplsoudp(1001, INNER_FRAME), 8 + 4 + 14),
        ("MPLSoUDP, a packet", mplsoudp(1000, INNER_PACKET), 8 + 4 + len(INNER_PACKET)),
        ("MPLSoGRE, a packet", GRE_PACKET, 12 + 4 + len(INNER_PACKET)),
    )
    for area in range(whole)
]
UNCUT = [
    drop(
        f"the outer header: {length} bytes of the packet",
        s.FABRIC,
        vxlan(5001, INNER_FRAME)[:length],
        Drop.INVALID_PACKET,
    )
    for length in range(34, len(vxlan(5001, INNER_FRAME)))
]

CASES = rows(
    read("of a VM for the gateway", s.VM1, s.GATEWAY, ((B, "l2_receives"),), mac=s.GATEWAY),
    read("of the fabric", s.FABRIC, s.NIC_MAC),
    [case.with_agent() for case in read("of the host", s.HOST, s.FAR_MAC)],
    INSIDE,
    BY_VNI,
    CUT,
    UNCUT,
)
