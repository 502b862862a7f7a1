# SPDX-License-Identifier: Apache-2.0
"""A host of its own that a real systemd has booted, with the package installed.

systemd is process 1 of new PID, mount, network, UTS, IPC and cgroup namespaces, over a copy of
this machine's file system that is gone with them. There is no udev: the unit for vhost0 loses its
dependency on the NIC's device, and nothing else.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_OUTSIDE = """
set -e
mkdir $SCRATCH/cgroup
mount -t cgroup2 none $SCRATCH/cgroup
mine=$SCRATCH/cgroup/$NAME
trap 'echo 1 >$mine/cgroup.kill
    until find $mine -depth -type d -exec rmdir {} + 2>/dev/null; do sleep 0.1; done' EXIT
mkdir $mine
sh -ec 'echo $$ >'$mine'/cgroup.procs
    exec unshare --mount --pid --net --uts --ipc --cgroup --fork --kill-child sh -ec "$INSIDE"' || true
"""
_INSIDE = """
mount -t tmpfs none $SCRATCH
mkdir $SCRATCH/upper $SCRATCH/work $SCRATCH/root
root=$SCRATCH/root
mount -t overlay overlay -o lowerdir=/,upperdir=$SCRATCH/upper,workdir=$SCRATCH/work $root
mount -t proc proc $root/proc
mount -t sysfs sysfs $root/sys
mount -t tmpfs none $root/sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 cgroup2 $root/sys/fs/cgroup
mount --rbind /dev $root/dev
for one in run tmp; do mount -t tmpfs none $root/$one; done
find $root/etc/systemd/system -name '*.wants' -exec rm -r {} +
printf '[Unit]\\nDescription=booted\\nWants=systemd-journald.service\\n' \\
    >$root/etc/systemd/system/booted.target
cp $PACKAGE $root/root/vrouter.deb
ip link set lo up
ip link add eth0 type veth peer name wire
ip address add 172.30.9.1/24 dev eth0
ip link set eth0 up
ip link set wire up
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=other \\
    chroot $root /lib/systemd/systemd --system --unit=booted.target
"""
_PREPARED = """
dpkg --no-triggers -i /root/vrouter.deb
unit=/lib/systemd/system/vrouter-vhost@.service
sed -i '/^BindsTo=/d; s/sys-subsystem-net-devices-%i.device//' $unit
systemctl daemon-reload
"""


class Booted:
    """pid: of systemd, as the machine sees it."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def run(self, script: str, *, timeout: float = 60) -> str:
        """What a shell script prints there, stderr with it; AssertionError if a command fails."""
        words = ["nsenter", "-t", str(self._pid), "-m", "-n", "-p", "-u", "-i", "-C", "-r", "-w"]
        words += ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "sh", "-ec", script]
        done = subprocess.run(
            words,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{self._journal(words)}"
        return done.stdout

    @staticmethod
    def _journal(words: list[str]) -> str:
        asked = [*words[:-1], "journalctl --no-pager -n 40"]
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout


@contextmanager
def booted(name: str, scratch: Path, package: Path) -> Iterator[Booted]:
    """The host while the block runs. name: of its cgroup; scratch: an empty folder."""
    env = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "NAME": name,
        "SCRATCH": str(scratch),
        "PACKAGE": str(package),
        "INSIDE": _INSIDE,
    }
    process = subprocess.Popen(
        ["unshare", "--mount", "sh", "-ec", _OUTSIDE], env=env, stdin=subprocess.DEVNULL
    )
    try:
        host = Booted(_first_process(process, scratch))
        host.run(_PREPARED, timeout=100)
        yield host
    finally:
        # its end is that of all that it has started
        for child in _children(process.pid):
            subprocess.run(["kill", "-KILL", str(child)], check=False)
        process.wait(30)


def _first_process(process: subprocess.Popen[bytes], scratch: Path) -> int:
    """The id of systemd, once it takes commands."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert process.poll() is None, f"what boots it ended with {process.returncode}"
        for child in _children(process.pid):
            for pid in _children(child):
                if Path(f"/proc/{pid}/comm").read_text() == "systemd\n":
                    words = ["nsenter", "-t", str(pid), "-m", "-p", "-C", "-r", "-w"]
                    asked = [*words, "systemctl", "is-active", "booted.target"]
                    if subprocess.run(asked, capture_output=True, check=False).returncode == 0:
                        return pid
        time.sleep(0.1)
    raise AssertionError("systemd did not boot within a minute")


def _children(pid: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
