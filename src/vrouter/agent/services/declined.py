# SPDX-License-Identifier: Apache-2.0
"""What DHCPv4 and DHCPv6 remember: addresses that VMs found in use by somebody else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from . import facts
from .base import Action, Port, World
from .service import PacketService, Row


@dataclass(frozen=True, slots=True)
class Declined:
    """times: how often; last: when."""

    address: facts.Address
    times: int
    last: float


class DhcpService(PacketService):
    """A DHCP service. declined: by vif; one for each, as a port has one address."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.declined: dict[int, Declined] = {}

    def note(self, port: Port, address: facts.Address, now: float) -> None:
        """The port declined the address."""
        before = self.declined.get(port.vif)
        self.declined[port.vif] = Declined(address, before.times + 1 if before else 1, now)

    def tick(self, now: float) -> Iterable[Action]:
        """What was declined by ports that are gone is forgotten."""
        for vif in [vif for vif in self.declined if self.world.port(vif) is None]:
            del self.declined[vif]
        return ()

    def remembered(self, now: float) -> Iterable[Row]:
        """Declined addresses."""
        for vif, one in self.declined.items():
            yield {
                "vif": vif,
                "declined": str(one.address),
                "times": one.times,
                "seconds_ago": round(now - one.last, 1),
            }
