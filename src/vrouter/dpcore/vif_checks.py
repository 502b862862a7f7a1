# SPDX-License-Identifier: Apache-2.0
"""What a vif must be like to be taken, and which flags are stored."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from typing import Final

from . import netdev
from .errors import BadValue, DeviceError, Refused
from .home import Home, check_mac
from .names import MAX_MIRRORS, MAX_VIFS, VRF_NONE, VifFlag, VifType
from .records import Vif
from .subvifs import check_vlans

FIRST_FIXED: Final = 4350  # pkt3; pkt1 follows

_SUPPORTED: Final = (
    VifType.HOST,
    VifType.AGENT,
    VifType.PHYSICAL,
    VifType.VIRTUAL,
    VifType.GATEWAY,
    VifType.VIRTUAL_VLAN,
    VifType.STATS,
    VifType.MONITORING,
)
# The data plane finds these out itself; no request sets or clears them.
DATA_PLANE: Final = int(
    VifFlag.TX_CSUM | VifFlag.VLAN_OFFLOAD | VifFlag.GRO_NEEDED | VifFlag.MRG_RXBUF
)
_KNOWN: Final = int(sum(VifFlag))


def stored_flags(vif: Vif, old: int) -> VifFlag:
    """The flags of request `vif` over the flags `old`, by upstream's rules."""
    # Not ~VifFlag: that would lose bits that have no name, before they are refused.
    flags = int(vif.flags) & ~DATA_PLANE | int(old) & DATA_PLANE
    if not flags & (VifFlag.L2 | VifFlag.L3):
        flags |= VifFlag.L2 | VifFlag.L3
    return VifFlag(flags)


def check_vif(home: Home, vif: Vif) -> None:
    """Raises BadValue or Refused if `vif` cannot be, whatever other vifs there are."""
    if not 0 <= vif.idx < MAX_VIFS:
        raise BadValue("idx", vif.idx, f"vifs are 0 to {MAX_VIFS - 1}")
    if vif.type not in _SUPPORTED:
        raise Refused(
            f"vifs of type {VifType(vif.type).name} are not made: a NIC or VLAN device is "
            "PHYSICAL, a VM's port VIRTUAL"
        )
    if not 0 < len(vif.name.encode()) <= netdev.NAME_MAX:
        raise BadValue("name", vif.name, f"1 to {netdev.NAME_MAX} bytes")
    check_mac(vif.mac)
    if int(vif.flags) & ~_KNOWN:
        raise BadValue("flags", hex(int(vif.flags) & ~_KNOWN), "vifs have no such flag")
    for field in ("vrf", "mcast_vrf"):
        value = getattr(vif, field)
        if value != VRF_NONE:
            home.check_vrf(value, field)
    home.check_nexthop(vif.nh_id, "nh_id")
    _check_numbers(vif)
    if vif.xconnect is not None and vif.type not in (VifType.HOST, VifType.PHYSICAL):
        raise BadValue("xconnect", vif.xconnect, "only Host and Physical vifs are cross-connected")
    check_vlans(vif)
    if vif.flags & VifFlag.SERVICE:
        raise Refused("service chains (flag S) come later: leave the flag out")


def _check_numbers(vif: Vif) -> None:
    for field in ("xconnect", "parent"):
        value = getattr(vif, field)
        if value is not None and not 0 <= value < MAX_VIFS:
            raise BadValue(field, value, f"vifs are 0 to {MAX_VIFS - 1}")
    if not 0 <= vif.mtu < 1 << 16:
        raise BadValue("mtu", vif.mtu, "0 (default) to 65535")
    if vif.mirror is not None and not 0 <= vif.mirror < MAX_MIRRORS:
        raise BadValue("mirror", vif.mirror, f"mirrors are 0 to {MAX_MIRRORS - 1}")
    if vif.mirror is None and vif.flags & (VifFlag.MIRROR_RX | VifFlag.MIRROR_TX):
        raise BadValue("mirror", None, "a vif that is mirrored names a mirror")
    if not -1 <= vif.qos < 1 << 15:
        raise BadValue("qos", vif.qos, "-1 (none) to 32767")
    for field in ("ifindex", "os_ifindex"):
        if not 0 < getattr(vif, field) < 1 << 31:
            raise BadValue(field, getattr(vif, field), "netdevices are numbered from 1")


def check_device(vif: Vif) -> str:
    """The name of the netdevice `ifindex`; DeviceError if it is not here, or `name`
    is not that of `os_ifindex`; a Virtual VLAN vif has a name of its own."""
    named = netdev.name(vif.os_ifindex)
    if vif.type == VifType.VIRTUAL_VLAN:
        return named
    if named != vif.name:
        raise DeviceError(f"netdevice {vif.os_ifindex} is called {named}, not {vif.name}")
    return netdev.name(vif.ifindex)


def check_change(old: Vif, vif: Vif) -> None:
    """Raises BadValue or Refused if `old` cannot become `vif`."""
    for field in ("type", "ifindex", "os_ifindex", "name", "parent"):
        if getattr(old, field) != getattr(vif, field):
            raise BadValue(
                field,
                getattr(vif, field),
                f"vif0/{old.idx} has {getattr(old, field)!r}: delete it and add it again",
            )
    if vif.xconnect not in (None, old.xconnect):
        raise Refused(
            f"vif0/{old.idx} cannot change its cross-connect partner: delete the Host vif and "
            "add it again"
        )


def check_partner(host: Vif, get: Callable[[int], Vif | None]) -> None:
    """Raises Refused unless a Host vif may be cross-connected with the vif that it names."""
    partner = get(host.xconnect) if host.xconnect is not None else None
    if partner is None or partner.type != VifType.PHYSICAL:
        raise Refused(
            f"{host.name} cannot cross-connect to vif0/{host.xconnect}: that is no Physical "
            "vif, add the Physical one first"
        )
    other = None if partner.xconnect is None else get(partner.xconnect)
    if other is not None and other.idx != host.idx:
        raise Refused(f"{partner.name} is cross-connected with {other.name} already")


def check_childless(vif: Vif, children: Iterable[Vif]) -> None:
    """Raises Refused if a vif that is to go has parts."""
    for child in children:
        raise Refused(
            f"{vif.name} (vif0/{vif.idx}) carries {child.name} (vif0/{child.idx}): delete "
            "that first",
            errno=errno.EBUSY,
        )


def check_unused(physical: Vif, vifs: Iterable[Vif]) -> None:
    """Raises Refused if a Physical vif that is to go carries a Host vif."""
    for vif in vifs:
        if vif.type == VifType.HOST and vif.xconnect == physical.idx:
            raise Refused(
                f"{physical.name} (vif0/{physical.idx}) carries {vif.name} "
                f"(vif0/{vif.idx}): delete that first",
                errno=errno.EBUSY,
            )


def children_of(vifs: Iterable[Vif], parent: int | None) -> list[Vif]:
    """The Virtual VLAN vifs of a vif."""
    return [vif for vif in vifs if vif.type == VifType.VIRTUAL_VLAN and vif.parent == parent]


def physicals_of(vifs: Iterable[Vif], host: Vif) -> list[Vif]:
    """The Physical vifs that a Host vif is cross-connected with."""
    return [vif for vif in vifs if vif.type == VifType.PHYSICAL and vif.xconnect == host.idx]
