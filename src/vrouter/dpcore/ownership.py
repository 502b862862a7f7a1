# SPDX-License-Identifier: Apache-2.0
"""Whose an instance is, when what is found is not what a clean load leaves."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from . import link, netns
from .errors import Refused
from .instance import Instance
from .maps import open_map
from .sizes import Sizes


def settle_owner(
    instance: Instance, remove: Callable[[Instance], None], *, here: bool
) -> tuple[str, ...]:
    """Makes sure that a load may go on in the caller's network namespace.

    - registered for another live namespace: Refused, naming the instance;
    - registered for a namespace that is gone: its pins are removed if the load is meant
      for `here`, else Refused: the name does not lead to a namespace any more;
    - pins without a registry: adopted for this namespace, unless they are
      attached to netdevices that are not here (Refused).

    Returns what was done, for the person. The caller holds the lock.
    """
    entry = instance.registered()
    if entry is not None and entry["netns_cookie"] == netns.cookie():
        return ()
    if not instance.pin_dir.is_dir():
        if entry is not None:
            _refuse_if_alive(instance)
        return ()
    if entry is not None:
        _refuse_if_alive(instance)
        if not here:
            raise Refused(
                f"the network namespace that vRouter {instance.name!r} was loaded for is gone: "
                f"to load it for the one that you are in, add --here; to forget it, run "
                f"`vrouter unload --name {instance.name}`"
            )
        remove(instance)
        return (f"removed what a namespace that is gone left of vRouter {instance.name!r}",)
    return _adopt(instance, remove)


def _refuse_if_alive(instance: Instance) -> None:
    fd = instance.open_netns()
    if fd is None and not link.live_devices(instance.link_dir):
        return
    if fd is not None:
        os.close(fd)
    raise Refused(
        f"vRouter {instance.name!r} belongs to another network namespace: "
        f"choose another name, or run `vrouter unload --name {instance.name}` there"
    )


def _adopt(instance: Instance, remove: Callable[[Instance], None]) -> tuple[str, ...]:
    here = {index for index, _ in socket.if_nameindex()}
    elsewhere = sorted(link.live_devices(instance.link_dir) - here)
    if elsewhere:
        raise Refused(
            f"pins of vRouter {instance.name!r} were found without its registry, attached to "
            f"netdevices that are not in this network namespace ({elsewhere[0]}): "
            f"run `vrouter unload --name {instance.name}` to remove them"
        )
    if not instance.is_loaded():
        remove(instance)
        return (f"removed incomplete pins of vRouter {instance.name!r}",)
    instance.register(
        {
            "name": instance.name,
            "netns_cookie": netns.cookie(),
            "netns_inode": netns.inode(),
            "boot_id": netns.boot_id(),
            **_sizes(instance),
        }
    )
    return (f"found vRouter {instance.name!r} loaded without its registry: adopted it",)


def _sizes(instance: Instance) -> dict[str, object]:
    entries = {}
    for pin in (instance.pin_dir / "maps").iterdir():
        with open_map(pin) as one:
            entries[pin.name] = one.max_entries
    sizes = Sizes.from_maps(entries)
    return {"sizes": sizes.as_dict(), "profile": sizes.profile}
