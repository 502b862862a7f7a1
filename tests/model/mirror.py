# SPDX-License-Identifier: Apache-2.0
"""Mirrors: copies of what a vif receives or sends, for an analyzer."""

from . import nexthop
from .const import Drop, NhFlag, NhType, Verdict
from .packet import Copy, Mirrored, Outcome, Packet
from .state import Mirror
from .wire import BadPacketError


def send(packet: Packet, one: Mirrored) -> None:
    """What becomes of a copy, after the packet that it was made of has ended.

    No nexthop of the mirror, or a dynamic one whose nexthop is no UDP tunnel: INVALID_NH.
    """
    copy = Packet(packet.state, one.vif, one.frame, packet.vrf, mirrored=True)
    copy.copies, copy.counters = packet.copies, packet.counters
    try:
        outcome = _apply(copy, one.mirror)
    except BadPacketError:
        outcome = copy.drop(Drop.INVALID_PACKET)
    if outcome.verdict != Verdict.DROP and outcome.out_vif is not None:
        copy.copies.append(Copy(outcome.out_vif, outcome.verdict, outcome.reason, outcome.frame))


def _apply(packet: Packet, mirror: Mirror) -> Outcome:
    nh = packet.state.valid_nexthop(mirror.nh)
    assert packet.l2
    if nh is None:
        return packet.drop(Drop.INVALID_NH)
    if mirror.metadata:
        if nh.type != NhType.TUNNEL or not nh.has(NhFlag.TUNNEL_UDP):
            return packet.drop(Drop.INVALID_NH)
        packet.metadata = mirror.metadata
    packet.vrf, packet.label = nh.vrf, mirror.vni
    return nexthop.apply(packet, nh.id)
