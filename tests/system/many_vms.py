# SPDX-License-Identifier: Apache-2.0
"""Many VMs in one process: each a tap, all served by one loop of raw frames.

A VM asks for its address by DHCP (RFC 2131), resolves its gateway by ARP and pings it; it asks
again, as clients do, when no answer comes. The frames are dpkt's, nothing of the agent's.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address

import dpkt

_TUNSETIFF = 0x400454CA
_TAP_NO_PI = 0x1002
_BROADCAST = b"\xff" * 6
_AGAIN = 1.0  # seconds
_ECHO = 0x5EED


class State(StrEnum):
    """What a VM waits for."""

    OFFER = "offer"
    ACK = "ack"
    GATEWAY = "gateway"
    ECHO = "echo"
    DONE = "done"


@dataclass
class Vm:
    """A VM on tap `device`; mac: its own. address, gateway: what DHCP gave it, packed.

    acks: how many leases it was given, renewals included.
    """

    device: str
    mac: bytes
    fd: int = -1
    state: State = State.OFFER
    address: bytes = bytes(4)
    gateway: bytes = bytes(4)
    server: bytes = bytes(4)
    router_mac: bytes = b""
    asked: float = 0.0
    acks: int = 0
    refused: list[str] = field(default_factory=list)

    @property
    def ip(self) -> str:
        """Its address as text."""
        return str(IPv4Address(self.address))

    def open(self) -> None:
        """Become the guest of the tap, in the namespace that the thread is in."""
        self.fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(self.fd, _TUNSETIFF, struct.pack("=16sH22x", self.device.encode(), _TAP_NO_PI))

    def ask(self, now: float) -> None:
        """Send what its state calls for."""
        self.asked = now
        os.write(self.fd, _padded(self._question()))

    def renew(self, now: float) -> None:
        """Ask for its lease once more, by unicast (RFC 2131, section 4.4.5)."""
        self.state = State.ACK
        self.asked = now
        os.write(self.fd, _padded(self._dhcp(dpkt.dhcp.DHCPREQUEST, (), renews=True)))

    def hear(self, frame: bytes, now: float) -> None:
        """Take a frame; goes on to the next state where it is the answer."""
        before = self.state
        eth = dpkt.ethernet.Ethernet(frame)
        if eth.dst not in (self.mac, _BROADCAST):
            return
        if isinstance(eth.data, dpkt.arp.ARP):
            self._hear_arp(eth.data)
        elif isinstance(eth.data, dpkt.ip.IP) and isinstance(eth.data.data, dpkt.udp.UDP):
            self._hear_dhcp(eth.data.data)
        elif isinstance(eth.data, dpkt.ip.IP) and isinstance(eth.data.data, dpkt.icmp.ICMP):
            self._hear_echo(eth.data)
        if self.state not in (before, State.DONE):
            self.ask(now)

    # ---- what it says --------------------------------------------------------------------

    def _question(self) -> bytes:
        match self.state:
            case State.OFFER:
                return self._dhcp(dpkt.dhcp.DHCPDISCOVER, ())
            case State.ACK:
                wanted = ((dpkt.dhcp.DHCP_OPT_REQ_IP, self.address),)
                return self._dhcp(
                    dpkt.dhcp.DHCPREQUEST, (*wanted, (dpkt.dhcp.DHCP_OPT_SERVER_ID, self.server))
                )
            case State.GATEWAY:
                arp = dpkt.arp.ARP(sha=self.mac, spa=self.address, tpa=self.gateway)
                return self._frame(_BROADCAST, dpkt.ethernet.ETH_TYPE_ARP, arp)
            case _:
                echo = dpkt.icmp.ICMP.Echo(id=_ECHO, seq=1, data=bytes(56))
                icmp = dpkt.icmp.ICMP(type=dpkt.icmp.ICMP_ECHO, data=echo)
                ip = dpkt.ip.IP(src=self.address, dst=self.gateway, p=dpkt.ip.IP_PROTO_ICMP)
                return self._ip(self.router_mac, ip, icmp)

    def _dhcp(
        self, kind: int, options: Sequence[tuple[int, bytes]], *, renews: bool = False
    ) -> bytes:
        bootp = dpkt.dhcp.DHCP(
            op=1,
            xid=int.from_bytes(self.mac[2:]),
            chaddr=self.mac + bytes(10),
            ciaddr=int.from_bytes(self.address) if renews else 0,
            opts=((dpkt.dhcp.DHCP_OPT_MSGTYPE, bytes((kind,))), *options),
        )
        source, target = (self.address, self.server) if renews else (bytes(4), b"\xff" * 4)
        ip = dpkt.ip.IP(src=source, dst=target, p=dpkt.ip.IP_PROTO_UDP)
        payload = dpkt.udp.UDP(sport=68, dport=67, data=bytes(bootp))
        payload.ulen = len(payload)
        return self._ip(self.router_mac if renews else _BROADCAST, ip, payload)

    def _ip(self, mac: bytes, ip: dpkt.ip.IP, payload: dpkt.Packet) -> bytes:
        ip.ttl = 64
        ip.data = payload
        ip.len = len(ip)
        return self._frame(mac, dpkt.ethernet.ETH_TYPE_IP, ip)

    def _frame(self, mac: bytes, kind: int, payload: dpkt.Packet) -> bytes:
        return bytes(dpkt.ethernet.Ethernet(dst=mac, src=self.mac, type=kind, data=payload))

    # ---- what it hears -------------------------------------------------------------------

    def _hear_dhcp(self, udp: dpkt.udp.UDP) -> None:
        if udp.sport != 67 or self.state not in (State.OFFER, State.ACK):
            return
        said = dpkt.dhcp.DHCP(udp.data)
        options = dict(said.opts)
        kind = options[dpkt.dhcp.DHCP_OPT_MSGTYPE][0]
        if said.chaddr[:6] != self.mac:
            return
        if kind == dpkt.dhcp.DHCPNAK:
            self.refused.append("nak")
        elif kind == dpkt.dhcp.DHCPOFFER and self.state is State.OFFER:
            self.server = options[dpkt.dhcp.DHCP_OPT_SERVER_ID]
            self.address = said.yiaddr.to_bytes(4)
            self.state = State.ACK
        elif kind == dpkt.dhcp.DHCPACK and self.state is State.ACK:
            given = said.yiaddr.to_bytes(4)
            if given != self.address:
                self.refused.append(f"lease of {IPv4Address(given)}")
            self.gateway = options[dpkt.dhcp.DHCP_OPT_ROUTER][:4]
            self.acks += 1
            self.state = State.GATEWAY if not self.router_mac else State.DONE

    def _hear_arp(self, arp: dpkt.arp.ARP) -> None:
        answers = arp.op == dpkt.arp.ARP_OP_REPLY and arp.spa == self.gateway
        if self.state is State.GATEWAY and answers:
            self.router_mac = arp.sha
            self.state = State.ECHO

    def _hear_echo(self, ip: dpkt.ip.IP) -> None:
        icmp = ip.data
        if self.state is State.ECHO and icmp.type == dpkt.icmp.ICMP_ECHOREPLY:
            if ip.src == self.gateway and icmp.data.id == _ECHO:
                self.state = State.DONE


def _padded(frame: bytes) -> bytes:
    return frame.ljust(60, b"\0")


class Crowd:
    """All VMs of a test, opened by `join` in the namespace of their taps."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._by_fd: dict[int, Vm] = {}

    @property
    def vms(self) -> list[Vm]:
        """All that have joined."""
        return list(self._by_fd.values())

    def join(self, vm: Vm) -> None:
        """One more; may be called while another thread serves."""
        vm.open()
        self._by_fd[vm.fd] = vm
        self._poll.register(vm.fd, select.EPOLLIN)

    def close(self) -> None:
        """Let the taps go."""
        self._poll.close()
        for vm in self.vms:
            os.close(vm.fd)

    def serve(self, seconds: float) -> bool:
        """Let them speak until each has what it wants, `seconds` at the most; whether all have.

        They begin little by little, as machines that start do.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if all(vm.state is State.DONE for vm in self.vms):
                return True
            self.step()
        return all(vm.state is State.DONE for vm in self.vms)

    def step(self) -> None:
        """Ask, or ask again, where it is time to, and take what comes."""
        now = time.monotonic()
        due = [vm for vm in self.vms if vm.state is not State.DONE and now - vm.asked > _AGAIN]
        for vm in due[:50]:
            vm.ask(now)
        for fd, _ in self._poll.poll(0.02):
            vm = self._by_fd[fd]
            with contextlib.suppress(BlockingIOError):
                while True:
                    vm.hear(os.read(fd, 2048), time.monotonic())
