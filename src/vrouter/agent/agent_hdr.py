# SPDX-License-Identifier: Apache-2.0
"""The header of packets on pkt0: Ethernet, then agent_hdr, then the frame that it is about.

Upstream's vr_defs.h: 30 bytes in network order: vif, VRF, command or reason, six parameters.
"""

from __future__ import annotations

import struct
from typing import Final

from vrouter.agent.plan.numbers import ROUTER_MAC

ETHERNET: Final = 14
_HEADER: Final = struct.Struct("!HHHIIIIIB3x")
LENGTH: Final = ETHERNET + _HEADER.size
_OUTER: Final = ROUTER_MAC + ROUTER_MAC + b"\x08\x00"
SWITCH, ROUTE = 0, 1
SHORTEST: Final = LENGTH + ETHERNET


def pack(command: int, vif: int, vrf: int, frame: bytes) -> bytes:
    """What is written to pkt0 so that dp-core sends or routes `frame`."""
    return _OUTER + _HEADER.pack(vif, vrf, command, 0, 0, 0, 0, 0, 0) + frame


def unpack(packet: bytes) -> tuple[int, int, int, tuple[int, ...], bytes] | None:
    """(vif, VRF, reason, parameters, frame) of what was read; None if it is no trap of dp-core's
    (the kernel's own frames, or one that was cut short)."""
    if len(packet) < SHORTEST or packet[12:14] != b"\x08\x00" or packet[:6] != ROUTER_MAC:
        return None
    vif, vrf, reason, *params = _HEADER.unpack_from(packet, ETHERNET)
    return vif, vrf, reason, tuple(params), packet[LENGTH:]
