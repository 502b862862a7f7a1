# SPDX-License-Identifier: Apache-2.0
"""Load, load again, exchange, fail half-way, be killed, unload."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vrouter.dpcore import contents, libbpf, loader, probe
from vrouter.dpcore import object as objects
from vrouter.dpcore.btf import Btf
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.errors import (
    BadValue,
    KernelLacks,
    Refused,
    VrouterError,
)
from vrouter.dpcore.instance import Instance
from vrouter.dpcore.maps import ArrayMap, open_map
from vrouter.dpcore.names import ABI_VERSION
from vrouter.dpcore.sizes import SMALL, Sizes

SOURCE = Path(__file__).parents[2] / "src"


def array(instance: Instance, name: str) -> ArrayMap:
    found = open_map(instance.map_path(name))
    assert isinstance(found, ArrayMap)
    return found


def state(instance: Instance) -> dict[str, Any]:
    """All that a second load must not change."""
    found: dict[str, Any] = {"registry": instance.registry_path.read_bytes()}
    for folder in (instance.pin_dir / "maps", instance.prog_dir, instance.link_dir):
        for pin in folder.iterdir():
            fd = libbpf.obj_get(pin)
            info = libbpf.ProgInfo() if folder == instance.prog_dir else libbpf.MapInfo()
            libbpf.object_info(fd, info)
            found[f"{folder.name}/{pin.name}"] = info.id
            os.close(fd)
    with array(instance, "config") as config:
        found["config"] = config.get(0)
    return found


@pytest.fixture
def other_object(tmp_path: Path) -> Path:
    """The same dp-core in another file: bytes behind the end of the ELF change its digest."""
    path = tmp_path / "other.bpf.o"
    path.write_bytes(objects.OBJECT.read_bytes() + b"\0")
    return path


# ---- load ---------------------------------------------------------------------------------


def test_first_contents(instance: Instance) -> None:
    result = loader.load(instance, SMALL)
    assert (result.created, result.swapped) == (True, False)
    types = Btf.from_object(objects.OBJECT)
    with array(instance, "config") as config:
        fields = types.layout("vr_config").unpack(config.get(0))
    assert fields["abi_version"] == ABI_VERSION
    assert fields["agent_vif"] == 65535
    assert fields["hash_seed"] != 0
    assert fields["loaded_ns"] > 0
    assert (fields["spare_vifs"], fields["spare_nexthops"]) == (256, 1024)
    with DpCore.open(instance) as core:
        discard = core.nexthops.get(0)
        assert discard is not None
        assert (int(discard.type), int(discard.flags), discard.family) == (5, 1, 2)
    for name in ("vif", "nexthop", "member", "vxlan", "bridge"):
        with array(instance, f"{name}_retire") as retire:
            assert retire.get(0)[0] == 1


def test_every_map_has_its_size(instance: Instance) -> None:
    sizes = Sizes.from_args("small", ["nexthops=5000", "bridge=7", "events=4096"])
    loader.load(instance, sizes)
    for name, entries in sizes.entries().items():
        with open_map(instance.map_path(name)) as one:
            assert one.max_entries == entries, name
    entry = instance.registered()
    assert entry is not None
    assert entry["sizes"] == sizes.as_dict()
    assert entry["profile"] == "custom"


def test_loading_twice_changes_nothing(instance: Instance) -> None:
    loader.load(instance, SMALL)
    before = state(instance)
    for sizes in (SMALL, None):
        result = loader.load(instance, sizes)
        assert (result.created, result.swapped) == (False, False)
    assert state(instance) == before


def test_another_object_exchanges_the_code_only(instance: Instance, other_object: Path) -> None:
    loader.load(instance, SMALL)
    before = state(instance)
    with array(instance, "mpls") as mpls:
        mpls.set(100, b"\1\0\0\x80")
    result = loader.load(instance, object_path=other_object)
    assert (result.created, result.swapped) == (False, True)
    after = state(instance)
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {"registry", "progs/vr_dpcore", "progs/vr_entry", "maps/again_slots"}
    assert set(after) == set(before)
    with array(instance, "mpls") as mpls:
        assert mpls.get(100) == b"\1\0\0\x80"
    with open_map(instance.map_path("vr_switch")) as switch:
        assert switch.get_id(0) == after["progs/vr_dpcore"]  # type: ignore[attr-defined]


def test_unload_leaves_nothing_and_may_be_repeated(instance: Instance) -> None:
    loader.load(instance, SMALL)
    loader.unload(instance)
    assert not instance.run_dir.exists()
    assert not instance.pin_dir.exists()
    assert not instance.staging_dir.exists()
    loader.unload(instance)
    assert not instance.run_dir.exists()


def test_unload_keeps_the_files_of_others(instance: Instance) -> None:
    loader.load(instance, SMALL)
    (instance.run_dir / "vhost.json").write_text("{}")
    loader.unload(instance)
    assert (instance.run_dir / "vhost.json").exists()
    shutil.rmtree(instance.run_dir)


def test_a_name_of_another_live_namespace_is_refused(
    instance: Instance, other_netns: Callable[[], None]
) -> None:
    loader.load(instance, SMALL)
    keeper = subprocess.Popen(["sleep", "60"])
    try:
        other_netns()
        with pytest.raises(Refused, match="belongs to another network namespace"):
            loader.load(instance, SMALL)
    finally:
        keeper.kill()
        keeper.wait()


def test_what_a_dead_namespace_left_is_removed(
    instance: Instance, other_netns: Callable[[], None]
) -> None:
    code = (
        "from vrouter.dpcore import loader, instance, sizes;"
        f"loader.load(instance.Instance({instance.name!r}), sizes.SMALL)"
    )
    subprocess.run(
        ["unshare", "--net", sys.executable, "-c", code],
        check=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    assert instance.is_loaded()
    with pytest.raises(Refused, match=r"is gone: .*add --here"):
        loader.load(instance, SMALL)
    assert instance.is_loaded() and not instance.is_here()
    result = loader.load(instance, SMALL, here=True)
    assert result.created
    assert "is gone" in result.notes[0]
    assert instance.is_here()


def test_pins_without_a_registry_are_adopted(instance: Instance) -> None:
    loader.load(instance, SMALL)
    with array(instance, "mpls") as mpls:
        mpls.set(100, b"\1\0\0\x80")
    shutil.rmtree(instance.run_dir)
    result = loader.load(instance, SMALL)
    assert "adopted" in result.notes[0]
    assert not result.created
    entry = instance.registered()
    assert entry is not None
    assert entry["sizes"] == SMALL.as_dict()
    with array(instance, "mpls") as mpls:
        assert mpls.get(100) == b"\1\0\0\x80"


def test_incomplete_pins_are_replaced(instance: Instance) -> None:
    loader.load(instance, SMALL)
    instance.map_path("config").unlink()
    assert loader.load(instance, SMALL).created
    shutil.rmtree(instance.run_dir)
    instance.map_path("config").unlink()
    assert loader.load(instance, SMALL).created


def test_nothing_of_the_old_dpcore_stays(instance: Instance, other_object: Path) -> None:
    """Neither its programs nor the tables that were replaced take memory any more."""
    loader.load(instance, SMALL)
    before = state(instance)
    larger = replace(SMALL, labels=2 * SMALL.labels)
    assert loader.load(instance, larger, object_path=other_object).migrated == ("config", "mpls")
    after = state(instance)
    lib = libbpf.lib()
    for name in ("maps/mpls", "maps/config", "maps/again_slots", "progs/vr_dpcore"):
        assert after[name] != before[name]
        by_id = lib.bpf_prog_get_fd_by_id if "progs" in name else lib.bpf_map_get_fd_by_id
        deadline = time.monotonic() + 10
        while (fd := by_id(before[name])) >= 0 and time.monotonic() < deadline:
            os.close(fd)
            time.sleep(0.05)
        assert fd < 0, name


# ---- failures -----------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["fill", "_switch", "_stage"])
def test_a_load_that_fails_leaves_nothing(
    instance: Instance, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def fail(*_: object) -> None:
        raise VrouterError("as the test wants")

    with monkeypatch.context() as patch:
        patch.setattr(contents if place == "fill" else loader, place, fail)
        with pytest.raises(VrouterError, match="as the test wants"):
            loader.load(instance, SMALL)
    assert not instance.pin_dir.exists()
    assert not instance.staging_dir.exists()
    assert instance.registered() is None
    assert loader.load(instance, SMALL).created


@pytest.mark.parametrize("place", ["fill", "_switch"])
def test_an_exchange_that_fails_changes_nothing(
    instance: Instance, other_object: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def fail(*_: object) -> None:
        raise VrouterError("as the test wants")

    loader.load(instance, SMALL)
    before = state(instance)
    with monkeypatch.context() as patch:
        patch.setattr(contents if place == "fill" else loader, place, fail)
        with pytest.raises(VrouterError, match="as the test wants"):
            loader.load(instance, object_path=other_object)
    assert state(instance) == before
    assert loader.load(instance, object_path=other_object).swapped


KILLED = """
import os, signal, sys
from pathlib import Path
from vrouter.dpcore import bpffs, contents, exchange, libbpf, loader, sizes
from vrouter.dpcore.instance import Instance
name, place, count, path = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
owners = {"obj_pin": libbpf, "rename": os, "replace": os, "fill": contents, "remove_tree": bpffs}
owner = owners.get(place, exchange if hasattr(exchange, place) else loader)
real = getattr(owner, place)
def deadly(*args, **kwargs):
    global count
    if count == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    count -= 1
    return real(*args, **kwargs)
