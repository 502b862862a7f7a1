# SPDX-License-Identifier: Apache-2.0
"""Several vRouters on a machine, names used again, and several commands at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.system.helpers import SOURCE, unique
from vrouter.dpcore import libbpf, link, loader
from vrouter.dpcore.errors import Refused
from vrouter.dpcore.instance import Instance
from vrouter.dpcore.object import OBJECT
from vrouter.host import netns


@pytest.fixture
def name() -> Iterator[str]:
    """A namespace and two instances of that name; gone afterwards."""
    one = unique("nm")
    yield one
    for instance in (Instance(one), Instance(f"{one}-b")):
        loader.unload(instance)
    for space in (one, f"{one}-b"):
        if netns.exists(space):
            netns.delete(space)


def command(space: str, *words: str) -> subprocess.Popen[str]:
    """`vrouter WORDS` in a namespace, started."""
    code = "import sys; from vrouter.tools.vrouter import main; sys.exit(main())"
    with netns.enter(space):
        return subprocess.Popen(
            [sys.executable, "-c", code, *words],
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def run(space: str, *words: str) -> str:
    """The output of a command that must succeed."""
    process = command(space, *words)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    return out


def ids(instance: Instance) -> dict[str, int]:
    """The ids behind the pinned links and programs."""
    found = {}
    for opened in link.links(instance.link_dir):
        with opened:
            found[opened.pin.name] = opened.info().id
    for pin in instance.prog_dir.iterdir():
        found[pin.name] = libbpf.pinned_program(pin).id
    return found


def test_two_instances_never_touch_each_other(name: str) -> None:
    """Of the same device names and numbers in two namespaces; one namespace is made anew."""
    spaces = (name, f"{name}-b")
    instances = [Instance(space) for space in spaces]
    for space in spaces:
        netns.create(space)
        run(space, "load", "--profile", "small", "--name", space)
    second = ids(instances[1])
    assert set(second) == set(ids(instances[0])) and len(second) == 5
    # its namespace goes, and comes back under the same name
    netns.delete(name)
    netns.create(name)
    process = command(name, "load", "--profile", "small", "--name", name)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 3 and "is gone" in error and "add --here" in error
    assert not instances[0].is_here() and ids(instances[1]) == second
    told = run(name, "load", "--profile", "small", "--name", name, "--here")
    assert "loaded dp-core" in told and "a namespace that is gone" in told
    assert ids(instances[1]) == second
    with netns.enter(name):
        assert instances[0].is_here()
    status = json.loads(run(name, "status", "--json", "--name", name))
    assert [one["alive"] for one in status["attached"]] == [True, True]
    # from one namespace the other's instance can be neither loaded nor attached to
    process = command(name, "load", "--name", spaces[1])
    _, error = process.communicate(timeout=60)
    assert process.returncode == 3 and f"has vRouter '{name}' already" in error
    with netns.enter(name), pytest.raises(Refused, match="belongs to another network namespace"):
        loader.load(instances[1])
    run(name, "unload", "--name", name)
    assert ids(instances[1]) == second
    # only the size that is named changes
    before = loader.loaded_sizes(instances[1])
    told = run(spaces[1], "load", "--size", "labels=4096", "--name", spaces[1])
    assert "tables carried over: config, mpls\n" in told
    assert loader.loaded_sizes(instances[1]) == replace(before, labels=4096)
    assert all(one["alive"] for one in json.loads(
        run(spaces[1], "status", "--json", "--name", spaces[1]))["attached"])  # fmt: skip


def test_two_commands_at_once(name: str, tmp_path: Path) -> None:
    """Both loads take place, one after the other; who waits for long is told for whom."""
    other = tmp_path / "other.bpf.o"
    other.write_bytes(OBJECT.read_bytes() + b"\0")
    netns.create(name)
    run(name, "load", "--profile", "small", "--name", name)
    both = [
        command(name, "load", "--name", name, "--object", str(path)) for path in (other, OBJECT)
    ]
    told = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    assert sum("exchanged the dp-core" in out for out, _ in told) >= 1
    assert not Instance(name).staging_dir.exists()

    instance = Instance(name)
    with instance.lock():
        process = command(name, "unload", "--name", name)
        assert process.stderr is not None
        error = process.stderr.readline()
    with process:
        rest = process.stderr.read()
    assert (process.returncode, rest) == (0, "")
    assert f"waiting: vRouter {name!r} is being changed by process {os.getpid()} (" in error
    assert not instance.is_loaded()
