# SPDX-License-Identifier: Apache-2.0
"""What systemd is told: sd_notify(3), without its library."""

from __future__ import annotations

import os
import socket


def notify(*lines: str) -> bool:
    """Tell the service manager; False when there is none."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto("\n".join(lines).encode(), address)
    except OSError:
        return False
    return True
