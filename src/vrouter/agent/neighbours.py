# SPDX-License-Identifier: Apache-2.0
"""The neighbours on the fabric that tunnels need: the kernel resolves them and keeps them so."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from vrouter.agent import watch
from vrouter.agent.facts import Fabric
from vrouter.dpcore.records import IPAddress

log: Final = logging.getLogger(__name__)


class Neighbours:
    """What the kernel has been told to keep resolved on vhost0."""

    def __init__(self) -> None:
        self._told: set[IPAddress] = set()

    def keep(self, fabric: Fabric, hosts: Iterable[IPAddress], *, again: bool) -> None:
        """Have the next hops of `hosts`, and all gateways, resolved, and none of before besides.

        again: tell the kernel anew of those that are not resolved now.
        """
        hops = {fabric.next_hop(address) for address in hosts}
        wanted = {hop for hop in hops | set(fabric.gateways()) if hop is not None}
        wanted = {hop for hop in wanted if not hop.is_link_local and hop not in fabric.local}
        known = self._told & fabric.neighbours.keys() if again else self._told
        if wanted == self._told and wanted <= known:
            return
        try:
            watch.manage(fabric.vhost.ifindex, wanted - known, self._told - wanted)
        except OSError as error:
            log.warning("cannot let the kernel resolve %s: %s", error.filename, error.strerror)
        self._told = wanted
