# SPDX-License-Identifier: Apache-2.0
"""What each request does: a module for each kind of table.

A handler gets the context and the decoded request, and gives back an object, a dump or nothing.
It raises a VrouterError, and has then changed nothing. What an entry must be like is checked by
the tables themselves (vrouter.dpcore), for the tools and this door alike.
"""

from __future__ import annotations

from vrouter.sandesh.context import Handlers

from . import drops, interface, labels, mirror, nexthop, operations, qos, route, vrf

HANDLERS: Handlers = {
    **interface.HANDLERS,
    **nexthop.HANDLERS,
    **route.HANDLERS,
    **labels.HANDLERS,
    **mirror.HANDLERS,
    **vrf.HANDLERS,
    **qos.HANDLERS,
    **drops.HANDLERS,
    **operations.HANDLERS,
}
"""Handlers by message and operation; a message with none is known, and refused."""
