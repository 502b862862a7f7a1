# SPDX-License-Identifier: Apache-2.0
"""Names, registry and lock of an instance."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vrouter.dpcore import bpffs, loader
from vrouter.dpcore import netns as namespaces
from vrouter.dpcore.errors import BadValue, Busy, NotLoaded, Refused, UsageError
from vrouter.dpcore.instance import Instance, all_instances, find_instance
from vrouter.dpcore.lock import hold
from vrouter.dpcore.sizes import SMALL

SOURCE = Path(__file__).parents[2] / "src"
HOLDER = """
import sys, time
from pathlib import Path
from vrouter.dpcore.lock import hold
with hold(Path(sys.argv[1]), "it", 5):
    print("held", flush=True)
    time.sleep(60)
"""

TRIER = """
import sys
from pathlib import Path
from vrouter.dpcore.errors import Busy
from vrouter.dpcore.lock import hold
try:
    with hold(Path(sys.argv[1]), "it", 0.2):
        pass
except Busy as error:
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize("name", ["vrouter", "a", "0", "t-1.x_y", "a" * 41])
def test_names_that_can_be(name: str) -> None:
    one = Instance(name)
    assert one.run_dir.name == name
    assert "." not in one.pin_dir.name
    assert one.map_path("inet").parent.parent == one.pin_dir


@pytest.mark.parametrize(
    "name", ["", "A", "-a", ".", "..", "a/b", "a b", "a" * 42, "é", "~a", "a+b", "bpf", "a\n"]
)
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(BadValue):
        Instance(name)


def test_two_names_never_share_pins() -> None:
    names = ["a.b", "a-b", "a_b", "ab", "a..b"]
    assert len({Instance(name).pin_dir for name in names}) == len(names)


def test_an_instance_that_is_not_loaded(instance: Instance) -> None:
    assert not instance.is_loaded()
    assert instance.registered() is None
    with pytest.raises(NotLoaded, match="vrouter load"):
        instance.require_loaded()
    with pytest.raises(NotLoaded), instance.enter_netns():
        pass


def test_the_registry_of_another_boot_does_not_count(instance: Instance) -> None:
    instance.register({"boot_id": "another", "netns_cookie": namespaces.cookie()})
    assert instance.registered() is None
    instance.registry_path.write_text("{ broken")
    assert instance.registered() is None
    instance.registry_path.write_text("[]")
    assert instance.registered() is None


def test_finding(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VROUTER_NAME", raising=False)
    assert find_instance().name == "vrouter"
    loader.load(instance, SMALL)
    assert find_instance().name == instance.name
    assert instance.name in [one.name for one in all_instances()]
    monkeypatch.setenv("VROUTER_NAME", "other")
    assert find_instance().name == "other"
    assert find_instance("third").name == "third"


def test_two_instances_in_a_namespace_must_be_named(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VROUTER_NAME", raising=False)
    second = Instance(f"{instance.name}-b")
    try:
        loader.load(instance, SMALL)
        loader.load(second, SMALL)
        with pytest.raises(UsageError, match=f"{instance.name}, {second.name}"):
            find_instance()
    finally:
        loader.unload(second)


def test_entering_its_namespace_and_coming_back(
    instance: Instance, other_netns: Callable[[], None]
) -> None:
    loader.load(instance, SMALL)
    mine = namespaces.cookie()
    keeper = subprocess.Popen(["sleep", "60"])
    try:
        other_netns()
        away = namespaces.cookie()
        assert away != mine
        assert not instance.is_here()
        with instance.enter_netns():
            assert namespaces.cookie() == mine
            with instance.enter_netns():
                assert namespaces.cookie() == mine
        assert namespaces.cookie() == away
    finally:
        keeper.kill()
        keeper.wait()


def test_a_namespace_that_is_gone(instance: Instance, other_netns: Callable[[], None]) -> None:
    loader.load(instance, SMALL)
    entry = instance.registered()
    assert entry is not None
    instance.register({**entry, "netns_cookie": 1 << 60, "netns_inode": 1})
    with pytest.raises(Refused, match=f"vrouter unload --name {instance.name}"):
        with instance.enter_netns():
            pass


# ---- the lock -----------------------------------------------------------------------------


def _holder(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_loser_learns_who_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    process = _holder(path)
    try:
        with pytest.raises(Busy, match=f"process {process.pid} "), hold(path, "it", 0.2):
            pass
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    with hold(path, "it", 1):  # a dead holder is none
        pass


def test_reentrant_and_exclusive_between_threads(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    inside = threading.Event()
    errors: list[Exception] = []

    def other() -> None:
        try:
            with hold(path, "it", 0.1):
                inside.set()
        except Busy as error:
            errors.append(error)

    with hold(path, "it", 1), hold(path, "it", 1):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert not inside.is_set()
    assert "another thread" in str(errors[0])
    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert inside.is_set()


def test_a_child_does_not_hold_what_its_parent_holds(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with hold(path, "it", 1):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                with hold(path, "it", 0.1):
                    code = 2
            except Busy:
                code = 0
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        # and the child has not taken it away from us
        done = subprocess.run(
            [sys.executable, "-c", TRIER, str(path)],
            check=False,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
        )
        assert done.returncode == Busy.exit_code


def test_a_lock_file_that_is_removed_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "lock"
    process = _holder(path)
    path.unlink()
    path.parent.rmdir()
    start = time.monotonic()
    with hold(path, "it", 5):
        assert path.exists()
    assert time.monotonic() - start < 1
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


# ---- where things are ---------------------------------------------------------------------


def test_seen_from_another_mount_namespace(instance: Instance) -> None:
    loader.load(instance, SMALL)
    code = (
        "from vrouter.dpcore.instance import Instance;"
        f"i = Instance({instance.name!r}); print(i.is_loaded(), i.registered()['name'])"
    )
    command = f'mount -t tmpfs none /run && exec {sys.executable} -c "{code}"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", command],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    assert done.stdout == f"True {instance.name}\n", done.stderr


def test_only_root_sees_the_pins(instance: Instance) -> None:
    loader.load(instance, SMALL)
    for folder in (bpffs.root(), instance.pin_dir, instance.run_dir, instance.link_dir):
        assert folder.stat().st_mode & 0o077 == 0, folder
