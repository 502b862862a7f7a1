# SPDX-License-Identifier: Apache-2.0
"""Bounds on what strangers can make the services do or remember."""

from __future__ import annotations

from collections import OrderedDict


class Rate:
    """Token buckets, one for each vif: `rate` a second, `burst` at once.

    No more than `most` vifs are remembered; the one that was quiet longest is forgotten, which
    can only give it tokens that it would have had by then.
    """

    def __init__(self, rate: float, burst: int, most: int = 8192) -> None:
        self.rate = rate
        self.burst = burst
        self.most = most
        self._due: OrderedDict[int, float] = OrderedDict()

    def allows(self, vif: int, now: float) -> bool:
        """Takes a token, if there is one."""
        step = 1 / self.rate
        due = max(self._due.get(vif, 0.0), now - (self.burst - 1) * step)
        if due > now:
            return False
        self._due[vif] = due + step
        self._due.move_to_end(vif)
        if len(self._due) > self.most:
            self._due.popitem(last=False)
        return True
