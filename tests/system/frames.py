# SPDX-License-Identifier: Apache-2.0
"""Frames sent and seen by raw sockets inside namespaces, without a process there."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterable
from types import TracebackType

from vrouter.host import netns

_ETH_P_ALL = 3
_SOL_PACKET, _PACKET_STATISTICS, _PACKET_AUXDATA, _PACKET_VNET_HDR = (
    263,
    6,
    8,
    15,
)  # linux/if_packet.h
_OUTGOING = 4  # sll_pkttype of what the namespace itself sent
SO_RCVBUFFORCE = 33  # asm-generic/socket.h
_BUFFER = 8 << 20
ETH_IPV4, ETH_LOCAL = 0x0800, 0x88B5  # 0x88b5: IEEE 802, local experimental


class Tap:
    """A raw socket on device `device` of namespace `space`; on all its devices if empty."""

    def __init__(self, space: str, device: str = "eth0") -> None:
        with netns.enter(space):
            self._socket = socket.socket(
                socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)
            )
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, _BUFFER)
            if device:
                self._socket.bind((device, _ETH_P_ALL))
        self._socket.setblocking(False)

    def __enter__(self) -> Tap:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def speak_vnet_headers(self) -> None:
        """From now on a struct virtio_net_hdr stands before every frame, sent or read."""
        self._socket.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)

    def send(self, frame: bytes) -> None:
        """Send one frame, Ethernet header first."""
        self._socket.send(frame)

    def read(self) -> list[tuple[str, bytes]]:
        """(device, frame) of all that came in since; what the namespace sent is left out."""
        found: list[tuple[str, bytes]] = []
        while True:
            try:
                data, address = self._socket.recvfrom(1 << 17)
            except BlockingIOError:
                return found
            if address[2] != _OUTGOING:
                found.append((address[0], data))

    def read_tags(self, timeout: float = 2) -> list[tuple[int, bytes]]:
        """(VLAN, frame) of what comes in next: the kernel takes a tag off, and notes it."""
        self._socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        found = []
        while select.select([self], [], [], timeout)[0]:
            data, ancillary, _, address = self._socket.recvmsg(1 << 16, 128)
            for level, kind, value in ancillary:
                if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA) and address[2] != _OUTGOING:
                    found.append((struct.unpack_from("=IIIHHH", value)[5], data))
            timeout = 0.2
        return found

    def lost(self) -> int:
        """Frames that did not fit into the socket's buffer; a test that counts wants 0."""
        packets_drops = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        return int(struct.unpack("=II", packets_drops)[1])


def read_until(
    taps: Iterable[Tap], marker: bytes, times: int, timeout: float = 5
) -> dict[Tap, list[tuple[str, bytes]]]:
    """All frames of each tap, read until `marker` was in `times` of them, or time is up.

    The marker is sent after the frames that a test counts, on the same way, so that a copy too
    many is there before it.
    """
    found: dict[Tap, list[tuple[str, bytes]]] = {tap: [] for tap in taps}
    deadline = time.monotonic() + timeout
    seen = 0
    while seen < times and (left := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select(list(found), [], [], left)
        for tap in ready:
            new = tap.read()
            seen += sum(marker in data for _, data in new)
            found[tap] += new
    for tap, frames in found.items():
        frames += tap.read()
        assert tap.lost() == 0
    return found


def count(frames: Iterable[tuple[str, bytes]], token: bytes) -> Counter[int]:
    """How often each number (4 bytes behind `token`) was seen."""
    numbers: Counter[int] = Counter()
    for _, data in frames:
        at = data.find(token)
        if at >= 0:
            numbers[int.from_bytes(data[at + len(token) :][:4], "big")] += 1
    return numbers


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data[: len(data) & ~1]))
    total += data[-1] << 8 if len(data) & 1 else 0
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(source: str, target: str, proto: int, payload: bytes) -> bytes:
    """An IPv4 packet with a right checksum, TTL 64."""
    addresses = socket.inet_aton(source) + socket.inet_aton(target)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 7, 0, 64, proto, 0) + addresses
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def udp(source: str, target: str, sport: int, dport: int, payload: bytes) -> bytes:
    """An IPv4 packet with UDP, checksum 0 (none)."""
    head = struct.pack("!HHHH", sport, dport, 8 + len(payload), 0)
    return ipv4(source, target, 17, head + payload)


def ethernet(dst: bytes, src: bytes, proto: int, payload: bytes) -> bytes:
    """A frame, padded to 60 bytes as a NIC would."""
    return (dst + src + struct.pack("!H", proto) + payload).ljust(60, b"\0")


def vxlan(vni: int, frame: bytes) -> bytes:
    """Payload of UDP port 4789 (RFC 7348)."""
    return struct.pack("!II", 0x08000000, vni << 8) + frame


def mpls(label: int, payload: bytes) -> bytes:
    """One label, bottom of stack, TTL 64 (RFC 3032)."""
    return struct.pack("!I", label << 12 | 0x100 | 64) + payload
