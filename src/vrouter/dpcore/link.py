# SPDX-License-Identifier: Apache-2.0
"""tcx links: the program at the ingress of a netdevice, pinned so that it stays."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from . import libbpf
from .errors import DeviceError, NoSuchEntry, Refused, from_errno


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """ifindex: 0 when the netdevice is gone; prog_id: the program that runs there."""

    id: int
    ifindex: int
    prog_id: int


class Link:
    """An open tcx link; closing it leaves the pinned link as it is."""

    def __init__(self, fd: int, pin: Path) -> None:
        self.fd = fd
        self.pin = pin
        self._lib: Any = libbpf.lib()

    def update(self, prog_fd: int) -> None:
        """Exchanges the program in one step: no packet goes without one."""
        result = self._lib.bpf_link_update(self.fd, prog_fd, None)
        libbpf.check(result, f"cannot exchange the program of {self.pin}")

    def info(self) -> LinkInfo:
        """Where the link is attached, and what runs there."""
        info = libbpf.LinkInfo()
        libbpf.object_info(self.fd, info)
        return LinkInfo(info.id, info.ifindex, info.prog_id)

    def detach(self) -> None:
        """Takes the program off the netdevice; fine if that is gone."""
        result = self._lib.bpf_link_detach(self.fd)
        if result not in (0, -errno.ENOLINK, -errno.ENODEV):
            libbpf.check(result, f"cannot detach {self.pin}")

    def close(self) -> None:
        """Closes the file descriptor."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "fd", -1) >= 0:
            self.close()


def open_link(pin: Path) -> Link:
    """The link pinned at `pin`; NoSuchEntry if there is none."""
    try:
        return Link(libbpf.obj_get(pin), pin)
    except FileNotFoundError:
        raise NoSuchEntry(f"no link is pinned at {pin}") from None


def create(prog_fd: int, ifindex: int) -> int:
    """Attaches the program at the tcx ingress of `ifindex` for as long as the file descriptor that
    is returned is open. Raises DeviceError, Refused."""
    fd: int = libbpf.lib().bpf_link_create(prog_fd, ifindex, libbpf.TCX_INGRESS, None)
    if fd == -errno.EEXIST:
        raise DeviceError(f"netdevice {ifindex} has this dp-core already, for another vif")
    if fd == -errno.ENODEV:
        raise DeviceError(f"there is no netdevice with index {ifindex} in this network namespace")
    if fd < 0:
        raise from_errno(-fd, f"cannot attach dp-core to netdevice {ifindex}")
    return fd


def attach(prog_fd: int, ifindex: int, pin: Path, begun: int | None = None) -> Link:
    """Attaches the program at the tcx ingress of `ifindex` and pins the link.

    begun: what `create` has made there already; it is used up. Done already (same netdevice):
    only the program is exchanged. A link whose netdevice is gone is replaced. Raises
    DeviceError, Refused.
    """
    made = None if begun is None else Link(begun, pin)
    found = _reuse(prog_fd, ifindex, pin)
    if found is not None:
        return found
    if made is not None and made.info().ifindex == ifindex:
        made.update(prog_fd)
    else:
        made = Link(create(prog_fd, ifindex), pin)
    pin.parent.mkdir(mode=0o700, exist_ok=True)
    libbpf.obj_pin(made.fd, pin)
    return made


def _reuse(prog_fd: int, ifindex: int, pin: Path) -> Link | None:
    try:
        link = open_link(pin)
    except NoSuchEntry:
        return None
    where = link.info().ifindex
    if where == ifindex:
        link.update(prog_fd)
        return link
    link.close()
    if where:
        raise Refused(f"{pin.name} is attached to netdevice {where}: delete that vif first")
    pin.unlink(missing_ok=True)
    return None


def detach(pin: Path) -> bool:
    """Takes the program off and removes the pin; False if there was none."""
    try:
        link = open_link(pin)
    except NoSuchEntry:
        return False
    with link:
        # The kernel frees an unpinned link some time later; detaching is at once.
        link.detach()
    pin.unlink(missing_ok=True)
    return True


def take(pin: Path) -> Link | None:
    """The link, attached still, and its pin removed: it ends with this process at the latest.
    None if there was none."""
    try:
        link = open_link(pin)
    except NoSuchEntry:
        return None
    pin.unlink(missing_ok=True)
    return link


def links(folder: Path) -> Iterator[Link]:
    """All links pinned in `folder`, by name."""
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return
    for name in names:
        try:
            yield open_link(folder / name)
        except NoSuchEntry:
            continue


def live_devices(folder: Path) -> set[int]:
    """The netdevices that the links pinned in `folder` are attached to."""
    found = set()
    for opened in links(folder):
        with opened:
            found.add(opened.info().ifindex)
    # a link whose netdevice is gone says 0
    return found - {0}
