# SPDX-License-Identifier: Apache-2.0
"""What the handlers of requests work with, and what they give back."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vrouter.dpcore.core import DpCore
from vrouter.dpcore.names import VRF_NONE, NhType

from .codec import Message
from .devices import Devices
from .dumps import Dump
from .errors import SandeshError, invalid, unsupported
from .schema import RESPONSE
from .vrfs import Vrfs

Object = tuple[str, Mapping[str, Any]]
"""A message to send: its name and fields."""
Result = Object | Dump | None
"""What a request is answered with besides its code."""
Handler = Callable[["Context", Message], Result]
Handlers = dict[str, dict[int, Handler]]
"""By message and operation."""

_CHEAP: Final = 0.05  # seconds
_SECOND: Final = 1.0
_SOFTNET: Final = Path("/proc/net/softnet_stat")
_BACKLOG: Final = 11  # column: packets that wait on this CPU
_WORD: Final = 1 << 32
_PATIENCE: Final = 0.05


@dataclass
class _Counted:
    """References as they were at a time; how long the counting took, after how many writes."""

    at: float
    took: float
    writes: int
    counts: Counter[int]


class Context:
    """The tables, and the devices that the door makes."""

    def __init__(self, core: DpCore, devices: Devices) -> None:
        self.core = core
        self.devices = devices
        self.vrfs = Vrfs(core)
        self._counted: dict[str, _Counted] = {}
        # types of nexthops while nobody else can write, until a request that may change one
        self._kinds: dict[int, NhType] | None = None
        self.writes = 0
        self.vifs_changed = True

    # ---- checks that several requests share -----------------------------------------

    def check_router(self, rid: int) -> None:
        """There is one router, 0."""
        if rid:
            raise invalid(f"there is no router {rid}, only 0")

    def need_nexthop(self, nh: int, error: Callable[[str], SandeshError] = invalid) -> NhType:
        """As upstream: what leads to a nexthop can be added when that is there. Its type."""
        known = {} if self._kinds is None else self._kinds
        kind = known.get(nh) or self.core.nexthops.kind(nh)
        if kind is None:
            raise error(f"there is no nexthop {nh}: add it first")
        known[nh] = kind
        return kind

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Within the block nobody else writes tables. Raises Refused: somebody does."""
        with self.core.lock():
            self._kinds = {}
            try:
                yield
            finally:
                self._kinds = None

    def forget_kinds(self) -> None:
        """A nexthop may change now."""
        if self._kinds:
            self._kinds.clear()

    # ---- counters -------------------------------------------------------------------

    def settle(self) -> None:
        """Returns when the kernel has handed dp-core all that was sent before.

        A busy kernel lets received packets wait a moment for a thread of its own; whoever sent
        one and then asks for the counters is to find it counted.
        """
        due = {cpu: done + waits for cpu, (done, waits) in enumerate(_softnet()) if waits}
        end = time.monotonic() + _PATIENCE
        while due and time.monotonic() < end:
            time.sleep(0.0002)
            now = dict(enumerate(_softnet()))
            due = {
                cpu: wanted
                for cpu, wanted in due.items()
                # the counter has 32 bits
                if cpu in now and now[cpu][1] and (now[cpu][0] - wanted) % _WORD >= _WORD // 2
            }

    def references(self) -> Counter[int]:
        """How many entries name each nexthop. Large tables are counted once a second at most."""
        return self._count("references", self.core.nexthops.ref_counts)

    def leaving_by(self) -> Counter[int]:
        """How many nexthops leave by each vif; likewise."""
        items = self.core.nexthops.items
        return self._count(
            "leaving_by", lambda: Counter(one.oif for one in items() if one.oif is not None)
        )

    def _count(self, what: str, count: Callable[[], Counter[int]]) -> Counter[int]:
        now = time.monotonic()
        last = self._counted.get(what)
        if last is not None and now - last.at < _SECOND:
            if last.writes == self.writes or last.took > _CHEAP:
                return last.counts
        counts = count()
        took = time.monotonic() - now
        self._counted[what] = _Counted(now + took, took, self.writes, counts)
        return counts


def _softnet() -> list[tuple[int, int]]:
    """Of each CPU how many packets it has received, and how many wait to be."""
    with suppress(OSError, IndexError, ValueError):
        rows = [line.split() for line in _SOFTNET.read_text().splitlines()]
        return [(int(row[0], 16), int(row[_BACKLOG], 16)) for row in rows]
    return []


def response(name: str, **fields: Any) -> Object:
    """An object of an answer."""
    return name, {"h_op": RESPONSE, **fields}


def refuse_set(request: Message, reason: str, *fields: str) -> None:
    """Refuses a request that sets any of these fields, which mean something that we lack."""
    for field in fields:
        value = getattr(request, field)
        if any(value) if isinstance(value, bytes | tuple) else value:
            raise unsupported(f"{field} is set: {reason}")


def vrf_number(vrf: int) -> int:
    """A VRF of an object; a negative one stands for none, as 65535 does."""
    return VRF_NONE if vrf < 0 else vrf
