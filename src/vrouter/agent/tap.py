# SPDX-License-Identifier: Apache-2.0
"""pkt0: a persistent tap. It stays when the agent goes, and dp-core's vif with it."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from typing import Final

from vrouter.dpcore.errors import Busy, DeviceError
from vrouter.host import netns
from vrouter.host.netlink import Netlink

PKT0: Final = "pkt0"
_TUNSETIFF, _TUNSETPERSIST = 0x400454CA, 0x400454CB
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
_QUEUE: Final = 1000


def open_pkt0(name: str = PKT0) -> int:
    """A file descriptor of pkt0, not blocking; the tap is made if need be, and set up.

    Of the calling thread's namespace. Raises DeviceError, Busy (another process has it open).
    """
    try:
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise DeviceError(f"cannot make {name} by /dev/net/tun: {error.strerror}") from error
    try:
        request = struct.pack("=16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI)
        fcntl.ioctl(fd, _TUNSETIFF, request)
        fcntl.ioctl(fd, _TUNSETPERSIST, 1)
        # the kernel's own ND and MLD frames are none of ours
        netns.sysctl(f"net/ipv6/conf/{name}/disable_ipv6", 1)
        with Netlink() as links:
            link = links.need(name)
            links.set(link, txqlen=_QUEUE)
            links.set(link, state="up")
    except OSError as error:
        os.close(fd)
        if error.errno == errno.EBUSY:
            raise Busy(f"another process has {name} open: is there a second agent?") from error
        why = os.strerror(error.errno or 0)
        raise DeviceError(
            f"cannot open {name} as a tap: {why}; a netdevice of that name that is none must go"
        ) from error
    except BaseException:
        os.close(fd)
        raise
    return fd
