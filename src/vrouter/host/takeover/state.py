# SPDX-License-Identifier: Apache-2.0
"""What is written before the first change, so that everything can be undone later.

It stands in /var/lib, not in /run: a machine may reboot in the middle of a take-over.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from vrouter.dpcore import bpffs, netns
from vrouter.dpcore.errors import VrouterError
from vrouter.dpcore.instance import Instance
from vrouter.host.holders.dhclient import Client
from vrouter.host.nic.snapshot import Snapshot

BASE: Final = Path("/var/lib/vrouter")
LAYOUT: Final = 2  # 1 stood in /run and held addresses and routes only
TAKING, TAKEN, LEAVING = "taking", "taken", "leaving"


@dataclass(frozen=True)
class State:
    """The NIC as it was (`before`), and how far `up` or `down` has come (`phase`).

    `token` tells this take-over from others; `deadline` (CLOCK_BOOTTIME) is when it ends unless
    confirmed, None: never; `clients`: DHCP clients as they ran on the NIC; `cookie`: the network
    namespace; `home`: that is the machine's own, which is there again after a reboot.
    """

    token: str
    phase: str
    before: Snapshot
    cookie: int
    home: bool
    clients: list[Client]
    deadline: float | None = None

    @property
    def physical(self) -> str:
        """Name of the NIC."""
        return self.before.device.name

    @property
    def rebooted(self) -> bool:
        """Whether the machine was started anew since."""
        return self.before.boot != netns.boot_id()

    def is_of(self, cookie: int) -> bool:
        """Whether it is about the network namespace of that cookie, as far as can be known."""
        return self.home if self.rebooted else self.cookie == cookie


def new(before: Snapshot, *, home: bool, clients: list[Client], deadline: float | None) -> State:
    """The state with which a take-over begins, in the calling thread's namespace."""
    token = secrets.token_hex(8)
    return State(token, TAKING, before, netns.cookie(), home, clients, deadline)


def path(instance: Instance) -> Path:
    """The file; process 1's /var/lib counts, as with /run (see bpffs)."""
    return _folder(instance) / "vhost.json"


def write(instance: Instance, state: State) -> None:
    """Write it whole and to the disk: a new file, then a rename over the old one."""
    target = path(instance)
    data = {
        "layout": LAYOUT,
        "token": state.token,
        "phase": state.phase,
        "before": state.before.to_json(),
        "cookie": state.cookie,
        "home": state.home,
        "clients": [client.to_json() for client in state.clients],
        "deadline": state.deadline,
    }
    fresh = target.with_suffix(".new")
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(data, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(target)
        _sync(target.parent)
    except OSError as error:
        raise VrouterError(
            f"cannot write {target}: {error.strerror}: without it nothing could be undone"
        ) from error


def read(instance: Instance) -> State | None:
    """The saved state, or None when no take-over was begun. VrouterError if it is damaged."""
    target = path(instance)
    try:
        data: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))
        if data["layout"] != LAYOUT:
            raise ValueError(f"layout {data['layout']}, this vrouter knows {LAYOUT}")
        return State(
            token=str(data["token"]),
            phase=str(data["phase"]),
            before=Snapshot.from_json(data["before"]),
            cookie=int(data["cookie"]),
            home=bool(data["home"]),
            clients=[Client.from_json(one) for one in data["clients"]],
            deadline=data["deadline"],
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise VrouterError(
            f"cannot read {target} ({error}): give the NIC its addresses by hand, then delete "
            "the file"
        ) from error


def advance(instance: Instance, state: State, **values: Any) -> State:
    """Write the state with some fields changed; returns it."""
    changed = replace(state, **values)
    write(instance, changed)
    return changed


def forget(instance: Instance) -> None:
    """Remove what was written."""
    shutil.rmtree(_folder(instance), ignore_errors=True)


def _folder(instance: Instance) -> Path:
    host = bpffs.host_process()
    there = BASE if host is None else host / "root" / BASE.relative_to("/")
    same = host is None or os.path.samestat(os.stat("/"), os.stat(host / "root"))
    return (BASE if same else there) / instance.name


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
