# SPDX-License-Identifier: Apache-2.0
"""A packet of a VM, before its destination is looked up."""

from . import l2, learn, services, source
from .const import Trap, VifFlag, VifType
from .packet import Outcome, Packet
from .state import State, Vif
from .wire import BadPacketError, parse_l2


def part(state: State, vif: Vif, frame: bytes) -> tuple[Vif, bytes]:
    """The vif that a frame of `vif` is of, and the frame without that vif's tag.

    Parts of a vif are told apart by VLAN and sender, or by the VLAN alone. Untagged frames are
    of VLAN 0 where the parent says so. What no part wants is the parent's own.
    """
    parts = [one for one in state.vifs.values() if one.parent == vif.idx]
    if vif.type != VifType.VIRTUAL or not parts:
        return vif, frame
    try:
        head = parse_l2(frame)
    except BadPacketError:
        return vif, frame
    if not head.tagged and not vif.has(VifFlag.NATIVE_VLAN):
        return vif, frame
    vlan = int.from_bytes(frame[14:16], "big") & 0xFFF if head.tagged else 0
    own = [one for one in parts if one.vlan == vlan]
    found = [one for one in own if head.src in one.src_macs]
    found += [one for one in own if not one.src_macs]
    if not found:
        return vif, frame
    return found[0], frame[:12] + frame[16:] if head.tagged else frame


def receive(packet: Packet) -> Outcome:
    """Who speaks is checked first, if the vif says who may; then it is learnt, and services are
    looked for."""
    if packet.vif.sources is not None:
        refused = source.refuses(packet, packet.vif.sources)
        if refused is not None:
            return packet.drop(refused)
    if packet.vif.has(VifFlag.MAC_IP_LEARN) and learn.is_new_neighbour(packet):
        return packet.trap(Trap.MAC_IP_LEARNING)
    if packet.vif.has(VifFlag.MAC_LEARN):
        learn.mac(packet)
    if services.is_service(packet):
        return packet.trap(Trap.L3_PROTOCOLS)
    return l2.bridge_input(packet)
