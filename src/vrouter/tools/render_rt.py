# SPDX-License-Identifier: Apache-2.0
"""Text and JSON of `rt`, in upstream's columns."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any

from vrouter.dpcore.labels import (
    BRIDGE_FLAG_LETTERS,
    ROUTE_FLAG_LETTERS,
    bridge_flag_letters,
    route_flag_letters,
)
from vrouter.tools.words import mac_text, set_words, short_mac_text

if TYPE_CHECKING:
    from vrouter.dpcore.records import BridgeEntry, Route

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


def inet_heading(vrf: int) -> list[str]:
    """Legend, title and column names of an IPv4 table."""
    return [INET_LEGEND, f"vRouter inet4 routing table 0/{vrf}/unicast", INET_COLUMNS]


def bridge_heading(vrf: int) -> list[str]:
    """Legend, title and column names of a bridge table."""
    return [BRIDGE_LEGEND, f"vRouter bridge table 0/{vrf}", BRIDGE_COLUMNS]


def inet_line(route: Route, stitch: Stitch) -> str:
    """One route. PPL is the length of the prefix itself: tables hold prefixes, not expansions."""
    flags = route_flag_letters(route.flags)
    mac = stitch(route.bridge) if route.bridge else None
    stitched = f"{short_mac_text(mac)}({route.bridge})" if mac is not None else "-"
    return (
        f"{route.prefix!s:<20}{route.prefix.prefixlen:>5}{flags:>13}"
        f"{_label(route.label):>11}{route.nh:>15}        {stitched}"
    )


def no_route_line(asked: IPv4Network) -> str:
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
