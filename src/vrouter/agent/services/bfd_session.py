# SPDX-License-Identifier: Apache-2.0
"""A BFD session (RFC 5880, section 6.8), asynchronous mode, without authentication.

Times are seconds here and microseconds on the wire. The agent looks about once a second, so no
interval of ours is below one second, which is also RFC 5880's least for a session that is not up.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from .wire import bfd
from .wire.bfd import Control

LEAST_INTERVAL = 1.0
_MICRO = 1_000_000
_MOST = (1 << 32) - 1


@dataclass(slots=True)
class Session:
    """State variables of RFC 5880, section 6.8.1. passive: silent until the other side speaks.
    changed: when the state last changed."""

    mine: int
    passive: bool
    min_tx: float
    min_rx: float
    multiplier: int
    changed: float
    yours: int = 0
    state: int = bfd.DOWN
    remote_state: int = bfd.DOWN
    diag: int = bfd.NONE
    remote_min_rx: float = 0.000001
    remote_min_tx: float = 0.0
    remote_multiplier: int = 0
    heard: float | None = None
    next: float = 0.0

    @property
    def interval(self) -> float:
        """Between our packets, before jitter; 0: none are wanted (section 6.8.7)."""
        if not self.remote_min_rx:
            return 0.0
        return max(self.min_tx, LEAST_INTERVAL, self.remote_min_rx)

    @property
    def detection(self) -> float:
        """After how long a silence the other side is down (section 6.8.4)."""
        return self.remote_multiplier * max(self.min_rx, self.remote_min_tx)

    def receive(self, packet: Control, now: float) -> Control | None:
        """Section 6.8.6, from where the session has been found. What is to be sent at once."""
        self.yours = packet.mine
        self.remote_state = packet.state
        self.remote_min_rx = packet.min_rx / _MICRO
        self.remote_min_tx = packet.min_tx / _MICRO
        self.remote_multiplier = packet.multiplier
        self.heard = now
        before = self.state
        self._step(packet.state, now)
        if packet.flags & bfd.POLL:
            return self.control(bfd.FINAL)
        return self.control() if self.state != before else None

    def _step(self, theirs: int, now: float) -> None:
        if theirs == bfd.ADMIN_DOWN:
            if self.state != bfd.DOWN:
                self._becomes(bfd.DOWN, bfd.NEIGHBOUR_DOWN, now)
        elif self.state == bfd.DOWN:
            if theirs in (bfd.DOWN, bfd.INIT):
                self._becomes(bfd.INIT if theirs == bfd.DOWN else bfd.UP, bfd.NONE, now)
        elif self.state == bfd.INIT:
            if theirs in (bfd.INIT, bfd.UP):
                self._becomes(bfd.UP, bfd.NONE, now)
        elif theirs == bfd.DOWN:
            self._becomes(bfd.DOWN, bfd.NEIGHBOUR_DOWN, now)

    def _becomes(self, state: int, diag: int, now: float) -> None:
        self.state, self.diag, self.changed = state, diag, now

    def expired(self, now: float) -> bool:
        """Whether the other side has just been found silent (section 6.8.4)."""
        if self.heard is None or now - self.heard < self.detection:
            return False
        self.heard = None
        # section 6.8.1: the remote discriminator is forgotten after a detection time
        self.yours = 0
        if self.state not in (bfd.INIT, bfd.UP):
            return False
        self._becomes(bfd.DOWN, bfd.EXPIRED, now)
        return True

    def due(self, now: float, chance: random.Random) -> Control | None:
        """What is to be sent by time (section 6.8.7), with its jitter."""
        if now < self.next or not self.interval or (self.passive and not self.yours):
            return None
        self.next = now + self.interval * chance.uniform(0.75, 0.9)
        return self.control()

    def control(self, flags: int = 0) -> Control:
        """What we say now."""
        return Control(
            self.state,
            self.diag,
            flags,
            self.multiplier,
            self.mine,
            self.yours,
            min(int(max(self.min_tx, LEAST_INTERVAL) * _MICRO), _MOST),
            min(int(max(self.min_rx, LEAST_INTERVAL) * _MICRO), _MOST),
        )
