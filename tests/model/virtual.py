# SPDX-License-Identifier: Apache-2.0
"""A packet of a VM, before its destination is looked up."""

from . import l2, source
from .packet import Outcome, Packet


def receive(packet: Packet) -> Outcome:
    """Who speaks is checked first, if the vif says who may."""
    if packet.vif.sources is not None:
        refused = source.refuses(packet, packet.vif.sources)
        if refused is not None:
            return packet.drop(refused)
    return l2.bridge_input(packet)
