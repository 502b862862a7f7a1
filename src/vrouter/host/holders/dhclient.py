# SPDX-License-Identifier: Apache-2.0
"""dhclient follows its address: stopped on one device, started on the other with its lease.

It is killed, not asked to end: nothing may be released. Started again with a lease file that
names the other device, it asks the server to confirm the same address (INIT-REBOOT, RFC 2131
section 3.2). Options: dhclient(8); the file: dhclient.leases(5).
"""

from __future__ import annotations

import calendar
import contextlib
import os
import re
import signal
import subprocess
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vrouter.dpcore.errors import VrouterError
from vrouter.host.holders import processes

_COMMAND = "dhclient"
_WITH_VALUE = {
    "-p", "-D", "-s", "-g", "-cf", "-df", "-lf", "-pf", "-sf", "-e", "-H", "-F", "-V", "-R",
    "-timeout", "--dad-wait-time", "--prefix-len-hint", "--address-prefix-len",
}  # fmt: skip
_FILES = ("-lf", "-pf", "-df")
_DEFAULT_LEASES = {"4": "/var/lib/dhcp/dhclient.leases", "6": "/var/lib/dhcp/dhclient6.leases"}
_LEASE = re.compile(r"^lease6? \{.*?^\}$", re.MULTILINE | re.DOTALL)
_END_SECONDS = 5.0


@dataclass(frozen=True)
class Client:
    """A dhclient for one device, and how to start it again."""

    pid: int
    device: str
    exe: str
    argv: list[str]
    environ: dict[str, str]

    @property
    def family(self) -> str:
        """ "4" or "6" """
        return "6" if "-6" in self.argv else "4"

    @property
    def leases(self) -> Path:
        """Its lease file."""
        return Path(self.value("-lf") or _DEFAULT_LEASES[self.family])

    def value(self, option: str) -> str | None:
        """What an option was given; None without it."""
        if option in self.argv[:-1]:
            return self.argv[self.argv.index(option) + 1]
        return None

    def on(self, device: str) -> Client:
        """The same client for another device, with files of its own."""
        argv = list(self.argv)
        for option in _FILES:
            if option in argv[:-1]:
                at = argv.index(option) + 1
                argv[at] = _file_for(argv[at], self.device, device)
        if "-lf" not in argv:
            argv[1:1] = ["-lf", _file_for(str(self.leases), self.device, device)]
        if "-pf" not in argv:
            argv[1:1] = ["-pf", f"/run/dhclient{self.family.replace('4', '')}.{device}.pid"]
        argv = [device if one == self.device else one for one in argv]
        return replace(self, pid=0, device=device, argv=argv)

    def to_json(self) -> dict[str, Any]:
        """For `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Client:
        """Raises TypeError when `data` is damaged."""
        return cls(**data)


def find(device: str) -> tuple[list[Client], list[str]]:
    """The clients of a device, and why others that have to do with it cannot be followed."""
    clients, odd = [], []
    for one in processes.called(_COMMAND):
        named = _devices(one.argv)
        if device not in named and named:
            continue
        if named != [device]:
            odd.append(f"dhclient (process {one.pid}) serves more devices than {device}")
        elif {"-d", "--no-pid", "-w"} & set(one.argv):
            odd.append(
                f"dhclient (process {one.pid}) is run by a supervisor ({' '.join(one.argv)})"
            )
        else:
            clients.append(Client(one.pid, device, one.exe, one.argv, one.environ))
    return clients, odd


def stop(device: str) -> int:
    """Kill the clients of a device; how many. VrouterError if one does not die."""
    clients, _ = find(device)
    for client in clients:
        with contextlib.suppress(ProcessLookupError):
            os.kill(client.pid, signal.SIGKILL)
    end = time.monotonic() + _END_SECONDS
    while {one.pid for one in find(device)[0]} & {client.pid for client in clients}:
        if time.monotonic() > end:
            raise VrouterError(f"dhclient of {device} does not die: it may be stuck in the kernel")
        time.sleep(0.01)
    return len(clients)


def start(client: Client, leases_of: Client) -> None:
    """Start a client with the leases that `leases_of` has, unless one runs for its device.

    Raises VrouterError when it cannot be started.
    """
    if any(one.family == client.family for one in find(client.device)[0]):
        return
    _copy_leases(leases_of, client)
    argv = [one for one in client.argv if one not in ("-v", "-1", "-nw")]
    command = [client.exe, "-nw", *argv[1:]]
    try:
        done = subprocess.run(
            command, env=client.environ, cwd="/", stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=_END_SECONDS,
            start_new_session=True, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise VrouterError(f"cannot start dhclient for {client.device}: {error}") from error
    if done.returncode:
        raise VrouterError(
            f"cannot start dhclient for {client.device}: it ended with {done.returncode}; "
            f"run by hand: {' '.join(command)}"
        )


def confirmed(client: Client, since: float, wait: float) -> int | None:
    """Seconds for which the server has confirmed the lease after time `since`; None: not yet.

    Waits at most `wait` seconds. IPv4 only.
    """
    end = time.monotonic() + wait
    while True:
        with contextlib.suppress(OSError, ValueError):
            left = _fresh(client.leases.read_text(encoding="utf-8"), since)
            if left is not None:
                return left
        if time.monotonic() > end:
            return None
        time.sleep(0.05)


def _fresh(text: str, since: float) -> int | None:
    leases = _LEASE.findall(text)
    if not leases:
        return None
    length = re.search(r"option dhcp-lease-time (\d+);", leases[-1])
    expire = re.search(r"expire \d (\S+ \S+);", leases[-1])
    if length is None or expire is None:
        return None
    at = calendar.timegm(time.strptime(expire[1], "%Y/%m/%d %H:%M:%S"))
    # the file counts in whole seconds
    if at - int(length[1]) < int(since) - 1:
        return None
    return max(1, int(at - time.time()))


def _copy_leases(source: Client, target: Client) -> None:
    try:
        text = source.leases.read_text(encoding="utf-8")
    except FileNotFoundError:
        return  # it never had one, or a rollback comes before it was made
    text = text.replace(f'interface "{source.device}";', f'interface "{target.device}";')
    fresh = target.leases.with_name(target.leases.name + ".new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(target.leases)


def _file_for(path: str, old: str, new: str) -> str:
    """/run/dhclient.eth0.pid becomes /run/dhclient.vhost0.pid; without the name it is put in."""
    file = Path(path)
    parts = file.name.split(".")
    if old in parts:
        parts[parts.index(old)] = new
    else:
        parts.insert(max(1, len(parts) - 1), new)
    return str(file.with_name(".".join(parts)))


def _devices(argv: list[str]) -> list[str]:
    """The words of a command line that are neither options nor their values."""
    found, skip = [], True
    for word in argv:
        if skip:
            skip = False
        elif word in _WITH_VALUE:
            skip = True
        elif not word.startswith("-"):
            found.append(word)
    return found
