# SPDX-License-Identifier: Apache-2.0
"""What ties vifs to their netdevices.

To attach a program, and to take it off, the kernel waits for a grace period of RCU, 10 to 20 ms,
and holds the lock of all netdevices meanwhile: one after the other, whoever asks. What else is to
be done need not wait for it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from . import libbpf, link, netdev
from .errors import DeviceError, VrouterError
from .home import Home
from .names import VifType
from .records import Vif

# seconds: the thread that waits has its turn at once, not when Python thinks of it, 5 ms later
_TURN: Final = 50e-6
T = TypeVar("T")


class Ties:
    """The tcx links of an instance's vifs. What the kernel waits for is done in a thread of its
    own, one after another; what comes after it, in the caller's."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._pool: ThreadPoolExecutor | None = None
        self._last: Future[Any] | None = None
        self._begun: dict[int, Future[int]] = {}  # links that are not pinned, by ifindex
        self._offloads: dict[str, bool] = {}  # of netdevices that were begun with, by name
        self._rest: list[Callable[[], object]] | None = None  # what `together` does at its end
        self._leaving: list[Future[None]] = []  # netdevices that the last `together` detached

    def pin(self, idx: int) -> Path:
        """Where the link of a vif is pinned."""
        return self._home.instance.link_dir / f"vif{idx}"

    @contextmanager
    def together(self) -> Iterator[None]:
        """Within the block Virtual vifs are attached and detached beside the rest. None of them may
        have the idx or the netdevice of another.

        At its end all that come are attached; raises there what the first that failed has raised.
        Those that leave are let go soon: by the next block, at the latest as this process ends.
        """
        self._let_go()
        rest: list[Callable[[], object]] = []
        self._rest = rest
        failed: list[Exception] = []
        try:
            yield
        finally:
            self._rest = None
            for call in rest:
                try:
                    call()
                except VrouterError as error:
                    failed.append(error)
        if failed:
            raise failed[0]

    def begin(self, ifindexes: Iterable[int]) -> None:
        """Attaches to netdevices that become Virtual vifs soon, while these are being prepared:
        dp-core drops what they receive meanwhile. Where that fails nothing is said: `attach` finds
        out. `forget` ends it; so does the end of the process."""
        self._offloads.clear()
        here = []
        for ifindex in ifindexes:
            with suppress(DeviceError):
                name = netdev.name(ifindex)
                # to ask for it later would be to wait for the kernel to have attached
                self._offloads[name] = netdev.tx_checksum(name)
                here.append(ifindex)
        self._begun |= {ifindex: self._create(ifindex) for ifindex in here}

    @property
    def begun(self) -> list[int]:
        """The netdevices that were begun with, and are no vifs yet, by ifindex."""
        return list(self._begun)

    def offloads(self, device: str) -> bool:
        """Whether a netdevice has transmit checksum offload. Raises DeviceError."""
        known = self._offloads.pop(device, None)
        return netdev.tx_checksum(device) if known is None else known

    def forget(self) -> None:
        """Leaves netdevices that were begun with, and became no vifs."""
        for begun in self._begun.values():
            with suppress(VrouterError):
                os.close(begun.result())
        self._begun.clear()

    def close(self) -> None:
        """Ends what `together` and `begin` need."""
        self.forget()
        self._let_go()
        if self._pool is not None:
            self._pool.shutdown()

    def attach(self, vif: Vif) -> None:
        """Attaches dp-core to the vif's netdevice. Raises DeviceError, Refused."""
        begun = self._begun.pop(vif.ifindex, None)
        if self._rest is None or vif.type != VifType.VIRTUAL:
            self._attach(vif, begun)
            return
        if begun is None and not self.pin(vif.idx).exists():
            begun = self._create(vif.ifindex)
        self._rest.append(partial(self._attach, vif, begun))

    def detach(self, vif: Vif) -> None:
        """Takes dp-core off the vif's netdevice."""
        if self._rest is None or vif.type != VifType.VIRTUAL:
            link.detach(self.pin(vif.idx))
            return
        taken = link.take(self.pin(vif.idx))
        if taken is not None:
            self._leaving.append(self._aside(_let_go, taken))

    def _let_go(self) -> None:
        """Waits for what is left: who asks fast is answered no faster than the kernel works."""
        for one in self._leaving:
            one.result()
        self._leaving.clear()

    def _create(self, ifindex: int) -> Future[int]:
        return self._aside(_create, self._open_entry(), ifindex)

    def _aside(self, call: Callable[..., T], *args: Any) -> Future[T]:
        if self._pool is None:
            # its thread is made by the first call: in the namespace of the thread that makes it
            self._pool = ThreadPoolExecutor(1, "attach")
        idle = self._last is None or self._last.done()
        self._last = made = self._pool.submit(call, *args)
        if idle:
            time.sleep(_TURN)
        return made

    def _attach(self, vif: Vif, begun: Future[int] | None) -> None:
        made: int | None = None
        entry = self._open_entry()
        try:
            if begun is not None:
                with suppress(VrouterError):
                    made = begun.result()
            link.attach(entry, vif.ifindex, self.pin(vif.idx), made).close()
        except DeviceError as error:
            raise DeviceError(f"{vif.name}: {error}") from None
        finally:
            os.close(entry)

    def _open_entry(self) -> int:
        return libbpf.obj_get(self._home.instance.prog_dir / "vr_entry")


def _create(entry: int, ifindex: int) -> int:
    try:
        return link.create(entry, ifindex)
    finally:
        os.close(entry)


def _let_go(taken: link.Link) -> None:
    # what cannot be detached ends as it is closed
    with taken, suppress(VrouterError):
        taken.detach()
