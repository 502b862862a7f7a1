# SPDX-License-Identifier: Apache-2.0
"""Errors that a person may see. `str(error)` is the one line to show.

VrouterError                 exit 1   unexpected: the kernel or a file said no
|- UsageError                exit 2   the command line or the request makes no sense
`- Refused                   exit 3   understood, but not done
   |- NotLoaded              exit 4   no dp-core of that name
   |- NoSuchEntry                     a table has no such entry
   |- TableFull                       no free entry left
   |- OtherAbi                        the loaded dp-core is of a release with other tables
   |- Reloaded                        other tables took the place of those that are open
   |- Busy                            another writer holds the lock for too long
   |- BadValue                        a field's value is out of range or does not fit
   |- DeviceError                     a netdevice is missing or cannot be used
   `- KernelLacks                     the machine cannot run dp-core
"""

from __future__ import annotations

import os


class VrouterError(Exception):
    """Something failed. `log` holds what libbpf or the verifier said, may be empty."""

    exit_code = 1

    def __init__(self, message: str, *, log: str = "", errno: int = 0) -> None:
        super().__init__(message)
        self.log = log
        self.errno = errno


class UsageError(VrouterError):
    """The request itself makes no sense."""

    exit_code = 2


class Refused(VrouterError):  # noqa: N818 - it says what happened
    """The request is understood and was not carried out; nothing was changed."""

    exit_code = 3


class NotLoaded(Refused):
    """There is no loaded dp-core of that name."""

    exit_code = 4

    def __init__(self, name: str, why: str = "") -> None:
        tail = f" ({why})" if why else ""
        super().__init__(
            f"vRouter {name!r} is not loaded{tail}: run `vrouter load`, "
            "or name another with --name or $VROUTER_NAME"
        )
        self.name = name


class NoSuchEntry(Refused):
    """A table has no entry of that key."""


class TableFull(Refused):
    """No free entry in `table`, which has `size` of them."""

    def __init__(self, table: str, size: int, remedy: str) -> None:
        super().__init__(f"table {table} is full ({size} entries): {remedy}")
        self.table = table
        self.size = size


class OtherAbi(Refused):
    """The loaded dp-core has tables of version `loaded`, this program knows version `known`."""

    def __init__(self, name: str, release: str, loaded: int, ours: str, known: int) -> None:
        super().__init__(
            f"vRouter {name!r} runs dp-core {release} with tables of version {loaded}, and this is "
            f"{ours}, which knows version {known}: use the tools of that release, or run "
            f"`vrouter load --name {name}` to put the dp-core of this one in its place"
        )
        self.loaded = loaded
        self.known = known


class Reloaded(Refused):
    """A load put other tables in the place of those that this program has open."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"a load of vRouter {name!r} put other tables in the place of those that are open: "
            "nothing was written, try again"
        )


class Busy(Refused):
    """Another process is at it."""


class BadValue(Refused):
    """`field` cannot have `value`, because of `why`."""

    def __init__(self, field: str, value: object, why: str) -> None:
        super().__init__(f"{field} cannot be {value!r}: {why}")
        self.field = field
        self.value = value
        self.why = why


class DeviceError(Refused):
    """A netdevice is missing or cannot be used."""


class KernelLacks(Refused):
    """The machine lacks `what`; `remedy` says what to do about it."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"this machine cannot run dp-core: {what}: {remedy}")
        self.what = what
        self.remedy = remedy


def from_errno(errno: int, doing: str, *, hint: str = "", log: str = "") -> VrouterError:
    """The error for a failed system call: `doing` names the action and its object."""
    tail = f"; {hint}" if hint else ""
    return VrouterError(f"{doing}: {os.strerror(errno)}{tail}", log=log, errno=errno)
