# SPDX-License-Identifier: Apache-2.0
"""Which BPF programs hang on a netdevice, whoever attached them."""

from __future__ import annotations

import os
from ctypes import byref, c_uint32
from dataclasses import dataclass
from typing import Final

from . import libbpf

TCX_EGRESS: Final = 47
_MOST: Final = 64


@dataclass(frozen=True, slots=True)
class Program:
    """`name` may be empty: the loader need not give one."""

    id: int
    name: str


def tcx(ifindex: int, attach_type: int) -> list[Program]:
    """The programs at the tcx ingress or egress of a netdevice; none on a kernel without tcx."""
    ids, count, flags = (c_uint32 * _MOST)(), c_uint32(_MOST), c_uint32()
    query = libbpf.lib().bpf_prog_query
    if query(ifindex, attach_type, 0, byref(flags), ids, byref(count)) < 0:
        return []
    return [by_id(ids[i]) for i in range(count.value)]


def by_id(number: int) -> Program:
    """The program of that id; without a name when it is gone meanwhile."""
    fd = libbpf.lib().bpf_prog_get_fd_by_id(number)
    if fd < 0:
        return Program(number, "")
    try:
        info = libbpf.ProgInfo()
        libbpf.object_info(fd, info)
        return Program(number, info.name.decode(errors="replace"))
    finally:
        os.close(fd)
