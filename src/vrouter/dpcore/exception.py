# SPDX-License-Identifier: Apache-2.0
"""The exception pair as dp-core knows it: where it sends to, and where it gets packets back.

The pair is no vif: nothing is routed to it, and no tool lists it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from . import libbpf, link
from .errors import NoSuchEntry

if TYPE_CHECKING:
    from pathlib import Path

    from .core import DpCore

_PIN: Final = "exception"


def _pin(core: DpCore) -> Path:
    return core.instance.link_dir / _PIN


def is_known(core: DpCore) -> bool:
    """Whether the dp-core that is loaded uses the pair; that of an older release does not."""
    return "exception_out" in core.layouts.layout("vr_config").fields


def is_tied(core: DpCore, out: int, back: int) -> bool:
    """Whether dp-core sends into netdevice `out` and gets packets back by `back` (ifindexes)."""
    config = core.config.get()
    try:
        with link.open_link(_pin(core)) as opened:
            attached = opened.info().ifindex
    except NoSuchEntry:
        return False
    return (config.exception_out, config.exception_in, attached) == (out, back, back)


def tie(core: DpCore, out: int, back: int) -> None:
    """Attaches dp-core to `back`, and has it send into `out`. Raises DeviceError, Refused."""
    with core.lock():
        core.config.set(exception_out=0)
        link.detach(_pin(core))
        fd = libbpf.obj_get(core.instance.prog_dir / "vr_entry")
        try:
            link.attach(fd, back, _pin(core)).close()
        finally:
            os.close(fd)
        core.config.set(exception_in=back)
        core.config.set(exception_out=out)


def untie(core: DpCore) -> None:
    """Undoes `tie`; what would go through the pair is dropped from now on. Idempotent."""
    with core.lock():
        core.config.set(exception_out=0)
        core.config.set(exception_in=0)
        link.detach(_pin(core))
