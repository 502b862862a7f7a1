# SPDX-License-Identifier: Apache-2.0
"""A real VM: QEMU without hardware help, Debian's cloud kernel, busybox, one virtio NIC on a tap.

Its serial console is a shell that runs one line at a time, so that a test can speak with it. The
kernel is taken out of its Debian package into build/guest/, once; nothing is installed.
"""

from __future__ import annotations

import os
import re
import selectors
import shutil
import subprocess
import time
from pathlib import Path
from typing import Self

from vrouter.host import netns

GUEST = Path(__file__).parents[2] / "build/guest"
PACKAGE = "linux-image-cloud-amd64"
MODULE = "virtio_net"
BUSYBOX = Path("/bin/busybox")
BOOT_SECONDS = 100  # some seconds on a quiet machine
_DEPENDS = re.compile(rb"\0depends=([a-z0-9_,]*)\0")
_END = re.compile(r"<<<(\d+)>>>\r?\n")
_INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in MODULES; do insmod /lib/$module.ko; done
ip link set lo up
stty -echo -F /dev/console
echo '<<<0>>>'
while read -r line; do eval "$line" </dev/null; echo "<<<$?>>>"; done
"""
# what busybox's udhcpc calls with what it got
_DHCP = """#!/bin/sh
case $1 in
bound|renew)
    ip addr flush dev $interface
    ip addr add $ip/$mask dev $interface
    ip route add default via $router 2>/dev/null
    : > /etc/resolv.conf
    for one in $dns; do echo nameserver $one >> /etc/resolv.conf; done
    [ -z "$domain" ] || echo search $domain >> /etc/resolv.conf
    [ -z "$mtu" ] || ip link set $interface mtu $mtu
    [ -z "$hostname" ] || hostname $hostname ;;
esac
"""


class GuestError(Exception):
    """The guest did not boot, or a line in it failed."""


def _kernel() -> tuple[Path, Path]:
    """The kernel's image and its folder of modules; taken from Debian's package if need be."""
    GUEST.mkdir(parents=True, exist_ok=True)
    there = sorted(GUEST.glob("boot/vmlinuz-*"))
    if not there:
        shown = subprocess.run(
            ["apt-cache", "depends", PACKAGE], check=True, capture_output=True, text=True
        ).stdout
        name = re.search(r"Depends: (linux-image-\S+)", shown)
        assert name, shown
        subprocess.run(
            ["apt-get", "-qq", "download", name[1]], cwd=GUEST, check=True, capture_output=True
        )
        package = next(GUEST.glob("linux-image-*.deb"))
        subprocess.run(["dpkg-deb", "-x", package, GUEST], check=True)
        package.unlink()
        there = sorted(GUEST.glob("boot/vmlinuz-*"))
    return there[0], next((GUEST / "lib/modules").iterdir())


def _modules(folder: Path, wanted: str) -> list[Path]:
    """The module `wanted` and what it needs, in the order to load them."""
    files = {file.name.removesuffix(".ko").replace("-", "_"): file for file in folder.rglob("*.ko")}
    order: list[Path] = []

    def need(name: str) -> None:
        file = files[name.replace("-", "_")]
        if file in order:
            return
        found = _DEPENDS.search(file.read_bytes())
        for one in found[1].decode().split(",") if found else []:
            if one:
                need(one)
        order.append(file)

    for name in ("virtio_pci", wanted):
        need(name)
    return order


def _image() -> tuple[Path, Path]:
    """The kernel and an initial RAM disk, made once."""
    kernel, folder = _kernel()
    made = GUEST / "initrd.gz"
    if made.exists() and made.stat().st_mtime > Path(__file__).stat().st_mtime:
        return kernel, made
    root = GUEST / "root"
    shutil.rmtree(root, ignore_errors=True)
    for part in ("bin", "proc", "sys", "dev", "etc", "lib", "tmp", "etc/udhcpc"):
        (root / part).mkdir(parents=True)
    shutil.copy(BUSYBOX, root / "bin/busybox")
    modules = _modules(folder, MODULE)
    for module in modules:
        shutil.copy(module, root / "lib")
    for path, text in (
        ("init", _INIT.replace("MODULES", " ".join(one.stem for one in modules))),
        ("etc/udhcpc/default.script", _DHCP),
    ):
        (root / path).write_text(text)
        (root / path).chmod(0o755)
    new = made.with_suffix(f".{os.getpid()}")
    with new.open("wb") as file:
        subprocess.run(
            "find . | busybox cpio -o -H newc 2>/dev/null | gzip -1",
            shell=True,
            cwd=root,
            stdout=file,
            check=True,
        )
    new.rename(made)
    return kernel, made


class Guest:
    """A running guest; a context manager. `tap`: a persistent tap with vnet_hdr in `space`."""

    def __init__(self, space: str, tap: str, mac: str) -> None:
        kernel, initrd = _image()
        with netns.enter(space):
            self._process = subprocess.Popen(
                [
                    *("qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-cpu", "max"),
                    *("-m", "160", "-nodefaults", "-no-reboot", "-display", "none"),
                    *("-serial", "stdio", "-kernel", str(kernel), "-initrd", str(initrd)),
                    *("-append", "console=ttyS0 quiet panic=-1 tsc=unstable ipv6.autoconf=1"),
                    *("-netdev", f"tap,id=n0,ifname={tap},script=no,downscript=no"),
                    *("-device", f"virtio-net-pci,netdev=n0,mac={mac},romfile="),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        self._seen = ""
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)

    def __enter__(self) -> Self:
        try:
            self._answer(BOOT_SECONDS)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def run(self, line: str, seconds: float = 60) -> str:
        """What a line of shell prints; GuestError if it fails, or takes longer."""
        printed, code = self._ask(line, seconds)
        if code:
            raise GuestError(f"{line!r} in the guest: exit code {code}\n{printed}")
        return printed

    def succeeds(self, line: str, seconds: float = 60) -> bool:
        """Whether a line of shell succeeds."""
        return self._ask(line, seconds)[1] == 0

    def _ask(self, line: str, seconds: float) -> tuple[str, int]:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()
        return self._answer(seconds)

    def _answer(self, seconds: float) -> tuple[str, int]:
        end = time.monotonic() + seconds
        stdout = self._process.stdout
        assert stdout is not None
        with selectors.DefaultSelector() as ready:
            ready.register(stdout, selectors.EVENT_READ)
            while not (found := _END.search(self._seen)):
                left = end - time.monotonic()
                if left <= 0 or self._process.poll() is not None:
                    raise GuestError(f"no answer from the guest; its console:\n{self._seen}")
                if ready.select(left):
                    self._seen += (stdout.read() or b"").decode(errors="replace")
        printed = self._seen[: found.start()]
        self._seen = self._seen[found.end() :]
        return printed.replace("\r", ""), int(found[1])
