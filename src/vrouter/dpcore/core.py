# SPDX-License-Identifier: Apache-2.0
"""DpCore: an opened dp-core, the door to all of its tables."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cached_property
from typing import Self

from .bridge import BridgeTable
from .btf import Btf
from .config import ConfigTable
from .home import Home
from .inet import InetTable
from .instance import Instance, find_instance
from .mirrors import MirrorTable
from .mpls import MplsTable
from .nexthops import NexthopTable
from .qos import QosTable
from .stats import Stats
from .vifs import VifTable
from .vxlan import VxlanTable


class DpCore:
    """The tables of one loaded instance; a context manager.

    Opening costs next to nothing: a map is opened when its table is first used.
    Reading needs no lock. Each writing call takes the instance's lock itself;
    take `lock()` around several calls that belong together.
    """

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self._home = Home(instance)

    @classmethod
    def open(cls, instance: Instance | None = None) -> Self:
        """Opens `instance` (default: the one that find_instance() finds).

        Raises NotLoaded, Refused (not root).
        """
        instance = instance or find_instance()
        instance.require_loaded()
        return cls(instance)

    def close(self) -> None:
        """Closes all maps; dp-core goes on without us."""
        for name in ("bridge", "config"):
            table = self.__dict__.pop(name, None)
            if table is not None:
                table.close()
        for name in ("vifs", "nexthops", "inet", "mpls", "vxlan", "mirrors", "qos", "stats"):
            self.__dict__.pop(name, None)
        self._home.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def lock(self) -> AbstractContextManager[None]:
        """The writers' lock (re-entrant). Raises Busy, naming who holds it."""
        return self._home.lock()

    @property
    def layouts(self) -> Btf:
        """The struct layouts of the loaded object: `layouts.layout("vr_vif")`."""
        return self._home.btf

    @cached_property
    def vifs(self) -> VifTable:
        """The ports."""
        return VifTable(self._home, self.config)

    @cached_property
    def nexthops(self) -> NexthopTable:
        """What happens to a packet next."""
        return NexthopTable(self._home)

    @cached_property
    def inet(self) -> InetTable:
        """IPv4 routes."""
        return InetTable(self._home)

    @cached_property
    def bridge(self) -> BridgeTable:
        """MAC addresses."""
        return BridgeTable(self._home)

    @cached_property
    def mpls(self) -> MplsTable:
        """Incoming MPLS labels."""
        return MplsTable(self._home)

    @cached_property
    def vxlan(self) -> VxlanTable:
        """Incoming VNIs."""
        return VxlanTable(self._home)

    @cached_property
    def mirrors(self) -> MirrorTable:
        """Where copies of packets go."""
        return MirrorTable(self._home)

    @cached_property
    def qos(self) -> QosTable:
        """QoS maps and forwarding classes."""
        return QosTable(self._home, self.config)

    @cached_property
    def stats(self) -> Stats:
        """Drop and VRF counters."""
        return Stats(self._home)

    @cached_property
    def config(self) -> ConfigTable:
        """What dp-core as a whole is told."""
        return ConfigTable(self._home)

    def collect(self) -> dict[str, int]:
        """Frees what writers took and died before they used it; slots freed, by table."""
        return {
            "vif": self.vifs.collect(),
            "nexthop": self.nexthops.collect(),
            "bridge": self.bridge.collect(),
            "vxlan": self.vxlan.collect(),
            "mirror": self.mirrors.collect(),
        }
