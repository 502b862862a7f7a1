# SPDX-License-Identifier: Apache-2.0
"""What dp-core needs of the machine, asked before it is loaded."""

from __future__ import annotations

import ctypes
import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from . import bpffs, libbpf
from .errors import KernelLacks

_CAP_NET_ADMIN, _CAP_SYS_ADMIN = 12, 21
_BTF: Final = "sys/kernel/btf/vmlinux"
_JIT: Final = Path("/proc/sys/net/core/bpf_jit_enable")


@dataclass(frozen=True, slots=True)
class Lack:
    """One thing that is missing, and what to do about it."""

    what: str
    remedy: str


FEATURES: Final = ("BPF maps", "tcx links", "type information", "JIT", "BPF file system")


def probe() -> list[Lack]:
    """Everything that keeps dp-core from running here; empty when all is well.

    Changes nothing. What cannot be asked without the right to load BPF
    programs is left out when that right is missing.
    """
    rights = _rights()
    if rights is not None:
        return [rights]
    try:
        found = features()
    except KernelLacks as error:
        return [Lack(error.what, error.remedy)]
    return [lack for lack in found.values() if lack is not None]


def features() -> dict[str, Lack | None]:
    """Each of FEATURES, and what is missing of it (None: it is there). Raises KernelLacks."""
    lib = libbpf.lib()
    checks = (_bpf(lib), _tcx(lib), _types(), _jit(), _mount())
    return dict(zip(FEATURES, checks, strict=True))


def _rights() -> Lack | None:
    if os.geteuid() != 0:
        return Lack("not run by root", "run it as root (sudo)")
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    have = int(line.split()[1], 16)
    missing = [
        name
        for name, bit in (("CAP_NET_ADMIN", _CAP_NET_ADMIN), ("CAP_SYS_ADMIN", _CAP_SYS_ADMIN))
        if not have >> bit & 1
    ]
    if missing:
        return Lack(f"no {' and '.join(missing)}", "give the container or service these rights")
    return None


def _bpf(lib: Any) -> Lack | None:
    fd = lib.bpf_map_create(libbpf.MAP_ARRAY, b"vr_probe", 4, 4, 1, None)
    if fd >= 0:
        os.close(fd)
        return None
    if fd == -errno.EPERM:
        return Lack(
            "the kernel forbids BPF maps",
            "look for lockdown (/sys/kernel/security/lockdown), a seccomp filter, "
            "or a too small memlock limit (ulimit -l)",
        )
    return Lack(
        f"no BPF maps ({os.strerror(-fd)})", "use a kernel with CONFIG_BPF_SYSCALL, 6.6 or newer"
    )


def _tcx(lib: Any) -> Lack | None:
    # The loopback device has index 1 in every network namespace.
    count = ctypes.c_uint32(0)
    result = lib.bpf_prog_query(1, libbpf.TCX_INGRESS, 0, None, None, ctypes.byref(count))
    if result == 0:
        return None
    return Lack(
        f"kernel {os.uname().release} has no tcx",
        "use a kernel 6.6 or newer with CONFIG_NET_XGRESS",
    )


def _types() -> Lack | None:
    # `ip netns exec` may give a /sys without it; the host process has one
    if any(
        (root / _BTF).exists() for root in (Path("/"), (bpffs.host_process() or Path()) / "root")
    ):
        return None
    return Lack(
        f"the kernel has no type information (/{_BTF})",
        "mount sysfs on /sys, or use a kernel with CONFIG_DEBUG_INFO_BTF",
    )


def _jit() -> Lack | None:
    try:
        # Only process 1's network namespace shows this switch.
        if _JIT.read_text().strip() != "0":
            return None
    except OSError:
        return None
    return Lack(
        "the BPF compiler of the kernel is off", "run `sysctl -w net.core.bpf_jit_enable=1`"
    )


def _mount() -> Lack | None:
    if "\tbpf" in Path("/proc/filesystems").read_text():
        return None
    return Lack("the kernel has no BPF file system", "use a kernel with CONFIG_BPF_SYSCALL")
