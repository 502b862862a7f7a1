# SPDX-License-Identifier: Apache-2.0
"""What a route must be like to be taken."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

from .errors import BadValue
from .home import Home, check_label
from .names import RouteFlag
from .records import Route

KNOWN = int(sum(RouteFlag))
LABEL_VALID = int(RouteFlag.LABEL_VALID)


def check_route(home: Home, route: Route, kind: type[IPv4Network] | type[IPv6Network]) -> None:
    """Raises BadValue, with the reason, if `route` cannot be in the table of `kind`."""
    if type(route.prefix) is not kind:
        version = 4 if kind is IPv4Network else 6
        raise BadValue("prefix", str(route.prefix), f"this table holds IPv{version} prefixes")
    home.check_vrf(route.vrf)
    home.check_nexthop(route.nh)
    check_label(route.label)
    if int(route.flags) & ~KNOWN:
        raise BadValue("flags", hex(route.flags), "routes have no such flag")
    bridge = home.array("bridge").max_entries
    if not 0 <= route.bridge < bridge:
        raise BadValue("bridge", route.bridge, f"bridge entries are 1 to {bridge - 1}, 0 is none")


def stored(route: Route) -> Route:
    """The route as a table gives it back: LABEL_VALID follows from the label."""
    flags = route.flags & ~RouteFlag.LABEL_VALID
    if route.label is not None:
        flags |= RouteFlag.LABEL_VALID
    return Route(
        vrf=route.vrf,
        prefix=route.prefix,
        nh=route.nh,
        label=route.label,
        flags=flags,
        bridge=route.bridge,
    )
