# SPDX-License-Identifier: Apache-2.0
"""A loaded vRouter in a namespace of its own, its door, and a namespace for the far ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.helpers import SOURCE, unique, wait_until
from vrouter.dpcore.core import DpCore
from vrouter.dpcore.instance import Instance
from vrouter.dpcore.loader import load, unload
from vrouter.dpcore.sizes import SMALL, Sizes
from vrouter.host import devices, netns
from vrouter.sandesh import ADD, Client, SandeshError

_CODE = "import sys; from vrouter.tools.vrouter import main; sys.exit(main())"
GATEWAY_MAC = bytes.fromhex("00005e000100")
ENCAP = GATEWAY_MAC * 2 + b"\x08\x00"


class DoorHost:
    """near, far: the namespaces; folder: the --sock-dir."""

    def __init__(self, near: str, far: str, folder: Path) -> None:
        self.near, self.far, self.folder = near, far, folder
        self.instance = Instance(f"{near}-vr")
        self.process: subprocess.Popen[str] | None = None

    def start(self, *options: str, far: bool = True) -> None:
        """Starts the door and waits until it accepts."""
        where = ["--far-netns", self.far] if far else []
        words = ["sandesh", "--name", self.instance.name, "--sock-dir", str(self.folder)]
        log = open(self.folder / "log", "a")  # noqa: SIM115 - the process's
        with log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _CODE, *words, *where, *options],
                env={**os.environ, "PYTHONPATH": str(SOURCE)},
                stderr=log,
                stdin=subprocess.DEVNULL,
                text=True,
            )
        process = self.process
        wait_until(lambda: self._accepts() or process.poll() is not None)
        assert process.poll() is None, self.log()

    def _accepts(self) -> bool:
        try:
            self.client().close()
        except OSError:  # none, or that of a door that was killed
            return False
        return True

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ends the door; its exit code."""
        process, self.process = self.process, None
        if process is None:
            return 0
        process.send_signal(number)
        return process.wait(20)

    def log(self) -> str:
        """What the door said."""
        return (self.folder / "log").read_text()

    def client(self, **options: Any) -> Client:
        """A connection to the door."""
        assert self.process is None or self.process.poll() is None, self.log()
        return Client(self.folder, **options)

    def core(self) -> DpCore:
        """The tables themselves, past the door."""
        return DpCore.open(self.instance)

    def memory(self) -> int:
        """Resident kilobytes of the door."""
        assert self.process is not None
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1])
        return 0

    def devices(self, space: str) -> set[str]:
        """The names of the netdevices of a namespace."""
        with netns.enter(space):
            lines = Path("/proc/thread-self/net/dev").read_text().splitlines()[2:]
        return {line.partition(":")[0].strip() for line in lines}

    def sh(self, command: str, space: str | None = None) -> str:
        """Runs a command in the near namespace, or in `space`; its output."""
        with netns.enter(space or self.near):
            done = subprocess.run(command.split(), check=False, capture_output=True, text=True)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout


@contextlib.contextmanager
def door_host(sizes: Sizes = SMALL) -> Iterator[DoorHost]:
    """A host whose vRouter is loaded; everything of it goes afterwards."""
    near, far = unique("dn"), unique("df")
    with contextlib.ExitStack() as stack:
        for name in (near, far):
            stack.callback(netns.delete, name)
            netns.create(name)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vr-door")))
        host = DoorHost(near, far, folder)
        stack.callback(unload, host.instance)
        with netns.enter(near):
            load(host.instance, sizes)
            with host.core() as core:
                devices.ensure_packet_devices(core)
        stack.callback(host.stop, signal.SIGKILL)
        yield host


def add_vif(client: Client, idx: int, name: str, kind: int = 3, **fields: Any) -> None:
    """Adds a vif whose device the door makes."""
    asked: dict[str, Any] = {
        "vifr_idx": idx,
        "vifr_name": name,
        "vifr_type": kind,
        "vifr_transport": 2,
        "vifr_vrf": 1,
        "vifr_mcast_vrf": 0xFFFF,
        "vifr_mac": GATEWAY_MAC,
        "vifr_qos_map_index": -1,
        "vifr_mir_id": -1,
        "vifr_vlan_id": -1,
        "vifr_ovlan_id": -1,
        "vifr_parent_vif_idx": -1,
    }
    client.request("vr_interface_req", ADD, **{**asked, **fields})


def refused(client: Client, name: str, op: int, **fields: Any) -> int:
    """The errno with which a request is refused; that it has a reason."""
    with pytest.raises(SandeshError) as caught:
        client.request(name, op, **fields)
    assert caught.value.reason
    return caught.value.errno


def encap(client: Client, id: int, vif: int) -> None:
    """Adds an Encap nexthop of VRF 1 that leaves by `vif`."""
    client.request(
        "vr_nexthop_req",
        ADD,
        nhr_id=id,
        nhr_type=2,
        nhr_family=2,
        nhr_flags=1,
        nhr_vrf=1,
        nhr_encap_oif_id=(vif, -1, -1),
        nhr_encap_valid=(1, 0, 0),
        nhr_encap=ENCAP,
        nhr_encap_len=14,
        nhr_encap_family=0x0806,
    )
