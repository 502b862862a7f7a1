# SPDX-License-Identifier: Apache-2.0
"""Load dp-core, exchange it under traffic, unload it.

A load builds all pins in a folder aside, complete with their first contents,
and renames that folder into place: whatever kills a load, the instance is
loaded or it is not. All tcx links run the stub `vr_entry`, which jumps to
vr_switch[0]; writing that one element is the exchange.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from vrouter import __version__

from . import bpffs, contents, libbpf, link, netns
from . import object as objects
from .errors import KernelLacks, Refused
from .instance import Instance
from .maps import BpfMap, ProgArrayMap, open_map
from .object import BpfObject
from .ownership import settle_owner
from .probe import Lack, probe
from .sizes import DEFAULT, Sizes

__all__ = ["Lack", "LoadResult", "load", "probe", "unload"]

ENTRY: Final = "vr_entry"
MAIN: Final = "vr_dpcore"
SWITCH: Final = "vr_switch"
_TEST_MODE: Final = "vr_test_mode"


@dataclass(frozen=True, slots=True)
class LoadResult:
    """created: it was not loaded before; swapped: other code runs now; notes: what
    else was done, for the person."""

    created: bool
    swapped: bool
    notes: tuple[str, ...] = ()


def load(
    instance: Instance,
    sizes: Sizes | None = None,
    *,
    object_path: Path | None = None,
    test_mode: bool = False,
) -> LoadResult:
    """Loads dp-core for the caller's network namespace.

    Loaded already from the same object: nothing changes. From another object
    of the same ABI: the code is exchanged and the tables stay. sizes=None: as
    loaded, else DEFAULT. object_path=None: the object of this package.

    Raises KernelLacks (what is missing, and the remedy), Refused (name in use
    by another namespace, other sizes or ABI than loaded), Busy, VrouterError
    (with the verifier's log). A load that fails leaves nothing behind.
    """
    lacks = probe()
    if lacks:
        raise KernelLacks(lacks[0].what, lacks[0].remedy)
    path = objects.find(object_path)
    bpffs.mount()
    with instance.lock():
        return _load_locked(instance, sizes, path, test_mode)


def _load_locked(
    instance: Instance, sizes: Sizes | None, path: Path, test_mode: bool
) -> LoadResult:
    bpffs.remove_tree(instance.staging_dir)
    notes = settle_owner(instance, _remove_pins)
    entry = _registry_entry(instance, path, test_mode)
    if not instance.is_loaded():
        _remove_pins(instance)
        _create(instance, sizes or DEFAULT, path, entry)
        return LoadResult(created=True, swapped=False, notes=notes)
    pinned = _pinned_entries(instance)
    _check_sizes(instance, sizes, pinned)
    was = instance.registered() or {}
    if all(was.get(key) == entry[key] for key in ("object_sha256", "test_mode")):
        return LoadResult(created=False, swapped=False, notes=notes)
    _swap(instance, path, entry, pinned, was)
    return LoadResult(created=False, swapped=True, notes=notes)


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
        for name in ("instance.json", "instance.new", "events.lock", "lock"):
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
    return {
        "name": instance.name,
        "netns_cookie": netns.cookie(),
        "netns_inode": netns.inode(),
        "boot_id": netns.boot_id(),
        "version": __version__,
        "loaded_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "object_sha256": objects.digest(path),
        "test_mode": test_mode,
    }


def _register(instance: Instance, entry: dict[str, Any], sizes: Sizes) -> None:
    instance.register({**entry, "profile": sizes.profile, "sizes": sizes.as_dict()})


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
        with _open_all(instance.staging_dir / "maps") as maps:
            contents.fill(maps, sizes, path)
            _switch(maps, opened)
        _register(instance, entry, sizes)
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


def _switch(maps: dict[str, BpfMap], opened: BpfObject) -> None:
    switch = maps[SWITCH]
    if not isinstance(switch, ProgArrayMap):
        raise Refused(f"{opened.path} is not a dp-core: {SWITCH} is no array of programs")
    switch.set_program(0, opened.program(MAIN))


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


def _pinned_entries(instance: Instance) -> dict[str, int]:
    with _open_all(instance.pin_dir / "maps") as maps:
        return {name: one.max_entries for name, one in maps.items()}


def _check_sizes(instance: Instance, sizes: Sizes | None, pinned: dict[str, int]) -> None:
    if sizes is None:
        return
    loaded = Sizes.from_maps(pinned).as_dict()
    for name, value in sizes.as_dict().items():
        if loaded[name] != value:
            raise Refused(
                f"vRouter {instance.name!r} is loaded with {name}={loaded[name]}, not {value}: "
                f"sizes change by unloading only: run `vrouter unload --name {instance.name}` first"
            )


def _swap(
    instance: Instance,
    path: Path,
    entry: dict[str, Any],
    pinned: dict[str, int],
    was: dict[str, Any],
) -> None:
    sizes = Sizes.from_maps(pinned)
    with BpfObject(path) as opened, ExitStack() as undo:
        with _open_all(instance.pin_dir / "maps") as maps:
            _check_abi(instance, opened, maps)
            _reuse_maps(opened, maps, sizes, entry["test_mode"])
            opened.set_constant(_TEST_MODE, int(entry["test_mode"]))
            opened.load()
            _pin_new_maps(instance, opened, maps, undo)
            fresh = instance.prog_dir / f"{MAIN}~new"
            fresh.unlink(missing_ok=True)
            libbpf.obj_pin(opened.program(MAIN), fresh)
            undo.callback(fresh.unlink, missing_ok=True)
            with _open_all(instance.pin_dir / "maps") as all_maps:
                contents.fill(all_maps, sizes, path)
                _switch(all_maps, opened)
        undo.pop_all()
        os.rename(fresh, instance.prog_dir / MAIN)
    _register(instance, {**entry, "loaded_at": was.get("loaded_at", entry["loaded_at"])}, sizes)


def _check_abi(instance: Instance, opened: BpfObject, maps: dict[str, BpfMap]) -> None:
    loaded = contents.abi_version(maps, opened.path)
    version = _require_abi(opened)
    if loaded != version:
        raise Refused(
            f"vRouter {instance.name!r} has tables of version {loaded}, {opened.path.name} wants "
            f"version {version}: run `vrouter unload --name {instance.name}` first"
        )


def _reuse_maps(opened: BpfObject, maps: dict[str, BpfMap], sizes: Sizes, test_mode: bool) -> None:
    wanted = sizes.entries(test_mode=test_mode)
    for name, one in opened.maps.items():
        pinned = maps.get(name)
        if pinned is None:
            if name in wanted:
                one.set_entries(wanted[name])
            continue
        shape = one.shape
        want = (one.type, shape.key_size, shape.value_size)
        if want != (pinned.type, pinned.key_size, pinned.value_size):
            raise Refused(
                f"table {name} has another layout than {opened.path.name} wants: "
                "unload the vRouter first"
            )
        one.reuse(pinned.fd)


def _pin_new_maps(
    instance: Instance, opened: BpfObject, maps: dict[str, BpfMap], undo: ExitStack
) -> None:
    for name, one in opened.maps.items():
        if name not in maps:
            pin = instance.map_path(name)
            libbpf.obj_pin(one.fd, pin)
            undo.callback(pin.unlink, missing_ok=True)


@contextmanager
def _open_all(folder: Path) -> Iterator[dict[str, BpfMap]]:
    maps = {pin.name: open_map(pin) for pin in folder.iterdir()}
    try:
        yield maps
    finally:
        for one in maps.values():
            one.close()
