# SPDX-License-Identifier: Apache-2.0
"""Packets between dp-core and an agent by unix datagrams, besides the Agent vif's netdevice.

    agent_pkt0  bound by the agent: it gets what dp-core sends to the Agent vif (traps)
    dpdk_pkt0   bound by the door: what is sent there, the Agent vif has received

A datagram is Ethernet, agent_hdr and frame, as on the netdevice.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from vrouter.dpcore.core import DpCore
from vrouter.dpcore.errors import VrouterError
from vrouter.dpcore.inject import MAX_PACKET, MIN_PACKET, Injector

from .sockets import bound

FROM_AGENT: Final = "dpdk_pkt0"
TO_AGENT: Final = "agent_pkt0"
_ALL: Final = 3  # ETH_P_ALL
_OUTGOING: Final = 4  # PACKET_OUTGOING
_ROOM: Final = 1 << 16
_AT_ONCE: Final = 256
_BUFFER: Final = 1 << 22


class Packets:
    """Follows the Agent vif, whoever adds or removes it."""

    def __init__(
        self, folder: Path, selector: selectors.BaseSelector, say: Callable[[str], None]
    ) -> None:
        self._selector, self._say = selector, say
        self._agent = str(folder / TO_AGENT)
        self._ifindex: int | None = None
        self._tap: socket.socket | None = None
        self._injector: Injector | None = None
        with contextlib.ExitStack() as stack:
            self._inbound = stack.enter_context(bound(folder / FROM_AGENT, socket.SOCK_DGRAM))
            self._outbound = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            self._outbound.setblocking(False)
            selector.register(self._inbound, selectors.EVENT_READ, lambda mask: self.take())
            stack.callback(self._leave)
            self._last = stack.pop_all()

    def close(self) -> None:
        """Removes the socket."""
        self._last.close()

    def follow(self, core: DpCore) -> None:
        """Listens on the netdevice that is the Agent vif's now."""
        idx = core.config.get().agent_vif
        vif = None if idx is None else core.vifs.get(idx)
        ifindex = None if vif is None else vif.ifindex
        if ifindex == self._ifindex:
            return
        self._leave()
        if ifindex is None:
            return
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        try:
            tap.setblocking(False)
            tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            tap.bind((socket.if_indextoname(ifindex), _ALL))
            self._injector = Injector(ifindex)
        except (OSError, VrouterError):
            tap.close()
            return  # it has gone meanwhile
        self._tap, self._ifindex = tap, ifindex
        self._selector.register(tap, selectors.EVENT_READ, self._forward)

    def take(self) -> None:
        """Everything that was sent to dpdk_pkt0 is received by the Agent vif."""
        for _ in range(_AT_ONCE):
            try:
                frame = self._inbound.recv(_ROOM)
            except OSError:
                return
            self._receive(frame)

    def _receive(self, frame: bytes) -> None:
        if self._injector is None:
            self._say(f"a packet of {len(frame)} bytes is dropped: there is no Agent vif")
        elif not MIN_PACKET <= len(frame) <= MAX_PACKET:
            limits = f"{MIN_PACKET} to {MAX_PACKET}"
            self._say(f"a packet of {len(frame)} bytes is dropped: {limits} can be received")
        else:
            try:
                self._injector.receive(frame)
            except VrouterError as error:
                self._say(f"a packet is dropped: {error}")

    def _forward(self, mask: int) -> None:
        """What has left by the Agent vif's netdevice goes to whoever has bound agent_pkt0."""
        if self._tap is None:
            return
        for _ in range(_AT_ONCE):
            try:
                frame, address = self._tap.recvfrom(_ROOM)
            except OSError:
                return
            if address[2] == _OUTGOING:
                # nobody there, or not fast enough: the netdevice has it all the same
                with contextlib.suppress(OSError):
                    self._outbound.sendto(frame, self._agent)

    def _leave(self) -> None:
        if self._tap is not None:
            self._selector.unregister(self._tap)
            self._tap.close()
        if self._injector is not None:
            self._injector.close()
        self._tap = self._injector = self._ifindex = None
