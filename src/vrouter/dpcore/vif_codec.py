# SPDX-License-Identifier: Apache-2.0
"""A Vif as struct vr_vif, and back."""

from __future__ import annotations

import sys
from ipaddress import IPv4Address, IPv6Address

from .layout import Layout
from .names import (
    FLAGS_SPECIAL,
    MIRROR_NONE,
    SRC_MACS,
    VIF_NONE,
    VLAN_NONE,
    VifFeature,
    VifFlag,
    VifTransport,
    VifType,
)
from .records import Vif


def pack_vif(layout: Layout, vif: Vif) -> bytes:
    """The bytes of struct vr_vif. BadValue for a number that does not fit."""
    return layout.pack(
        ifindex=vif.ifindex,
        os_ifindex=vif.os_ifindex,
        flags=int(vif.flags),
        nh_id=vif.nh_id,
        ip=int(vif.ip or 0),
        idx=vif.idx,
        vrf=vif.vrf,
        mcast_vrf=vif.mcast_vrf,
        xconnect=_number(vif.xconnect, VIF_NONE),
        vlan=_number(vif.vlan, VLAN_NONE),
        ovlan=_number(vif.ovlan, VLAN_NONE),
        parent=_number(vif.parent, VIF_NONE),
        qos=vif.qos,
        type=int(vif.type),
        transport=int(vif.transport),
        peer=int(vif.peer),
        mirror=_number(vif.mirror, MIRROR_NONE),
        mac=vif.mac,
        mtu=vif.mtu,
        features=int(_features(vif)),
        ip6=vif.ip6.packed if vif.ip6 else bytes(16),
        gateway=int(vif.gateway or 0),
        gateway6=vif.gateway6.packed if vif.gateway6 else bytes(16),
        name=vif.name,
        src_macs=b"".join(vif.src_macs).ljust(6 * SRC_MACS, b"\0"),
    )


def unpack_vif(layout: Layout, value: bytes) -> Vif:
    """The Vif of a struct vr_vif."""
    fields = layout.unpack(value)
    return Vif(
        idx=fields["idx"],
        name=fields["name"],
        type=VifType(fields["type"]),
        ifindex=fields["ifindex"],
        os_ifindex=fields["os_ifindex"],
        vrf=fields["vrf"],
        mac=fields["mac"],
        flags=VifFlag(fields["flags"]),
        nh_id=fields["nh_id"],
        ip=IPv4Address(fields["ip"]) if fields["ip"] else None,
        ip6=IPv6Address(fields["ip6"]) if any(fields["ip6"]) else None,
        mcast_vrf=fields["mcast_vrf"],
        xconnect=_optional(fields["xconnect"], VIF_NONE),
        vlan=_optional(fields["vlan"], VLAN_NONE),
        ovlan=_optional(fields["ovlan"], VLAN_NONE),
        parent=_optional(fields["parent"], VIF_NONE),
        qos=fields["qos"],
        transport=VifTransport(fields["transport"]),
        peer=bool(fields["peer"]),
        mirror=_optional(fields["mirror"], MIRROR_NONE),
        mtu=fields["mtu"],
        features=VifFeature(fields["features"]) & ~VifFeature.FLAGS,
        src_macs=_macs(fields["src_macs"]),
        gateway=IPv4Address(fields["gateway"]) if fields["gateway"] else None,
        gateway6=IPv6Address(fields["gateway6"]) if any(fields["gateway6"]) else None,
    )


def _features(vif: Vif) -> VifFeature:
    """FLAGS says to dp-core that it is worth to look at the flags; no record has it."""
    special = vif.flags & FLAGS_SPECIAL
    return vif.features | VifFeature.FLAGS if special else vif.features


def _macs(packed: bytes) -> tuple[bytes, ...]:
    each = (packed[at : at + 6] for at in range(0, len(packed), 6))
    return tuple(mac for mac in each if any(mac))


def _number(value: int | None, none: int) -> int:
    return none if value is None else value


def _optional(value: int, none: int) -> int | None:
    return None if value == none else value


def u32(number: int) -> bytes:
    """A key or value of a hash of numbers."""
    return number.to_bytes(4, sys.byteorder)


def crossed(flags: VifFlag, *, on: bool) -> VifFlag:
    """The flags with the cross-connect on or off."""
    return flags | VifFlag.XCONNECT if on else flags & ~VifFlag.XCONNECT
