# SPDX-License-Identifier: Apache-2.0
"""Map `vif_bypass`: a NIC and its vhost0 that stay joined while they are no vifs.

Whoever empties all tables at once (a controller that starts) adds them again a moment later;
between the two the host must not lose its network. Their tcx links stay, under pins of another
name, and dp-core passes what has no vif but stands in this map to the other end.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from . import link
from .errors import Refused
from .home import Home
from .maps import HashMap
from .records import Vif

_MAP: Final = "vif_bypass"
_PREFIX: Final = "bypass"


class Bypass:
    """Written by `VifTable` together with the vifs themselves."""

    def __init__(self, home: Home) -> None:
        self._home = home

    @property
    def _hash(self) -> HashMap | None:
        """None: the dp-core that runs is of a release that had no such map."""
        there = self._home.instance.map_path(_MAP).exists()
        return self._home.hash(_MAP) if there else None

    def _pin(self, ifindex: int) -> Path:
        return self._home.instance.link_dir / f"{_PREFIX}{ifindex}"

    def leads(self, ifindex: int) -> bool:
        """Whether what this netdevice receives goes to its other end."""
        table = self._hash
        return table is not None and table.get(_u32(ifindex)) is not None

    def join(self, host: Vif, physical: Vif, pin_of: Callable[[int], Path]) -> None:
        """From the moment on that they are no vifs any more, their packets go across.

        Raises Refused: this dp-core cannot.
        """
        table = self._hash
        if table is None:
            raise Refused(
                f"{physical.name} and {host.name} cannot stay joined without vifs: this dp-core "
                "is of an earlier release, run `vrouter load` first"
            )
        for vif, other in ((host, physical), (physical, host)):
            table.set(_u32(vif.ifindex), _u32(other.ifindex))
            os.replace(pin_of(vif.idx), self._pin(vif.ifindex))

    def take_over(self, ifindex: int, pin: Path) -> None:
        """The link of this netdevice, if it has one here, becomes that of a vif."""
        mine = self._pin(ifindex)
        if mine.exists():
            pin.unlink(missing_ok=True)
            os.replace(mine, pin)

    def end(self, ifindex: int) -> None:
        """What this netdevice receives goes nowhere without a vif."""
        table = self._hash
        if table is not None:
            link.detach(self._pin(ifindex))
            table.delete(_u32(ifindex))

    def end_all(self) -> bool:
        """As `end`, for all that are left; whether there were any."""
        table = self._hash
        keys = [] if table is None else [key for key, _ in table.items()]
        left = [int.from_bytes(key, sys.byteorder) for key in keys]
        for ifindex in left:
            self.end(ifindex)
        return bool(left)


def _u32(number: int) -> bytes:
    return number.to_bytes(4, sys.byteorder)
