# SPDX-License-Identifier: Apache-2.0
"""A Vif as struct vr_vif, and back."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from .layout import Layout
from .names import VIF_NONE, VLAN_NONE, VifFlag, VifTransport, VifType
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
        mac=vif.mac,
        mtu=vif.mtu,
        ip6=vif.ip6.packed if vif.ip6 else bytes(16),
        **_gateways(layout, vif),
        name=vif.name,
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
        mtu=fields["mtu"],
        gateway=IPv4Address(fields["gateway"]) if fields.get("gateway") else None,
        gateway6=IPv6Address(fields["gateway6"]) if any(fields.get("gateway6", b"")) else None,
    )


def _gateways(layout: Layout, vif: Vif) -> dict[str, int | bytes]:
    """Both; not for the layout of an older release, which has neither."""
    if "gateway" not in layout.fields:
        return {}
    return {
        "gateway": int(vif.gateway or 0),
        "gateway6": vif.gateway6.packed if vif.gateway6 else bytes(16),
    }


def _number(value: int | None, none: int) -> int:
    return none if value is None else value


def _optional(value: int, none: int) -> int | None:
    return None if value == none else value
