# SPDX-License-Identifier: Apache-2.0
"""Which labs there are: one file each, /run/vrouter/labs/ID.json.

It is written before anything is made, so that `lab down` finds a lab that was killed half-way.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

from vrouter.dpcore.errors import Busy, NoSuchEntry, UsageError
from vrouter.lab.topology import Lab

LABS_DIR = Path("/run/vrouter/labs")


def _file(lab_id: str) -> Path:
    return LABS_DIR / f"{lab_id}.json"


def load(lab_id: str) -> Lab | None:
    """The lab of that id, or None; a file that cannot be read counts as none."""
    try:
        return Lab.from_json(json.loads(_file(lab_id).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def store(lab: Lab) -> None:
    """Write the lab's file, whole or not at all."""
    fresh = _file(lab.id).with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps(lab.to_json(), indent=1), encoding="utf-8")
    fresh.rename(_file(lab.id))


def forget(lab_id: str) -> None:
    """Remove the lab's file; the folder too when it was the last."""
    _file(lab_id).unlink(missing_ok=True)
    for left in LABS_DIR.glob(f"{lab_id}.[0-9]*"):
        left.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        LABS_DIR.rmdir()


def ids() -> list[str]:
    """Ids of all labs that have a file."""
    return sorted(file.stem for file in LABS_DIR.glob("*.json"))


def choose(wanted: str | None) -> str:
    """The id that is meant: --id, else $VROUTER_LAB, else the only one that is up.

    UsageError when several are up and none is named; NoSuchEntry when there is none.
    """
    named = (os.environ.get("VROUTER_LAB") or None) if wanted is None else wanted
    there = ids()
    if named is not None:
        if named not in there:
            up = f"there are: {', '.join(there)}" if there else "no lab is up"
            raise NoSuchEntry(f"there is no lab {named!r}; {up}")
        return named
    if not there:
        raise NoSuchEntry("no lab is up: run `vrouter lab up two-hosts`")
    if len(there) > 1:
        raise UsageError(f"several labs are up: name one with --id: {', '.join(there)}")
    return there[0]


@contextlib.contextmanager
def _directory_lock() -> Iterator[None]:
    while True:
        LABS_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            fd = os.open(LABS_DIR, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # another process removed the folder with its last lab
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if LABS_DIR.exists() and os.fstat(fd).st_ino == LABS_DIR.stat().st_ino:
                yield
                return
        finally:
            os.close(fd)


def claim(lab: Lab, phase: str) -> Lab:
    """Write down that this process is at it. Busy if another live process is."""
    with _directory_lock():
        there = load(lab.id)
        if there is not None and there.phase != "up" and _alive(there) and not _mine(there):
            raise Busy(f"process {there.pid} is at lab {lab.id} ({there.phase}): wait for it")
        claimed = dataclasses.replace(
            lab, phase=phase, pid=os.getpid(), pid_start=_start_time(os.getpid())
        )
        store(claimed)
        return claimed


def finish(lab: Lab) -> Lab:
    """The lab is built: write so."""
    done = dataclasses.replace(lab, phase="up", pid=0, pid_start=0)
    with _directory_lock():
        store(done)
    return done


def release(lab_id: str) -> None:
    """The lab is gone: forget it."""
    with _directory_lock():
        forget(lab_id)


def _mine(lab: Lab) -> bool:
    return lab.pid == os.getpid()


def _alive(lab: Lab) -> bool:
    # a pid may have been given to another process since: the start time tells
    return lab.pid > 0 and _start_time(lab.pid) == lab.pid_start


def _start_time(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return -1
    return int(text.rpartition(")")[2].split()[19])
