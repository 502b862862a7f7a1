# SPDX-License-Identifier: Apache-2.0
"""One row of a table of packets: what goes in, and all that must come of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from scapy.contrib.mpls import MPLS
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import ARP, GRE, Dot1Q, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw

from tests.model.const import Drop, Trap, Verdict

from . import states as s

__all__ = ["ARP", "GRE", "ICMP", "IP", "MPLS", "UDP", "VXLAN", "Case", "Dot1Q", "Ether", "Raw"]
__all__ += ["arp_reply", "arp_request", "drop", "echo", "outer", "text", "to_agent", "trap", "tx"]

Key = tuple[str | int, ...]


@dataclass(frozen=True)
class Case:
    """`out`: the frame that leaves; `copies`: (vif, frame) of each; `counts`: what must move
    besides the counters that every packet moves. The outer UDP source port is not compared
    bit by bit: it is a hash, and only its range is a rule of its own."""

    name: str
    vif: int
    frame: bytes
    verdict: Verdict
    out_vif: int | None = None
    reason: int = 0
    out: bytes = b""
    copies: tuple[tuple[int, bytes], ...] = ()
    counts: dict[Key, int] = field(default_factory=dict)
    states: tuple[str, ...] = ("headless", "with-agent")


def _raw(packet: Packet | bytes) -> bytes:
    return packet if isinstance(packet, bytes) else bytes(packet)


def tx(
    name: str, vif: int, frame: Packet | bytes, to: int, out: Packet | bytes, **more: object
) -> Case:
    """The packet leaves by vif `to` as `out`."""
    return Case(name, vif, _raw(frame), Verdict.TX, to, 0, _raw(out), **more)  # type: ignore[arg-type]


def drop(name: str, vif: int, frame: Packet | bytes, reason: Drop, **more: object) -> Case:
    """The packet is dropped for `reason`."""
    return Case(name, vif, _raw(frame), Verdict.DROP, None, reason, **more)  # type: ignore[arg-type]


def trap(
    name: str, vif: int, frame: Packet | bytes, reason: Trap, out: bytes, **more: object
) -> Case:
    """The packet goes to the agent as `out` (only where there is one)."""
    more.setdefault("states", ("with-agent",))
    return Case(name, vif, _raw(frame), Verdict.TRAP, s.AGENT, reason, out, **more)  # type: ignore[arg-type]


def text(mac: bytes) -> str:
    """A MAC as scapy takes it."""
    return mac.hex(":")


def to_agent(inner: Packet | bytes, vif: int, vrf: int, reason: int, param: int = 0) -> bytes:
    """Ethernet, agent_hdr and the frame, as pkt0 carries them."""
    head = b"".join(number.to_bytes(2, "big") for number in (vif, vrf, reason))
    head += param.to_bytes(4, "big") + bytes(20)
    return s.GATEWAY + s.GATEWAY + b"\x08\x00" + head + _raw(inner)


def echo(
    dst_mac: bytes, dst: str, src_mac: bytes = s.VM1_MAC, src: str = "10.1.1.1", ttl: int = 64
) -> Packet:
    """A ping of a VM."""
    head = Ether(dst=text(dst_mac), src=text(src_mac)) / IP(src=src, dst=dst, ttl=ttl, id=77)
    return head / ICMP(id=1, seq=2) / Raw(b"0123456789abcdef")


def arp_request(target: str, sender: str = "10.1.1.1", mac: bytes = s.VM1_MAC) -> Packet:
    """Who has target? Tell sender."""
    ask = ARP(op=1, hwsrc=text(mac), psrc=sender, hwdst="00:00:00:00:00:00", pdst=target)
    return Ether(dst="ff:ff:ff:ff:ff:ff", src=text(mac)) / ask


def arp_reply(target: str, has: bytes, sender: str = "10.1.1.1", mac: bytes = s.VM1_MAC) -> Packet:
    """target is at `has`."""
    answer = ARP(op=2, hwsrc=text(has), psrc=target, hwdst=text(mac), pdst=sender)
    return Ether(dst=text(mac), src=text(has)) / answer


def outer(payload: Packet, ident: int = 77, dst: str = "172.30.0.2", **ip: Any) -> Packet:
    """The outer header that this host puts on, before `payload`."""
    head = Ether(dst=text(s.FAR_MAC), src=text(s.NIC_MAC))
    return head / IP(src="172.30.0.1", dst=dst, id=ident, ttl=64, **ip) / payload
