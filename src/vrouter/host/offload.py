# SPDX-License-Identifier: Apache-2.0
"""Offload features of a netdevice by their kernel names, as `ethtool -K` sets them.

Layouts: linux/ethtool.h (ETHTOOL_GSSET_INFO, GSTRINGS, GFEATURES, SFEATURES).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Mapping

from vrouter.dpcore.errors import DeviceError

_SIOCETHTOOL = 0x8946
_GSSET_INFO, _GSTRINGS, _GFEATURES, _SFEATURES = 0x37, 0x1B, 0x3A, 0x3B
_SET_FEATURES, _NAME = 4, 32


def _call(device: str, data: bytes) -> bytes:
    buffer = ctypes.create_string_buffer(data, len(data))
    request = struct.pack("16sP16x", device.encode(), ctypes.addressof(buffer))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            fcntl.ioctl(control, _SIOCETHTOOL, request)
        except OSError as error:
            why = os.strerror(error.errno or 0)
            raise DeviceError(f"cannot read or set the offloads of {device}: {why}") from error
    return buffer.raw


def _names(device: str) -> list[str]:
    head = struct.pack("=IIQ", _GSSET_INFO, 0, 1 << _SET_FEATURES)
    count = struct.unpack_from("=I", _call(device, head + bytes(4)), 16)[0]
    head = struct.pack("=III", _GSTRINGS, _SET_FEATURES, count)
    raw = _call(device, head + bytes(count * _NAME))[12:]
    return [raw[i * _NAME : (i + 1) * _NAME].split(b"\0", 1)[0].decode() for i in range(count)]


def get(device: str) -> dict[str, bool]:
    """All features of the device and whether each is on now."""
    names = _names(device)
    blocks = (len(names) + 31) // 32
    answer = _call(device, struct.pack("=II", _GFEATURES, blocks) + bytes(16 * blocks))
    words = [struct.unpack_from("=IIII", answer, 8 + 16 * i)[2] for i in range(blocks)]
    return {name: bool(words[i // 32] >> (i % 32) & 1) for i, name in enumerate(names)}


def _free(device: str, blocks: int) -> list[int]:
    """Bits of the features that may be changed, 32 to a word."""
    answer = _call(device, struct.pack("=II", _GFEATURES, blocks) + bytes(16 * blocks))
    words = [struct.unpack_from("=IIII", answer, 8 + 16 * i) for i in range(blocks)]
    return [available & ~fixed for available, _, _, fixed in words]


def make_plain(device: str) -> None:
    """Leave the device neither segmentation nor checksum offload, like the plainest NIC."""
    off = {
        name: False
        for name in get(device)
        if name.endswith("-segmentation") or name.startswith(("tx-gso-", "tx-checksum-"))
    }
    put(device, off)


def put(device: str, wanted: Mapping[str, bool]) -> None:
    """Switch features on or off; names that the device does not know are passed over.

    What the device will not change (fixed features) stays as it is, as with ethtool.
    """
    names, now = _names(device), get(device)
    blocks = (len(names) + 31) // 32
    free = _free(device, blocks)
    valid, values = [0] * blocks, [0] * blocks
    for i, name in enumerate(names):
        if free[i // 32] >> (i % 32) & 1 and wanted.get(name, now[name]) != now[name]:
            valid[i // 32] |= 1 << (i % 32)
            values[i // 32] |= int(wanted[name]) << (i % 32)
    body = b"".join(struct.pack("=II", *pair) for pair in zip(valid, values, strict=True))
    _call(device, struct.pack("=II", _SFEATURES, blocks) + body)
