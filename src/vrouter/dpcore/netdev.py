# SPDX-License-Identifier: Apache-2.0
"""Facts about netdevices of the current network namespace, by ioctl.

Netlink would tell more, but its libraries cost a small tool more time to import
than all of its work. Every function raises DeviceError for a device that is not there.
Numbers: linux/sockios.h, linux/ethtool.h.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
import sys
from typing import Final, NamedTuple

from .errors import DeviceError

NAME_MAX: Final = 15
_IFREQ: Final = 40
_SIOCGIFNAME: Final = 0x8910
_SIOCGIFFLAGS: Final = 0x8913
_SIOCGIFMTU: Final = 0x8921
_SIOCGIFHWADDR: Final = 0x8927
_SIOCGIFINDEX: Final = 0x8933
_SIOCETHTOOL: Final = 0x8946
_GDRVINFO: Final = 0x03
_GTXCSUM: Final = 0x16
_GSTRINGS: Final = 0x1B
_GSTATS: Final = 0x1D
_GLINKSETTINGS: Final = 0x4C
_SS_STATS: Final = 1
_STRING: Final = 32
_IFF_UP: Final = 0x1
_DRVINFO_SIZE: Final = 196
_DRVINFO_N_STATS: Final = 180
_LINK_SIZE: Final = 48
_LINK_NWORDS: Final = 15
_SPEED_UNKNOWN: Final = 0xFFFFFFFF
_DUPLEX_UNKNOWN: Final = 0xFF
_GONE: Final = frozenset({errno.ENODEV, errno.ENXIO})


class LinkMode(NamedTuple):
    """speed in Mbit/s, duplex 0 half or 1 full; None: the driver does not say."""

    speed: int | None
    duplex: int | None


def index(name: str) -> int:
    """The ifindex of `name`."""
    (found,) = struct.unpack_from("=i", _by_name(_SIOCGIFINDEX, name), 16)
    return int(found)


def name(ifindex: int) -> str:
    """The name of netdevice `ifindex`."""
    request = bytearray(struct.pack(f"=16si{_IFREQ - 20}x", b"", ifindex))
    try:
        _ioctl(_SIOCGIFNAME, request)
    except OSError as error:
        if error.errno in _GONE:
            raise DeviceError(
                f"there is no netdevice with index {ifindex} in this network namespace"
            ) from None
        raise DeviceError(f"cannot ask for netdevice {ifindex}: {error.strerror}") from None
    return request[:16].split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def exists(ifindex: int) -> bool:
    """Whether there is a netdevice `ifindex` here."""
    try:
        name(ifindex)
    except DeviceError:
        return False
    return True


def mac(device: str) -> bytes:
    """Its MAC address, 6 bytes."""
    return bytes(_by_name(_SIOCGIFHWADDR, device)[18:24])


def mtu(device: str) -> int:
    """Its MTU in bytes (of layer 3)."""
    (found,) = struct.unpack_from("=i", _by_name(_SIOCGIFMTU, device), 16)
    return int(found)


def is_up(device: str) -> bool:
    """Whether it is administratively up."""
    (flags,) = struct.unpack_from("=H", _by_name(_SIOCGIFFLAGS, device), 16)
    return bool(flags & _IFF_UP)


def link_mode(device: str) -> LinkMode:
    """Speed and duplex, as far as its driver knows them."""
    try:
        request = bytearray(struct.pack(f"=I{_LINK_SIZE - 4}x", _GLINKSETTINGS))
        _ethtool(device, request)
        # The first answer is minus the number of words that a mask takes.
        (words,) = struct.unpack_from("=b", request, _LINK_NWORDS)
        if words >= 0:
            return LinkMode(None, None)
        request = bytearray(_LINK_SIZE + 3 * 4 * -words)
        struct.pack_into("=I", request, 0, _GLINKSETTINGS)
        struct.pack_into("=b", request, _LINK_NWORDS, -words)
        _ethtool(device, request)
    except OSError as error:
        _raise_if_gone(device, error)
        return LinkMode(None, None)
    speed, duplex = struct.unpack_from("=IB", request, 4)
    return LinkMode(
        None if speed in (0, _SPEED_UNKNOWN) else speed,
        None if duplex == _DUPLEX_UNKNOWN else duplex,
    )


def tx_checksum(device: str) -> bool:
    """Whether transmit checksum offload is on; False where it cannot be told."""
    request = bytearray(struct.pack("=II", _GTXCSUM, 0))
    try:
        _ethtool(device, request)
    except OSError as error:
        _raise_if_gone(device, error)
        return False
    return bool(struct.unpack_from("=I", request, 4)[0])


def driver(device: str) -> str:
    """The name of its driver ("veth", "tun", "virtio_net"); "" if it has none."""
    try:
        return _driver(device)
    except OSError as error:
        _raise_if_gone(device, error)
        return ""


def veth_peer(device: str) -> int | None:
    """The ifindex of a veth's far end, valid in the namespace of that end; else None."""
    try:
        return _peer(device)
    except OSError as error:
        _raise_if_gone(device, error)
        return None


