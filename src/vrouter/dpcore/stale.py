# SPDX-License-Identifier: Apache-2.0
"""What netdevices and network namespaces that are gone left behind."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

from . import link
from .errors import Busy
from .instance import Instance, all_instances

# A namespace may be in nobody's sight for a moment, between its making and its first process.
_YOUNG: Final = 60.0


def dead_links(instance: Instance) -> list[str]:
    """The pins of links whose netdevice is gone."""
    found = []
    for opened in link.links(instance.link_dir):
        with opened:
            if not opened.info().ifindex:
                found.append(opened.pin.name)
    return found


def collect_links(instance: Instance) -> tuple[str, ...]:
    """Removes those pins; the vifs stay until somebody deletes them. The caller holds the lock."""
    dead = dead_links(instance)
    for name in dead:
        (instance.link_dir / name).unlink(missing_ok=True)
    return tuple(f"removed the link of {name}: its netdevice is gone" for name in dead)


def dead_instances() -> list[Instance]:
    """Instances that were loaded for a network namespace that is gone.

    Nobody has the namespace open that we can see, none of its netdevices lives, and it was
    not loaded just now.
    """
    return [one for one in all_instances() if _is_dead(one)]


def _is_dead(instance: Instance) -> bool:
    if instance.registered() is None or instance.is_here():
        return False
    try:
        age = time.time() - instance.registry_path.stat().st_mtime
    except FileNotFoundError:
        return False
    if age < _YOUNG or link.live_devices(instance.link_dir):
        return False
    fd = instance.open_netns()
    if fd is not None:
        os.close(fd)
    return fd is None


def collect_instances(unload: Callable[[Instance], None]) -> tuple[str, ...]:
    """Unloads them; one that somebody is at stays."""
    done = []
    for instance in dead_instances():
        try:
            with instance.lock(timeout=0):
                if _is_dead(instance):
                    unload(instance)
                    text = f"removed vRouter {instance.name!r}: its network namespace is gone"
                    done.append(text)
        except Busy:
            continue
    return tuple(done)
