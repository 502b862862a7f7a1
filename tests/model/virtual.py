# SPDX-License-Identifier: Apache-2.0
"""A packet of a VM, before its destination is looked up."""

from . import l2, services, source
from .const import Trap
from .packet import Outcome, Packet


def receive(packet: Packet) -> Outcome:
    """Who speaks is checked first, if the vif says who may; then services are looked for."""
    if packet.vif.sources is not None:
        refused = source.refuses(packet, packet.vif.sources)
        if refused is not None:
            return packet.drop(refused)
    if services.is_service(packet):
        return packet.trap(Trap.L3_PROTOCOLS)
    return l2.bridge_input(packet)
