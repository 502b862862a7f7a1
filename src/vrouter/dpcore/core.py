# SPDX-License-Identifier: Apache-2.0
"""DpCore: an opened dp-core, the door to all of its tables."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cached_property
from typing import Self

from vrouter import __version__

from .bridge import BridgeTable
from .btf import Btf
from .changes import ChangeLog
from .config import ConfigTable
from .contents import abi_version
from .errors import OtherAbi
from .home import Home
from .inet import InetTable
from .inet6 import Inet6Table
from .instance import Instance, find_instance
from .memory import occupied
from .mirrors import MirrorTable
from .mpls import MplsTable
from .nexthops import NexthopTable
from .object import CONFIG, known_abi
from .qos import QosTable
from .records import IPAddress, IPNetwork
from .sources import SourceTable
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
    def open(cls, instance: Instance | None = None, *, any_abi: bool = False) -> Self:
        """Opens `instance` (default: the one that find_instance() finds).

        any_abi: also a dp-core whose tables are of another version than this
        program knows; what both have is read and written by name.
        Raises NotLoaded, Refused (not root), OtherAbi.
        """
        instance = instance or find_instance()
        instance.require_loaded()
        opened = cls(instance)
        if not any_abi:
            try:
                opened._check_abi()
            except BaseException:
                opened.close()
                raise
        return opened

    def _check_abi(self) -> None:
        known = known_abi()
        loaded = abi_version({CONFIG: self._home.array(CONFIG)})
        if known is not None and known != loaded:
            release = (self.instance.registered() or {}).get("version", "of another release")
            raise OtherAbi(self.instance.name, release, loaded, __version__, known)

    def close(self) -> None:
        """Closes all maps; dp-core goes on without us."""
        if "vifs" in self.__dict__:
            self.vifs.ties.close()
        for name in ("bridge", "config", "inet6"):
            table = self.__dict__.pop(name, None)
            if table is not None:
                table.close()
        for name in (
            *("vifs", "nexthops", "sources", "inet", "mpls", "vxlan"),
            *("mirrors", "qos", "stats"),
        ):
            self.__dict__.pop(name, None)
        self._home.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def lock(self) -> AbstractContextManager[None]:
        """The writers' lock (re-entrant). Raises Busy, naming who holds it, and Reloaded."""
        return self._home.lock()

    def is_current(self) -> bool:
        """Whether the tables that are open are still those of the instance: a load may have
        put others in their place, which whoever stays for long has to open anew."""
        return self._home.is_current()

    @property
    def layouts(self) -> Btf:
        """The struct layouts of the loaded object: `layouts.layout("vr_vif")`."""
        return self._home.btf

    @cached_property
    def vifs(self) -> VifTable:
        """The ports."""
        return VifTable(self._home, self.config, self.sources)

    @cached_property
    def sources(self) -> SourceTable:
        """Who may speak, by vif; written through `vifs`."""
        return SourceTable(self._home)

    @cached_property
    def nexthops(self) -> NexthopTable:
        """What happens to a packet next."""
        return NexthopTable(self._home)

    @cached_property
    def inet(self) -> InetTable:
        """IPv4 routes."""
        return InetTable(self._home)

    @cached_property
    def inet6(self) -> Inet6Table:
        """IPv6 routes."""
        return Inet6Table(self._home)

    def routes_of(self, prefix: IPNetwork | IPAddress) -> InetTable | Inet6Table:
        """The table that holds prefixes and addresses of that IP version."""
        return self.inet if prefix.version == 4 else self.inet6

    def check_vrf(self, vrf: int) -> None:
        """BadValue unless `vrf` is one that routes may be in."""
        self._home.check_vrf(vrf)

    @property
    def changes(self) -> ChangeLog:
        """What was done to routes and MACs, by whoever did it."""
        return self._home.changes

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

    def memory(self) -> dict[str, int]:
        """Bytes of kernel memory of each map, by name."""
        return occupied(self.instance)

    def collect(self) -> dict[str, int]:
        """Frees what writers took and died before they used it; slots freed, by table."""
        return {
            "vif": self.vifs.collect(),
            "nexthop": self.nexthops.collect(),
            "inet6": self.inet6.collect(),
            "bridge": self.bridge.collect(),
            "vxlan": self.vxlan.collect(),
            "mirror": self.mirrors.collect(),
        }
