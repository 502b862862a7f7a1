# SPDX-License-Identifier: Apache-2.0
"""What ties vifs to their netdevices.

To attach a program, and to take it off, the kernel waits for a grace period of RCU, 10 to 20 ms,
and holds the lock of all netdevices meanwhile: one after the other, whoever asks. What else is to
be done need not wait for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from . import libbpf, link
from .errors import DeviceError
from .home import Home
from .names import VifType
from .records import Vif


class Ties:
    """The tcx links of an instance's vifs."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._aside: Callable[[Callable[[], object]], object] | None = None

    def pin(self, idx: int) -> Path:
        """Where the link of a vif is pinned."""
        return self._home.instance.link_dir / f"vif{idx}"

    @contextmanager
    def together(self) -> Iterator[None]:
        """Within the block Virtual vifs are attached and detached beside the rest, by its end.

        Raises there what the first that failed has raised.
        """
        calls: list[Future[object]] = []
        # its thread is made by the first call: in the namespace of the thread that runs the block
        with ThreadPoolExecutor(1, "attach") as pool:
            self._aside = lambda call: calls.append(pool.submit(call))
            try:
                yield
            finally:
                self._aside = None
        for call in calls:
            call.result()

    def attach(self, vif: Vif) -> None:
        """Attaches dp-core to the vif's netdevice. Raises DeviceError, Refused."""
        self._soon(vif, lambda: self._attach(vif))

    def detach(self, vif: Vif) -> None:
        """Takes dp-core off the vif's netdevice."""
        self._soon(vif, lambda: link.detach(self.pin(vif.idx)))

    def _soon(self, vif: Vif, call: Callable[[], object]) -> None:
        if self._aside is not None and vif.type == VifType.VIRTUAL:
            self._aside(call)
        else:
            call()

    def _attach(self, vif: Vif) -> None:
        fd = libbpf.obj_get(self._home.instance.prog_dir / "vr_entry")
        try:
            link.attach(fd, vif.ifindex, self.pin(vif.idx)).close()
        except DeviceError as error:
            raise DeviceError(f"{vif.name}: {error}") from None
        finally:
            os.close(fd)
