# SPDX-License-Identifier: Apache-2.0
"""Errors of the protocol: negative errno values on the wire, exceptions on both sides of it."""

from __future__ import annotations

import errno
import os
from typing import Final

from vrouter.dpcore.errors import (
    BadValue,
    Busy,
    DeviceError,
    NoSuchEntry,
    NotLoaded,
    Refused,
    Reloaded,
    TableFull,
    UsageError,
    VrouterError,
)


class SandeshError(Refused):
    """A request was refused. `errno` is positive; `reason` says why, as far as is known."""

    def __init__(self, number: int, reason: str = "") -> None:
        self.reason = reason or os.strerror(number)
        super().__init__(self.reason, errno=number)


# The first class that fits decides.
_NUMBERS: Final[tuple[tuple[type[VrouterError], int], ...]] = (
    (NoSuchEntry, errno.ENOENT),
    (TableFull, errno.ENOSPC),
    (Busy, errno.EBUSY),
    (Reloaded, errno.EAGAIN),
    (BadValue, errno.EINVAL),
    (NotLoaded, errno.ENODEV),
    (DeviceError, errno.ENODEV),
    (UsageError, errno.EINVAL),
    (Refused, errno.EOPNOTSUPP),
)


def number_of(error: VrouterError) -> int:
    """The errno of an error of the tables."""
    if error.errno > 0:
        return error.errno
    return next((number for kind, number in _NUMBERS if isinstance(error, kind)), errno.EIO)


def invalid(reason: str) -> SandeshError:
    """The request makes no sense."""
    return SandeshError(errno.EINVAL, reason)


def unsupported(reason: str) -> SandeshError:
    """The request makes sense, and the data plane does not have that."""
    return SandeshError(errno.EOPNOTSUPP, reason)


def missing(reason: str) -> SandeshError:
    """There is no such entry."""
    return SandeshError(errno.ENOENT, reason)
