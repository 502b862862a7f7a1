# SPDX-License-Identifier: Apache-2.0
"""A real dp-core of its own, in a network namespace of its own, for tests of the tables."""

from __future__ import annotations

import ctypes
import itertools
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from vrouter.dpcore import netdev
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.instance import Instance
from vrouter.dpcore.names import VifType
from vrouter.dpcore.records import Vif

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count(1)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it loads BPF programs")


def _checked(result: int, doing: str) -> None:
    if result:
        raise OSError(ctypes.get_errno(), doing)


@contextmanager
def new_netns() -> Iterator[None]:
    """The calling thread is in a new, empty network namespace inside the block."""
    back = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _checked(_libc.unshare(_CLONE_NEWNET), "unshare")
        yield
    finally:
        _checked(_libc.setns(back, _CLONE_NEWNET), "setns")
        os.close(back)


def ip(arguments: str) -> None:
    """Runs ip(8) in the current network namespace."""
    done = subprocess.run(["ip", *arguments.split()], check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"ip {arguments}: {done.stderr}"


def veth(name: str) -> str:
    """Makes a veth pair (name, name + "p") and returns `name`."""
    ip(f"link add {name} type veth peer name {name}p")
    return name


def vif_of(device: str, idx: int, kind: VifType = VifType.VIRTUAL, **values: Any) -> Vif:
    """A Vif for a device that is here."""
    number = netdev.index(device)
    facts: dict[str, Any] = {"ifindex": number, "os_ifindex": number, "mac": netdev.mac(device)}
    return Vif(idx=idx, name=device, type=kind, **{**facts, **values})


@contextmanager
def loaded() -> Iterator[DpCore]:
    """A freshly loaded small dp-core in a new network namespace."""
    from vrouter.dpcore import loader, sizes

    with new_netns():
        instance = Instance(f"t-{os.getpid()}-tables{next(_numbers)}")
        try:
            loader.load(instance, sizes.SMALL)
            with DpCore.open(instance) as opened:
                yield opened
        finally:
            loader.unload(instance)


@pytest.fixture(scope="module")
def core() -> Iterator[DpCore]:
    """One dp-core for all tests of a module; each uses keys of its own."""
    with loaded() as opened:
        yield opened


@pytest.fixture
def fresh() -> Iterator[DpCore]:
    """A dp-core for one test alone."""
    with loaded() as opened:
        yield opened
