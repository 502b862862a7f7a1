# SPDX-License-Identifier: Apache-2.0
"""Load dp-core, exchange it under traffic, unload it.

A load builds all pins in a folder aside, complete with their first contents,
and renames that folder into place: whatever kills a load, the instance is
loaded or it is not. All tcx links run the stub `vr_entry`, which jumps to
vr_switch[0]; writing that one element is the exchange (exchange.py). Tables of
another layout or size are filled beside those in use before (migrate.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from vrouter import __version__

from . import bpffs, contents, exchange, libbpf, link, migrate, netns, stale
from . import object as objects
from .btf import Btf
from .errors import KernelLacks, Refused
from .exchange import ENTRY, MAIN, open_all
from .instance import Instance
from .maps import BpfMap
from .object import BpfObject
from .ownership import settle_owner
from .probe import Lack, probe
from .sizes import DEFAULT, PROFILES, Sizes

__all__ = ["Lack", "LoadResult", "load", "probe", "unload"]

_TEST_MODE: Final = "vr_test_mode"
# what is ours in the run folder, the lock last
_FILES: Final = (
    *("instance.json", "instance.new", "instance.next", "vrfs.json", "vrfs.new"),
    *("events.lock", "lock"),
)
_GENERATION: Final = "vr_generation"


@dataclass(frozen=True, slots=True)
class LoadResult:
    """created: it was not loaded before; swapped: other code runs now; migrated: tables
    that were copied for it; notes: what else was done, for the person."""

    created: bool
    swapped: bool
    migrated: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def load(
    instance: Instance,
    sizes: Sizes | None = None,
    *,
    object_path: Path | None = None,
    test_mode: bool = False,
    here: bool = False,
) -> LoadResult:
    """Loads dp-core for the caller's network namespace.

    Loaded already from the same object with these sizes: nothing changes. Else
    dp-core is exchanged under traffic; tables that have another layout or size
    are copied, the others stay. sizes=None: as loaded, else DEFAULT.
    object_path=None: the object of this package. here: also if the instance was
    loaded for another namespace, which is gone.

    Raises KernelLacks (what is missing, and the remedy), Refused (name in use
    by another namespace, or, without `here`, once used by one; a table that cannot be
    carried over, or does not fit), Busy, VrouterError (with the verifier's log). A load that
    fails changes nothing.
    """
    lacks = probe()
    if lacks:
        raise KernelLacks(lacks[0].what, lacks[0].remedy)
    path = objects.find(object_path)
    bpffs.mount()
    with instance.lock():
        result = _load_locked(instance, sizes, path, test_mode, here=here)
    return replace(result, notes=result.notes + stale.collect_instances(unload))


def _load_locked(
    instance: Instance, sizes: Sizes | None, path: Path, test_mode: bool, *, here: bool
) -> LoadResult:
    notes = exchange.recover(instance)
    notes += settle_owner(instance, _remove_pins, here=here)
    notes += stale.collect_links(instance)
    entry = _registry_entry(instance, path, test_mode)
    if not instance.is_loaded():
        _remove_pins(instance)
        _create(instance, sizes or DEFAULT, path, entry)
        return LoadResult(created=True, swapped=False, notes=notes)
    loaded = loaded_sizes(instance)
    was = instance.registered() or {}
    same = all(was.get(key) == entry[key] for key in ("object_sha256", "test_mode"))
    if same and sizes in (None, loaded):
        return LoadResult(created=False, swapped=False, notes=notes)
    entry["loaded_at"] = was.get("loaded_at", entry["loaded_at"])
    plan = _replace(instance, path, entry, sizes or loaded)
    return LoadResult(False, True, migrated=tuple(sorted(plan.copies)), notes=notes + plan.notes)


def unload(instance: Instance) -> None:
    """Takes dp-core off all netdevices and removes its pins and registry.

    Idempotent; works from any network namespace and after a kill -9 at any
    point of load or unload. Files of others in the run folder stay.
    """
    if not instance.run_dir.exists() and not bpffs.is_bpffs(bpffs.root()):
        return
    with instance.lock():
        bpffs.remove_tree(instance.staging_dir)
        _remove_pins(instance)
        for name in _FILES:
            (instance.run_dir / name).unlink(missing_ok=True)
    with suppress(OSError):
        instance.run_dir.rmdir()


def _remove_pins(instance: Instance) -> None:
    if not instance.pin_dir.is_dir():
        return
    for opened in link.links(instance.link_dir):
        link.detach(opened.pin)
    # In one step it is no longer loaded; what a kill leaves is swept up later.
    bpffs.remove_tree(instance.staging_dir)
    os.rename(instance.pin_dir, instance.staging_dir)
    bpffs.remove_tree(instance.staging_dir)


def _registry_entry(instance: Instance, path: Path, test_mode: bool) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {
        "name": instance.name,
        "netns_cookie": netns.cookie(),
        "netns_inode": netns.inode(),
        "boot_id": netns.boot_id(),
        "version": __version__,
        "loaded_at": now,
        "exchanged_at": now,
        "object_sha256": objects.digest(path),
        "test_mode": test_mode,
    }


def _with_sizes(entry: dict[str, Any], sizes: Sizes) -> dict[str, Any]:
    return {**entry, "profile": sizes.profile, "sizes": sizes.as_dict()}


# ---- first load ---------------------------------------------------------------------------


def _create(instance: Instance, sizes: Sizes, path: Path, entry: dict[str, Any]) -> None:
    wanted = sizes.entries(test_mode=entry["test_mode"])
    with BpfObject(path) as opened, _undone_on_failure(instance):
        _require_abi(opened)
        for name, entries in wanted.items():
            _map_of(opened, name).set_entries(entries)
        opened.set_constant(_TEST_MODE, int(entry["test_mode"]))
        opened.load()
        _stage(instance, opened)
        with open_all(instance.staging_dir / "maps") as maps:
            contents.fill(maps, sizes, path)
            _switch(maps, opened, 0)
        instance.register(_with_sizes(entry, sizes))
        os.rename(instance.staging_dir, instance.pin_dir)


@contextmanager
def _undone_on_failure(instance: Instance) -> Iterator[None]:
    try:
        yield
    except BaseException:
        bpffs.remove_tree(instance.staging_dir)
        if not instance.is_loaded():
            instance.registry_path.unlink(missing_ok=True)
        raise


def _stage(instance: Instance, opened: BpfObject) -> None:
    instance.staging_dir.mkdir(mode=0o700)
    for name in ("maps", "progs", "links"):
        (instance.staging_dir / name).mkdir(mode=0o700)
    for name, one in opened.maps.items():
        libbpf.obj_pin(one.fd, instance.staging_dir / "maps" / name)
    for name in (ENTRY, MAIN):
        libbpf.obj_pin(opened.program(name), instance.staging_dir / "progs" / name)


def _switch(maps: dict[str, BpfMap], opened: BpfObject, generation: int) -> None:
    exchange.switch_to(exchange.switch_of(maps), generation, opened.program(MAIN))


def _require_abi(opened: BpfObject) -> int:
    version = opened.abi_version()
    if not version:
        raise Refused(f"{opened.path} does not say the version of its tables: build it again")
    return version


def _map_of(opened: BpfObject, name: str) -> objects.ObjectMap:
    if name not in opened.maps:
        raise Refused(f"{opened.path} is not a dp-core of this version: it has no table {name}")
    return opened.maps[name]


# ---- loaded already -----------------------------------------------------------------------


def loaded_sizes(instance: Instance) -> Sizes:
    """The sizes of the tables of an instance that is loaded."""
    profile = (instance.registered() or {}).get("profile", "default")
    with open_all(instance.pin_dir / "maps") as maps:
        entries = {name: one.max_entries for name, one in maps.items()}
        return Sizes.from_maps(entries, PROFILES.get(profile))


def _replace(instance: Instance, path: Path, entry: dict[str, Any], sizes: Sizes) -> migrate.Plan:
    """Exchanges the dp-core that runs for that of `path`; until the switch nothing changes."""
    with BpfObject(path) as opened, open_all(instance.pin_dir / "maps") as tables:
        for name in sizes.entries():
            _map_of(opened, name)
        same_abi = _require_abi(opened) == contents.abi_version(tables)
        running = Btf.from_kernel(libbpf.pinned_program(instance.prog_dir / MAIN).btf_id)
        test_mode = bool(entry["test_mode"])
        plan = migrate.plan(opened, tables, running, sizes, test_mode=test_mode, same_abi=same_abi)
        for name in plan.keep:
            opened.maps[name].reuse(tables[name].fd)
        generation = exchange.next_generation(exchange.switch_of(tables))
        opened.set_constant(_TEST_MODE, int(test_mode))
        opened.set_constant(_GENERATION, generation)
        opened.load()
        try:
            _stage(instance, opened)
            exchange.pin_links(instance)
            with open_all(instance.staging_dir / "maps") as fresh:
                migrate.fill(plan, tables, fresh, sizes)
                contents.fill(fresh, sizes, path)
                program = exchange.program_id(instance.staging_dir)
                exchange.announce(instance, _with_sizes(entry, sizes), program or 0)
                _switch(fresh, opened, generation)
        except BaseException:
            exchange.recover(instance)
            raise
        exchange.finish(instance)
    return plan
