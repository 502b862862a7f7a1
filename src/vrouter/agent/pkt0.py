# SPDX-License-Identifier: Apache-2.0
"""pkt0's reader: traps go to the packet services, what they want done is carried out.

Reads in batches when the tap is readable. A port cannot take more than its share of a
service: a token bucket for each vif and service is asked before anything else is done for a
packet, and what it drops is counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from vrouter.agent import agent_hdr
from vrouter.agent.lanes import lane
from vrouter.agent.services.base import (
    Action,
    Count,
    Inject,
    Later,
    LearnAddress,
    LearnMac,
    Service,
    Transmit,
    Trap,
    World,
)

log: Final = logging.getLogger(__name__)
_BATCH: Final = 64
_LONGEST: Final = 65536 + agent_hdr.LENGTH
UNKNOWN, LIMITED, FAILED = "unknown", "rate-limited", "failed"
Learn = Callable[[Action], None]


@dataclass
class _Bucket:
    tokens: float
    at: float


class Limits:
    """Token buckets: `rate` packets a second for each vif and service, `burst` at once."""

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self.burst = burst
        self._buckets: dict[tuple[int, str], _Bucket] = {}

    def allow(self, vif: int, service: str, now: float) -> bool:
        """Whether one more is within the limit."""
        bucket = self._buckets.setdefault((vif, service), _Bucket(self.burst, now))
        bucket.tokens = min(self.burst, bucket.tokens + (now - bucket.at) * self.rate)
        bucket.at = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    def forget_idle(self, now: float) -> None:
        """Drop buckets that are full again by now."""
        full = self.burst / self.rate
        idle = [key for key, one in self._buckets.items() if now - one.at > full]
        for key in idle:
            del self._buckets[key]


class Pkt0:
    """Serves the traps that come by file descriptor `fd`. `learn` carries out what changes
    tables."""

    def __init__(
        self, fd: int, world: World, services: Sequence[Service], learn: Learn, limits: Limits
    ) -> None:
        self._fd = fd
        self._world = world
        self._services = list(services)
        self._learn = learn
        self.limits = limits
        self._tasks: set[asyncio.Task[None]] = set()
        self.counts: Counter[tuple[str, str]] = Counter()
        self.reasons: Counter[int] = Counter()

    def start(self) -> None:
        """Serve, in the running event loop."""
        asyncio.get_running_loop().add_reader(self._fd, self._readable)

    def stop(self) -> None:
        """Serve no more; the tap stays."""
        asyncio.get_running_loop().remove_reader(self._fd)
        for task in self._tasks:
            task.cancel()

    def _readable(self) -> None:
        now = time.monotonic()
        for _ in range(_BATCH):
            try:
                packet = os.read(self._fd, _LONGEST)
            except BlockingIOError:
                return
            except OSError as error:
                log.error("cannot read pkt0: %s", error.strerror)
                return
            self.take(packet, now)

    def take(self, packet: bytes, now: float) -> None:
        """Serve one packet that was read."""
        fields = agent_hdr.unpack(packet)
        if fields is None:
            self.counts["pkt0", "malformed"] += 1
            return
        vif, vrf, reason, params, frame = fields
        self.reasons[reason] += 1
        mine = lane(reason, frame)
        if not self.limits.allow(vif, mine, now):
            self.counts[mine, LIMITED] += 1
            return
        trap = Trap(vif, vrf, reason, params, frame, self._world.port(vif), now)
        for service in self._services:
            try:
                actions = service.handle(trap)
                if actions is None:
                    continue
                self.act(actions)
            except Exception:
                # what a VM sends must not end the service of the others
                log.exception("service %s failed on a packet of vif0/%d", service.name, vif)
                self.counts[service.name, FAILED] += 1
            return
        self.counts["pkt0", UNKNOWN] += 1

    def tick(self) -> None:
        """Once a second: what is due by time."""
        now = time.monotonic()
        self.limits.forget_idle(now)
        for service in self._services:
            self._guarded(service, lambda one=service: one.tick(now))  # type: ignore[misc]

    def known(self, learnt: Sequence[LearnMac | LearnAddress]) -> None:
        """What the tables hold of an earlier agent's learning."""
        now = time.monotonic()
        for service in self._services:
            service.known(learnt, now)

    def macs(self) -> list[tuple[int, bytes]]:
        """The MACs, by (vrf, mac), of which services want to know how often they spoke."""
        return [key for service in self._services for key in service.macs()]

    def heard(self, packets: Mapping[tuple[int, bytes], int]) -> None:
        """How often some of them did by now."""
        now = time.monotonic()
        for service in self._services:
            service.heard(packets, now)

    def remembered(self) -> dict[str, list[dict[str, str | int | float]]]:
        """What each service knows beside the desired state."""
        now = time.monotonic()
        rows = {one.name: [dict(row) for row in one.remembered(now)] for one in self._services}
        return {name: found for name, found in rows.items() if found}

    def port_up(self, vif: int) -> None:
        """A port came up: what it is to be sent."""
        port = self._world.port(vif)
        if port is None:
            return
        now = time.monotonic()
        for service in self._services:
            self._guarded(service, lambda one=service: one.port_up(port, now))  # type: ignore[misc]

    def _guarded(self, service: Service, call: Callable[[], Iterable[Action]]) -> None:
        try:
            self.act(call())
        except Exception:
            log.exception("service %s failed", service.name)
            self.counts[service.name, FAILED] += 1

    def act(self, actions: Iterable[Action]) -> None:
        """Carry out what a service wants."""
        for action in actions:
            match action:
                case Transmit():
                    self._write(agent_hdr.pack(agent_hdr.SWITCH, action.vif, 0, action.frame))
                case Inject():
                    packet = agent_hdr.pack(agent_hdr.ROUTE, action.vif, action.vrf, action.frame)
                    self._write(packet)
                case Count():
                    self.counts[action.service, action.result] += 1
                case Later():
                    task = asyncio.ensure_future(self._later(action))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                case _:
                    self._learn(action)

    async def _later(self, action: Later) -> None:
        try:
            self.act(await action.work)
        except Exception:
            log.exception("a service failed later")
            self.counts["pkt0", FAILED] += 1

    def _write(self, packet: bytes) -> None:
        try:
            os.write(self._fd, packet)
        except OSError as error:
            self.counts["pkt0", "not sent"] += 1
            log.warning("cannot write to pkt0: %s", error.strerror)

    def close(self) -> None:
        """Close the tap; it stays as a netdevice."""
        with contextlib.suppress(OSError):
            os.close(self._fd)
