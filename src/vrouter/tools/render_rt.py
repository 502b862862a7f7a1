# SPDX-License-Identifier: Apache-2.0
"""Text and JSON of `rt`, in upstream's columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vrouter.dpcore.labels import (
    BRIDGE_FLAG_LETTERS,
    ROUTE_FLAG_LETTERS,
    bridge_flag_letters,
    route_flag_letters,
)
from vrouter.dpcore.names import BridgeFlag, Family, RouteFlag
from vrouter.tools.words import mac_text, set_words, short_mac_text

if TYPE_CHECKING:
    from vrouter.dpcore.changes import Change, Missed
    from vrouter.dpcore.records import BridgeEntry, IPNetwork, Route

INET_LEGEND = "Flags: L=Label Valid, P=Proxy ARP, T=Trap ARP, F=Flood ARP, Ml=MAC-IP learnt route"
BRIDGE_LEGEND = (
    "Flags: L=Label Valid, Df=DHCP flood, Mm=Mac Moved, L2c=L2 Evpn Control Word, "
    "N=New Entry, Ec=EvpnControlProcessing"
)
INET_COLUMNS = (
    "Destination           PPL        Flags        Label         Nexthop    Stitched MAC(Index)"
)
BRIDGE_COLUMNS = (
    "Index       DestMac                  Flags           Label/VNID      Nexthop           Stats"
)

# The MAC of the bridge entry with that index, or None if there is no valid one.
Stitch = Callable[[int], bytes | None]


def inet_heading(vrf: int, version: int = 4) -> list[str]:
    """Legend, title and column names of a table of routes; `version` of IP."""
    return [INET_LEGEND, f"vRouter inet{version} routing table 0/{vrf}/unicast", INET_COLUMNS]


def bridge_heading(vrf: int) -> list[str]:
    """Legend, title and column names of a bridge table."""
    return [BRIDGE_LEGEND, f"vRouter bridge table 0/{vrf}", BRIDGE_COLUMNS]


def inet_line(route: Route, stitch: Stitch, asked: IPNetwork | None = None) -> str:
    """One route, or the answer of a look-up for `asked`. PPL is the length of the route's prefix:
    tables hold prefixes, not expansions."""
    flags = route_flag_letters(route.flags)
    mac = stitch(route.bridge) if route.bridge else None
    stitched = f"{short_mac_text(mac)}({route.bridge})" if mac is not None else "-"
    return (
        f"{asked or route.prefix!s:<20}{route.prefix.prefixlen:>5}{flags:>13}"
        f"{_label(route.label):>11}{route.nh:>15}        {stitched}"
    )


def no_route_line(asked: IPNetwork) -> str:
    """The line of a look-up that matched nothing: nexthop 0, which discards."""
    return f"{asked!s:<20}{0:>5}{'':>13}{'-':>11}{0:>15}        -"


def bridge_line(entry: BridgeEntry) -> str:
    """One bridge entry."""
    flags = bridge_flag_letters(entry.flags)
    return (
        f"{entry.index:<12}{short_mac_text(entry.mac):<20}{flags:>10}"
        f"{_label(entry.label):>21}{entry.nh:>13}{entry.packets:>16}"
    )


def _label(label: int | None) -> str:
    return "-" if label is None else str(label)


def inet_json(route: Route, stitch: Stitch) -> dict[str, Any]:
    """One route as JSON; documented in rt(1)."""
    mac = stitch(route.bridge) if route.bridge else None
    return {
        "vrf": route.vrf,
        "prefix": str(route.prefix),
        "ppl": route.prefix.prefixlen,
        "flags": set_words(route.flags, ROUTE_FLAG_LETTERS),
        "label": route.label,
        "nh": route.nh,
        "stitched_mac": mac_text(mac) if mac is not None else None,
        "stitched_index": route.bridge if mac is not None else None,
    }


CHANGE_FAMILIES = {Family.INET: "AF_INET", Family.INET6: "AF_INET6", Family.BRIDGE: "AF_BRIDGE"}
ROUTE_CHANGE_FLAGS = {
    "label_valid": RouteFlag.LABEL_VALID,
    "arp_proxy": RouteFlag.ARP_PROXY,
    "arp_trap": RouteFlag.ARP_TRAP,
    "arp_flood": RouteFlag.ARP_FLOOD,
    "mac_ip_learnt": RouteFlag.MAC_IP_LEARNT,
}
BRIDGE_CHANGE_FLAGS = {
    "label_valid": BridgeFlag.LABEL_VALID,
    "flood_dhcp": BridgeFlag.FLOOD_DHCP,
    "mac_moved": BridgeFlag.MAC_MOVED,
    "mac_new": BridgeFlag.MAC_NEW,
}


def change_json(change: Change | Missed) -> dict[str, Any]:
    """One change as JSON, by upstream's keys; documented in rt(1)."""
    from vrouter.dpcore.changes import Missed  # noqa: PLC0415 - only --monitor needs it

    if isinstance(change, Missed):
        return {"operation": "missed", "count": change.count}
    bridge = change.family == Family.BRIDGE
    found: dict[str, Any] = {
        "operation": change.operation.name.lower(),
        "family": CHANGE_FAMILIES[change.family],
        "vrf_id": change.vrf,
    }
    if not bridge:
        found |= {"prefix": change.plen, "address": str(change.address)}
    names = BRIDGE_CHANGE_FLAGS if bridge else ROUTE_CHANGE_FLAGS
    found["nh_id"] = change.nh
    found["flags"] = {name: bool(change.flags & bit) for name, bit in names.items()}
    if change.label is not None:
        found["label"] = change.label
    if change.mac is not None:
        found |= {"mac_address": mac_text(change.mac), "mac_index": change.mac_index}
    return found


def bridge_json(entry: BridgeEntry) -> dict[str, Any]:
    """One bridge entry as JSON; documented in rt(1)."""
    return {
        "vrf": entry.vrf,
        "index": entry.index,
        "mac": mac_text(entry.mac),
        "flags": set_words(entry.flags, BRIDGE_FLAG_LETTERS),
        "label": entry.label,
        "nh": entry.nh,
        "packets": entry.packets,
    }
