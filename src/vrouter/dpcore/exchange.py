# SPDX-License-Identifier: Apache-2.0
"""Put a dp-core that stands ready, with its tables, in the place of the one that runs.

What stands ready is a whole folder of pins beside the instance's own (staging_dir).

    switch    vr_switch[0] = the new program: from here on it has every packet
    settle    wait for packets and copies that the old one is still at; move its counters
    exchange  the two folders change names in one step: from here on Python sees the new tables
    remove    the old folder goes, and with it the old dp-core

Killed before the switch, the old one runs and the new is forgotten; killed after it, whoever
comes next with the lock does the rest: every step may be done again.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from . import bpffs, libbpf, link, settle
from .convert import words
from .errors import Refused, VrouterError, from_errno
from .instance import Instance
from .maps import ArrayMap, BpfMap, ProgArrayMap, open_map
from .migrate import AGAIN, SWITCH, counters, layouts

ENTRY: Final = "vr_entry"
MAIN: Final = "vr_dpcore"
_ALL: Final = 0  # element of vr_switch for every packet; behind it those of the generations
_GENERATIONS: Final = 2
_DRAIN: Final = 0.5  # seconds that a copy may be on its way, far more than it ever is
_MEMBARRIER_GLOBAL: Final = 1
_SYS_MEMBARRIER: Final = {"x86_64": 324, "aarch64": 283, "riscv64": 283, "s390x": 356}
_RENAME_EXCHANGE: Final = 2
_AT_FDCWD: Final = -100

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def open_all(folder: Path) -> Iterator[dict[str, BpfMap]]:
    """All maps pinned in a folder, by name."""
    with ExitStack() as stack:
        yield {pin.name: stack.enter_context(open_map(pin)) for pin in folder.iterdir()}


def switch_of(maps: dict[str, BpfMap]) -> ProgArrayMap:
    """The array whose first element is the dp-core that runs."""
    switch = maps.get(SWITCH)
    if not isinstance(switch, ProgArrayMap):
        raise Refused(f"this is not a dp-core: {SWITCH} is no array of programs")
    return switch


def next_generation(switch: ProgArrayMap) -> int:
    """The generation that the dp-core that runs is not of; it marks its copies with it."""
    running = switch.get_id(_ALL)
    return 1 if running is not None and switch.get_id(_ALL + 1) == running else 0


def switch_to(switch: ProgArrayMap, generation: int, prog_fd: int) -> None:
    """From here on this program runs."""
    switch.set_program(_ALL + 1 + generation, prog_fd)
    switch.set_program(_ALL, prog_fd)


def program_id(folder: Path) -> int | None:
    """The id of the dp-core that is pinned below `folder`, None if there is none."""
    try:
        return int(libbpf.pinned_program(folder / "progs" / MAIN).id)
    except FileNotFoundError:
        return None


def pin_links(instance: Instance) -> None:
    """Every link of the instance gets a second pin, in the folder that stands ready."""
    for opened in link.links(instance.link_dir):
        with opened:
            libbpf.obj_pin(opened.fd, instance.staging_dir / "links" / opened.pin.name)


def recover(instance: Instance) -> tuple[str, ...]:
    """Does the rest of a load or unload that was killed, or takes back what it began.

    Returns what was done, for the person. The caller holds the lock.
    """
    if not instance.staging_dir.is_dir():
        return ()
    if not instance.is_loaded():
        bpffs.remove_tree(instance.staging_dir)
        return ()
    with open_all(instance.pin_dir / "maps") as maps:
        running = switch_of(maps).get_id(_ALL)
    ready = program_id(instance.staging_dir)
    if ready is not None and running == ready != program_id(instance.pin_dir):
        finish(instance)
        return (f"completed a load of vRouter {instance.name!r} that was interrupted",)
    _forget_others(instance)
    _commit(instance, running)
    bpffs.remove_tree(instance.staging_dir)
    return (f"cleared away what an interrupted load of vRouter {instance.name!r} left",)


def finish(instance: Instance) -> None:
    """All that comes after the switch. The caller holds the lock."""
    _update_links(instance)
    with (
        open_all(instance.pin_dir / "maps") as old,
        open_all(instance.staging_dir / "maps") as new,
    ):
        running = switch_of(new).get_id(_ALL)
        _wait_for_packets()
        _wait_for_copies(old.get(AGAIN))
        _forget_others(instance)
        _wait_for_packets()
        _move_counters(old, new)
    _exchange(instance.staging_dir, instance.pin_dir)
    _commit(instance, running)
    bpffs.remove_tree(instance.staging_dir)


def _update_links(instance: Instance) -> None:
    """What is attached comes from the new object too; it goes by the same vr_switch."""
    entry = libbpf.obj_get(instance.staging_dir / "progs" / ENTRY)
    try:
        for opened in link.links(instance.staging_dir / "links"):
            # a netdevice may go at any time
            with opened, suppress(VrouterError):
                if opened.info().ifindex:
                    opened.update(entry)
    finally:
        os.close(entry)


def _wait_for_packets() -> None:
    """Returns when every run of a program that had begun is over (an RCU grace period)."""
    number = _SYS_MEMBARRIER.get(platform.machine(), 0)
    if not number or _libc.syscall(number, _MEMBARRIER_GLOBAL, 0, 0):
        time.sleep(0.05)  # far longer than a packet takes


def _wait_for_copies(again: BpfMap | None) -> None:
    """Returns when no copy that the old dp-core sent to itself is under way any more."""
    layout = layouts(again)[1] if again is not None else None
    if not isinstance(again, ArrayMap) or layout is None or "mark" not in layout.fields:
        time.sleep(_DRAIN)
        return
    at, size = layout.fields["mark"].offset, layout.fields["mark"].size
    deadline = time.monotonic() + _DRAIN
    while time.monotonic() < deadline:
        if not any(any(value[at : at + size]) for _, value in again.items()):
            return
        time.sleep(0.005)


def _forget_others(instance: Instance) -> None:
    """Only the dp-core that runs stays in vr_switch."""
    with open_map(instance.map_path(SWITCH)) as switch:
        if isinstance(switch, ProgArrayMap):
            for index in range(_ALL + 1, _ALL + 1 + _GENERATIONS):
                if switch.get_id(index) != switch.get_id(_ALL):
                    switch.clear_program(index)


def _move_counters(old: dict[str, BpfMap], new: dict[str, BpfMap]) -> None:
    for name, table in old.items():
        target = new.get(name)
        if target is None or target.id == table.id:
            continue
        before, after = counters(table), counters(target)
        if before is not None and after is not None:
            settle.move(table, target, words(before, after))


def _exchange(one: Path, other: Path) -> None:
    paths = (os.fsencode(one), os.fsencode(other))
    if _libc.renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE):
        raise from_errno(ctypes.get_errno(), f"cannot exchange the pins {one} and {other}")


# ---- the registry ---------------------------------------------------------------------------


def announce(instance: Instance, entry: dict[str, Any], program: int) -> None:
    """Leaves the registry's entry for when `program` runs."""
    _next(instance).write_text(json.dumps({**entry, "program": program}) + "\n")


def _commit(instance: Instance, running: int | None) -> None:
    try:
        entry = json.loads(_next(instance).read_text())
    except (OSError, ValueError):
        return
    if entry.pop("program", None) == running:
        instance.register(entry)
    _next(instance).unlink(missing_ok=True)


def _next(instance: Instance) -> Path:
    return instance.run_dir / "instance.next"
