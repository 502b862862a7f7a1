# SPDX-License-Identifier: Apache-2.0
"""IPv6 routes that the kernel has from router advertisements.

By netlink they could only be made routes like those of an administrator, which the next
advertisement would neither find nor end, and which melt with another default route into one of
two next hops. The old ioctl takes the flags that tell the kernel's own from others.
Numbers: linux/ipv6_route.h (in6_rtmsg, RTF_*), linux/sockios.h.
"""

from __future__ import annotations

import errno
import fcntl
import socket
import struct

from vrouter.host.nic import routes

_PROTO_RA = 9
_SIOCADDRT = 0x890B
_RTMSG = struct.Struct("@16s16s16sIHHILIi")  # dst src gateway type lengths metric info flags dev
_UP_GATEWAY, _DEFAULT, _ADDRCONF, _EXPIRES, _ROUTEINFO = 0x3, 0x10000, 0x40000, 0x400000, 0x800000
_PREFERENCE_SHIFT = 27
_USER_HZ = 100


def is_one(body: bytes) -> bool:
    """Whether a route (RTM_NEWROUTE body) is one by a router that advertised itself."""
    return body[0] == socket.AF_INET6 and body[5] == _PROTO_RA and bool(routes.gateway(body))


def give(bodies: list[bytes], ifindex: int, elapsed: float) -> None:
    """Add those among `bodies` to a device, as the kernel would; `elapsed` s have passed since.

    One that is there already, or has run out, is no error. Raises OSError.
    """
    for body in filter(is_one, bodies):
        expires = routes.expires(body)
        left = 0 if expires is None else int(expires - elapsed)
        if expires is not None and left <= 0:
            continue
        destination = routes.destination(body)
        flags = _UP_GATEWAY | _ADDRCONF | (_ROUTEINFO if destination else _DEFAULT)
        flags |= _EXPIRES if expires is not None else 0
        flags |= routes.preference(body) << _PREFERENCE_SHIFT
        request = _RTMSG.pack(
            destination or bytes(16), bytes(16), routes.gateway(body), 0, body[1], 0,
            routes.metric(body), left * _USER_HZ, flags, ifindex,
        )  # fmt: skip
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as control:
            try:
                fcntl.ioctl(control, _SIOCADDRT, request)
            except OSError as error:
                if error.errno != errno.EEXIST:
                    error.filename = f"add route {routes.text(body)}"
                    raise
