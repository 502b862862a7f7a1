# SPDX-License-Identifier: Apache-2.0
"""podman with its CNI backend on a host of a lab: containers of one busybox, from no registry."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vrouter.dpcore.instance import Instance
from vrouter.host import netns
from vrouter.lab.topology import Lab

_CONFIG = """
[containers]
# what a sandbox allows: podman's own wish may be above it
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[network]
network_backend = "cni"
cni_plugin_dirs = ["{place}/bin"]
network_config_dir = "{place}/net.d"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "runc"
"""


_LIBRARY = re.compile(r"(/\S+) \(0x")


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout


class Podman:
    """The podman of one host. It runs in the host's network namespace only: runc wants the
    machine's own /sys/fs/cgroup."""

    def __init__(self, lab: Lab, host: str, ranges: Sequence[str]) -> None:
        self.space = netns.path(lab.netns(host))
        self.place = place = Path(tempfile.mkdtemp(prefix="vr-pod-"))  # podman wants it short
        for name in ("bin", "net.d", "rootfs/bin", "rootfs/proc"):
            (place / name).mkdir(parents=True)
        self.env = {**os.environ, "CONTAINERS_CONF": str(place / "containers.conf")}
        (place / "containers.conf").write_text(_CONFIG.format(place=place))
        busybox = shutil.which("busybox")
        assert busybox is not None
        shutil.copy(busybox, place / "rootfs/bin/busybox")
        for library in _LIBRARY.findall(_output("ldd", busybox)):
            target = place / "rootfs" / library[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, target)
        for name in ("sh", "sleep", "ping", "ip", "cat"):
            (place / "rootfs/bin" / name).symlink_to("busybox")
        plugin = {
            "type": "vrouter-cni",
            "network": "blue",
            "instance": Instance(lab.instance(host)).name,
            "ranges": list(ranges),
            "capabilities": {"ips": True, "mac": True},
        }
        conf = {"cniVersion": "1.0.0", "name": "pods", "plugins": [plugin]}
        (place / "net.d/10-pods.conflist").write_text(json.dumps(conf))

    def __call__(self, *words: str, check: bool = True) -> str:
        """Run podman; what it printed."""
        command = ["nsenter", f"--net={self.space}", "podman", "--storage-driver=vfs"]
        command += [f"--root={self.place}/root", f"--runroot={self.place}/run"]
        done = subprocess.run(
            [*command, *words], env=self.env, capture_output=True, text=True, timeout=90
        )
        assert not check or done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def run(self, name: str, *options: str) -> Any:
        """Start a container that sleeps; its first network as `podman inspect` has it."""
        rootfs = str(self.place / "rootfs")
        self("run", "-d", "--name", name, "--network", "pods", *options, "--rootfs", rootfs,
             "/bin/sleep", "600")  # fmt: skip
        (found,) = json.loads(self("inspect", name))
        return found["NetworkSettings"]["Networks"]["pods"]

    def pings(self, name: str, address: str) -> int:
        """How many of 5 pings out of a container are answered."""
        out = self(
            "exec", name, "/bin/ping", "-c", "5", "-i", "0.2", "-W", "2", address, check=False
        )
        return int(out.partition(" packets received")[0].rpartition(", ")[2] or 0)

    def close(self) -> None:
        """Remove every container, and what podman mounted."""
        self("rm", "--all", "--force", "--time", "0", check=False)
        subprocess.run(["umount", "-R", f"{self.place}/root/vfs"], capture_output=True)
        shutil.rmtree(self.place, ignore_errors=True)
