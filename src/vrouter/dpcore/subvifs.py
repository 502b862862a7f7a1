# SPDX-License-Identifier: Apache-2.0
"""Table `vif_vlans`: which Virtual VLAN vif gets a frame of its parent, by VLAN and sender."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from .errors import BadValue, Refused
from .home import Home, check_mac
from .names import MAX_VIFS, SRC_MACS, VifType
from .records import Vif

_LAST_VLAN = 4094
_ANY = bytes(6)


class SubVifs:
    """Written by `VifTable` together with the vifs themselves."""

    def __init__(self, home: Home) -> None:
        self._hash = home.hash("vif_vlans")
        self._key = home.layout("vr_vlan_key")

    def map(self, vif: Vif, old: Vif | None = None) -> None:
        """Leads the frames of `vif` to it, and those that only `old` had to the parent again."""
        value = (vif.idx + 1).to_bytes(4, sys.byteorder)
        for key in self._keys(vif):
            self._hash.set(key, value)
        if old is not None:
            self.unmap(old, self._keys(vif))

    def unmap(self, vif: Vif, keep: Iterable[bytes] = ()) -> None:
        """Leads the frames of `vif` to its parent, but for the keys to `keep`."""
        value = (vif.idx + 1).to_bytes(4, sys.byteorder)
        kept = set(keep)
        for key in self._keys(vif):
            if key not in kept and self._hash.get(key) == value:
                self._hash.delete(key)

    def check(self, vif: Vif, parent: Vif | None, others: Iterable[Vif]) -> None:
        """Raises BadValue or Refused if `vif` cannot be a part of `parent` beside `others`."""
        if parent is None or parent.type != VifType.VIRTUAL:
            raise Refused(
                f"vif0/{vif.parent} cannot have Virtual VLAN vifs: name a Virtual vif with --vif"
            )
        if (vif.ifindex, vif.os_ifindex) != (parent.ifindex, parent.os_ifindex):
            raise BadValue("ifindex", vif.ifindex, f"that of its parent is {parent.ifindex}")
        mine = set(self._keys(vif))
        for other in others:
            if other.idx != vif.idx and mine & set(self._keys(other)):
                raise Refused(
                    f"vif0/{other.idx} ({other.name}) has VLAN {vif.vlan} of vif0/{vif.parent} "
                    "already, for the same senders"
                )

    def _keys(self, vif: Vif) -> list[bytes]:
        macs = vif.src_macs or (_ANY,)
        return [self._key.pack(parent=vif.parent, vlan=vif.vlan, mac=mac) for mac in macs]


def check_vlans(vif: Vif) -> None:
    """Raises BadValue unless the fields of a Virtual VLAN vif are there, and in no other one."""
    if vif.type != VifType.VIRTUAL_VLAN:
        for field in ("parent", "vlan", "ovlan"):
            if getattr(vif, field) is not None:
                raise BadValue(field, getattr(vif, field), "only Virtual VLAN vifs have one")
        if vif.src_macs:
            raise BadValue("src_macs", len(vif.src_macs), "only Virtual VLAN vifs have them")
        return
    if vif.parent is None or not 0 <= vif.parent < MAX_VIFS:
        raise BadValue("parent", vif.parent, "a Virtual VLAN vif is part of a Virtual vif")
    for field in ("vlan", "ovlan"):
        value = getattr(vif, field)
        if value is None or not 0 <= value <= _LAST_VLAN:
            raise BadValue(field, value, f"VLANs are 0 to {_LAST_VLAN}")
    if len(vif.src_macs) > SRC_MACS:
        raise BadValue("src_macs", len(vif.src_macs), f"{SRC_MACS} senders at most")
    for mac in vif.src_macs:
        check_mac(mac, "src_macs")
        if not any(mac) or mac[0] & 1:
            raise BadValue("src_macs", mac.hex(":"), "that is not the MAC of a sender")