def veth_peer_elsewhere(device: str) -> bool:
    """True only if `device` is a veth whose far end is in another network namespace.

    Never wrongly True: bpf_redirect_peer drops the packet if the far end is here.
    Wrongly False (slower, but right) when a veth of this namespace happens to have
    the far end's number and to be paired with a device of our number elsewhere, and
    whenever a question fails.
    """
    try:
        own, peer = index(device), _peer(device)
        if not peer:
            return False
        if peer == own:
            return True
        try:
            candidate = name(peer)
        except DeviceError:
            return not exists(peer) and index(device) == own and _peer(device) == peer
        if _driver(candidate) == "veth":
            # The name may be another device's by now: then nothing is known.
            return _peer(candidate) != own and index(candidate) == peer
        return index(candidate) == peer
    except (OSError, DeviceError):
        return False


# ---- ioctl -----------------------------------------------------------------------


def _driver(device: str) -> str:
    info = _drvinfo(device)
    return info[4:36].split(b"\0", 1)[0].decode("ascii", "replace")


def _drvinfo(device: str) -> bytearray:
    request = bytearray(_DRVINFO_SIZE)
    struct.pack_into("=I", request, 0, _GDRVINFO)
    _ethtool(device, request)
    return request


def _peer(device: str) -> int | None:
    info = _drvinfo(device)
    if info[4:36].split(b"\0", 1)[0] != b"veth":
        return None
    (count,) = struct.unpack_from("=I", info, _DRVINFO_N_STATS)
    names = bytearray(12 + _STRING * count)
    struct.pack_into("=III", names, 0, _GSTRINGS, _SS_STATS, count)
    _ethtool(device, names)
    stats = bytearray(8 + 8 * count)
    struct.pack_into("=II", stats, 0, _GSTATS, count)
    _ethtool(device, stats)
    for number in range(count):
        at = 12 + _STRING * number
        if names[at : at + _STRING].split(b"\0", 1)[0] == b"peer_ifindex":
            value = int.from_bytes(stats[8 + 8 * number : 16 + 8 * number], sys.byteorder)
            return value or None
    return None


def _by_name(request: int, device: str) -> bytearray:
    buffer = bytearray(struct.pack(f"=16s{_IFREQ - 16}x", _encode(device)))
    try:
        _ioctl(request, buffer)
    except OSError as error:
        _raise_if_gone(device, error)
        raise DeviceError(f"cannot ask for netdevice {device}: {error.strerror}") from None
    return buffer


def _ethtool(device: str, command: bytearray) -> None:
    """Runs an ethtool command in place. Raises OSError, DeviceError (bad name)."""
    memory = (ctypes.c_char * len(command)).from_buffer(command)
    request = struct.pack("@16sP", _encode(device), ctypes.addressof(memory))
    try:
        _ioctl(_SIOCETHTOOL, bytearray(request.ljust(_IFREQ, b"\0")))
    finally:
        del memory


def _ioctl(request: int, buffer: bytearray) -> None:
    # A new socket each time: a socket belongs to the namespace it was made in.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, request, buffer, True)


def _encode(device: str) -> bytes:
    raw = os.fsencode(device)
    if not 0 < len(raw) <= NAME_MAX or b"/" in raw or b"\0" in raw:
        raise DeviceError(f"{device!r} is no name of a netdevice: 1 to {NAME_MAX} bytes, no /")
    return raw


def _raise_if_gone(device: str, error: OSError) -> None:
    if error.errno in _GONE:
        raise DeviceError(
            f"there is no netdevice {device} in this network namespace: see `ip link`"
        ) from None
