# SPDX-License-Identifier: Apache-2.0
"""Give a device what a snapshot holds, and take it from the one it was read from.

First all is given, then all is taken: at no moment is an address or a route missing.
Each function makes requests, which the caller sends: `batch` to stop at the first failure,
`attempt` to go on.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import replace

from vrouter.host import rtnl
from vrouter.host.nic import addresses, advertised, groups, neighbours, routes, rules
from vrouter.host.nic.addresses import Device
from vrouter.host.nic.snapshot import Snapshot
from vrouter.host.rtnl import Request

_REPLACE = rtnl.NLM_F_CREATE | rtnl.NLM_F_REPLACE
_APPEND = rtnl.NLM_F_CREATE | rtnl.NLM_F_APPEND
_NEW = rtnl.NLM_F_CREATE | rtnl.NLM_F_EXCL
_GONE = (errno.ESRCH, errno.ENOENT, errno.EADDRNOTAVAIL, errno.ENODEV)


def give_addresses(snapshot: Snapshot, bodies: list[bytes], to: Device) -> list[Request]:
    """Add addresses of the snapshot's device, lifetimes shortened by the time since."""
    made = []
    for body in bodies:
        changed = addresses.for_device(body, snapshot.device.name, to, snapshot.elapsed)
        if changed is not None:
            what = f"add {addresses.prefix_text(body)} to {to.name}"
            made.append(Request(rtnl.RTM_NEWADDR, _REPLACE, changed, what))
    return made


def give_early(snapshot: Snapshot, to: Device) -> list[Request]:
    """Add the addresses before the device can send or receive: without IPv6 routes.

    The kernel takes turns between equal IPv6 routes; an IPv4 route stands behind an equal one.
    """
    requests = give_addresses(snapshot, snapshot.link_locals + snapshot.addresses, to)
    return [replace(one, body=addresses.without_route(one.body)) for one in requests]


def give_routes(
    bodies: list[bytes], renamed: Mapping[int, int], to: Device, *, keep_object: bool
) -> list[Request]:
    """Add routes; `renamed`: old to new ifindex of the device, and after a reboot of others.

    Without those by advertising routers, for which see `advertised`.
    """
    return [
        Request(
            rtnl.RTM_NEWROUTE,
            _APPEND,
            routes.for_device(body, renamed, keep_object=keep_object),
            f"add route {routes.text(body)} to {to.name}",
            (errno.EEXIST,),
        )
        for body in bodies
        if not advertised.is_one(body)
    ]


def give_rules(snapshot: Snapshot, to: Device) -> list[Request]:
    """The rules that name the snapshot's device, for the other one."""
    return [
        Request(
            rtnl.RTM_NEWRULE,
            _NEW,
            rules.for_device(body, snapshot.device.name, to.name),
            f"add the rule {rules.text(body)} for {to.name}",
            (errno.EEXIST,),
        )
        for body in snapshot.rules
    ]


def give_neighbours(bodies: list[bytes], to: Device) -> list[Request]:
    """Make what was resolved, and what was entered by hand, known on the other device.

    A host must not have to ask again while its address moves.
    """
    return [
        Request(
            rtnl.RTM_NEWNEIGH,
            _REPLACE,
            neighbours.for_device(body, to.ifindex),
            f"add the neighbour {neighbours.text(body)} to {to.name}",
        )
        for body in bodies
    ]


def join_groups(found: list[bytes], to: Device) -> list[Request]:
    """Make the kernel join multicast groups on a device.

    The address that does it brings a route "this group is me", which would keep the host's own
    packets to the group from the wire: it is deleted again.
    """
    made = []
    for group in found:
        what = f"join {groups.text(group)} on {to.name}"
        made.append(Request(rtnl.RTM_NEWADDR, _REPLACE, addresses.group(group, to), what))
        made.append(Request(rtnl.RTM_DELROUTE, 0, routes.local_of(group), what, _GONE))
    return made


def take_routes(bodies: list[bytes], device: Device) -> list[Request]:
    """Remove routes; what is gone already is no error."""
    same = {device.ifindex: device.ifindex}
    return [
        Request(
            rtnl.RTM_DELROUTE,
            0,
            routes.for_device(body, same, keep_object=True),
            f"remove route {routes.text(body)} from {device.name}",
            _GONE,
        )
        for body in reversed(bodies)
    ]


def take_addresses(bodies: list[bytes], device: Device) -> list[Request]:
    """Remove addresses, secondary ones before primary ones."""
    return [
        Request(
            rtnl.RTM_DELADDR,
            0,
            body,
            f"remove {addresses.prefix_text(body)} from {device.name}",
            _GONE,
        )
        for body in reversed(bodies)
    ]


def take_rules(snapshot: Snapshot, from_: Device) -> list[Request]:
    """Remove the snapshot's rules as they stand for device `from_`."""
    return [
        Request(
            rtnl.RTM_DELRULE,
            0,
            rules.for_device(body, snapshot.device.name, from_.name),
            f"remove the rule {rules.text(body)} for {from_.name}",
            _GONE,
        )
        for body in snapshot.rules
    ]


def prolong(body: bytes, seconds: int) -> Request:
    """Let an address of a device live that long from now."""
    what = f"prolong {addresses.prefix_text(body)}"
    return Request(rtnl.RTM_NEWADDR, _REPLACE, addresses.with_lifetime(body, seconds), what)