setattr(owner, place, deadly)
loader.load(Instance(name), sizes.SMALL, object_path=Path(path))
"""


def _killed_load(instance: Instance, place: str, count: int, path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, instance.name, place, str(count), str(path)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize(
    ("place", "count"),
    [("obj_pin", 10), ("fill", 0), ("_switch", 0), ("replace", 0), ("rename", 0)],
)
def test_a_killed_load_can_be_repeated(instance: Instance, place: str, count: int) -> None:
    _killed_load(instance, place, count, objects.OBJECT)
    assert not instance.is_loaded()
    assert loader.load(instance, SMALL).created
    assert not instance.staging_dir.exists()
    loader.unload(instance)
    _killed_load(instance, place, count, objects.OBJECT)
    loader.unload(instance)
    assert not instance.staging_dir.exists()
    assert not instance.run_dir.exists()


# step, and whether the new dp-core runs by then
STEPS = {
    ("fill", 0): False,
    ("obj_pin", 20): False,
    ("_forget_others", 0): True,
    ("_exchange", 0): True,
    ("_commit", 0): True,
    ("remove_tree", 0): True,
}


def test_a_killed_exchange_is_completed_or_taken_back(
    instance: Instance, other_object: Path
) -> None:
    loader.load(instance, SMALL)
    before = state(instance)
    paths = [objects.OBJECT, other_object]
    for (place, count), switched in STEPS.items():
        _killed_load(instance, place, count, paths[1])
        with DpCore.open(instance) as core, core.lock():  # a writer cleans up
            assert not instance.staging_dir.exists()
        if switched:
            paths.reverse()
        after = state(instance)
        assert set(after) == set(before)
        entry = instance.registered()
        assert entry is not None and entry["object_sha256"] == objects.digest(paths[0]), place
        assert not (instance.run_dir / "instance.next").exists()
        with open_map(instance.map_path("vr_switch")) as switch:
            ids = [switch.get_id(index) for index in range(3)]  # type: ignore[attr-defined]
        assert ids[0] == after["progs/vr_dpcore"], place
        assert sorted(ids[1:], key=str) == sorted([ids[0], None], key=str), place
    assert loader.load(instance, object_path=paths[1]).swapped


def test_a_missing_object_names_make_bpf(
    instance: Instance, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(Refused, match="there is no dp-core object"):
        loader.load(instance, SMALL, object_path=tmp_path / "none.o")
    monkeypatch.setattr(objects, "OBJECT", tmp_path / "none.o")
    with pytest.raises(Refused, match="make bpf"):
        loader.load(instance, SMALL)


def test_a_file_that_is_no_object_is_an_error_of_one_line(
    instance: Instance, tmp_path: Path
) -> None:
    path = tmp_path / "text.o"
    path.write_text("no ELF")
    with pytest.raises(VrouterError) as caught:
        loader.load(instance, SMALL, object_path=path)
    assert "\n" not in str(caught.value)
    assert not instance.pin_dir.exists()


def test_what_the_verifier_says_is_kept(
    instance: Instance, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    compiler = shutil.which("clang-19")
    if compiler is None:
        pytest.skip("needs clang-19")
    source = tmp_path / "bad.bpf.c"
    source.write_text(
        "#define SEC(n) __attribute__((section(n), used))\n"
        'char L[] SEC("license") = "GPL";\n'
        'SEC("tc") int vr_dpcore(int *c) { return *(volatile int *)(long)c[0]; }\n'
    )
    path = tmp_path / "bad.bpf.o"
    flags = ["-g", "-O2", "-target", "bpf", "-mcpu=v3", "-c"]
    subprocess.run([compiler, *flags, str(source), "-o", str(path)], check=True)
    with objects.BpfObject(path) as opened, pytest.raises(VrouterError) as caught:
        opened.load()
    assert "invalid mem access" in caught.value.log
    assert "\n" not in str(caught.value)
    assert "invalid mem access" in str(caught.value)
    assert capfd.readouterr() == ("", "")


# ---- the machine --------------------------------------------------------------------------


def test_this_machine_lacks_nothing() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    assert loader.probe() == []


def test_a_lack_is_one_line_with_a_remedy(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    lack = probe.Lack("kernel 5.4 has no tcx", "use a kernel 6.6 or newer")
    monkeypatch.setattr(loader, "probe", lambda: [lack])
    with pytest.raises(KernelLacks, match=r"no tcx: use a kernel 6.6"):
        loader.load(instance, SMALL)
    assert not instance.run_dir.exists()


def test_the_estimate_of_memory_is_right(instance: Instance) -> None:
    loader.load(instance, SMALL)
    estimate = SMALL.memory(libbpf.possible_cpus())
    pins = {pin.name: pin for pin in (instance.pin_dir / "maps").iterdir()}
    assert set(estimate) == set(pins)
    for name, pin in pins.items():
        with open_map(pin) as one:
            info = Path(f"/proc/self/fdinfo/{one.fd}").read_text()
        real = int(next(ln for ln in info.splitlines() if ln.startswith("memlock:")).split()[1])
        # the fixed part of a small map does not matter
        assert abs(estimate[name] - real) <= max(real * 0.1, 8192), (name, estimate[name], real)


@pytest.mark.parametrize("words", [["nexthops"], ["nexthops=x"], ["nexthop=4"], ["=4"], [""]])
def test_size_arguments_that_make_no_sense(words: list[str]) -> None:
    with pytest.raises(VrouterError):
        Sizes.from_args("small", words)


@pytest.mark.parametrize("word", ["nexthops=0", "labels=1048577", "vrfs=65536", "events=5000"])
def test_sizes_that_cannot_be(word: str) -> None:
    with pytest.raises(BadValue):
        Sizes.from_args("small", [word])
