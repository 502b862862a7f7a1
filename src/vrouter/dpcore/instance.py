# SPDX-License-Identifier: Apache-2.0
"""An instance: one vRouter of this machine, one per network namespace.

Its folder /run/vrouter/NAME holds `lock` and `instance.json`, which says
whose it is; its pins stand in /run/vrouter/bpf/NAME.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final

from . import bpffs, netns
from .errors import BadValue, NotLoaded, Refused, UsageError
from .lock import hold

DEFAULT_NAME: Final = "vrouter"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,40}")
_RESERVED: Final = frozenset({"bpf"})


class Instance:
    """A name and where its things are. Making one touches nothing."""

    def __init__(self, name: str) -> None:
        if not _NAME.fullmatch(name) or name in _RESERVED:
            raise BadValue(
                "instance name", name, "1 to 41 of a-z 0-9 . _ -, starting with a letter or digit"
            )
        self.name = name

    def __repr__(self) -> str:
        return f"Instance({self.name!r})"

    @property
    def run_dir(self) -> Path:
        """The folder of its files (0700)."""
        return bpffs.base() / self.name

    @property
    def pin_dir(self) -> Path:
        """The folder of its pins: maps/ progs/ links/. Asked anew each time, since a
        mount may change the way to it."""
        return bpffs.pin_folder(self.name)

    @property
    def link_dir(self) -> Path:
        """The folder of pinned tcx links, one per attached vif."""
        return self.pin_dir / "links"

    @property
    def prog_dir(self) -> Path:
        """The folder of pinned programs."""
        return self.pin_dir / "progs"

    @property
    def staging_dir(self) -> Path:
        """Pins of a load or unload that is under way (no instance name has a ~)."""
        return self.pin_dir.with_name("~" + self.pin_dir.name)

    def map_path(self, name: str) -> Path:
        """Where the map `name` is pinned."""
        return self.pin_dir / "maps" / name

    @property
    def registry_path(self) -> Path:
        """The file that says whose this instance is."""
        return self.run_dir / "instance.json"

    def registered(self) -> dict[str, Any] | None:
        """What instance.json says; None if there is none, of this boot."""
        try:
            entry = json.loads(self.registry_path.read_text())
        except (OSError, ValueError):
            return None
        if not isinstance(entry, dict) or entry.get("boot_id") != netns.boot_id():
            return None
        return entry

    def register(self, entry: dict[str, Any]) -> None:
        """Writes instance.json in one step; the caller holds the lock."""
        self.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self.registry_path.with_suffix(".new")
        fresh.write_text(json.dumps(entry, indent=2) + "\n")
        os.replace(fresh, self.registry_path)

    def is_loaded(self) -> bool:
        """Whether dp-core is there: its pins appear in one step, complete."""
        return self.map_path("config").exists()

    def require_loaded(self) -> None:
        """NotLoaded if dp-core is not there; Refused if only root could tell."""
        if os.geteuid() != 0:
            raise Refused(f"only root can see the vRouter {self.name!r}: run this as root")
        if not self.is_loaded():
            raise NotLoaded(self.name)

    def is_here(self) -> bool:
        """Whether the calling thread is in this instance's network namespace."""
        entry = self.registered()
        return entry is None or entry["netns_cookie"] == netns.cookie()

    def open_netns(self) -> int | None:
        """A file descriptor of its network namespace; None if that is gone."""
        entry = self.registered()
        if entry is None:
            return None
        return netns.open_by_cookie(entry["netns_cookie"], entry["netns_inode"])

    @contextmanager
    def enter_netns(self) -> Iterator[None]:
        """The calling thread is in the instance's network namespace inside the block.

        Raises NotLoaded if it is not registered, Refused if the namespace is gone.
        """
        entry = self.registered()
        if entry is None:
            raise NotLoaded(self.name)
        if entry["netns_cookie"] == netns.cookie():
            yield
            return
        fd = self.open_netns()
        if fd is None:
            raise Refused(
                f"the network namespace of vRouter {self.name!r} is gone: "
                f"run `vrouter unload --name {self.name}`"
            )
        try:
            with netns.entered(fd):
                yield
        finally:
            os.close(fd)

    @property
    def lock_path(self) -> Path:
        """The file of the writers' lock."""
        return self.run_dir / "lock"

    def lock(
        self, timeout: float = 10.0, *, path: Path | None = None
    ) -> AbstractContextManager[None]:
        """The writers' lock, for the block; re-entrant within a thread.

        path: `lock_path`, from who takes the lock so often that it keeps that. Raises Busy,
        naming the process that holds it, after `timeout` seconds.
        """
        return hold(path or self.lock_path, f"vRouter {self.name!r}", timeout)


def all_instances() -> list[Instance]:
    """All instances that are registered or have pins, by name."""
    names: set[str] = set()
    for folder, decode in ((bpffs.base(), False), (bpffs.root(), True)):
        try:
            entries = os.listdir(folder)
        except OSError:
            continue
        for entry in entries:
            name = entry.replace("+", ".") if decode else entry
            if _NAME.fullmatch(name) and name not in _RESERVED:
                names.add(name)
    found = [Instance(name) for name in sorted(names)]
    return [one for one in found if one.registered() is not None or one.is_loaded()]


def find_instance(name: str | None = None) -> Instance:
    """The instance to work with: `name`, else $VROUTER_NAME, else the one loaded
    in this network namespace, else "vrouter". It need not be loaded.

    Raises UsageError if several are loaded here and none was named.
    """
    name = name or os.environ.get("VROUTER_NAME")
    if name:
        return Instance(name)
    here = netns.cookie()
    mine = [one for one in all_instances() if (one.registered() or {}).get("netns_cookie") == here]
    if len(mine) > 1:
        # only root sees which; whom the agent's socket serves need not be root
        mine = [one for one in mine if one.is_loaded()] or mine
    if len(mine) > 1:
        names = ", ".join(one.name for one in mine)
        raise UsageError(f"several vRouters run in this network namespace ({names}): say --name")
    return mine[0] if mine else Instance(DEFAULT_NAME)
