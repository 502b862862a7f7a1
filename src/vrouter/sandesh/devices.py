# SPDX-License-Identifier: Apache-2.0
"""The netdevices that the door makes for vifs that have none.

A vif of transport PMD or SOCKET is, for upstream's DPDK build, no netdevice but memory that it
shares with a guest. Here it is a veth pair: its near end has the vif's name in the instance's
namespace, its far end the same name in another one. The alias of the near end says whose it
is, so that a door that is started again knows its devices.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from dataclasses import dataclass

from vrouter.dpcore.errors import DeviceError
from vrouter.host import netns, offload
from vrouter.host.netlink import Link, Netlink
from vrouter.host.ports import quiet_ipv6

from .errors import SandeshError, invalid

ALIAS = "vrouter sandesh"
_NAME_MAX = 15


@dataclass(frozen=True, slots=True)
class Device:
    """A netdevice by name; ours: the door has made it."""

    name: str
    ifindex: int
    peer_elsewhere: bool
    ours: bool


class Devices:
    """Of the namespace in which it is made; far ends go to the namespace `far` (name or path)."""

    def __init__(self, far: str | None) -> None:
        self.far = far
        self._links = Netlink()

    def close(self) -> None:
        """Closes the socket; the devices stay."""
        self._links.close()

    def find(self, name: str) -> Device | None:
        """The netdevice of that name."""
        link = self._links.get(name) if _is_name(name) else None
        return None if link is None else _device(link)

    def make(self, name: str, mtu: int) -> Device:
        """Makes the pair, both ends up and without offloads. Raises SandeshError, DeviceError."""
        self._check(name)
        far = str(netns.path(self.far or ""))
        try:
            link = self._links.add_veth(name, name, mtu=mtu, peer_netns=far)
        except DeviceError as error:
            raise SandeshError(errno.EEXIST, f"{error} (its far end goes to {self.far})") from None
        try:
            self._links.set(link, ifalias=ALIAS)
            netns.sysctl(f"net/ipv6/conf/{name}/disable_ipv6", 1)
            offload.make_plain(name)
            with self._in_far() as links:
                quiet_ipv6(name)
                offload.make_plain(name)
                links.up(name)
            self._links.set(link, state="up")
            self._links.wait_ready(name)
            with self._in_far() as links:
                links.wait_ready(name)
        except BaseException:
            self._links.delete(name)
            raise
        return _device(self._links.need(name))

    def remove(self, name: str) -> bool:
        """Deletes a device if the door has made it."""
        found = self.find(name)
        return found is not None and found.ours and self._links.delete(name)

    def far_end(self, name: str) -> int | None:
        """The ifindex, in the far namespace, of a device that the door has made."""
        found = self.find(name)
        if found is None or not found.ours or not self.far or not self._far_exists():
            return None
        with self._in_far() as links:
            link = links.get(name)
        return None if link is None else link.ifindex

    @contextlib.contextmanager
    def _in_far(self) -> Iterator[Netlink]:
        with netns.enter(self.far or ""), Netlink() as links:
            yield links

    def _far_exists(self) -> bool:
        try:
            netns.inode(self.far or "")
        except OSError:
            return False
        return True

    def _check(self, name: str) -> None:
        if not _is_name(name):
            raise invalid(f"vifr_name {name!r} cannot be the name of a netdevice")
        if not self.far:
            raise invalid(
                f"there is no netdevice {name}, and none can be made: the door runs without "
                "--far-netns"
            )
        if not self._far_exists():
            raise invalid(
                f"there is no netdevice {name}, and none can be made: there is no network "
                f"namespace {self.far}"
            )


def _is_name(name: str) -> bool:
    raw = name.encode(errors="surrogateescape")
    wrong = any(one <= 0x20 or one == 0x7F or one in b"/:%" for one in raw)
    return 0 < len(raw) <= _NAME_MAX and name not in (".", "..") and not wrong


def _device(link: Link) -> Device:
    return Device(link.name, link.ifindex, link.peer_elsewhere, link.alias == ALIAS)
