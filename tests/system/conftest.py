# SPDX-License-Identifier: Apache-2.0
"""Real namespaces for the system tests: names unique to this process, removed whatever happens."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import vhosts
from tests.system.helpers import SOURCE, MakeLab, MakeNs, Vrouter, unique
from vrouter.host import netns
from vrouter.lab import build, topology
from vrouter.lab.topology import Lab


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    mark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(mark)


@pytest.fixture(scope="session")
def vrouter() -> Vrouter:
    """Call the `vrouter` command of this source tree."""
    code = "import sys; from vrouter.tools.vrouter import main; sys.exit(main())"

    def call(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
        whole = {**os.environ, "PYTHONPATH": str(SOURCE), **env}
        return subprocess.run(
            [sys.executable, "-c", code, *args],
            env=whole,
            capture_output=True,
            text=True,
            timeout=100,
            stdin=subprocess.DEVNULL,
        )

    return call


@pytest.fixture(scope="session")
def package() -> Path:
    """The Debian package of this tree, built once for all workers of a run."""
    root = Path(__file__).parents[2]
    (root / "build").mkdir(exist_ok=True)
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    with open(root / "build/package.lock", "a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        if lock.read() != run:
            subprocess.run(
                [root / "packaging/debian/build.sh"], check=True, capture_output=True, timeout=100
            )
            lock.truncate(0)
            lock.write(run)
    return max((root / "dist").glob("vrouter_*.deb"), key=lambda file: file.stat().st_mtime)


@pytest.fixture(scope="module")
def make_lab() -> Iterator[MakeLab]:
    """Build labs without agents by their options; all go when the module's tests are over."""
    made = contextlib.ExitStack()

    def make(
        encap: str = "vxlan", forwarding: str = "l2", wire: str = "tso", underlay: str = "4"
    ) -> Lab:
        plan = topology.plan(
            "two-hosts",
            unique("t"),
            encap=encap,
            forwarding=forwarding,
            wire=wire,
            underlay=underlay,
            control="tables",
        )
        made.callback(build.down, plan.id, lambda line: None)
        return build.up(plan, lambda line: None)

    with made:
        yield make


@pytest.fixture(scope="session")
def shared_lab() -> Iterator[MakeLab]:
    """A lab without agents by its encapsulation and forwarding, the same for all tests that ask.

    Who changes it puts it back.
    """
    labs: dict[tuple[str, str], Lab] = {}
    made = contextlib.ExitStack()

    def get(encap: str, forwarding: str) -> Lab:
        if (encap, forwarding) not in labs:
            plan = topology.plan(
                "two-hosts", unique("s"), encap=encap, forwarding=forwarding, control="tables"
            )
            made.callback(build.down, plan.id, lambda line: None)
            labs[encap, forwarding] = build.up(plan, lambda line: None)
        return labs[encap, forwarding]

    with made:
        yield get


@pytest.fixture
def namespaces() -> Iterator[MakeNs]:
    """Make empty namespaces; they go with the test."""
    made = contextlib.ExitStack()

    def make() -> str:
        name = unique("ns")
        made.callback(netns.delete, name)
        netns.create(name)
        return name

    with made:
        yield make


@pytest.fixture(scope="session")
def loaded_host() -> Iterator[vhosts.Host]:
    """A host with a loaded vRouter and without a NIC, the same for all tests."""
    with vhosts.host() as made:
        yield made


@pytest.fixture
def host(loaded_host: vhosts.Host) -> Iterator[vhosts.Host]:
    """That host with a NIC `nic` of its own, which goes with the test."""
    with loaded_host.wired():
        yield loaded_host
